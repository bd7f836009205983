"""The engine for CPUs, compiled by numba (extra `fast`): loops over maps, tile by tile.

`plain.py` is its slow twin. All of it stands in this one file, because numba's cache on disk knows
a function by the file that it is in. A map is looked at with a border of one tile around it, so
that no search asks where it ends: `stride` is the width of that.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

from quire.papers.pcgrl.problem import (
    COUNT,
    DIFFERENCE,
    LONGEST,
    NEAREST,
    REGIONS,
    SOLUTION,
    WALK,
)
from quire.papers.pcgrl.representation import MOVES, NARROW, TURTLE
from quire.papers.pcgrl.rules import (
    BORDER,
    CHANGES,
    FLAG,
    HEIGHT,
    KIND,
    SIDE,
    SIGNED,
    STEPS,
    STOPS,
    TILES,
    WIDTH,
)

SHIFTS = np.array(MOVES, np.int64)
UNSOLVABLE, TOO_LONG = -1, -2
"""What `search` gives in place of a position: there is no solution; the budget did not last."""


def compiled(function: Callable[..., Any]) -> Any:
    """Compiled at its first call, and kept on disk where numba finds a place to."""
    options: Any = {"nogil": True, "error_model": "numpy", "boundscheck": False}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # no folder can be written
        return njit(**options)(function)


# Searches


@compiled
def open_up(tiles: Any, mask: Any, passable: Any) -> None:
    """Mark the tiles (h, w) of a set in a bordered map (h + 2) * (w + 2)."""
    height, width = tiles.shape
    passable[:] = False
    for y in range(height):
        for x in range(width):
            passable[(y + 1) * (width + 2) + x + 1] = (mask >> tiles[y, x]) & 1


@compiled
def spread(start: Any, stride: Any, passable: Any, distance: Any, queue: Any) -> Any:
    """Steps to all that can be reached from `start`; gives the farthest tile, the first of several.

    distance: -1 where nobody has been; is written to. Regions do not meet, so one array serves the
    searches from all of them.
    """
    distance[start] = 0
    queue[0] = start
    head, tail, farthest, most = 0, 1, start, 0
    while head < tail:
        tile = queue[head]
        head += 1
        steps = distance[tile]
        if steps > most:
            farthest, most = tile, steps
        elif steps == most and tile < farthest:
            farthest = tile
        for there in (tile - 1, tile + 1, tile - stride, tile + stride):
            if passable[there] and distance[there] < 0:
                distance[there] = steps + 1
                queue[tail] = there
                tail += 1
    return farthest


@compiled
def walk_regions(size: Any, scratch: Any, path: Any) -> Any:
    """Regions and, where `path` is 1 or 2, the longest path: by two searches a region, or exact."""
    passable, distance, again, queue, stride = scratch
    distance[:] = -1
    again[:] = -1
    regions, longest = 0, 0
    for tile in range(size):
        if passable[tile] and distance[tile] < 0:
            regions += 1
            far = spread(tile, stride, passable, distance, queue)
            if path == 1:
                far = spread(far, stride, passable, again, queue)
                longest = max(longest, again[far])
        if passable[tile] and path == 2:
            again[:] = -1
            far = spread(tile, stride, passable, again, queue)
            longest = max(longest, again[far])
    return regions, longest


@compiled
def only(tiles: Any, mask: Any, stride: Any) -> Any:
    """The place in a bordered map of the last tile of a set; -1 where there is none."""
    found = -1
    for y in range(tiles.shape[0]):
        for x in range(tiles.shape[1]):
            if (mask >> tiles[y, x]) & 1:
                found = (y + 1) * stride + x + 1
    return found


@compiled
def steps_between(a: Any, b: Any, tiles: Any, mask: Any, scratch: Any) -> Any:
    """Steps from one place to another through a set of tiles, -1 where there is no way."""
    passable, distance, _, queue, stride = scratch
    open_up(tiles, mask, passable)
    if not passable[a]:
        return -1
    distance[:] = -1
    spread(a, stride, passable, distance, queue)
    return distance[b]


@compiled
def nearest(tiles: Any, row: Any, scratch: Any) -> Any:
    """Steps to the nearest tile of a set; 0 if there is none, h * w if none can be reached."""
    passable, distance, _, queue, stride = scratch
    start = only(tiles, row[1], stride)
    open_up(tiles, row[3], passable)
    distance[:] = -1
    if start >= 0 and passable[start]:
        spread(start, stride, passable, distance, queue)
    best, seen = tiles.size, False
    for y in range(tiles.shape[0]):
        for x in range(tiles.shape[1]):
            if (row[2] >> tiles[y, x]) & 1:
                seen = True
                steps = distance[(y + 1) * stride + x + 1]
                if 0 < steps < best:
                    best = steps
    return best if seen else 0


# Sokoban


@compiled
def read_level(tiles: Any, row: Any) -> Any:
    """A map as a graph of its floor: neighbours (F, 4) or -1, player, crates, targets as bits."""
    height, width = tiles.shape
    number = np.full((height + 2, width + 2), -1, np.int64)
    count = 0
    for y in range(height):
        for x in range(width):
            if not (row[4] >> tiles[y, x]) & 1:
                number[y + 1, x + 1] = count
                count += 1
    beside = np.full((count, 4), -1, np.int64)
    player, crates, targets = 0, np.uint64(0), np.uint64(0)
    for y in range(height):
        for x in range(width):
            here = number[y + 1, x + 1]
            if here < 0:
                continue
            for d in range(4):
                beside[here, d] = number[y + 1 + SHIFTS[d, 0], x + 1 + SHIFTS[d, 1]]
            tile = tiles[y, x]
            if (row[1] >> tile) & 1:
                player = here
            if (row[2] >> tile) & 1:
                crates |= np.uint64(1) << np.uint64(here)
            if (row[3] >> tile) & 1:
                targets |= np.uint64(1) << np.uint64(here)
    return beside, player, crates, targets


@compiled
def find_alive(beside: Any, targets: Any) -> Any:
    """Bits of the places from which a lone crate can be pushed to a target."""
    alive = targets
    changed = True
    while changed:
        changed = False
        for here in range(len(beside)):
            if (alive >> np.uint64(here)) & np.uint64(1):
                continue
            for d in range(4):
                # Moves come in opposite pairs: whoever pushes stands on the other side.
                ahead, behind = beside[here, d], beside[here, d ^ 1]
                if ahead >= 0 and behind >= 0 and (alive >> np.uint64(ahead)) & np.uint64(1):
                    alive |= np.uint64(1) << np.uint64(here)
                    changed = True
                    break
    return alive


@compiled
def search(beside: Any, player: Any, crates: Any, targets: Any, budget: Any) -> Any:
    """Breadth first over positions, each met once; gives the last one, parents, players, moves.

    The last position is the first solved one, or UNSOLVABLE, or TOO_LONG where `budget` positions
    were met before. Crates are never pushed to where no push leads to a target.
    """
    alive = find_alive(beside, targets)
    parents = np.empty(budget, np.int32)
    players = np.empty(budget, np.int16)
    moves = np.empty(budget, np.int32)
    boxes = np.empty(budget, np.uint64)
    slots = 16
    while slots < 2 * budget:
        slots *= 2
    table = np.full(slots, -1, np.int32)
    one, last = np.uint64(1), np.uint64(slots - 1)
    parents[0], players[0], moves[0], boxes[0] = -1, player, 0, crates
    table[slot_of(crates, player, last)] = 0
    count, head = 1, 0
    while head < count:
        here, box = np.int64(players[head]), boxes[head]
        for d in range(4):
            there = beside[here, d]
            if there < 0:
                continue
            moved = box
            if (box >> np.uint64(there)) & one:
                beyond = beside[there, d]
                if beyond < 0 or (box >> np.uint64(beyond)) & one:
                    continue
                if not (alive >> np.uint64(beyond)) & one:
                    continue
                moved = (box ^ (one << np.uint64(there))) | (one << np.uint64(beyond))
            slot = slot_of(moved, there, last)
            known = False
            while table[slot] >= 0:
                other = table[slot]
                if boxes[other] == moved and players[other] == there:
                    known = True
                    break
                slot = (slot + one) & last
            if known:
                continue
            if count == budget:
                return TOO_LONG, parents, players, moves, count
            table[slot] = count
            parents[count], players[count], boxes[count] = head, there, moved
            moves[count] = moves[head] + 1
            count += 1
            if moved == targets:
                return count - 1, parents, players, moves, count
        head += 1
    return UNSOLVABLE, parents, players, moves, count


@compiled
def slot_of(boxes: Any, player: Any, last: Any) -> Any:
    """Where a position is looked for first in the table."""
    mixed = (boxes ^ (np.uint64(player) << np.uint64(56))) * np.uint64(0x9E3779B97F4A7C15)
    return (mixed ^ (mixed >> np.uint64(29))) & last


@compiled
def solve(tiles: Any, row: Any) -> Any:
    """Moves in the shortest solution of a map, 0 where there is none or the budget is too small."""
    beside, player, crates, targets = read_level(tiles, row)
    if crates == targets or crates == 0:
        return 0
    end, _, _, moves, _ = search(beside, player, crates, targets, row[5])
    return moves[end] if end >= 0 else 0


# The engine


@compiled
def tally(counts: Any, mask: Any) -> Any:
    """How many tiles of a set there are."""
    total = 0
    for tile in range(len(counts)):
        if (mask >> tile) & 1:
            total += counts[tile]
    return total


@compiled
def make_scratch(rules: Any) -> Any:
    """Arrays to search in, for maps of one size."""
    stride = rules.sizes[WIDTH] + 2
    size = (rules.sizes[HEIGHT] + 2) * stride
    return (
        np.zeros(size, np.bool_),
        np.empty(size, np.int32),
        np.empty(size, np.int32),
        np.empty(size, np.int32),
        stride,
    )


@compiled
def measure_one(rules: Any, tiles: Any, scratch: Any, out: Any) -> None:
    """All metrics (K,) of a map (h, w)."""
    program, count = rules.program, len(rules.program)
    counts = np.zeros(rules.sizes[TILES], np.int64)
    for y in range(tiles.shape[0]):
        for x in range(tiles.shape[1]):
            counts[tiles[y, x]] += 1
    size, known = len(scratch[0]), -1
    for k in range(count):
        row = program[k]
        if k == known:
            continue  # the longest path, which was found with the regions
        out[k] = 0
        lacks = False
        for j in range(k):
            lacks |= rules.needs[k, j] >= 0 and out[j] != rules.needs[k, j]
        if lacks:
            continue
        if row[0] == COUNT:
            out[k] = tally(counts, row[1])
        elif row[0] == DIFFERENCE:
            out[k] = abs(tally(counts, row[1]) - tally(counts, row[2]))
        elif row[0] == REGIONS:
            open_up(tiles, row[1], scratch[0])
            path = 0
            if k + 1 < count and program[k + 1, 0] == LONGEST and program[k + 1, 1] == row[1]:
                path = 0 if rules.needs[k + 1].max() >= 0 else 1 + program[k + 1, 2]
            out[k], longest = walk_regions(size, scratch, path)
            if path > 0:
                out[k + 1], known = longest, k + 1
        elif row[0] == LONGEST:
            open_up(tiles, row[1], scratch[0])
            _, out[k] = walk_regions(size, scratch, 1 + row[2])
        elif row[0] == NEAREST:
            out[k] = nearest(tiles, row, scratch)
        elif row[0] == WALK:
            a = only(tiles, row[1], scratch[4])
            b = only(tiles, row[2], scratch[4])
            c = only(tiles, row[3], scratch[4])
            if min(a, b, c) >= 0:
                out[k] = steps_between(a, b, tiles, row[4], scratch)
                out[k] += steps_between(b, c, tiles, row[5], scratch)
        elif row[0] == SOLUTION:
            out[k] = solve(tiles, row)


@compiled
def measure(rules: Any, maps: Any, out: Any) -> None:
    """All metrics (N, K) of maps (N, h, w), written to `out`."""
    scratch = make_scratch(rules)
    for i in range(len(maps)):
        measure_one(rules, maps[i], scratch, out[i])


@compiled
def gain(new: Any, old: Any, low: Any, high: Any, signed: Any) -> Any:
    """What a metric's change is worth: how much nearer it came to an interval."""
    if low == np.inf:
        return float(new - old)
    if high == -np.inf:
        return float(old - new)
    before = max(max(low - old, old - high), 0.0)
    after = max(max(low - new, new - high), 0.0)
    if signed and ((old < low and new > high) or (new < low and old > high)):
        return -(before + after)
    return before - after


