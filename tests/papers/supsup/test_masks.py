"""Masks: how many are kept, where gradients go, and that bits come back as they were packed."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from quire.papers.supsup import (
    ErdosRenyi,
    Threshold,
    TopFraction,
    count_kept,
    draw_constants,
    draw_scores,
    pack,
    unpack,
)
from quire.papers.supsup.masks import make_table

SHAPES = [torch.Size((6, 5)), torch.Size((4, 3, 3, 3))]


@settings(max_examples=40, deadline=None)
@given(keep=st.floats(0.001, 1.0), seed=st.integers(0, 5))
def test_a_share_keeps_exactly_its_count_in_each_layer(keep: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(-2, 3, (2, 138), generator=generator).float()  # most are equal
    mask = TopFraction(keep)(scores, SHAPES)
    for part, shape in zip(mask.split([30, 108], 1), SHAPES, strict=True):
        wanted = shape.numel() - int((1 - keep) * shape.numel())
        assert part.sum(1).tolist() == [wanted, wanted]


def test_the_largest_magnitudes_are_kept() -> None:
    scores = draw_scores(SHAPES, torch.Generator().manual_seed(0))
    mask = TopFraction(0.3)(scores, SHAPES)
    for part, kept in zip(scores.abs().split([30, 108]), mask.split([30, 108]), strict=True):
        assert part[kept > 0].min() > part[kept == 0].max()


def test_where_gradients_go() -> None:
    scores = torch.tensor([0.5, -0.2, 0.0, -0.9]).requires_grad_()
    along = torch.tensor([1.0, 2.0, 3.0, 4.0])
    shapes = [torch.Size((2, 2))]
    threshold = Threshold()(scores, shapes)
    assert threshold.tolist() == [1, 0, 1, 0]
    (threshold * along).sum().backward()
    assert scores.grad is not None
    assert scores.grad.tolist() == [1, 2, 3, 4]  # those that are masked out as well
    scores.grad = None
    (TopFraction(0.5)(scores, shapes) * along).sum().backward()
    assert scores.grad is not None
    assert scores.grad.tolist() == [1, -2, 0, -4]  # sign(s) dL/dM


def test_differentiating_twice_is_refused() -> None:
    scores, x = torch.randn(4).requires_grad_(), torch.randn(4).requires_grad_()
    (slope,) = torch.autograd.grad((Threshold()(scores, []) * x).sin().sum(), scores,
                                   create_graph=True)  # fmt: skip
    with pytest.raises(RuntimeError, match="cannot be differentiated again"):
        torch.autograd.grad(slope.sum(), x)


def test_a_threshold_moves() -> None:
    assert Threshold(0.3)(torch.tensor([0.2, 0.4]), []).tolist() == [0, 1]


def test_erdos_renyi_budgets_by_hand() -> None:
    budget = ErdosRenyi(2.0)
    assert budget.find_keep(torch.Size((100, 300))) == pytest.approx(2 * 400 / 30_000)
    assert budget.find_keep(torch.Size((64, 64, 3, 3))) == pytest.approx(2 * 128 / 36_864)
    assert budget.find_keep(torch.Size((2, 3))) == 0.5  # no layer keeps more than half
    scores = torch.randn(138)
    kept = [int(part.sum()) for part in budget(scores, SHAPES).split([30, 108])]
    assert kept == [count_kept(30, 0.5), count_kept(108, 14 / 108)]
    assert ErdosRenyi(8.0)(scores, SHAPES).sum() > budget(scores, SHAPES).sum()


def test_what_is_drawn() -> None:
    weights = draw_constants(torch.Size((400, 50)), torch.Generator().manual_seed(0))
    assert torch.allclose(weights.abs(), torch.tensor((2 / 50) ** 0.5))
    assert abs(float((weights > 0).float().mean()) - 0.5) < 0.02
    assert float(weights.std()) == pytest.approx((2 / 50) ** 0.5, rel=1e-3)
    scores = draw_scores(SHAPES, torch.Generator().manual_seed(0), tasks=50)
    assert scores.shape == (50, 138)
    assert float(scores[:, :30].abs().max()) == pytest.approx(5**-0.5, rel=0.02)
    assert float(scores[:, 30:].abs().max()) == pytest.approx(27**-0.5, rel=0.02)


@settings(max_examples=30, deadline=None)
@given(size=st.integers(1, 40), rows=st.integers(0, 3), seed=st.integers(0, 3))
def test_bits_come_back(size: int, rows: int, seed: int) -> None:
    masks = torch.rand(rows, size, generator=torch.Generator().manual_seed(seed)) < 0.5
    packed = pack(masks)
    assert packed.shape == (rows, -(-size // 8))
    back = unpack(packed, size, make_table(torch.float32, torch.device("cpu")))
    assert torch.equal(back, masks.float())


def test_what_does_not_fit_is_said() -> None:
    with pytest.raises(ValueError, match=r"keep must be above 0 and at most 1, got 1\.5"):
        TopFraction(1.5)
    with pytest.raises(ValueError, match="multiplier must be positive, got 0"):
        ErdosRenyi(0)
