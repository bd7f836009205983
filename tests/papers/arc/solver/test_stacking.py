"""The greedy stacker and the pixel rules against exhaustive twins on small instances."""

import itertools

import numpy as np
import pytest

pytest.importorskip("numba")

from numba import njit

from quire.papers.arc.solver import stacking
from quire.papers.arc.solver.harvest import pack


def greedy(right, wrong, need, cost=None, rule=0, allowed=None):
    """`stacking.greedy` on boolean masks (pieces, cells)."""
    words = -(-right.shape[1] // 64)
    good = np.stack([pack(row, words) for row in right])
    bad = np.stack([pack(row, words) for row in wrong])
    cost = np.ones(len(right)) if cost is None else cost
    allowed = np.ones(len(right), bool) if allowed is None else allowed
    chosen = np.zeros(stacking.PIECES, np.int64)
    number = stacking.kernel(stacking.greedy)(
        good, bad, cost, allowed, pack(need, words), rule, chosen
    )
    return None if number < 0 else chosen[:number].tolist()


def holds(order, right, wrong, need):
    """Whether a stack (top first) is never wrong where it shows, and covers what is needed."""
    covered = np.zeros(right.shape[1], bool)
    for k in order:
        if (wrong[k] & ~covered).any():
            return False
        covered |= right[k] | wrong[k]
    return bool((covered | ~need).all())


def solvable(right, wrong, need):
    """Exhaustively: whether any order of any pieces is a stack."""
    pieces = range(len(right))
    return any(
        holds(order, right, wrong, need)
        for size in range(len(right) + 1)
        for order in itertools.permutations(pieces, size)
    )


def test_greedy_stacks_hold_and_are_found_where_any_exists():
    rng = np.random.default_rng(0)
    found = 0
    for _ in range(60):
        need = np.ones(9, bool)
        paints = rng.random((5, 9)) < 0.5
        right = paints & (rng.random((5, 9)) < 0.8)
        wrong = paints & ~right
        order = greedy(right, wrong, need)
        # A piece that may be added stays so when others are: greedy fails only where all fail.
        assert (order is not None) == solvable(right, wrong, need)
        if order is not None:
            assert holds(order, right, wrong, need)
            found += 1
    assert 5 < found < 60


def test_greedy_is_near_the_smallest_cover():
    # Without wrong cells it is set cover: never more than H(n) times the least number of pieces.
    rng = np.random.default_rng(1)
    for _ in range(40):
        right = rng.random((7, 8)) < 0.4
        right[0] |= ~right.any(0)
        need = np.ones(8, bool)
        none = np.zeros_like(right)
        least = next(
            size for size in range(1, 8)
            if any(right[list(c)].any(0).all() for c in itertools.combinations(range(7), size))
        )  # fmt: skip
        order = greedy(right, none, need)
        assert len(order) <= least * sum(1 / k for k in range(1, 9))


def test_rule_of_gain_for_cost_prefers_cheap_pieces():
    right = np.array([[1, 1, 1, 1], [1, 1, 0, 0], [0, 0, 1, 1]], bool)
    none, need = np.zeros_like(right), np.ones(4, bool)
    cost = np.array([50.0, 1.0, 1.0])
    assert greedy(right, none, need, cost, rule=0) == [0]
    assert greedy(right, none, need, cost, rule=1) == [1, 2]
    assert greedy(right, none, need, cost, 0, np.array([False, True, False])) is None


def test_popcount():
    words = np.random.default_rng(2).integers(0, 2**63, 100, dtype=np.uint64)
    count = njit(lambda words: [stacking.bits_set(word) for word in words])
    assert count(words) == [int(w).bit_count() for w in words]


def rules(columns, goal, width, *, tests=0, root=False):
    # Cells lie in any order, and some belong to no grid.
    cells = columns.shape[1]
    places = np.random.default_rng(4).permutation(cells + 3)[:cells]
    scattered = np.full((len(columns), cells + 3), 7, np.int8)
    scattered[:, places] = columns
    order = np.random.default_rng(5).permutation(cells - tests)
    found, value = np.zeros((4, 4), np.int64), np.zeros(4)
    total = stacking.kernel(stacking.pixel_rules)(
        scattered, np.concatenate([places[order], places[cells - tests :]]), goal[order],
        np.arange(len(columns), dtype=float), width, root, len(columns), found, value,
    )  # fmt: skip
    return total, found, value


@pytest.mark.parametrize("width", [1, 2, 3])
def test_pixel_rules_are_those_of_brute_force(width):
    rng = np.random.default_rng(3)
    columns = rng.integers(0, 3, (7, 30)).astype(np.int8)
    goal = (columns[1] * 2 + (columns[4] if width > 1 else 0)).astype(np.int8)
    if width == 3:
        goal = ((goal + columns[6]) % 10).astype(np.int8)
    wanted = set()
    for chosen in itertools.combinations(range(7), width):
        keys = {}
        for *key, value in zip(*columns[list(chosen)], goal, strict=True):
            keys.setdefault(tuple(key), set()).add(int(value))
        if all(len(values) == 1 for values in keys.values()):
            wanted.add(chosen)
    total, found, value = rules(columns, goal, width)
    assert total == len(wanted) >= 1
    best = {tuple(found[m, :width]) for m in range(4) if value[m] < 1e8}
    assert best <= wanted and len(best) == min(len(wanted), 4)


def test_defaults_need_no_table():
    # c = b where a is not 0: one rule without entries, so colours that are new in a test are right.
    a = np.array([[1, 1, 0, 0, 1, 0]], np.int8)
    b = np.array([[2, 3, 2, 3, 4, 4]], np.int8)
    goal = np.where(a != 0, b, 0)[0].astype(np.int8)
    columns = np.ascontiguousarray(np.hstack([np.vstack([a, b]), [[1, 0], [7, 7]]]).astype(np.int8))
    total, found, value = rules(columns, goal, 2, tests=2)
    assert total == 1 and found[0, 3] == 2
    assert [stacking.plain_default(2, x, 7) for x in (1, 0)] == [7, 0]
    assert value[0] == 1.0 + 2.0 + 2.0  # both columns, a default other than a, two unseen keys
