"""The compiled inner loop: apply one primitive to many joint states, dedupe, compare.

A joint state is the result of one chain of primitives on all demonstration and test inputs of a
task together. A new one gets a 64-bit hash of its content; one that was seen is dropped. What
remains is compared with the demonstrations' outputs:

- exact: an image equal to the output in each demonstration (`hits`);
- raster: the image, or a list laid over one another, in the frame of the predicted output size.
  Rasters are deduped too, and give pieces for stacking (bit sets of the right and wrong cells that
  they paint) and columns for the pixel rules (see `stacking`).
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numba import types

from quire.papers.arc.grids import CROWD, OPTIONS, SIDE, UNWRAPPED, inlined, keep_compiled, part
from quire.papers.arc.solver.pointers import SIGNATURE, call, pointer, rows
from quire.papers.arc.solver.words import (
    GOLD,
    HIGH,
    LOW,
    ZERO,
    bits_of,
    bits_set,
    finish,
    fold,
    identity,
    insert,
    mix,
    one_colour,
)

BYTES = 30_000
"""The most cells of one joint state."""
ROOM = 2 * CROWD * SIDE * SIDE
"""Cells that must be free in the arena before an example is computed."""

STATES, IMAGES, TRIED, HITS, RASTERS, PIECES, FITS, PARTIAL, FULL, DOUBLES, NEW, DRAWN = range(12)
"""Places in `Space.count`: stored states, images in use, evaluated states, exact hits, rasters
kept, pieces, states of the right sizes, states right in some demonstrations, 1 where the arena is
full, states dropped as seen, hashes in `table` and in `seen`."""


class Space(NamedTuple):
    """All arrays of one search. E examples (demonstrations first), R raster cells in all, each
    example's padded to a multiple of eight."""

    cells: Any
    """int8: the arena; a multiple of 8, as `words` is the same memory."""
    words: Any
    meta: Any
    """int32 (images, 5): see `grids`."""
    starts: Any
    """int32 (states, E + 1): each example's first image, and the end; -1: cells not kept."""
    parent: Any
    """int32 (states): -1 for the inputs."""
    op: Any
    """int32 (states): index of the primitive's instance."""
    cost: Any
    """float32 (states): bits of the chain."""
    many: Any
    """int8 (states): 1 for lists."""
    table: Any
    """uint64 (2^k): hashes of states; 0 is free."""
    seen: Any
    """uint64 (2^k): hashes of rasters."""
    shapes: Any
    """int32 (demonstrations, 2): height, width."""
    target: Any
    """uint64 (demonstrations): hash of the output's cells."""
    frame: Any
    """int32 (E, 5): height, width, x, y, first cell of the raster."""
    mode: Any
    """int64 (3): whether there is a frame, whether it has a place, words of the demonstrations."""
    goal: Any
    """int8 (R): the targets in raster order; -1 in tests and in the padding."""
    goals: Any
    """The same memory as uint64."""
    raster: Any
    """int8 (R): where a raster is drawn; 0 in the padding."""
    lines: Any
    """The same memory as uint64."""
    rasters: Any
    """uint64 (K, R / 8): the first K distinct rasters."""
    drawn: Any
    """int32 (K): their states."""
    good: Any
    """uint64 (pieces, words): cells painted as the target has them (other than 0)."""
    bad: Any
    """uint64 (pieces, words): cells painted otherwise."""
    piece: Any
    """int32 (pieces, 2): state, colour to paint with (0: its own)."""
    hits: Any
    fits: Any
    partial: Any
    """int32 (.., 2): state, how many demonstrations are right."""
    count: Any
    """int64 (12)."""


@inlined
def digest(meta: Any, codes: Any, a: Any, b: Any, code: Any) -> Any:
    """The hash `code` with the images a .. b - 1 of one more example: their number, sizes, places,
    and cells, whose hashes are `codes`."""
    code = mix(code, np.uint64(b - a + 1000))
    for k in range(a, b):
        code = mix(mix(code, identity(meta, k)), codes[k - a])
    return code


