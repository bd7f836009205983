"""The game on finitely many symbols against SciPy, search and closed forms."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon

from quire.papers.gan import (
    LEAST_VALUE,
    game_value,
    jensen_shannon,
    measure_value,
    optimal_discriminator,
)


def draw(*shape, seed=0, scale=2.0):
    generator = torch.Generator().manual_seed(seed)
    return torch.softmax(scale * torch.randn(*shape, generator=generator).double(), -1)


def test_no_other_discriminator_has_a_larger_value():
    p, q = draw(5, seed=1), draw(5, seed=2)
    best = measure_value(p, q, optimal_discriminator(p, q))
    generator = torch.Generator().manual_seed(0)
    for _ in range(200):
        other = torch.rand(5, generator=generator).double()
        assert measure_value(p, q, other) < best
    torch.testing.assert_close(best, game_value(p, q))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 12), st.integers(0, 999), st.floats(0.1, 6))
def test_value_is_the_divergence(symbols, seed, scale):
    p, q = draw(symbols, seed=seed, scale=scale), draw(symbols, seed=seed + 1, scale=scale)
    expected = float(jensenshannon(p, q)) ** 2
    assert float(jensen_shannon(p, q)) == pytest.approx(expected, abs=1e-9)
    assert float(game_value(p, q)) == pytest.approx(LEAST_VALUE + 2 * expected, abs=1e-9)
    assert -1e-12 <= float(jensen_shannon(p, q)) <= math.log(2) + 1e-12


def test_apart_and_alike():
    p, q = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    assert float(game_value(p, q)) == 0
    assert float(jensen_shannon(p, q)) == pytest.approx(math.log(2))
    assert optimal_discriminator(p, q).tolist() == [1, 0]
    assert float(jensen_shannon(p, p)) == 0


def test_divergence_keeps_its_digits_where_both_are_close():
    p = draw(16)
    q = p * (1 + 1e-7 * torch.linspace(-1, 1, 16).double())
    q = q / q.sum()
    expected = float(((p - q) ** 2 / p).sum() / 8)
    assert float(jensen_shannon(p, q)) == pytest.approx(expected, rel=1e-2)


def test_two_normals_give_a_logistic_discriminator():
    x, mean = torch.linspace(-4, 4, 41).double(), 0.7
    p, q = (torch.exp(-((x - m) ** 2) / 2) for m in (mean, -mean))
    # On a grid that is symmetric both sum to the same.
    found = optimal_discriminator(p / p.sum(), q / q.sum())
    torch.testing.assert_close(found, torch.sigmoid(2 * mean * x))


def test_gradient_of_the_value_is_that_of_the_best_answer():
    p, q = draw(6, seed=3), draw(6, seed=4).requires_grad_()
    (slope,) = torch.autograd.grad(game_value(p, q), q)
    d = optimal_discriminator(p, q.detach())
    torch.testing.assert_close(slope, torch.log(1 - d))
    logits = torch.randn(2, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: game_value(*torch.softmax(x, -1)), logits)
    assert torch.autograd.gradgradcheck(lambda x: game_value(*torch.softmax(x, -1)), logits)
    assert torch.autograd.gradcheck(lambda x: jensen_shannon(*torch.softmax(x, -1)), logits)


def test_a_symbol_that_never_comes_changes_nothing():
    p, q = torch.tensor([0.3, 0.7, 0.0]), torch.tensor([0.6, 0.4, 0.0]).requires_grad_()
    value = game_value(p, q)
    torch.testing.assert_close(value, game_value(p[:2], q[:2]))
    value.backward()
    assert q.grad.isfinite().all()
    assert float(optimal_discriminator(p, q.detach())[2]) == 0.5


def test_half_precision_and_batches_of_games():
    p, q = draw(3, 4, seed=1), draw(3, 4, seed=2)
    rough = game_value(p.bfloat16(), q.bfloat16())
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough.double(), game_value(p, q), atol=0.02, rtol=0)
    assert game_value(p[:0], q[:0]).shape == (0,)


@pytest.mark.parametrize(
    ("p", "q", "said"),
    [
        ([0.5, 0.5], [1.0], "one shape"),
        ([0.5, 0.6], [0.5, 0.5], "p must be at least 0 and sum to 1"),
        ([0.5, 0.5], [1.5, -0.5], "q must be at least 0"),
        ([0.5, 0.5], [float("nan"), 0.5], "q must be at least 0"),
        ([], [], "one shape"),
        (1.0, 1.0, "one shape"),
    ],
)
def test_what_is_no_distribution_is_refused(p, q, said):
    for function in (optimal_discriminator, game_value, jensen_shannon):
        with pytest.raises(ValueError, match=said) as caught:
            function(torch.tensor(p), torch.tensor(q))
        assert "\n" not in str(caught.value)


def test_whole_numbers_and_another_table_are_refused():
    with pytest.raises(ValueError, match="floating-point"):
        game_value(torch.tensor([1, 0]), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="each symbol"):
        measure_value(draw(3), draw(3), torch.rand(2))