@compiled
def advance(rules: Any, state: Any, actions: Any, drawn: Any, rewards: Any, ends: Any) -> None:
    """One action (N,) in each map; writes the state, rewards (N,) and ends (3, N).

    drawn: Places (N,) that narrow goes to next where it does not scan.
    ends: Whether the goal is reached, the episode over, the episode cut off.
    """
    sizes, scratch = rules.sizes, make_scratch(rules)
    width, size = sizes[WIDTH], sizes[HEIGHT] * sizes[WIDTH]
    new = np.empty(len(rules.program), np.int64)
    for i in range(len(actions)):
        cell, tile = state.cells[i], -1
        y, x = cell // width, cell % width
        if sizes[KIND] == NARROW:
            tile = actions[i] - 1
            state.cells[i] = (cell + 1) % size if sizes[FLAG] else drawn[i]
        elif sizes[KIND] == TURTLE:
            if actions[i] >= 4:
                tile = actions[i] - 4
            else:
                to_y = y + SHIFTS[actions[i], 0]
                to_x = x + SHIFTS[actions[i], 1]
                if sizes[FLAG]:
                    to_y, to_x = to_y % sizes[HEIGHT], to_x % width
                to_y = min(max(to_y, 0), sizes[HEIGHT] - 1)
                to_x = min(max(to_x, 0), width - 1)
                state.cells[i] = to_y * width + to_x
        else:
            cell, tile = actions[i] // sizes[TILES], actions[i] % sizes[TILES]
            y, x = cell // width, cell % width
        state.counts[i, 1] += 1
        rewards[i] = 0.0
        if tile >= 0 and state.maps[i, y, x] != tile and not state.frozen[i, y, x]:
            state.maps[i, y, x] = tile
            state.counts[i, 0] += 1
            state.edits[i, y, x] += 1
            measure_one(rules, state.maps[i], scratch, new)
            for k in range(len(new)):
                old = state.stats[i, k]
                if rules.weights[k] != 0:
                    worth = gain(new[k], old, state.low[i, k], state.high[i, k], sizes[SIGNED])
                    rewards[i] += rules.weights[k] * worth
                state.stats[i, k] = new[k]
        reached = True
        for k in range(len(new)):
            value = state.stats[i, k]
            if rules.goals[k, 2]:
                value -= state.start[i, k]
            if value < rules.goals[k, 0] or value > rules.goals[k, 1]:
                reached = False
        over = state.counts[i, 0] >= sizes[CHANGES] or (reached and sizes[STOPS] == 1)
        ends[0, i], ends[1, i] = reached, over
        ends[2, i] = state.counts[i, 1] >= sizes[STEPS] and not over


