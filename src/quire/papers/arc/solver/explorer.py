"""Breadth-first search over joint states, the cheapest chains of each depth first."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

try:
    from numba import types
except ImportError as error:
    raise ImportError("the ARC solver needs numba: pip install 'quire-papers[fast]'") from error

from quire.papers.arc.grids import OPTIONS, keep_compiled
from quire.papers.arc.solver.primitives import Kind, Primitive
from quire.papers.arc.solver.search import (
    DRAWN,
    FULL,
    NEW,
    STATES,
    TRIED,
    Space,
    address,
    examples_of,
    expand_all,
    start,
)
from quire.papers.arc.solver.words import again
from quire.papers.arc.tasks import Grid

CHUNK = 16
"""Parents that are expanded by every primitive before the clock is looked at again."""
CELLS, STATES_ROOM, TABLE, COLUMNS, PIECE_ROOM = 1 << 27, 1 << 20, 1 << 15, 2048, 12_001
"""Room for cells, states, hashes at first, rasters kept as columns, pieces."""


@dataclass(frozen=True)
class Instance:
    """A primitive with its argument."""

    primitive: Primitive
    arg: int


@functools.lru_cache(maxsize=16)
def instances_of(
    primitives: tuple[Primitive, ...], used: frozenset[int], shown: frozenset[int]
) -> tuple[tuple[Instance, ...], np.ndarray, np.ndarray]:
    """The instances for the colours of inputs and outputs; what `expand_all` takes of them: a row
    (address, kind, argument, number) each, and their bits."""
    instances = tuple(Instance(p, arg) for p in primitives for arg in p.values(used, shown))
    rows = [
        (address(i.primitive.function), int(i.primitive.kind), i.arg, op)
        for op, i in enumerate(instances)
    ]
    return instances, np.array(rows, np.int64), np.array([i.primitive.bits for i in instances])


@dataclass(frozen=True)
class Frame:
    """The predicted size (and place in the input) of each example's output.

    Args:
        rows: (E, 4) of height, width, x, y, demonstrations first.
        placed: Whether objects keep their places there.
        bits: The cost of saying so.
        rule: How the size follows, as a program keeps it.
    """

    rows: np.ndarray
    placed: bool
    bits: float
    rule: dict[str, Any]


def space_type() -> Any:
    """The numba type of a `Space`."""
    i1, i4, i8, u8, f4 = types.int8, types.int32, types.int64, types.uint64, types.float32
    kinds = (
        i1[::1], u8[::1], i4[:, ::1], i4[:, ::1], i4[::1], i4[::1], f4[::1], i1[::1], u8[::1],
        u8[::1], i4[:, ::1], u8[::1], i4[:, ::1], i8[::1], i1[::1], u8[::1], i1[::1], u8[::1],
        u8[:, ::1], i4[::1], u8[:, ::1], u8[:, ::1], i4[:, ::1], i4[::1], i4[::1], i4[:, ::1],
        i8[::1],
    )  # fmt: skip
    return types.NamedTuple(kinds, Space)


_drivers: dict[str, Any] = {}


def drivers() -> dict[str, Any]:
    """`expand_all`, `start` and `again` compiled, once in a process and kept on disk."""
    if not _drivers:
        space, integer, flag = space_type(), types.int64, types.boolean
        table = types.uint64[::1]
        for function, arguments in (
            (expand_all, (space, integer[:, ::1], types.float64[::1], integer[::1], flag, flag,
                          integer)),
            (start, (space, flag)),
            (again, (table, table)),
        ):  # fmt: skip
            signature = types.void(*arguments)
            _drivers[function.__name__] = keep_compiled(function, signature, OPTIONS)
    return _drivers


class Search:
    """One search over the joint states of `inputs` (demonstrations first, then tests).

    `grow` runs it; `space.count` says what there is.

    Args:
        inputs: Grids of demonstrations and tests.
        targets: The demonstrations' outputs.
        primitives: The language.
        frame: The predicted output sizes; None: only whole answers are found.
        dedupe: Drop states that were seen.
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
        used = frozenset(np.unique(np.concatenate([grid.reshape(-1) for grid in inputs])).tolist())
        shown = np.unique(np.concatenate([grid.reshape(-1) for grid in targets])).tolist()
        self.instances, self.table, self.bits = instances_of(
            tuple(primitives), used, frozenset(shown)
        )
        self.frame, self.dedupe = frame, dedupe
        self.demonstrations = len(targets)
        self.space = self._space(inputs, targets, frame)
        self.ruled = self.stacked = 0
        """Rasters and pieces of which rules and stacks were made."""
        self.queue = np.zeros(1, np.int64)
        """States whose children come next."""
        self.next, self.born = 0, 1
        self.depth = 1
        drivers()["start"](self.space, dedupe)

    def _space(self, inputs: Sequence[Grid], targets: Sequence[Grid], frame: Frame | None) -> Space:
        cells = np.empty(CELLS, np.int8)
        first, rows = examples_of([*inputs, *targets])
        cells[: len(first)] = first
        meta = np.empty((STATES_ROOM * 2, 5), np.int32)
        meta[: len(rows)] = rows
        shapes = np.array([grid.shape for grid in targets], np.int32)
        frames = np.zeros((len(inputs), 5), np.int32)
        goal, demonstrations = np.zeros(0, np.int8), 0
        if frame is not None:
            frames[:, :4] = frame.rows
            ends = np.cumsum((frames[:, 0] * frames[:, 1] + 7) // 8 * 8)
            frames[1:, 4] = ends[:-1]
            goal = np.full(ends[-1], -1, np.int8)
            for begin, target in zip(frames[:, 4], targets, strict=False):
                goal[begin : begin + target.size] = target.reshape(-1)
            demonstrations = int(ends[len(targets) - 1]) // 8
        mode = [frame is not None, frame is not None and frame.placed, demonstrations]
        pieces = (PIECE_ROOM, -(-demonstrations // 8))
        room = STATES_ROOM
        raster = np.zeros(len(goal), np.int8)
        return Space(
            cells, cells.view(np.uint64), meta, np.empty((room, len(inputs) + 1), np.int32),
            np.zeros(room, np.int32), np.zeros(room, np.int32), np.zeros(room, np.float32),
            np.zeros(room, np.int8), np.zeros(TABLE, np.uint64), np.zeros(TABLE, np.uint64),
            shapes, np.zeros(len(targets), np.uint64), frames, np.array(mode, np.int64),
            goal, goal.view(np.uint64), raster, raster.view(np.uint64),
            np.empty((COLUMNS, len(goal) // 8), np.uint64), np.zeros(COLUMNS, np.int32),
            np.empty(pieces, np.uint64), np.empty(pieces, np.uint64),
            np.zeros((PIECE_ROOM, 2), np.int32), np.zeros(64, np.int32), np.zeros(256, np.int32),
            np.zeros((256, 2), np.int32), np.zeros(12, np.int64),
        )  # fmt: skip

    def _make_room(self, more: int) -> None:
        """Larger tables where `more` hashes could fill half of them."""
        for name, used in (("table", NEW), ("seen", DRAWN)):
            table = getattr(self.space, name)
            if 2 * (self.found(used) + more) > len(table):
                larger = np.zeros(4 * len(table), np.uint64)
                drivers()["again"](table, larger)
                self.space = self.space._replace(**{name: larger})

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
        table = self.table[self.table[:, 1] != Kind.SPLIT] if last else self.table
        while self.next < len(self.queue):
            chunk = np.ascontiguousarray(self.queue[self.next : self.next + CHUNK])
            self.next += CHUNK
            self._make_room(len(chunk) * len(table))
            drivers()["expand_all"](
                self.space, table, self.bits, chunk, not last, self.dedupe, limit
            )
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

    @functools.cached_property
    def places(self) -> np.ndarray:
        """Where the cells of all examples are in a raster, demonstrations first."""
        sizes = self.space.frame[:, 0] * self.space.frame[:, 1]
        spots = zip(self.space.frame[:, 4], sizes, strict=True)
        return np.concatenate([first + np.arange(size) for first, size in spots])

    @functools.cached_property
    def shown(self) -> int:
        """Raster cells of demonstrations, without padding."""
        sizes = self.space.frame[:, 0] * self.space.frame[:, 1]
        return int(sizes[: self.demonstrations].sum())

    def found(self, what: int) -> int:
        """How many: HITS, RASTERS, PIECES, FITS, PARTIAL, DOUBLES, STATES."""
        return int(self.space.count[what])
