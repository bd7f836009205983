"""Updates and schedules against the formulas as loops write them out, to the last bit."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import LambdaLR

from quire.lab.errors import Interrupted, RunError
from quire.lab.testing import run_in
from quire.lab.training import (
    Kept,
    backward_in_parts,
    cosine_decay,
    divided_at,
    inverse_square_root,
    linear_decay,
    load_weights_into,
    rows_at_once,
    save_weights,
    set_rate,
    split_rows,
    update,
    update_in_parts,
    warm_up,
)

ROWS, TARGET = torch.randn(7, 5, generator=torch.Generator().manual_seed(0)), torch.arange(7) % 3


def net():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))


def trained(step, make=torch.optim.Adam, steps=6):
    """The parameters after some steps of ``step(model, optimizer, number)``."""
    model = net()
    # The optimizer's order of parameters is not the module's.
    parameters = list(model.parameters())
    optimizer = make([{"params": parameters[2:]}, {"params": parameters[:2]}], lr=0.1)
    for number in range(steps):
        step(model, optimizer, number)
    return parameters


def assert_same(ours, written_out, **kwargs):
    for a, b in zip(trained(ours, **kwargs), trained(written_out, **kwargs), strict=True):
        assert torch.equal(a, b)


def mean_loss(model):
    return cross_entropy(model(ROWS), TARGET)


@pytest.mark.parametrize("make", [torch.optim.Adam, torch.optim.RAdam, torch.optim.SGD])
@pytest.mark.parametrize("clip", [None, 0.05])
def test_an_update_is_what_loops_write_out(make, clip):
    def written_out(model, optimizer, number):
        loss = mean_loss(model)
        optimizer.zero_grad()
        loss.backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()

    def ours(model, optimizer, number):
        update(mean_loss(model), model, optimizer, clip=clip)

    assert_same(ours, written_out, make=make)


def test_an_update_gives_the_norm_before_clipping():
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    assert update(mean_loss(model), model, optimizer) is None
    whole = torch.cat([p.grad.flatten() for p in model.parameters()]).norm()
    norm = update(mean_loss(model), model, optimizer, clip=1e-3)
    torch.testing.assert_close(norm, whole)
    left = torch.cat([p.grad.flatten() for p in model.parameters()]).norm()
    assert float(left) == pytest.approx(1e-3, rel=1e-3)
    norm = update(mean_loss(model), list(model[2].parameters()), optimizer, clip=1e-3)
    assert norm < whole  # only what was handed over is clipped


def test_parts_with_a_sum_of_losses_as_loops_write_it_out():
    """A sum over what is asked for, a schedule of torch's, and parts of 3, 3 and 1 rows."""

    def written_out(model, optimizer, number):
        if number == 0:
            schedule.append(LambdaLR(optimizer, rate))
        optimizer.zero_grad()
        losses = []
        for x, y in zip(ROWS.split(3), TARGET.split(3), strict=True):
            loss = cross_entropy(model(x), y, reduction="sum") / torch.tensor(7)
            loss.backward()
            losses.append(loss.detach())
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule[-1].step()
        found.append(torch.stack(losses).sum())

    def ours(model, optimizer, number):
        set_rate(optimizer, 0.1 * min(warm_up(number, 2), linear_decay(number, 6, begin=2)))
        parts = split_rows(ROWS, TARGET, rows=3)
        losses = (cross_entropy(model(x), y, reduction="sum") / torch.tensor(7) for x, y in parts)
        found.append(update_in_parts(losses, model, optimizer, clip=1.0))

    def rate(step):
        return (step + 1) / 2 if step < 2 else max(0.0, (6 - step) / 4)

    schedule, found = [], []
    assert_same(ours, written_out)
    assert found[:6] == found[6:]


