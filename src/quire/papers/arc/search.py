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
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from quire.papers.arc.grids import CROWD, OPTIONS, SIDE, part

BYTES = 30_000
"""The most cells of one joint state."""
ROOM = 2 * CROWD * SIDE * SIDE
"""Cells that must be free in the arena before an example is computed."""

SIGNATURE = types.int64(
    types.int8[::1], types.int32[:, ::1],
    types.int64, types.int64, types.int64, types.int64, types.int64,
)  # fmt: skip
"""Every primitive's: (cells, meta, a, b, o, e, arg) -> count."""

FUNCTION = types.FunctionType(SIGNATURE)

STATES, IMAGES, TRIED, HITS, RASTERS, PIECES, FITS, PARTIAL, FULL, DOUBLES = range(10)
"""Places in `Space.count`: stored states, images in use, evaluated states, exact hits, rasters,
pieces, states of the right sizes, states right in some demonstrations, 1 where the arena is full,
states dropped as seen."""

GOLD = np.uint64(0x9E3779B97F4A7C15)
MIX = np.uint64(0xFF51AFD7ED558CCD)
S29, S32 = np.uint64(29), np.uint64(32)
ONE, SIX = np.uint64(1), np.uint64(63)


class Space(NamedTuple):
    """All arrays of one search. E examples (demonstrations first), R raster cells in all, T of
    them in demonstrations."""

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
    """int32 (demonstrations, 3): height, width, first cell in `target`."""
    target: Any
    """int8 (target cells)."""
    frame: Any
    """int32 (E, 5): height, width, x, y, first cell of the raster."""
    mode: Any
    """int64 (3): whether there is a frame, whether it has a place, R."""
    goal: Any
    """int8 (R): the targets in raster order; -1 in tests."""
    raster: Any
    """int8 (R padded with 0 to a multiple of 8): where a raster is drawn."""
    lines: Any
    """The same memory as uint64."""
    rasters: Any
    """int8 (K, R): the first K distinct rasters."""
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
    """int64 (10)."""


@part
def mix(code: Any, value: Any) -> Any:
    """One step of the hash."""
    code = (code ^ value) * MIX
    return code ^ (code >> S29)


@part
def insert(table: Any, code: Any) -> Any:
    """Add a hash to an open-addressing set; False where it is there already."""
    if code == 0:
        code = GOLD
    mask = np.uint64(len(table) - 1)
    spot = (code ^ (code >> S32)) & mask
    while table[spot] != 0:
        if table[spot] == code:
            return False
        spot = (spot + ONE) & mask
    table[spot] = code
    return True


@part
def digest(space: Any, starts: Any, examples: Any, many: Any) -> Any:
    """Hash of the images of all examples: sizes, places, cells. Clears the cells of the padding."""
    code = mix(GOLD, np.uint64(many))
    for e in range(examples):
        code = mix(code, np.uint64(starts[e + 1] - starts[e] + 1000))
        for k in range(starts[e], starts[e + 1]):
            first, height, width = space.meta[k, 0], space.meta[k, 1], space.meta[k, 2]
            size = height * width
            place = (space.meta[k, 3] + 100) * 256 + space.meta[k, 4] + 100
            code = mix(code, np.uint64(height * 32 + width + 1024 * place))
            stop = (size + 7) >> 3
            for p in range(size, stop << 3):
                space.cells[first + p] = 0
            first >>= 3
            for p in range(first, first + stop):
                code = mix(code, space.words[p])
    return code


@part
def compare(space: Any, starts: Any) -> Any:
    """In how many demonstrations an image state equals the target; whether all sizes do."""
    right, sizes = 0, True
    for e in range(len(space.shapes)):
        k = starts[e]
        height, width, start = space.shapes[e, 0], space.shapes[e, 1], space.shapes[e, 2]
        if space.meta[k, 1] != height or space.meta[k, 2] != width:
            sizes = False
            continue
        first = space.meta[k, 0]
        equal = True
        for p in range(height * width):
            if space.cells[first + p] != space.target[start + p]:
                equal = False
                break
        right += equal
    return right, sizes