@compiled
def observe(rules: Any, maps: Any, cells: Any, out: Any) -> None:
    """Maps (N, h, w) as they are seen, written to `out` (N, C, s, s) or (N, C, h, w).

    A tile is a one in its channel, and a number, 0 or 1, where there are two kinds. The agent's
    tile comes to row and column s // 2, and beyond the map lies the border tile.
    """
    sizes = rules.sizes
    height, width, side, border = sizes[HEIGHT], sizes[WIDTH], sizes[SIDE], sizes[BORDER]
    single = sizes[TILES] == 2
    for i in range(len(maps)):
        seen = out[i]
        seen[:] = 0
        shift_y, shift_x, high, wide = 0, 0, height, width
        if side:
            shift_y = side // 2 - cells[i] // width
            shift_x = side // 2 - cells[i] % width
            high = wide = side
            if not single:
                seen[border] = 1
            elif border == 1:
                seen[:] = 1
        for y in range(max(0, -shift_y), min(height, high - shift_y)):
            for x in range(max(0, -shift_x), min(width, wide - shift_x)):
                tile = maps[i, y, x]
                if single:
                    seen[0, y + shift_y, x + shift_x] = tile
                else:
                    if side:
                        seen[border, y + shift_y, x + shift_x] = 0
                    seen[tile, y + shift_y, x + shift_x] = 1