def test_parts_with_means_as_loops_write_it_out():
    def written_out(model, optimizer, number):
        rate = 0.1 + 0.45 * (1 + float(np.cos(np.pi * number / 6)))
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * min(rate, (number + 1) / 3)
        model.zero_grad()
        losses = []
        for x, y in zip(ROWS.split(3), TARGET.split(3), strict=True):
            loss = cross_entropy(model(x), y) * (len(x) / len(ROWS))
            loss.backward()
            losses.append(loss.detach())
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    def ours(model, optimizer, number):
        set_rate(optimizer, 2e-3 * min(cosine_decay(number, 6, floor=0.1), warm_up(number, 3)))
        parts = split_rows(ROWS, TARGET, rows=3)
        losses = (cross_entropy(model(x), y) * (len(x) / len(ROWS)) for x, y in parts)
        update_in_parts(losses, model, optimizer, clip=1.0)

    assert_same(ours, written_out)


@pytest.mark.parametrize("rows", [1, 2, 3, 7, 9, None])
def test_parts_add_up_to_the_whole_one_graph_at_a_time(rows):
    model = net().double()
    whole = cross_entropy(model(ROWS.double()), TARGET)
    expected = torch.autograd.grad(whole, list(model.parameters()))
    order = []

    def losses():
        for x, y in split_rows(ROWS.double(), TARGET, rows=rows):
            order.append(next(model.parameters()).grad is None)
            yield cross_entropy(model(x), y) * (len(x) / len(ROWS))

    torch.testing.assert_close(backward_in_parts(losses()), whole.detach())
    for parameter, gradient in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)
    assert order == [True] + [False] * (len(order) - 1)


def test_rows_at_once():
    assert [rows_at_once(tokens, 20) for tokens in (None, 1, 20, 45)] == [None, 1, 1, 2]