@part
def draw(space: Any, starts: Any, examples: Any) -> Any:
    """Draw a state into its frames; False where it has no place there."""
    inside = False
    for e in range(examples):
        rows, columns, start = space.frame[e, 0], space.frame[e, 1], space.frame[e, 4]
        k = starts[e]
        whole = starts[e + 1] == k + 1
        whole = whole and space.meta[k, 1] == rows and space.meta[k, 2] == columns
        if not whole and space.mode[1] == 0:
            return False
        if whole:
            first = space.meta[k, 0]
            for p in range(rows * columns):
                space.raster[start + p] = space.cells[first + p]
                inside = inside or space.cells[first + p] != 0
            continue
        for p in range(rows * columns):
            space.raster[start + p] = 0
        for k in range(starts[e], starts[e + 1]):
            first, height, width = space.meta[k, 0], space.meta[k, 1], space.meta[k, 2]
            x = space.meta[k, 3] - space.frame[e, 2]
            y = space.meta[k, 4] - space.frame[e, 3]
            for r in range(max(0, -y), min(height, rows - y)):
                for c in range(max(0, -x), min(width, columns - x)):
                    value = space.cells[first + r * width + c]
                    if value != 0:
                        space.raster[start + (r + y) * columns + c + x] = value
                        inside = True
    return inside


@part
def add_piece(space: Any, state: Any, paint: Any, total: Any) -> Any:
    """Store the raster at hand as a piece, painted in colour `paint` where that is not 0."""
    n = space.count[PIECES]
    if n >= len(space.piece):
        return
    for w in range(space.good.shape[1]):
        right, wrong = np.uint64(0), np.uint64(0)
        for p in range(w * 64, min(w * 64 + 64, total)):
            value = space.raster[p]
            goal = space.goal[p]
            if value != 0 and goal >= 0:
                value = paint if paint != 0 else value
                bit = ONE << np.uint64(p - w * 64)
                if value == goal:
                    right |= bit
                else:
                    wrong |= bit
        space.good[n, w] = right
        space.bad[n, w] = wrong
    space.piece[n, 0] = state
    space.piece[n, 1] = paint
    space.count[PIECES] = n + 1


@part
def consider(space: Any, state: Any) -> Any:
    """Use the drawn raster if it is new: as a column for pixel rules and as pieces."""
    total = space.mode[2]
    code = GOLD
    for p in range(len(space.raster) >> 3):
        code = mix(code, space.lines[p])
    if not insert(space.seen, code):
        return False
    used = False
    n = space.count[RASTERS]
    if n < len(space.drawn):
        for p in range(total):
            space.rasters[n, p] = space.raster[p]
        space.drawn[n] = state
        space.count[RASTERS] = n + 1
        used = True
    right, wrong = 0, 0
    pure: Any = -1
    for p in range(total):
        value, goal = space.raster[p], space.goal[p]
        if value == 0 or goal < 0:
            continue
        right += value == goal
        wrong += value != goal
        if pure == -1:
            pure = np.int64(goal)
        elif pure != goal:
            pure = 0
    if right > 0 and wrong <= 4 * right:
        add_piece(space, state, np.int8(0), total)
        used = True
    if pure > 0 and wrong > 0:
        add_piece(space, state, np.int8(pure), total)
        used = True
    return used


@part
def assess(space: Any, starts: Any, state: Any, many: Any) -> Any:
    """Compare a new state with the demonstrations; True where something refers to it."""
    used = False
    count = space.count
    if many == 0:
        right, sizes = compare(space, starts)
        demonstrations = len(space.shapes)
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
    if space.mode[0] == 1 and draw(space, starts, len(starts) - 1) and consider(space, state):
        used = True
    return used


@part
def apply(f: Any, space: Any, parent: Any, starts: Any, each: Any, joins: Any, arg: Any) -> Any:
    """f on one state, behind the stored images; False where it does not apply everywhere."""
    cells, meta = space.cells, space.meta
    o = space.count[IMAGES]
    base = np.int64(meta[o, 0])
    filled = False
    for e in range(len(starts) - 1):
        starts[e] = o
        a, b = space.starts[parent, e], space.starts[parent, e + 1]
        if each:
            for k in range(a, b):
                number = f(cells, meta, k, k + 1, o, e, arg)
                if number != 1:
                    return False
                first = meta[o, 0]
                empty = True
                for p in range(meta[o, 1] * meta[o, 2]):
                    if cells[first + p] != 0:
                        empty = False
                        break
                filled = filled or not empty
                if not empty or space.many[parent] == 0:
                    o += 1
        else:
            number = f(cells, meta, a, b, o, e, arg)
            if number < 0 or (joins and number != 1) or number > CROWD:
                return False
            o += number
            filled = filled or number > 0
        if meta[o, 0] - base > BYTES or o - starts[0] > 4 * CROWD:
            return False
    starts[len(starts) - 1] = o
    return filled


