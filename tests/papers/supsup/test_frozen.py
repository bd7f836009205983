"""The frozen net and masks in training: what is trained, vmap against a loop, statistics."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from quire.papers.supsup import (
    ErdosRenyi,
    FrozenNet,
    ResNet,
    Supermask,
    TopFraction,
    evaluating,
    learn,
    make_mlp,
    measure_loss,
)


def small(seed: int = 0) -> FrozenNet:
    return FrozenNet(make_mlp(6, 5, hidden=(8,)), seed=seed)


def test_weights_follow_from_the_seed_and_biases_are_zero() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3), nn.Linear(3, 2))
    before = copy.deepcopy(model.state_dict())
    a, b, c = FrozenNet(model, seed=5), FrozenNet(model, seed=5), FrozenNet(model, seed=6)
    assert torch.equal(a.weights, b.weights)
    assert not torch.equal(a.weights, c.weights)
    assert a.size == 12 + 6
    assert a.names == ("0.weight", "2.weight")
    for name in ("0.bias", "1.bias", "2.bias"):
        assert not a.model.get_parameter(name).any()
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    kept = FrozenNet(model, seed=None)
    assert torch.equal(kept.weights[:12], before["0.weight"].flatten())
    assert not any(p.requires_grad for p in a.parameters())


def test_a_mask_of_ones_is_the_model_and_zeros_silence_it() -> None:
    net = small().double()
    x = torch.randn(3, 6).double()
    torch.testing.assert_close(net(x, torch.ones(net.size).double()), net.model(x))
    assert not net(x, torch.zeros(net.size).double()).any()
    assert net(x[:0]).shape == (0, 5)


def test_only_scores_are_trained() -> None:
    mask = Supermask(small())
    trained = [name for name, p in mask.named_parameters() if p.requires_grad]
    assert trained == ["scores"]
    weights, scores = mask.net.weights.clone(), mask.scores.detach().clone()
    x, label = torch.randn(16, 6), torch.randint(5, (16,))
    learn(mask, [(x, label)] * 30, learning_rate=1e-2)
    assert torch.equal(mask.net.weights, weights)
    assert not torch.equal(mask.scores, scores)
    assert F.cross_entropy(mask(x), label) < F.cross_entropy(
        mask.net(x, (scores >= 0).float()), label
    )


@pytest.mark.parametrize("sparsity", [None, TopFraction(0.4), ErdosRenyi(0.3)])
def test_masks_trained_together_are_those_trained_alone(sparsity: object) -> None:
    net = small().double()
    torch.manual_seed(0)
    x, label = torch.randn(3, 9, 6).double(), torch.randint(5, (3, 9))
    options = [] if sparsity is None else [sparsity]
    together = Supermask(net, *options, tasks=3)  # type: ignore[arg-type]
    alone = [Supermask(net, *options) for _ in range(3)]  # type: ignore[arg-type]
    for one, scores in zip(alone, together.scores.detach(), strict=True):
        one.reset(torch.Generator(), scores=scores)
    learn(together, [(x, label)] * 4, learning_rate=1e-2)
    for number, one in enumerate(alone):
        learn(one, [(x[number], label[number])] * 4, learning_rate=1e-2)
        torch.testing.assert_close(together.scores[number], one.scores)
    torch.testing.assert_close(together(x), torch.stack([m(r) for m, r in zip(alone, x)]))  # noqa: B905


def test_a_loss_is_a_mean_of_each_task() -> None:
    logits, label = torch.randn(2, 7, 5), torch.randint(5, (2, 7))
    each = [F.cross_entropy(z, y) for z, y in zip(logits, label, strict=True)]
    torch.testing.assert_close(measure_loss(logits, label), torch.stack(each).sum())


@pytest.mark.parametrize("tasks", [None, 2])
def test_running_statistics_belong_to_a_task(tasks: int | None) -> None:
    net = FrozenNet(ResNet(18, 3, width=2))
    begun = net.statistics.clone()
    mask = Supermask(net, TopFraction(0.5), tasks=tasks).train()
    shape = (4, 3, 8, 8) if tasks is None else (tasks, 4, 3, 8, 8)
    mask(torch.randn(shape) + 3)
    assert not torch.equal(mask.statistics, begun.expand_as(mask.statistics))
    assert torch.equal(net.statistics, begun)
    if tasks:
        assert not torch.equal(mask.statistics[0], mask.statistics[1])
    mask.reset(torch.Generator())
    assert torch.equal(mask.statistics, begun.expand_as(mask.statistics))


def test_modes_come_back() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout())
    model[1].eval()
    with evaluating(model):
        assert not model.training
    assert model.training
    assert not model[1].training


def test_what_does_not_fit_is_said() -> None:
    with pytest.raises(ValueError, match="ReLU has no weights to mask"):
        FrozenNet(nn.ReLU())
    with pytest.raises(ValueError, match="'bias' is no parameter of two or more dimensions"):
        FrozenNet(nn.Linear(2, 2), names=["bias"])
    with pytest.raises(ValueError, match="expected 88 numbers"):
        small()(torch.zeros(1, 6), torch.zeros(3))
    with pytest.raises(ValueError, match="tasks must be at least 1, got 0"):
        Supermask(small(), tasks=0)
    with pytest.raises(ValueError, match="depth must be 18 or 50"):
        ResNet(34, 2)  # type: ignore[arg-type]


def test_published_sizes() -> None:
    assert sum(p.numel() for p in make_mlp(784, 10).parameters()) == 266_200
    with torch.device("meta"):
        full = ResNet(50, 1000, stem="large")
    assert all(p.dim() > 1 for p in full.parameters())  # no bias, no scale
    # torchvision's 25,557,032 less its 1,000 biases and the 53,120 scales and shifts.
    assert sum(p.numel() for p in full.parameters()) == 25_557_032 - 1000 - 53_120
