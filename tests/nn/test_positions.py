"""Positions against their formulas, one element at a time."""

import math

import pytest
import torch

from quire.nn import (
    CoordinatePositions,
    LearnedPositions,
    Rotary,
    SinusoidalPositions,
    sinusoidal,
)


def wave(position: float, column: int, dim: int) -> float:
    angle = position / 10_000 ** ((column - column % 2) / dim)
    return math.cos(angle) if column % 2 else math.sin(angle)


@pytest.mark.parametrize(("length", "dim"), [(1, 2), (7, 4), (13, 10), (0, 2)])
def test_sinusoidal(length: int, dim: int) -> None:
    table = sinusoidal(length, dim)
    assert table.dtype == torch.float32
    expected = [[wave(t, column, dim) for column in range(dim)] for t in range(length)]
    torch.testing.assert_close(table, torch.tensor(expected).reshape(length, dim))


def test_sinusoidal_positions_are_added_once() -> None:
    x = torch.randn(2, 7, 4)
    positions = SinusoidalPositions(4)
    torch.testing.assert_close(positions(x, 0), x + sinusoidal(7, 4))
    assert positions(x, 1) is x


@pytest.mark.parametrize("step", [0, 5, 1000])
def test_coordinates(step: int) -> None:
    x = torch.randn(2, 7, 6, dtype=torch.float64)
    expected = torch.tensor(
        [
            [wave(i, column, 6) + wave(step + 1, column, 6) for column in range(6)]
            for i in range(1, 8)
        ],
        dtype=torch.float64,
    )
    positions = CoordinatePositions(6)
    torch.testing.assert_close(positions(x, step) - x, expected.expand(2, -1, -1))
    assert torch.equal(positions(x, torch.tensor(step)), positions(x, step))


def test_learned_positions() -> None:
    positions = LearnedPositions(13, 4)
    x = torch.randn(2, 7, 4)
    torch.testing.assert_close(positions(x), x + positions.weight[:7])
    assert positions(x, 1) is x
    positions(x).sum().backward()
    assert positions.weight.grad is not None
    assert positions.weight.grad[:7].eq(2).all()
    assert positions.weight.grad[7:].eq(0).all()
    with pytest.raises(ValueError, match="at most 13 tokens have positions, got 14"):
        positions(torch.randn(1, 14, 4))


def turned(vector: torch.Tensor, position: int) -> torch.Tensor:
    """`vector` (K,) as complex numbers times e^(i angle)."""
    dim = len(vector)
    angle = torch.tensor([position / 10_000 ** (2 * i / dim) for i in range(dim // 2)])
    numbers = torch.view_as_complex(vector.reshape(-1, 2)) * torch.exp(1j * angle.double())
    return torch.view_as_real(numbers).flatten()


def test_rotary_turns_complex_numbers() -> None:
    q, k = torch.randn(2, 3, 7, 6).double(), torch.randn(2, 3, 13, 6).double()
    turned_q, turned_k = Rotary(6)(q, k)
    torch.testing.assert_close(turned_q[1, 2, 5], turned(q[1, 2, 5], 5), atol=1e-6, rtol=0)
    torch.testing.assert_close(turned_k[0, 1, 12], turned(k[0, 1, 12], 12), atol=1e-6, rtol=0)
    torch.testing.assert_close(turned_q.norm(dim=-1), q.norm(dim=-1))


@pytest.mark.parametrize("shift", [1, 7, 13])
def test_rotary_depends_on_the_distance_only(shift: int) -> None:
    q, k = torch.randn(8, dtype=torch.float64), torch.randn(8, dtype=torch.float64)
    same_q, same_k = q.expand(1, 1, 30, 8), k.expand(1, 1, 30, 8)
    rotary = Rotary(8)
    turned_q, turned_k = rotary(same_q, same_k)
    scores = (turned_q @ turned_k.transpose(-1, -2))[0, 0]
    torch.testing.assert_close(scores[shift:, shift:], scores[:-shift, :-shift])
    assert not torch.allclose(scores[0, :-1], scores[0, 1:])


def test_rotary_gradients() -> None:
    q = torch.randn(1, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    k = torch.randn(1, 2, 5, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(Rotary(4), (q, k))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_dtypes_are_kept_and_far_positions_stay_exact(dtype: torch.dtype) -> None:
    x = torch.zeros(1, 3000, 4, dtype=dtype)
    for positions in (SinusoidalPositions(4), CoordinatePositions(4)):
        added = positions(x, 0)
        assert added.dtype == dtype
        exact = positions(x.double(), 0)
        torch.testing.assert_close(added.double(), exact, atol=1e-2, rtol=0)
    one = torch.ones(1, 1, 3000, 4, dtype=dtype)
    q, _ = Rotary(4)(one, one)
    assert q.dtype == dtype
    exact_q, _ = Rotary(4)(one.double(), one.double())
    torch.testing.assert_close(q.double(), exact_q, atol=1e-2, rtol=0)


def test_positions_have_no_state_but_what_is_learned() -> None:
    for module in (SinusoidalPositions(4), CoordinatePositions(4), Rotary(4)):
        assert module.state_dict() == {}
    assert list(LearnedPositions(3, 4).state_dict()) == ["weight"]


@pytest.mark.parametrize("make", [SinusoidalPositions, CoordinatePositions, Rotary])
@pytest.mark.parametrize("dim", [0, 3])
def test_odd_widths_are_refused(make: type[torch.nn.Module], dim: int) -> None:
    with pytest.raises(ValueError, match=f"dim must be even and positive, got {dim}"):
        make(dim)