@part
def expand(
    f: Any,
    space: Any,
    kind: Any,
    op: Any,
    bits: Any,
    arg: Any,
    parents: Any,
    keep: Any,
    dedupe: Any,
    limit: Any,
) -> Any:
    """One primitive's instance on the states `parents`. `keep`: store the results' cells."""
    count = space.count
    starts = np.zeros(space.starts.shape[1], np.int64)
    for parent in parents:
        many = space.many[parent]
        if (many == 1 and (kind == 1 or kind == 2)) or (many == 0 and (kind == 3 or kind == 4)):
            continue
        if kind == 5 and parent != 0:
            continue
        images = count[IMAGES]
        state = count[STATES]
        if images + 16 * CROWD * len(starts) > len(space.meta):
            count[FULL] = 1
        if np.int64(space.meta[images, 0]) + ROOM > len(space.cells):
            count[FULL] = 1
        if count[FULL] == 1 or state + 1 >= len(space.parent):
            count[FULL] = 1
            return
        if count[TRIED] >= limit:
            return
        count[TRIED] += 1
        if not apply(f, space, parent, starts, kind <= 1 or kind == 5, kind == 4, arg):
            continue
        result = 1 if kind == 2 or kind == 3 else (0 if kind == 4 else many)
        code = digest(space, starts, len(starts) - 1, result)
        if dedupe and not insert(space.table, code):
            count[DOUBLES] += 1
            continue
        used = assess(space, starts, state, result)
        if not (used or keep):
            continue
        space.parent[state] = parent
        space.op[state] = op
        space.cost[state] = space.cost[parent] + bits
        space.many[state] = result
        count[STATES] = state + 1
        if keep:
            for e in range(len(starts)):
                space.starts[state, e] = starts[e]
            count[IMAGES] = starts[len(starts) - 1]
        else:
            space.starts[state, 0] = -1


@intrinsic
def function_at(typing: Any, plain: Any, native: Any) -> Any:
    """A primitive from its two addresses (see `addresses`): numba's own way to take a function as
    an argument looks it up in Python at every call, which costs as much as thirty states."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = context.get_value_type(types.voidptr)
        value = cgutils.create_struct_proxy(FUNCTION)(context, builder)
        value.c_addr = builder.inttoptr(args[0], pointer)
        value.jit_addr = builder.inttoptr(args[1], pointer)
        value.py_addr = builder.inttoptr(context.get_constant(types.int64, 0), pointer)
        return value._getvalue()

    return FUNCTION(types.int64, types.int64), codegen


AT: Any = function_at


def expand_all(
    space: Any, table: Any, bits: Any, parents: Any, keep: Any, dedupe: Any, limit: Any
) -> Any:
    """Every instance on the states `parents`, until `limit` states are evaluated.

    table: int64 (instances, 5): a primitive's two addresses, its kind, the argument, the number of
    the instance; bits: float64, of all instances."""
    for k in range(len(table)):
        if space.count[FULL] == 1 or space.count[TRIED] >= limit:
            return
        f: Any = AT(table[k, 0], table[k, 1])
        op = table[k, 4]
        expand(f, space, table[k, 2], op, bits[op], table[k, 3], parents, keep, dedupe, limit)


@functools.cache
def addresses(function: Any) -> tuple[int, int]:
    """Where a compiled primitive is: for calls from C, and for calls from compiled code."""
    result = compiled(function).get_compile_result(SIGNATURE)
    names = (result.fndesc.llvm_cfunc_wrapper_name, result.fndesc.llvm_func_name)
    plain, native = (result.library.get_pointer_to_function(name) for name in names)
    return plain, native


@functools.cache
def compiled(function: Any) -> Any:
    """A primitive's function as numba compiles it, once in a process and kept on disk."""
    plain = getattr(function, "py_func", function)
    try:
        return njit(SIGNATURE, cache=True, **OPTIONS)(plain)
    except RuntimeError:  # no file to keep it beside: typed in at a prompt
        return njit(SIGNATURE, **OPTIONS)(plain)


def examples_of(inputs: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """`cells` and `meta` rows (one more than images, for the next free cell) of the inputs."""
    meta = np.zeros((len(inputs) + 1, 5), np.int32)
    blocks = []
    for k, grid in enumerate(inputs):
        height, width = grid.shape
        padded = -(-height * width // 8) * 8
        meta[k, 1:3] = height, width
        meta[k + 1, 0] = meta[k, 0] + padded
        block = np.zeros(padded, np.int8)
        block[: height * width] = grid.reshape(-1)
        blocks.append(block)
    return np.concatenate(blocks), meta