@inlined
def apply(
    f: Any, arena: Any, codes: Any, span: Any, o: Any, e: Any, arg: Any, kind: Any, many: Any
) -> Any:
    """The primitive at address f on the images `span` (first, end) of example e: the end of the
    images from `o` on that it makes, -1 where it does not apply, and whether one has a cell other
    than 0. arena: cells, words and meta. `codes` takes the hash of each image's cells."""
    (cells, words, meta), (a, b) = arena, span
    filled = False
    # From an image to an image: of a list, one after another; those that become empty give up their
    # place to the next.
    if kind <= 1 or kind == 5:
        n = 0
        for k in range(a, b):
            if call(f, cells, meta, k, k + 1, o, e, arg) != 1:
                return np.int64(-1), False
            codes[n], union = finish(words, meta, o)
            filled = filled or union != ZERO
            if union != ZERO or many == 0:
                o += 1
                n += 1
        return np.int64(o), filled
    number = call(f, cells, meta, a, b, o, e, arg)
    if number < 0 or (kind == 4 and number != 1) or number > CROWD:
        return np.int64(-1), False
    for n in range(number):
        codes[n], _ = finish(words, meta, o + n)
    return np.int64(o + number), number > 0


@inlined
def draw(space: Any, arena: Any, starts: Any, examples: Any) -> Any:
    """Draw a state into its frames: the raster's hash, and whether it has a cell other than 0
    (False too where it has no place there)."""
    cells, words, meta = arena
    raster, lines, frame = pointer(space.raster), pointer(space.lines), rows(space.frame)
    code, union = GOLD, ZERO
    for e in range(examples):
        height, width = np.int64(frame[e, 0]), np.int64(frame[e, 1])
        start = np.int64(frame[e, 4])
        number = (height * width + 7) >> 3
        k = starts[e]
        # An image of the frame's size fills it, wherever it came from: copied word by word.
        if starts[e + 1] == k + 1 and meta[k, 1] == height and meta[k, 2] == width:
            first = np.int64(meta[k, 0]) >> 3
            for p in range(number):
                lines[(start >> 3) + p] = words[first + p]
        elif space.mode[1] == 0:
            return code, False
        else:
            for p in range(number):
                lines[(start >> 3) + p] = ZERO
            # Others lie at their own places, later ones over earlier ones, 0 transparent.
            for k in range(starts[e], starts[e + 1]):
                first, tall, wide = np.int64(meta[k, 0]), np.int64(meta[k, 1]), np.int64(meta[k, 2])
                x: Any = np.int64(meta[k, 3]) - np.int64(frame[e, 2])
                y: Any = np.int64(meta[k, 4]) - np.int64(frame[e, 3])
                for r in range(max(0, -y), min(tall, height - y)):
                    for c in range(max(0, -x), min(wide, width - x)):
                        value = cells[first + r * wide + c]
                        spot = start + (r + y) * width + c + x
                        raster[spot] = value if value != 0 else raster[spot]
        own, some = fold(lines, start >> 3, number)
        code = mix(code, own)
        union |= some
    return code, union != ZERO


@part
def consider(space: Any, state: Any) -> Any:
    """Use the drawn raster, which is new: as a column for pixel rules and as pieces."""
    count, lines, goals = pointer(space.count), pointer(space.lines), pointer(space.goals)
    used = False
    # As a column: the first ones are kept, those of the shortest chains.
    n = count[RASTERS]
    if n < len(space.drawn):
        columns = pointer(space.rasters)
        total = len(space.lines)
        for p in range(total):
            columns[n * total + p] = lines[p]
        space.drawn[n] = state
        count[RASTERS] = n + 1
        used = True
    # As a piece: where does it paint as the targets have it, and where otherwise?
    n = count[PIECES]
    if n + 1 >= len(space.piece):
        return used
    wide = space.good.shape[1]
    good, bad = pointer(space.good), pointer(space.bad)
    end = space.mode[2]
    right, wrong = 0, 0
    for w in range(wide):
        yes, no = ZERO, ZERO
        for p in range(8 * w, min(8 * w + 8, end)):
            painted = (lines[p] + LOW) & HIGH
            if painted != ZERO:
                # Goals of the padding are -1, whose sum goes over, but only into more padding.
                other = ((lines[p] ^ goals[p]) + LOW) & HIGH
                shift = np.uint64(8 * (p & 7))
                yes |= bits_of(painted & ~other) << shift
                no |= bits_of(painted & other) << shift
        good[n * wide + w] = yes
        bad[n * wide + w] = no
        right += bits_set(yes)
        wrong += bits_set(no)
    # One that is mostly wrong could only lie below many others.
    if right > 0 and wrong <= 4 * right:
        space.piece[n, 0], space.piece[n, 1] = state, 0
        n += 1
        used = True
    # Its shape in another colour, where all that it paints should have one colour: then nothing of
    # it is wrong.
    paint = one_colour(lines, goals, end) if wrong > 0 else 0
    if paint > 0:
        m = count[PIECES] * wide
        for w in range(wide):
            good[n * wide + w] = good[m + w] | bad[m + w]
            bad[n * wide + w] = ZERO
        space.piece[n, 0], space.piece[n, 1] = state, paint
        n += 1
        used = True
    count[PIECES] = n
    return used


