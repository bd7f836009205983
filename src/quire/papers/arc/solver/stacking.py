"""From states to answers: greedy stacks of partial outputs, and pixel rules over a few rasters."""

from typing import Any

import numpy as np
from numba import types

from quire.papers.arc.grids import OPTIONS, inlined, keep_compiled, part
from quire.papers.arc.solver.pointers import pointer
from quire.papers.arc.solver.words import bits_set

PIECES = 10
"""The most pieces of a stack."""
ENTRIES = 20
"""The most entries of a pixel rule that differ from its default."""
NEVER = 1e9
SAMPLE = 256
"""Cells among which clashes are looked for."""


def greedy(good: Any, bad: Any, cost: Any, allowed: Any, need: Any, rule: Any, chosen: Any) -> Any:
    """Stack pieces from the top down until all of `need` is painted; the number, or -1.

    A piece may be added where it is wrong only on cells that pieces above have painted.

    Args:
        good: (pieces, words), bit sets of the cells that each piece paints rightly.
        bad: The same for cells painted wrongly.
        cost: (pieces), bits.
        allowed: (pieces), those to take.
        need: (words), the cells to paint.
        rule: 0: the next piece paints most needed cells; 1: most of them for its cost. Of equal
            ones the cheapest.
        chosen: Takes the pieces' numbers; as long as a stack may be.
    """
    pieces, words = good.shape
    # What is on top hides what is below: `covered` is what can no longer be made wrong.
    covered = np.zeros(words, np.uint64)
    for n in range(len(chosen)):
        best, best_score, best_cost = -1, 0.0, 0.0
        for k in range(pieces):
            if not allowed[k]:
                continue
            gain = 0
            # One wrong cell in sight rules a piece out, whatever it gains: what shows is final.
            for w in range(words):
                if bad[k, w] & ~covered[w] != 0:
                    gain = -1
                    break
                gain += bits_set(good[k, w] & ~covered[w] & need[w])
            if gain <= 0:
                continue
            score = gain / (cost[k] + 2.0) if rule == 1 else float(gain)
            if score > best_score or (score == best_score and cost[k] < best_cost):
                best, best_score, best_cost = k, score, cost[k]
        if best < 0:  # nothing more can be added, and cells are still missing
            return -1
        chosen[n] = best
        # Wrongly painted cells are covered as well: they lie under pieces that came before.
        missing = False
        for w in range(words):
            covered[w] |= good[best, w] | bad[best, w]
            missing = missing or need[w] & ~covered[w] != 0
        if not missing:
            return n + 1
    return -1


def plain_default(mode: Any, a: Any, b: Any) -> Any:
    """What a rule says of cells that its table leaves out, from the first two columns' colours."""
    if mode < 2:
        return a if mode == 0 else b
    if mode < 4:  # one where the other is not background
        return (b if a != 0 else 0) if mode == 2 else (a if b != 0 else 0)
    if mode < 6:  # one where the other is background
        return (b if a == 0 else 0) if mode == 4 else (a if b == 0 else 0)
    return (a if a != 0 else b) if mode == 6 else (b if b != 0 else a)


default = part(plain_default)


