"""Breadth-first search over joint states, the cheapest chains of each depth first."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

try:
    from numba import njit, types
except ImportError as error:
    raise ImportError("the ARC solver needs numba: pip install 'quire[fast]'") from error

from quire.papers.arc.grids import OPTIONS
from quire.papers.arc.primitives import Kind, Primitive
from quire.papers.arc.search import (
    FULL,
    IMAGES,
    STATES,
    TRIED,
    Space,
    addresses,
    assess,
    digest,
    examples_of,
    expand_all,
    insert,
)
from quire.papers.arc.tasks import Grid

CHUNK = 16
"""Parents that are expanded by every primitive before the clock is looked at again."""
CELLS, STATES_ROOM, TABLE, COLUMNS, PIECE_ROOM = 1 << 27, 1 << 20, 1 << 21, 2048, 12_000
"""Room for cells, states, hashes, rasters kept as columns, pieces."""


@dataclass(frozen=True)
class Instance:
    """A primitive with its argument."""

    primitive: Primitive
    arg: int


@dataclass(frozen=True)
class Frame:
    """The predicted size (and place in the input) of each example's output: rows (height, width,
    x, y), demonstrations first. placed: objects keep their places there. bits: of saying so."""

    rows: np.ndarray
    placed: bool
    bits: float
    rule: dict[str, Any]


def start(space: Any, dedupe: Any) -> Any:
    """Enter and compare the inputs, state 0."""
    starts = np.zeros(space.starts.shape[1], np.int64)
    for e in range(len(starts)):
        starts[e] = e
        space.starts[0, e] = e
    space.parent[0] = -1
    space.op[0] = -1
    space.count[IMAGES] = len(starts) - 1
    space.count[STATES] = 1
    insert(space.table, digest(space, starts, len(starts) - 1, np.int64(0)))
    assess(space, starts, 0, 0)


def space_type() -> Any:
    """The numba type of a `Space`."""
    i1, i4, i8, u8, f4 = types.int8, types.int32, types.int64, types.uint64, types.float32
    kinds = (
        i1[::1], u8[::1], i4[:, ::1], i4[:, ::1], i4[::1], i4[::1], f4[::1], i1[::1], u8[::1],
        u8[::1], i4[:, ::1], i1[::1], i4[:, ::1], i8[::1], i1[::1], i1[::1], u8[::1], i1[:, ::1],
        i4[::1],
        u8[:, ::1], u8[:, ::1], i4[:, ::1], i4[::1], i4[::1], i4[:, ::1], i8[::1],
    )  # fmt: skip
    return types.NamedTuple(kinds, Space)


_drivers: dict[str, Any] = {}


def drivers() -> tuple[Any, Any]:
    """`expand_all` and `start` compiled, once in a process and kept on disk."""
    if not _drivers:
        space, integer, flag = space_type(), types.int64, types.boolean
        signature = types.void(
            space, integer[:, ::1], types.float64[::1], integer[::1], flag, flag, integer
        )
        _drivers["expand"] = njit(signature, cache=True, **OPTIONS)(expand_all)
        _drivers["start"] = njit(types.void(space, flag), cache=True, **OPTIONS)(start)
    return _drivers["expand"], _drivers["start"]


class Search:
    """One search over the joint states of `inputs` (demonstrations first, then tests).

    targets: the demonstrations' outputs. frame: the predicted output sizes, or None (then only
    whole answers are found). `grow` runs it; `space.count` says what there is.
    """

    def __init__(
        self,
        inputs: Sequence[Grid],
        targets: Sequence[Grid],
        primitives: Sequence[Primitive],
        *,
        frame: Frame | None = None,
        dedupe: bool = True,
    ) -> None:
        used = {int(c) for grid in inputs for c in np.unique(grid)}
        shown = {int(c) for grid in targets for c in np.unique(grid)}
        self.instances = [Instance(p, arg) for p in primitives for arg in p.values(used, shown)]
        self.frame, self.dedupe = frame, dedupe
        self.demonstrations = len(targets)
        self.space = self._space(inputs, targets, frame)
        self.table = np.array(
            [
                (*addresses(i.primitive.function), int(i.primitive.kind), i.arg, op)
                for op, i in enumerate(self.instances)
            ],
            np.int64,
        )
        self.bits = np.array([i.primitive.bits for i in self.instances])
        self.queue = np.zeros(1, np.int64)
        """States whose children come next."""
        self.next, self.born = 0, 1
        self.depth = 1
        drivers()[1](self.space, dedupe)

    def _space(self, inputs: Sequence[Grid], targets: Sequence[Grid], frame: Frame | None) -> Space:
        cells = np.empty(CELLS, np.int8)
        first, rows = examples_of(inputs)
        cells[: len(first)] = first
        meta = np.empty((STATES_ROOM * 2, 5), np.int32)
        meta[: len(rows)] = rows
        shapes = np.zeros((len(targets), 3), np.int32)
        shapes[:, :2] = [grid.shape for grid in targets]
        shapes[1:, 2] = np.cumsum(shapes[:-1, 0] * shapes[:-1, 1])
        frames = np.zeros((len(inputs), 5), np.int32)
        total = 0
        if frame is not None:
            frames[:, :4] = frame.rows
            sizes = frames[:, 0] * frames[:, 1]
            frames[1:, 4] = np.cumsum(sizes[:-1])
            total = int(sizes.sum())
        target = np.concatenate([grid.reshape(-1) for grid in targets]).astype(np.int8)
        goal = np.full(total, -1, np.int8)
        goal[: len(target) if frame is not None else 0] = target[: total or 0]
        words = -(-len(target) // 64)
        room = STATES_ROOM
        raster = np.zeros(-(-total // 8) * 8, np.int8)
        return Space(
            cells, cells.view(np.uint64), meta, np.empty((room, len(inputs) + 1), np.int32),
            np.zeros(room, np.int32), np.zeros(room, np.int32), np.zeros(room, np.float32),
            np.zeros(room, np.int8), np.zeros(TABLE, np.uint64), np.zeros(TABLE // 2, np.uint64),
            shapes, target, frames,
            np.array([frame is not None, frame is not None and frame.placed, total], np.int64),
            goal, raster, raster.view(np.uint64), np.empty((COLUMNS, total), np.int8),
            np.zeros(COLUMNS, np.int32), np.empty((PIECE_ROOM, words), np.uint64),
            np.empty((PIECE_ROOM, words), np.uint64), np.zeros((PIECE_ROOM, 2), np.int32),
            np.zeros(64, np.int32), np.zeros(256, np.int32), np.zeros((256, 2), np.int32),
            np.zeros(10, np.int64),
        )  # fmt: skip

    @property
    def tried(self) -> int:
        """Joint states evaluated so far."""
        return int(self.space.count[TRIED])

    def grow(self, *, last: bool, stop: Callable[[], bool], nodes: int | None = None) -> bool:
        """Expand the current depth's queue; whether it was finished.

        last: children are compared but not kept, as none will be expanded. It ends early where
        `nodes` joint states are evaluated, and where stop(), asked after each chunk of parents,
        says so. When a depth is finished, its children become the queue.
        """
        count, limit = self.space.count, 1 << 60 if nodes is None else self.tried + nodes
        # A list that will not be worked on looks like the image that it was split from.
        table = self.table[self.table[:, 2] != Kind.SPLIT] if last else self.table
        while self.next < len(self.queue):
            chunk = np.ascontiguousarray(self.queue[self.next : self.next + CHUNK])
            self.next += CHUNK
            drivers()[0](self.space, table, self.bits, chunk, not last, self.dedupe, limit)
            if stop() or self.tried >= limit or count[FULL]:
                return False
        states = int(count[STATES])
        kept = np.arange(self.born, states)
        kept = kept[self.space.starts[kept, 0] >= 0]
        self.queue = kept[np.argsort(self.space.cost[kept], kind="stable")].astype(np.int64)
        self.next, self.born = 0, states
        self.depth += 1
        return True

    def chain(self, state: int) -> list[Instance]:
        """The primitives that lead to a state, in order."""
        steps = []
        while state > 0:
            steps.append(self.instances[self.space.op[state]])
            state = int(self.space.parent[state])
        return steps[::-1]

    def found(self, what: int) -> int:
        """How many: HITS, RASTERS, PIECES, FITS, PARTIAL, DOUBLES, STATES."""
        return int(self.space.count[what])
