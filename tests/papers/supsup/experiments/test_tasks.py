"""Tasks of digits: every permutation its own, rotations by right angles, pairs and their labels."""

from pathlib import Path

import pytest
import torch

from quire.lab.testing import run_in
from quire.papers.supsup.experiments.tasks import (
    Pictures,
    Tasks,
    find_means,
    load_pictures,
    make_rotations,
    make_tasks,
    name_by_mean,
)

pytest.importorskip("sklearn", reason="scikit-learn is not installed")


def test_permutations_are_permutations_and_follow_from_the_seed(tmp_path: Path) -> None:
    run = run_in(tmp_path)
    tasks = make_tasks("permutations", "digits", 4, run)
    generator = torch.Generator().manual_seed(0)
    x, label = tasks.draw(torch.tensor([0, 3]), 5, generator)
    assert x.shape == (2, 5, 64)
    assert label.shape == (2, 5)
    again = make_tasks("permutations", "digits", 4, run_in(tmp_path / "again"))
    same, _ = again.draw(torch.tensor([0, 3]), 5, torch.Generator().manual_seed(0))
    assert torch.equal(x, same)
    probe = torch.arange(64.0).expand(4, 1, 64)
    changed = tasks.change(probe, torch.arange(4))
    assert all(row.sort().values.tolist() == list(range(64)) for row in changed[:, 0])
    assert len({tuple(row.tolist()) for row in changed[:, 0]}) == 4


def test_nine_rotations_of_ten_degrees_are_a_right_angle() -> None:
    rotate = make_rotations(8)
    x = torch.randn(2, 3, 64)
    turned = rotate(x, torch.tensor([0, 9]))
    torch.testing.assert_close(turned[0], x[0], rtol=1e-4, atol=1e-4)
    wanted = [torch.rot90(x[1].view(3, 8, 8), k, (1, 2)).flatten(1) for k in (1, 3)]
    assert min(float((turned[1] - w).abs().max()) for w in wanted) < 1e-3


def test_pairs_have_their_classes_and_two_labels(tmp_path: Path) -> None:
    run = run_in(tmp_path)
    tasks = make_tasks("pairs", "digits", 5, run)
    assert tasks.pools is not None
    train = tasks.parts["train"]
    for pair, rows in enumerate(tasks.pools["train"]):
        assert set((train.label[rows] // 2).tolist()) == {pair}
    _, label = tasks.draw(torch.tensor([4]), 200, torch.Generator().manual_seed(0))
    assert set(label.unique().tolist()) == {0, 1}
    with pytest.raises(ValueError, match="there are 5 pairs, asked for 6"):
        make_tasks("pairs", "digits", 6, run)


def test_digits_are_split_by_the_seed(tmp_path: Path) -> None:
    train, test = load_pictures("digits", run_in(tmp_path))
    other, _ = load_pictures("digits", run_in(tmp_path / "other", seed=1))
    assert (len(train.label), len(test.label)) == (1400, 397)
    assert not torch.equal(train.label, other.label)
    assert float(train.image.max()) == 1


def test_the_control_names_what_is_apart() -> None:
    image = torch.eye(4)
    pictures = Pictures(image, torch.arange(4))
    tasks = Tasks(
        pictures, pictures, count=3, labels=4,
        change=lambda x, t: x + 50 * t[:, None, None],
    )  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    means = find_means(tasks, 20, generator)
    assert means.shape == (3, 4)
    x, _ = tasks.draw(torch.arange(3), 1, generator, "test")
    assert name_by_mean(means, x).tolist() == [0, 1, 2]
