"""Classical memories against brute force over bits."""

import itertools

import pytest
import torch

from quire.papers.hopfield import DenseMemory, HebbianMemory, exponential, polynomial


def bits(count, width, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return 2.0 * torch.randint(2, (count, width), generator=rng) - 1


@pytest.mark.parametrize("function", [polynomial(2), polynomial(3), exponential])
@pytest.mark.parametrize("zeros", [False, True])
def test_the_field_is_the_energys_difference(function, zeros):
    memory, state = DenseMemory(bits(6, 7), function), bits(4, 7, 1)
    if zeros:
        state[:, ::3] = 0
    field = memory.field(state)
    for row, bit in itertools.product(range(4), range(7)):
        down, up = state[row : row + 1].clone(), state[row : row + 1].clone()
        down[0, bit], up[0, bit] = -1, 1
        difference = memory.energy(down) - memory.energy(up)
        torch.testing.assert_close(field[row, bit], difference[0])


@pytest.mark.parametrize(
    "make",
    [HebbianMemory, lambda x: DenseMemory(x, polynomial(3)), lambda x: DenseMemory(x, exponential)],
)
def test_a_sweep_never_raises_the_energy(make):
    memory, state = make(bits(5, 11)), bits(8, 11, 2)
    for _ in range(3):
        new = memory.sweep(state)
        assert (memory.energy(new) <= memory.energy(state) + 1e-9).all()
        state = new


def test_hebbian_weights_by_hand():
    stored = bits(3, 5)
    weight = HebbianMemory(stored).weight
    for i, j in itertools.product(range(5), range(5)):
        expected = 0.0 if i == j else float(stored[:, i] @ stored[:, j]) / 5
        assert float(weight[i, j]) == pytest.approx(expected)


def test_hebbian_stores_a_tenth_and_loses_a_third():
    for share, back in ((0.08, True), (0.35, False)):
        stored = bits(round(200 * share), 200)
        found = HebbianMemory(stored).retrieve(stored)
        assert ((found == stored).float().mean(-1) > 0.97).float().mean() > 0.9 or not back
        assert back or (found == stored).all(-1).float().mean() < 0.5


def test_exponential_memories_hold_long_patterns():
    """Overlaps of 784 bits would overflow exp; nothing may be lost."""
    stored = bits(300, 784)
    state = stored[:20].clone()
    state[:, 392:] = 0
    assert torch.equal(DenseMemory(stored, exponential).retrieve(state), stored[:20])


def test_bad_patterns_are_one_line():
    with pytest.raises(ValueError, match=r"must be \(patterns, bits\) of -1 and \+1, got \(2, 3\)"):
        HebbianMemory(torch.zeros(2, 3))
    with pytest.raises(ValueError, match="degree must be at least 2, got 1"):
        polynomial(1)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.int64])
def test_many_patterns_are_counted_in_full_whatever_their_dtype(dtype):
    stored = bits(3000, 8)
    state = stored[:5].clone()
    full, other = HebbianMemory(stored), HebbianMemory(stored.to(dtype))
    torch.testing.assert_close(other.weight, full.weight)
    found = other.retrieve(state.to(dtype))
    assert found.dtype == dtype
    torch.testing.assert_close(found.float(), full.retrieve(state))
    torch.testing.assert_close(other.energy(state.to(dtype)), full.energy(state))
