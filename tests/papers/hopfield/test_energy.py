"""Energy, update and theorems against closed forms, automatic differentiation and brute force."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import normalize, scaled_dot_product_attention

from quire.papers.hopfield import (
    capacity_bound,
    energy_bounds,
    hopfield_energy,
    hopfield_jacobian,
    hopfield_update,
    pattern_separation,
    retrieval_bounds,
    retrieve,
)

sets = given(
    seed=st.integers(0, 10_000),
    patterns=st.integers(1, 12),
    dim=st.integers(1, 9),
    beta=st.floats(0.01, 20),
)


def draw(seed, *shape):
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=rng, dtype=torch.float64)


@settings(max_examples=50, deadline=None)
@sets
def test_the_energy_never_increases(seed, patterns, dim, beta):
    stored, state = draw(seed, patterns, dim), 3 * draw(seed + 1, 4, dim)
    found = retrieve(state, stored, beta=beta, limit=30)
    assert float(found.energies.diff(dim=0).max()) <= 1e-9 * float(found.energies.abs().max() + 1)


@settings(max_examples=50, deadline=None)
@sets
def test_the_gradient_is_state_less_update(seed, patterns, dim, beta):
    stored, state = draw(seed, patterns, dim), draw(seed + 1, 4, dim).requires_grad_()
    (gradient,) = torch.autograd.grad(hopfield_energy(state, stored, beta=beta).sum(), state)
    expected = state - hopfield_update(state, stored, beta=beta)
    torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-9)


@settings(max_examples=50, deadline=None)
@sets
def test_the_energy_is_bounded_in_the_hull(seed, patterns, dim, beta):
    stored = draw(seed, patterns, dim)
    inside = draw(seed + 1, 6, patterns).softmax(-1) @ stored
    energy = hopfield_energy(inside, stored, beta=beta)
    assert float(energy.min()) >= -1e-9
    assert float(energy.max()) <= min(energy_bounds(stored, beta=beta)) + 1e-9


def test_the_energy_by_its_definition():
    stored, state, beta = draw(0, 5, 3), draw(1, 2, 3), 0.7
    for row, energy in zip(state, hopfield_energy(state, stored, beta=beta), strict=True):
        total = sum(math.exp(beta * float(x @ row)) for x in stored)
        largest = max(float(x @ x) for x in stored)
        expected = -math.log(total) / beta + float(row @ row) / 2 + math.log(5) / beta + largest / 2
        assert float(energy) == pytest.approx(expected)


def test_one_pattern_is_found_at_once_with_energy_zero():
    stored = draw(0, 1, 4)
    assert float(hopfield_energy(stored, stored, beta=3.0)) == pytest.approx(0, abs=1e-12)
    torch.testing.assert_close(
        hopfield_update(draw(1, 3, 4), stored, beta=3.0), stored.expand(3, 4)
    )


@pytest.mark.parametrize(("product", "apart"), [(0.95, False), (1.05, True), (1.3, True)])
def test_two_patterns_have_one_fixed_point_or_two(product, apart):
    """With m the mean and D half the difference, xi = m + t D goes to m + tanh(beta |D|^2 t) D."""
    stored = 1.3 * normalize(draw(3, 2, 6), dim=-1)
    mean, half = stored.mean(0), (stored[0] - stored[1]) / 2
    beta = product / float(half.square().sum())
    t = 0.8
    once = hopfield_update((mean + t * half)[None], stored, beta=beta)[0]
    torch.testing.assert_close(once, mean + math.tanh(product * t) * half)
    end = retrieve(stored[:1], stored, beta=beta, tolerance=1e-13, limit=5000).state[0]
    t = 1.0
    for _ in range(5000):
        t = math.tanh(product * t)
    assert float((end - mean).norm() / half.norm()) == pytest.approx(t, abs=1e-6)
    assert (t > 0.1) == apart


def test_the_jacobian_is_that_of_the_update():
    stored, state = draw(0, 6, 4), draw(1, 3, 4)
    exact = torch.func.vmap(
        torch.func.jacrev(lambda x: hopfield_update(x[None], stored, beta=1.7)[0])
    )(state)
    torch.testing.assert_close(hopfield_jacobian(state, stored, beta=1.7), exact)


def test_leading_dimensions_and_a_beta_for_each():
    stored, state = draw(0, 2, 1, 6, 4), draw(1, 2, 3, 5, 4)
    beta = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)[:, None, None]
    energy = hopfield_energy(state, stored, beta=beta)
    update = hopfield_update(state, stored.expand(2, 3, 6, 4), beta=beta)
    for i in range(2):
        for j in range(3):
            one = {"beta": float(beta[j])}
            torch.testing.assert_close(
                energy[i, j], hopfield_energy(state[i, j], stored[i, 0], **one)
            )
            torch.testing.assert_close(
                update[i, j], hopfield_update(state[i, j], stored[i, 0], **one)
            )


def test_one_update_is_scaled_dot_product_attention():
    stored, state = draw(0, 2, 6, 4), draw(1, 2, 5, 4)
    expected = scaled_dot_product_attention(state, stored, stored)
    torch.testing.assert_close(hopfield_update(state, stored, beta=0.5), expected)


def test_the_stated_capacities_and_growth():
    assert capacity_bound(20, radius=3.0).base == pytest.approx(3.1546, abs=1e-4)
    assert capacity_bound(75).base == pytest.approx(1.3718, abs=1e-4)
    assert capacity_bound(20, radius=3.0).patterns == pytest.approx(7.4, abs=0.1)
    assert capacity_bound(75).patterns == pytest.approx(11.0, abs=0.1)
    assert capacity_bound(20, radius=3.0).valid
    b, c = 2 * 9 / 5, capacity_bound(20, radius=3.0).base
    a = 2 / 19 * (1 + math.log(2 * 9 * 1e-3 * 19))
    # c solves (b / c) exp(b / c) = exp(a + ln b), the definition of Lambert's function.
    assert b / c * math.exp(b / c) == pytest.approx(math.exp(a) * b)
    with pytest.raises(ValueError, match="dim > 1, beta > 0"):
        capacity_bound(1)


def test_separation_by_brute_force():
    stored = draw(0, 7, 3)
    rows = stored.unbind()
    expected = [
        min(float(rows[i] @ rows[i] - rows[i] @ rows[j]) for j in range(7) if j != i)
        for i in range(7)
    ]
    torch.testing.assert_close(
        pattern_separation(stored), torch.tensor(expected, dtype=torch.float64)
    )
    with pytest.raises(ValueError, match="at least two patterns, got 1"):
        pattern_separation(stored[:1])


@pytest.mark.parametrize("seed", range(5))
def test_theorems_4_and_5(seed):
    stored = 6 * normalize(draw(seed, 10, 24), dim=-1)
    state = stored + 1e-3 * draw(seed + 50, 10, 24)
    fixed = retrieve(stored, stored, beta=1.0, tolerance=1e-14).state
    distance = torch.maximum((state - stored).norm(dim=-1), (fixed - stored).norm(dim=-1))
    bounds = retrieval_bounds(stored, beta=1.0, distance=distance)
    update = hopfield_update(state, stored, beta=1.0)
    assert ((update - stored).norm(dim=-1) <= bounds.error).all()
    assert ((fixed - stored).norm(dim=-1) <= bounds.fixed_point).all()
    contracted = bounds.jacobian * (state - fixed).norm(dim=-1)
    assert ((update - fixed).norm(dim=-1) <= contracted).all()


def test_bad_input_is_one_line():
    x = torch.zeros(2, 3)
    with pytest.raises(ValueError, match="same width, got 3 and 4"):
        hopfield_energy(x, torch.zeros(2, 4), beta=1.0)
    with pytest.raises(ValueError, match=r"must be \(..., patterns, dim\), got \(0, 3\)"):
        hopfield_update(x, torch.zeros(0, 3), beta=1.0)
    y = torch.eye(2)
    for beta in (-1, 0.0, math.nan, math.inf, torch.tensor(-1.0), torch.tensor([[1.0], [0.0]])):
        for call in (hopfield_energy, hopfield_update, hopfield_jacobian, retrieve):
            with pytest.raises(ValueError, match="beta must be positive and finite, got"):
                call(y, y, beta=beta)
    with pytest.raises(
        ValueError, match="tolerance and limit must be at least 0, got nan and 1000"
    ):
        retrieve(y, y, beta=1.0, tolerance=math.nan)
    for call in (
        lambda: energy_bounds(x[:0], beta=1.0),
        lambda: retrieval_bounds(x[:0], beta=1.0, distance=x[:, 0]),
    ):
        with pytest.raises(ValueError, match=r"stored must be \(patterns, dim\), got \(0, 3\)"):
            call()


def test_a_beta_of_another_precision_does_not_decide_that_of_the_state():
    stored = draw(0, 3, 6, 4).bfloat16()
    beta = torch.tensor([0.5, 1.0, 2.0])[:, None, None]
    for chunk in (None, 2):
        found = hopfield_update(stored, stored, beta=beta, chunk=chunk)
        assert found.dtype == torch.bfloat16
        exact = hopfield_update(stored.double(), stored.double(), beta=beta.double())
        torch.testing.assert_close(found.double(), exact, atol=0.03, rtol=0.05)


def test_no_state_at_all_and_a_beta_under_vmap():
    stored = draw(0, 5, 4)
    assert retrieve(stored[:0], stored, beta=1.0).state.shape == (0, 4)
    beta = torch.tensor([0.5, 2.0], dtype=torch.float64)
    every = torch.func.vmap(lambda b: hopfield_update(stored, stored, beta=b))(beta)
    torch.testing.assert_close(every[1], hopfield_update(stored, stored, beta=2.0))


def test_capacities_beyond_floating_point_are_infinite():
    assert capacity_bound(2000, radius=5.0).patterns == math.inf
    assert capacity_bound(2000, radius=5.0).base == pytest.approx(10, abs=9)
    assert capacity_bound(2, radius=1e-150).base == math.inf
    assert capacity_bound(2000, radius=1e-150).base == pytest.approx(1.9912, abs=1e-3)
    radius = 1e152  # exp(a + ln b) would be infinite
    a, b = 2 / 19 * (1 + math.log(2 * radius**2 * 1e-3 * 19)), 2 * radius**2 / 5
    root = b / capacity_bound(20, radius=radius).base
    assert root + math.log(root) == pytest.approx(a + math.log(b), abs=1e-6)
    for beta, radius in ((math.nan, 1.0), (1.0, math.inf), (0.0, 1.0), (1.0, 1e-200)):
        with pytest.raises(ValueError, match=r"dim > 1, beta > 0|leaves floating point"):
            capacity_bound(20, beta=beta, radius=radius)
