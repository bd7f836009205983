import copy

import pytest
import torch

from papers.t5.test_model import ARCHITECTURES, make, tokens
from quire.papers.t5 import AdaFactor, LowRank, add_adapters, add_low_ranks, count_trained, unfreeze
from quire.papers.t5.adafactor import factored_axes


def problem(*shapes):
    generator = torch.Generator().manual_seed(0)
    return [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]


@pytest.mark.parametrize("rate", [1e-2, 1e-3])
def test_adafactor_is_that_of_transformers(rate):
    peer = pytest.importorskip("transformers.optimization").Adafactor
    shapes = [(6, 9), (9, 6), (5, 5), (7,), ()]
    ours, theirs = problem(*shapes), problem(*shapes)
    mine = AdaFactor(ours, lr=rate, smallest=1)
    his = peer(theirs, lr=rate, scale_parameter=True, relative_step=False, warmup_init=False)
    generator = torch.Generator().manual_seed(1)
    for step in range(12):
        for a, b in zip(ours, theirs, strict=True):
            a.grad = torch.randn(a.shape, generator=generator) * 10.0 ** (step % 3 - 1)
            b.grad = a.grad.clone()
        mine.step()
        his.step()
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a, b)


def by_hand(weight, gradients, rate):
    """The sheet's formula, not factored."""
    v = torch.zeros_like(weight)
    for t, g in enumerate(gradients, 1):
        b = 1 - t**-0.8
        v = b * v + (1 - b) * (g**2 + 1e-30)
        x = g / v.sqrt()
        x = x / max(1.0, float(x.square().mean().sqrt()))
        weight = weight - rate * max(1e-3, float(weight.square().mean().sqrt())) * x
    return weight


def test_small_matrices_are_not_factored():
    (w,) = problem((127, 4))
    start, optimizer = w.detach().clone(), AdaFactor([w], lr=0.1)
    gradients = [torch.randn(127, 4) for _ in range(5)]
    for gradient in gradients:
        w.grad = gradient
        optimizer.step()
    torch.testing.assert_close(w.detach(), by_hand(start, gradients, 0.1))
    assert factored_axes(torch.empty(128, 512), 128) == (1, 0)
    assert factored_axes(torch.empty(127, 512), 128) is None
    assert factored_axes(torch.empty(3, 256, 128), 128) == (1, 2)
    assert factored_axes(torch.empty(512), 1) is None


def test_a_factored_moment_of_rank_one_is_exact():
    (w,) = problem((128, 130))
    start = w.detach().clone()
    gradients = [torch.rand(128, 1) * torch.rand(1, 130) for _ in range(1)] * 4
    optimizer = AdaFactor([w], lr=0.1)
    for gradient in gradients:
        w.grad = gradient
        optimizer.step()
    torch.testing.assert_close(w.detach(), by_hand(start, gradients, 0.1), rtol=1e-4, atol=1e-4)
    assert [f.numel() for f in optimizer.state[w]["factors"]] == [128, 130]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_adafactor_resumes(dtype):
    (w,) = problem((130, 140))
    w.data = w.data.to(dtype)
    other = torch.nn.Parameter(w.detach().clone())
    first, second = AdaFactor([w], lr=0.1), AdaFactor([other], lr=0.1)
    gradients = [1e-3 * torch.randn(130, 140).to(dtype) for _ in range(4)]
    for number, gradient in enumerate(gradients):
        w.grad = gradient
        first.step()
        if number == 1:
            other.data = w.detach().clone()
            second.load_state_dict(copy.deepcopy(first.state_dict()))
    for gradient in gradients[2:]:
        other.grad = gradient
        second.step()
    assert torch.equal(w, other)
    assert all(f.dtype == torch.float32 for f in second.state[other]["factors"])


def test_bad_rates():
    for options in ({"lr": -1.0}, {"decay": 1.0}, {"clip": 0.0}):
        with pytest.raises(ValueError, match="lr must be at least 0, decay between"):
            AdaFactor(problem((2, 2)), **options)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_adapters_change_nothing_until_they_are_trained(architecture):
    model, inputs, targets = make(architecture), tokens(2, 7), tokens(2, 6)
    wanted = model(inputs, targets)
    trained = add_adapters(model, 4)
    torch.testing.assert_close(model(inputs, targets), wanted)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = AdaFactor(trained, lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        model.loss(inputs, targets).backward()
        optimizer.step()
    moved = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    assert moved == {n for n in before if "adapter" in n or "norm" in n}
    assert count_trained(model) == sum(p.numel() for p in trained)


def test_how_many_adapters_train():
    model = make()  # 2 + 2 layers of width 16
    bottleneck = 16 + 16 * 4 + 4 + 4 * 16 + 16
    assert sum(p.numel() for p in add_adapters(model, 4, norms=False)) == 4 * bottleneck
    with pytest.raises(ValueError, match="adapters already"):
        add_adapters(model, 4)
    assert sum(p.numel() for p in add_adapters(make(), 4)) == 4 * bottleneck + 16 * (4 + 6 + 2)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_unfreezing_from_the_top_keeps_the_optimisers_state(architecture):
    model, inputs, targets = make(architecture), tokens(2, 7), tokens(2, 6)
    optimizer = AdaFactor(model.parameters(), lr=1e-2)
    counts = []
    for layers in (0, 1, 2, 1):
        trained = unfreeze(model, layers)
        counts.append(sum(p.numel() for p in trained))
        before = {n: p.detach().clone() for n, p in model.named_parameters()}
        optimizer.zero_grad()
        model.loss(inputs, targets).backward()
        optimizer.step()
        names = {id(p): n for n, p in model.named_parameters()}
        moved = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
        assert moved == {names[id(p)] for p in trained}
        assert "table.weight" in moved
        assert any("layers.0" in n or "bias" in n for n in moved) == (layers == 2)
        assert any("layers.1" in n for n in moved) == (layers > 0)
    assert counts[0] < counts[1] < counts[2]
    assert counts[2] == sum(p.numel() for p in model.parameters())
    steps = {n: optimizer.state[p]["step"] for n, p in model.named_parameters()}
    last = model.decoder.layers
    assert steps["table.weight"] == 4
    assert optimizer.state[last[1].attention.query.weight]["step"] == 3
    assert optimizer.state[last[0].attention.query.weight]["step"] == 1
    with pytest.raises(ValueError, match="layers must be between 0 and 2, got 3"):
        unfreeze(model, 3)


def test_low_ranks():
    model, inputs, targets = make(), tokens(2, 7), tokens(2, 6)
    wanted = model(inputs, targets)
    trained = add_low_ranks(model, 2)
    torch.testing.assert_close(model(inputs, targets), wanted)
    assert sum(p.numel() for p in trained) == 6 * 2 * 2 * (16 + 16)
    part = LowRank(torch.nn.Linear(5, 3, bias=False), rank=2)
    torch.nn.init.normal_(part.up)
    x = torch.randn(4, 5)
    torch.testing.assert_close(part(x), x @ part.weight.T)
    with pytest.raises(ValueError, match="without bias and a rank from 1 on, got 0"):
        LowRank(torch.nn.Linear(5, 3, bias=False), rank=0)