@part
def rule_cost(table: Any, tests: Any, keys: Any, width: Any) -> Any:
    """Bits of a rule's table with the best of the defaults, and that default.

    `tests`: keys of test cells. Each that has no entry costs bits too: more where the rule is a
    table, as its default is then a guess; where the default alone holds, next to none."""
    # Entries that a default gives anyway need not be said. Defaults 1 to 7 speak of two columns.
    exceptions = np.zeros(8, np.int64)
    modes = 8 if width == 2 else 1
    for key in range(keys):
        if table[key] >= 0:
            for mode in range(modes):
                exceptions[mode] += table[key] != default(mode, key % 10, key // 10 % 10)
    # Keys that only the tests have, each once: -2 marks what was counted (and is cleared with the
    # other entries by `pixel_rules`).
    unseen = 0
    for p in range(len(tests)):
        if table[tests[p]] == -1:
            table[tests[p]] = -2
            unseen += 1
    # An entry of three colours takes longer to say than one of two.
    best, chosen = NEVER, 0
    for mode in range(modes):
        each = 4.0 if width < 3 else 5.0
        cost = each * exceptions[mode] + (10.0 if exceptions[mode] > 0 else 1.0) * unseen
        cost += 2.0 if mode > 0 else 0.0
        if exceptions[mode] <= ENTRIES and cost < best:
            best, chosen = cost, mode
    return best, chosen


@inlined
def key_of(cells: Any, a: Any, b: Any, c: Any, width: Any) -> Any:
    """The entry of a rule's table for the cells a, b, c of its `width` columns."""
    key = np.int64(cells[a])
    if width > 1:
        key += 10 * np.int64(cells[b])
    if width > 2:
        key += 100 * np.int64(cells[c])
    return key


@part
def clashes_of(cells: Any, a: Any, order: Any, goal: Any, end: Any, clashes: Any) -> Any:
    """Pairs among the first `end` cells that have one colour in the column at `a` and two in the
    goal; their number. Another column of a rule must tell each pair apart: a quick test of it."""
    # `seen`: the last cell of each colour. Comparing with it alone finds every colour that stands
    # for several in the goal, if not every pair; a few pairs are enough for a quick test.
    seen = np.full(10, -1, np.int64)
    number = 0
    for p in range(end):
        colour = cells[a + order[p]]
        before = seen[colour]
        if before >= 0 and goal[before] != goal[p]:
            clashes[number, 0], clashes[number, 1] = before, p
            number += 1
            if number == len(clashes):
                break
        seen[colour] = p
    return number


@part
def all_apart(turned: Any, K: Any, i: Any, clashes: Any, number: Any, alive: Any) -> Any:
    """Which columns after i tell all clashes apart, into `alive`; `turned` has a row of K colours
    for each cell."""
    for k in range(i + 1, K):
        alive[k] = 1
    # Clash by clash over all columns: these lie side by side in `turned`, so that many of them are
    # compared at once. It ends when no column is left.
    for n in range(number):
        one, other = clashes[n, 0] * K, clashes[n, 1] * K
        some = np.int8(0)
        for k in range(i + 1, K):
            left = alive[k] & np.int8(turned[one + k] != turned[other + k])
            alive[k] = left
            some |= left
        if some == 0:
            break


def pixel_rules(
    columns: Any,
    order: Any,
    goal: Any,
    cost: Any,
    width: Any,
    root: Any,
    limit: Any,
    found: Any,
    value: Any,
) -> Any:
    """Rules output cell = table[colours of `width` columns there] that hold in all demonstrations.

    Those with the least bits go into `found` and `value`; gives how many hold.

    Args:
        columns: (K, R), rasters.
        order: Where their cells are, demonstrations first, so that conflicts show early.
        goal: The colours of the demonstrations' cells.
        cost: (K), bits.
        width: How many columns: 1, 2 or 3.
        root: Whether the first column is always column 0.
        limit: How many columns to look at.
        found: (M, 4), takes columns and default of each rule.
        value: (M), takes its bits.
    """
    # 1. A table for all keys of three colours; the tests' keys; the first cells, side by side.
    K, stride = columns.shape
    K = min(K, limit)
    demos, R = len(goal), len(order)
    cells = pointer(columns)
    table = np.full(1000, -1, np.int8)
    tests = np.empty(R - demos, np.int64)
    clashes = np.empty((64, 2), np.int64)
    some = min(demos, SAMPLE)
    turned = np.empty(some * K if width > 1 else 0, np.int8)
    for p in range(some if width > 1 else 0):
        for k in range(K):
            turned[p * K + k] = cells[k * stride + order[p]]
    split = np.zeros(K, np.uint64)
    alive = np.ones(K, np.int8)
    total = 0
    value[:] = NEVER
    # 2. Columns i < j < k; those that a narrower rule has not are held at the one before.
    for i in range(1 if root else K):
        # 3. Where i contradicts itself, j (and k) must tell the cells apart: `split` has a bit for
        # each clash that a column tells apart, and two will do if their bits make up `every`.
        number = clashes_of(cells, i * stride, order, goal, some, clashes) if width > 1 else 0
        if width == 2:
            all_apart(pointer(turned), K, i, clashes, number, pointer(alive))
        for k in range(i + 1, K if width > 2 else 0):
            split[k] = 0
            for n in range(number):
                if turned[clashes[n, 0] * K + k] != turned[clashes[n, 1] * K + k]:
                    split[k] |= np.uint64(1) << np.uint64(n)
        every = ~np.uint64(0) >> np.uint64(64 - number) if number > 0 else np.uint64(0)
        for j in range(i + 1 if width > 1 else i, K if width > 1 else i + 1):
            if alive[j] == 0:
                continue
            for k in range(j + 1 if width > 2 else j, K if width > 2 else j + 1):
                if width > 2 and split[j] | split[k] != every:
                    continue
                # 4. The columns alone may cost more than the worst rule that is kept: skip them.
                own = cost[i] + (cost[j] if width > 1 else 0.0) + (cost[k] if width > 2 else 0.0)
                worst: Any = len(value) - 1
                if own >= value[worst]:
                    continue
                # 5. Fill the table from the demonstrations until two cells contradict each other.
                last, a, b, c = demos, i * stride, j * stride, k * stride
                for p in range(demos):
                    q = order[p]
                    key = key_of(cells, a + q, b + q, c + q, width)
                    if table[key] == -1:
                        table[key] = goal[p]
                    elif table[key] != goal[p]:
                        last = p
                        break
                # 6. A rule that holds: add the bits of its table, which the tests' keys decide too.
                if last == demos:
                    total += 1
                    for p in range(demos, R):
                        q = order[p]
                        tests[p - demos] = key_of(cells, a + q, b + q, c + q, width)
                    extra, mode = rule_cost(table, tests, 10**width, width)
                    own += extra
                    # 7. Into its place among the best, cheapest first, behind equal ones.
                    if own < value[worst]:
                        m = worst
                        while m > 0 and value[m - 1] > own:
                            value[m] = value[m - 1]
                            for t in range(4):
                                found[m, t] = found[m - 1, t]
                            m -= 1
                        value[m] = own
                        found[m, 0], found[m, 1], found[m, 2], found[m, 3] = i, j, k, mode
                    last = R
                for p in range(last):  # 8. Empty what was written, mostly less than the table.
                    q = order[p]
                    table[key_of(cells, a + q, b + q, c + q, width)] = -1
    return total


I64, F64 = types.int64, types.float64
SIGNATURES: dict[Any, Any] = {
    greedy: I64(
        types.uint64[:, ::1], types.uint64[:, ::1], F64[::1], types.boolean[::1],
        types.uint64[::1], I64, I64[::1],
    ),
    pixel_rules: I64(
        types.int8[:, ::1], I64[::1], types.int8[::1], F64[::1], I64, types.boolean, I64,
        I64[:, ::1], F64[::1],
    ),
}  # fmt: skip
_compiled: dict[Any, Any] = {}


def kernel(function: Any) -> Any:
    """`greedy` or `pixel_rules` compiled, once in a process and kept on disk."""
    if function not in _compiled:
        _compiled[function] = keep_compiled(function, SIGNATURES[function], OPTIONS)
    return _compiled[function]
