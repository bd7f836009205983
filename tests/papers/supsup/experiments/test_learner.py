"""The apparatus: a curriculum that resumes exactly, rivals, looks at a stream, tasks of images."""

from pathlib import Path

import numpy as np
import pytest
import torch

from quire.data import Images
from quire.lab.errors import Interrupted
from quire.lab.testing import run_in
from quire.lab.training import Kept
from quire.papers.supsup import FrozenNet, MaskBank, make_mlp
from quire.papers.supsup.experiments.hopsupsup import first_at_zero
from quire.papers.supsup.experiments.images import ArrayTasks, FolderTasks, read_view
from quire.papers.supsup.experiments.learner import (
    Nets,
    Schedule,
    count_steps,
    draw_trial,
    measure_bank,
    train_masks,
    train_nets,
)
from quire.papers.supsup.experiments.new_tasks import Masks, NewTasks, look, measure
from quire.papers.supsup.experiments.rivals import make_rival, measure_rival, train_rival
from quire.papers.supsup.experiments.tasks import Tasks, make_tasks

pytest.importorskip("sklearn", reason="scikit-learn is not installed")
SCHEDULE = Schedule(steps=4, batch_size=8, learning_rate=1e-3, at_once=2)


def make(directory: Path, count: int = 4) -> Tasks:
    return make_tasks("permutations", "digits", count, run_in(directory))


def test_a_curriculum_that_was_stopped_ends_with_the_same_bits(tmp_path: Path) -> None:
    banks = []
    for stops in ((), (3, 2, 1)):  # also in the middle of a piece and at its end
        folder = tmp_path / f"run{len(stops)}"
        for stop in stops:
            with pytest.raises(Interrupted):
                train(folder, stop)
        banks.append(train(folder, None))
    assert torch.equal(banks[0].bits, banks[1].bits)
    assert len(banks[1]) == 4


def train(folder: Path, stop: int | None) -> MaskBank:
    run = run_in(folder, stop_after=stop)
    bank = MaskBank(make_mlp(64, 20, hidden=(12,)))
    assert float(train_masks(run, bank, make(folder / "tasks"), SCHEDULE)) == 0
    return bank


def test_tasks_at_once_divide_the_tasks(tmp_path: Path) -> None:
    tasks = make(tmp_path, 5)
    with pytest.raises(ValueError, match="tasks must be a multiple of at_once, got 5 and 2"):
        count_steps(tasks, SCHEDULE)


def test_scenarios_are_ordered(tmp_path: Path) -> None:
    run = run_in(tmp_path)
    tasks = make(tmp_path)
    bank = MaskBank(make_mlp(64, 20, hidden=(24,)))
    train_masks(run, bank, tasks, SCHEDULE._replace(steps=40, batch_size=32))
    trial = draw_trial(run, tasks, images=10, group=4)
    assert trial.x.shape == (40, 64)
    assert trial.groups.shape == (4, 4, 64)
    found = measure_bank(run, bank, tasks, trial)
    assert found["gnu_accuracy"] <= found["gns_accuracy"]
    assert found["gnu_accuracy"] <= found["named"]
    assert found["packed_bytes"] == bank.bits.shape[1]


def test_nets_that_begin_alike(tmp_path: Path) -> None:
    run = run_in(tmp_path)
    nets = Nets(FrozenNet(make_mlp(64, 10, hidden=(8,))), 2)
    nets.reset(run.rng("weights"), alike=True)
    assert torch.equal(nets.vectors[0], nets.vectors[1])
    vectors = train_nets(run, nets, make(tmp_path), SCHEDULE, alike=False)
    assert vectors.shape == (4, nets.net.size)
    assert len({float(row.sum()) for row in vectors}) == 4