def test_schedules_to_the_last_bit():
    for steps, warmup in ((1, 1), (7, 10_000), (5000, 300), (5003, 10_000)):
        rise = min(warmup, max(1, steps // 10))
        left = max(1, steps - rise)
        for step in range(steps):
            line = (step + 1) / rise if step < rise else max(0.0, (steps - step) / left)
            assert min(warm_up(step, rise), linear_decay(step, steps, begin=rise)) == line
            assert warm_up(step, warmup) == min(1.0, (step + 1) / warmup)
            cosine = 0.1 + 0.45 * (1 + float(np.cos(np.pi * step / steps)))
            assert cosine_decay(step, steps, floor=0.1) == cosine
            for by in (0.1, 0.5):
                passed = sum(step >= milestone for milestone in (3, 4.5))
                assert divided_at(step, (3, 4.5), by=by) == by**passed
            for rate in (1e-4, 3e-4, 0.7):
                assert rate / divided_at(step, [3], by=10) == (rate / 10 if step >= 3 else rate)
    assert cosine_decay(10, 10) == 0


def test_inverse_square_root_is_that_of_t5_and_of_the_transformer():
    for step in range(1000):
        t5 = 1 / max(step + 1, 100) ** 0.5
        assert 100**-0.5 * inverse_square_root(step, 100) == pytest.approx(t5, rel=1e-12)
        transformer = min((step + 1) ** -0.5, (step + 1) * 100**-1.5)
        ours = 100**-0.5 * warm_up(step, 100) * inverse_square_root(step, 100)
        assert ours == pytest.approx(transformer, rel=1e-12)


def test_kept_numbers_are_a_running_mean_to_the_last_bit():
    kept, mean = Kept(), 0.0
    for count, value in enumerate(torch.rand(50, generator=torch.Generator().manual_seed(0)), 1):
        mean += (float(value) - mean) / count
        kept.average("loss", value)
        assert kept.numbers["loss"] == mean


def test_a_running_mean_on_an_accelerator_is_read_seldom(monkeypatch):
    class Far(torch.Tensor):
        device = torch.device("cuda")
        __torch_function__ = torch._C._disabled_torch_function_impl

    values = torch.rand(50, generator=torch.Generator().manual_seed(0))
    near, far, reads = Kept(), Kept(), []
    tolist = torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, "tolist", lambda x: reads.append(len(x)) or tolist(x))
    monkeypatch.setattr("quire.lab.training.UNREAD", 20)
    for value in values:
        far.average("loss", value.as_subclass(Far))
    assert reads == [20, 20]
    saved = far.state_dict()
    assert reads == [20, 20, 10]
    for value in values:
        near.average("loss", value)
    assert saved == near.state_dict()
    far.average("loss", values[0].as_subclass(Far))
    far.load_state_dict(saved)  # what was not read yet belongs to the time before
    assert far.state_dict() == saved


def test_kept_numbers_come_back_from_a_checkpoint(tmp_path):
    def count(run, stop_at, into):
        kept = Kept(level=1)
        for step in run.steps(6, state=(kept,)):
            kept.numbers["level"] += step
            kept.average("mean", torch.tensor(float(step)))
            kept.add("needed", torch.arange(4).view(2, 2) + step)
            kept.add("auc", np.float64(step))  # a NumPy number loads without pickles of objects
            if step == stop_at:
                run.interrupt("stopped")
        into.append((kept.numbers, kept.series))

    found = []
    with pytest.raises(Interrupted):
        count(run_in(tmp_path / "a"), 3, found)
    count(run_in(tmp_path / "a"), None, found)
    count(run_in(tmp_path / "b"), None, found)
    assert found[0] == found[1]
    assert found[0][0] == {"level": 16, "mean": 2.5}
    assert found[0][1]["needed"][5] == [[5, 6], [7, 8]]


class Tied(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.embed = nn.Embedding(9, width)
        self.head = nn.Linear(width, 9, bias=False)
        self.head.weight = self.embed.weight
        self.norm = nn.BatchNorm1d(width)


def test_weights_come_back_tied_with_buffers(tmp_path):
    one, two = Tied(), Tied()
    one.norm.running_mean += 3
    path = save_weights(tmp_path, "teacher", one)
    assert path == tmp_path / "kept" / "teacher.safetensors"
    load_weights_into(tmp_path, "teacher", two)
    assert two.head.weight is two.embed.weight
    for name, value in one.state_dict().items():
        assert torch.equal(value, two.state_dict()[name]), name
    assert [p.name for p in path.parent.iterdir()] == ["teacher.safetensors"]


def test_weights_keep_the_layout_in_memory_of_the_module(tmp_path):
    one, two = (nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last) for _ in range(2))
    save_weights(tmp_path, "conv", one)
    load_weights_into(tmp_path, "conv", two)
    assert torch.equal(one.weight, two.weight)
    assert two.weight.is_contiguous(memory_format=torch.channels_last)


def test_weights_that_are_missing_damaged_or_of_another_module(tmp_path):
    path = save_weights(tmp_path, "teacher", Tied())
    with pytest.raises(RunError, match=r"no weights 'techer' in .*kept. Known: teacher$"):
        load_weights_into(tmp_path, "techer", Tied())
    for other, reason in ((Tied(5), "size mismatch"), (nn.Linear(2, 2), "Missing key")):
        with pytest.raises(RunError, match=f"does not fit .*{reason}") as caught:
            load_weights_into(tmp_path, "teacher", other)
        assert "\n" not in str(caught.value)
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(RunError, match="damaged"):
        load_weights_into(tmp_path, "teacher", Tied())
    with pytest.raises(ValueError, match="plain file name"):
        save_weights(tmp_path, "../teacher", Tied())


def test_a_full_disk_leaves_the_weights_that_stood_there(tmp_path, monkeypatch):
    one, two = Tied(), Tied()
    save_weights(tmp_path, "teacher", one)

    def full(*names):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", full)
        with pytest.raises(RunError, match="No space left on device; nothing was changed"):
            save_weights(tmp_path, "teacher", two)
    load_weights_into(tmp_path, "teacher", two)
    assert torch.equal(one.embed.weight, two.embed.weight)
    assert len(list((tmp_path / "kept").iterdir())) == 1
