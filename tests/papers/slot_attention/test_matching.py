"""Matching against all permutations and scipy, on the CPU's way and on an accelerator's."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from contract.operators import Operators
from quire.nn import devices
from quire.papers.slot_attention import match, match_by_subsets, set_loss

WAYS = [match, match_by_subsets]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("objects", [1, 3, 5])
def test_matching_is_the_best_of_all_permutations(way, objects):
    costs = torch.rand(4, 5, objects, generator=torch.Generator().manual_seed(0))
    chosen = way(costs)
    for matrix, found in zip(costs, chosen, strict=True):
        totals = [
            sum(float(matrix[row, column]) for column, row in enumerate(rows))
            for rows in itertools.permutations(range(5), objects)
        ]
        reached = sum(float(matrix[row, column]) for column, row in enumerate(found))
        assert reached == pytest.approx(min(totals), abs=1e-6)
        assert len(set(found.tolist())) == objects


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 8), st.booleans(), st.data())
def test_subsets_cost_what_scipys_assignment_does(seed, slots, tied, data):
    """With ties there are several best assignments: whole numbers below 3 have many."""
    objects = data.draw(st.integers(1, slots))
    generator = torch.Generator().manual_seed(seed)
    costs = torch.randn(3, slots, objects, generator=generator)
    if tied:
        costs = torch.randint(3, costs.shape, generator=generator).float()
    chosen = match_by_subsets(costs)
    reached = costs.double().gather(1, chosen[:, None]).sum((1, 2))
    for row in range(3):
        assert len(set(chosen[row].tolist())) == objects
        best = costs[row].double().numpy()
        best = best[linear_sum_assignment(best)].sum()
        assert float(reached[row]) == pytest.approx(best, abs=0 if tied else 1e-5)


def test_ten_predictions():
    costs = torch.rand(4, 10, 10, generator=torch.Generator().manual_seed(0))
    assert torch.equal(match_by_subsets(costs), match(costs))


def test_an_accelerators_way(monkeypatch):
    """The same loss and gradient, and nobody waits; beyond 12 predictions scipy is asked."""
    generator = torch.Generator().manual_seed(0)
    predicted = torch.rand(3, 5, 8, generator=generator, requires_grad=True)
    target = torch.rand(3, 4, 8, generator=generator)
    found = []
    for accelerated in (False, True):
        monkeypatch.setattr(devices, "is_accelerator", lambda x, here=accelerated: here)
        with Operators() as watched:
            loss = set_loss(predicted, target)
            (gradient,) = torch.autograd.grad(loss, predicted)
        found.append((loss, gradient))
        assert watched.waits == 0
    torch.testing.assert_close(*found)
    costs = torch.rand(2, 13, 2, generator=generator)
    assert torch.equal(match(costs), torch.stack([match(each[None])[0] for each in costs]))


def test_operators_on_a_device_follow_from_the_sizes():
    numbers = []
    for batch in (2, 512):
        with Operators() as watched:
            rows = torch.empty(batch, 10, 18, device="meta", requires_grad=True)
            set_loss(rows, torch.empty(batch, 10, 18, device="meta")).backward()
        numbers.append(watched.number)
    assert numbers[0] == numbers[1] < 200


@pytest.mark.parametrize("way", WAYS)
def test_at_its_ends(way):
    assert way(torch.zeros(0, 3, 2)).shape == (0, 2)
    assert way(torch.zeros(2, 3, 0)).shape == (2, 0)
    assert way(torch.full((2, 1, 1), 7.0)).tolist() == [[0], [0]]


def test_refusals():
    with pytest.raises(ValueError, match="K at least O"):
        match(torch.zeros(1, 2, 3))
    with pytest.raises(ValueError, match="finite"):
        match(torch.full((1, 2, 2), torch.nan))
    chosen = match_by_subsets(torch.full((1, 3, 2), torch.nan))  # a device cannot say it in time
    assert ((chosen >= 0) & (chosen < 3)).all()