@inlined
def assess(space: Any, arena: Any, starts: Any, heads: Any, state: Any, many: Any) -> Any:
    """Compare a new state with the demonstrations; True where something refers to it."""
    used = False
    count, (_, _, meta) = pointer(space.count), arena
    demonstrations, examples = len(space.shapes), space.starts.shape[1] - 1
    if many == 0:
        right, sizes = 0, True
        for e in range(demonstrations):
            k = starts[e]
            same = meta[k, 1] == space.shapes[e, 0] and meta[k, 2] == space.shapes[e, 1]
            sizes = sizes and same
            right += same and heads[e] == space.target[e]
        if right == demonstrations:
            if count[HITS] < len(space.hits):
                space.hits[count[HITS]] = state
                count[HITS] += 1
                used = True
        elif right > 0 and count[PARTIAL] < len(space.partial):
            space.partial[count[PARTIAL], 0] = state
            space.partial[count[PARTIAL], 1] = right
            count[PARTIAL] += 1
            used = True
        if sizes and count[FITS] < len(space.fits):
            space.fits[count[FITS]] = state
            count[FITS] += 1
            used = True
    if space.mode[0] == 1:
        code, some = draw(space, arena, starts, examples)
        mask = np.uint64(len(space.seen) - 1)
        if some and insert(pointer(space.seen), mask, code):
            count[DRAWN] += 1
            used = consider(space, state) or used
    return used


@inlined
def expand(
    space: Any, scratch: Any, instance: Any, parents: Any, keep: Any, dedupe: Any, limit: Any
) -> Any:
    """One primitive's instance (a row of `expand_all`'s table, and its bits) on the states
    `parents`. `keep`: store the results' cells. scratch: room for each example's first image, the
    hashes of one example's images, and the hash of each example's first image."""
    (f, kind, arg, op), bits = instance
    starts, codes, heads = scratch
    count, meta = pointer(space.count), rows(space.meta)
    arena = pointer(space.cells), pointer(space.words), meta
    many_of, table = pointer(space.many), pointer(space.table)
    first_of, examples = pointer(space.starts), space.starts.shape[1] - 1
    mask = np.uint64(len(space.table) - 1)
    for parent in parents:
        many = many_of[parent]
        # Types: lists are not split again, images are not joined; FIRST takes the inputs alone.
        if (many == 1 and (kind == 1 or kind == 2)) or (many == 0 and (kind == 3 or kind == 4)):
            continue
        if kind == 5 and parent != 0:
            continue
        # The result is written behind the last stored state, and stays there only if it is kept.
        # Room is asked for once a state, so that nothing below needs to.
        images, state = count[IMAGES], count[STATES]
        base = np.int64(meta[images, 0])
        if images + 16 * CROWD * examples > len(space.meta) or base + ROOM > len(space.cells):
            count[FULL] = 1
        if count[FULL] == 1 or state + 1 >= len(space.parent):
            count[FULL] = 1
            return
        if count[TRIED] >= limit:
            return
        count[TRIED] += 1
        o, applies, filled = images, True, False
        result = 1 if kind == 2 or kind == 3 else (0 if kind == 4 else np.int64(many))
        # The chain must apply to every input, and must not be empty on all of them.
        code = mix(GOLD, np.uint64(result))
        n = parent * (examples + 1)
        for e in range(examples):
            starts[e] = o
            span = np.int64(first_of[n + e]), np.int64(first_of[n + e + 1])
            o, some = apply(f, arena, codes, span, o, e, arg, kind, many)
            if o < 0 or meta[o, 0] - base > BYTES or o - images > 4 * CROWD:
                applies = False
                break
            filled = filled or some
            heads[e] = codes[0]
            code = digest(meta, codes, starts[e], o, code)
        if not (applies and filled):
            continue
        starts[examples] = o
        # An equal state was reached by a chain no longer, so its children will be known as well.
        if dedupe:
            if not insert(table, mask, code):
                count[DOUBLES] += 1
                continue
            count[NEW] += 1
        used = assess(space, arena, starts, heads, state, result)
        if not (used or keep):
            continue
        space.parent[state] = parent
        space.op[state] = op
        space.cost[state] = space.cost[parent] + bits
        many_of[state] = result
        count[STATES] = state + 1
        n = state * (examples + 1)
        # At the last depth the chain is remembered and the cells are not.
        if keep:
            for e in range(examples + 1):
                first_of[n + e] = starts[e]
            count[IMAGES] = o
        else:
            first_of[n] = -1