@pytest.mark.parametrize("name", ["sequential", "batche", "psp", "hat", "ewc", "si"])
def test_rivals_learn_the_last_task(tmp_path: Path, name: str) -> None:
    torch.manual_seed(0)
    run = run_in(tmp_path)
    tasks = make(tmp_path, 2)
    rate = {"hat": 0.1, "batche": 1e-2}.get(name, 3e-3)
    rival = make_rival(
        name, run, tasks, hidden=(24,), learning_rate=rate, strength=0.01, context="binary"
    )  # type: ignore[arg-type]
    steps = 600 if name in ("hat", "batche") else 80
    train_rival(run, rival, tasks, SCHEDULE._replace(steps=steps, batch_size=32))
    trial = draw_trial(run, tasks, images=50, group=1)
    own = trial.task == 1
    wanted = trial.label[own] + (10 if name in ("ewc", "si") else 0)
    right = (rival.answer(trial.x[own], 1).argmax(1) == wanted).float().mean()
    # Ten classes: HAT learns slowly, and a frozen net bends little to rank-one factors.
    assert right > (0.15 if name in ("hat", "batche") else 0.5)
    assert len(measure_rival(rival, tasks, trial)) == 2


def test_looks_at_a_stream_are_counted(tmp_path: Path) -> None:
    config = NewTasks(dataset="digits", tasks=2, budget=6, outputs=20, hidden=(8,), passes=1)
    run = run_in(tmp_path, config)
    masks = Masks(FrozenNet(make_mlp(64, 20, hidden=(8,))), 6, run)
    kept = Kept(known=1, mask=0)
    look(config, masks, torch.randn(4, 64), 0, kept)
    assert kept.series == {"looks": [[0, 0, 1]]}
    look(config, masks, torch.randn(4, 64), 0, kept)  # nothing is trained: it looks new
    assert kept.numbers["known"] == 2
    for row in ([1, 1, 0], [1, 2, 1], [1, 3, 1]):  # missed, then its own, then a false one
        kept.add("looks", row)
    kept.numbers["known"] = 4
    trial = draw_trial(run, make(tmp_path, 2), images=3, group=1)
    found = measure(config, run, masks, kept, trial)
    assert found["masks"] == 4
    assert found["missed_tasks"] == 50
    assert found["false_allocations"] == pytest.approx(100 * 2 / 2)


def test_the_first_step_at_zero() -> None:
    assert first_at_zero(torch.tensor([3, 1, 0, 0])) == 2
    assert first_at_zero(torch.tensor([0, 0, 0])) == 0
    assert first_at_zero(torch.tensor([3, 0, 2])) == 3


def test_classes_are_dealt_out(tmp_path: Path) -> None:
    label = np.arange(60) % 6
    image = np.broadcast_to(label[:, None, None, None], (60, 3, 4, 4)).astype(np.uint8)
    images = Images(image, label.astype(np.int64))
    source = ArrayTasks(images, images, 2, run_in(tmp_path), padding=0)
    assert (source.count, source.ways) == (3, 2)
    seen = [set(image[rows.numpy(), 0, 0, 0].tolist()) for rows in source.rows["train"]]
    assert sorted(c for classes in seen for c in classes) == list(range(6))
    x, y = source.batch(1, 7, torch.Generator().manual_seed(0))
    assert x.shape == (7, 3, 4, 4)
    assert set(y.tolist()) <= {0, 1}
    assert sum(len(b) for _, b in source.test(2)) == 20
    with pytest.raises(ValueError, match="ways must divide 6 classes, got 4"):
        ArrayTasks(images, images, 4, run_in(tmp_path), padding=0)


def test_files_are_cut_into_tasks(tmp_path: Path) -> None:
    Image = pytest.importorskip("PIL.Image", reason="pillow is not installed")
    for part, count in (("train", 3), ("val", 2)):
        for name in "abcd":
            folder = tmp_path / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = np.full((20, 30, 3), 60 * "abcd".index(name), np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    source = FolderTasks(tmp_path, 2, torch.device("cpu"))
    assert source.count == 2
    x, label = source.batch(1, 5, torch.Generator().manual_seed(0))
    assert x.shape == (5, 3, 224, 224)
    assert torch.equal(x[:, 0, 0, 0] > x[:, 0, 0, 0].mean(), label > 0) or len(set(label)) == 1
    assert [len(y) for _, y in source.test(0)] == [4]
    assert read_view(tmp_path / "val" / "d" / "0.png", [], side=8).float().mean() == 180
    with pytest.raises(FileNotFoundError, match="no class folders"):
        FolderTasks(tmp_path / "none", 2, torch.device("cpu"))