def expand_all(
    space: Any, table: Any, bits: Any, parents: Any, keep: Any, dedupe: Any, limit: Any
) -> Any:
    """Every instance on the states `parents`, until `limit` states are evaluated.

    table: int64 (instances, 4): a primitive's address, its kind, the argument, the number of the
    instance; bits: float64, of all instances."""
    starts = np.zeros(space.starts.shape[1], np.int64)
    codes, heads = np.zeros(CROWD + 1, np.uint64), np.zeros(len(starts), np.uint64)
    scratch = starts, pointer(codes), pointer(heads)
    for k in range(len(table)):
        if space.count[FULL] == 1 or space.count[TRIED] >= limit:
            break
        instance = (table[k, 0], table[k, 1], table[k, 2], table[k, 3]), bits[table[k, 3]]
        expand(space, scratch, instance, parents, keep, dedupe, limit)
    codes[0] = heads[0] = ZERO  # pointers do not keep arrays in memory, this does


def start(space: Any, dedupe: Any) -> Any:
    """Enter and compare the inputs, state 0. Behind their images are those of the targets."""
    starts = np.arange(space.starts.shape[1])
    examples = len(starts) - 1
    arena = pointer(space.cells), pointer(space.words), rows(space.meta)
    _, words, meta = arena
    codes, heads = np.zeros(1, np.uint64), np.zeros(examples, np.uint64)
    code = mix(GOLD, ZERO)
    for k in range(examples + len(space.shapes)):
        codes[0], _ = finish(words, meta, k)
        if k < examples:
            heads[k] = codes[0]
            space.starts[0, k] = k
            code = digest(meta, pointer(codes), k, k + 1, code)
        else:
            space.target[k - examples] = codes[0]
    space.starts[0, examples] = examples
    space.parent[0] = -1
    space.op[0] = -1
    space.count[IMAGES] = examples
    space.count[STATES] = 1
    if dedupe:
        insert(pointer(space.table), np.uint64(len(space.table) - 1), code)
    assess(space, arena, starts, pointer(heads), 0, 0)
    codes[0] = heads[0] = ZERO  # as in expand_all


def step_on(
    f: Any, cells: Any, words: Any, meta: Any, a: Any, b: Any, arg: Any, kind: Any, many: Any
) -> Any:
    """`apply` on example 0, behind its images a .. b - 1: the end of what it makes, or -1."""
    codes = np.empty(8 * CROWD, np.uint64)
    arena = pointer(cells), pointer(words), rows(meta)
    end, _ = apply(f, arena, pointer(codes), (a, b), b, 0, arg, kind, many)
    codes[0] = ZERO  # as in expand_all
    return end


@functools.cache
def step() -> Any:
    """`step_on` compiled."""
    i8, flag = types.int64, types.boolean
    arrays = (types.int8[::1], types.uint64[::1], types.int32[:, ::1])
    signature = i8(i8, *arrays, i8, i8, i8, i8, flag)
    return keep_compiled(step_on, signature, OPTIONS)


@functools.cache
def address(function: Any) -> int:
    """Where a compiled primitive is, for `pointers.call`."""
    result = compiled(function).get_compile_result(SIGNATURE)
    return int(result.library.get_pointer_to_function(result.fndesc.llvm_func_name))


@functools.cache
def compiled(function: Any) -> Any:
    """A primitive's function as numba compiles it, once in a process and kept on disk."""
    return keep_compiled(getattr(function, "py_func", function), SIGNATURE, UNWRAPPED)


def examples_of(inputs: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """`cells` and `meta` rows (one more than images, for the next free cell) of grids."""
    meta = np.zeros((len(inputs) + 1, 5), np.int32)
    meta[:-1, 1:3] = [grid.shape for grid in inputs]
    meta[1:, 0] = np.cumsum((meta[:-1, 1] * meta[:-1, 2] + 7) // 8 * 8)
    cells = np.zeros(meta[-1, 0], np.int8)
    for first, grid in zip(meta[:, 0], inputs, strict=False):
        cells[first : first + grid.size] = grid.reshape(-1)
    return cells, meta
