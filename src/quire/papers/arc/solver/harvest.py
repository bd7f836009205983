"""Candidates from a search: exact states, stacks of pieces, pixel rules, near misses."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from quire.papers.arc.solver import stacking as stacks
from quire.papers.arc.solver.explorer import Search
from quire.papers.arc.solver.program import Chain, Program
from quire.papers.arc.solver.search import HITS, PARTIAL, PIECES, RASTERS
from quire.papers.arc.solver.variants import View

if TYPE_CHECKING:
    from quire.papers.arc.solver.primitives import Primitive

EXACT, NEAR, RULES = 6, 3, 4
"""How many exact states, near misses and pixel rules of each width become candidates."""
WIDE = 400
"""Rasters among which rules of three columns are tried."""


@dataclass(frozen=True)
class Candidate:
    """A program before it is run: its cost, and the demonstrations it should get right."""

    program: Program
    cost: float
    fits: int


def harvest(
    search: Search, view: View, primitives: "tuple[Primitive, ...]", *, stacking: bool
) -> list[Candidate]:
    """All candidates of a search as it stands."""
    collector = Collector(search, view, primitives)
    collector.exact()
    if stacking and search.frame is not None:
        collector.rules()
        collector.stacks()
    collector.near()
    return collector.candidates


class Collector:
    """Turns what a search found into programs."""

    def __init__(self, search: Search, view: View, primitives: "tuple[Primitive, ...]") -> None:
        self.search, self.view, self.primitives = search, view, primitives
        self.candidates: list[Candidate] = []

    def chain(self, state: int) -> Chain:
        return tuple((step.primitive.name, step.arg) for step in self.search.chain(state))

    def add(self, kind: str, states: "list[int]", cost: float, fits: int, **more: object) -> None:
        program = Program(
            kind, tuple(self.chain(int(s)) for s in states), self.view,
            primitives=self.primitives, **more,  # type: ignore[arg-type]
        )  # fmt: skip
        self.candidates.append(Candidate(program, cost, fits))

    def exact(self) -> None:
        """States equal to every demonstration's output."""
        space = self.search.space
        hits = [int(s) for s in space.hits[: self.search.found(HITS)]]
        for state in sorted(hits, key=lambda s: float(space.cost[s]))[:EXACT]:
            bits = float(space.cost[state]) + self.view.bits
            self.add("chain", [state], bits, self.search.demonstrations)

    def near(self) -> None:
        """States equal to some outputs."""
        space = self.search.space
        found = space.partial[: self.search.found(PARTIAL)]
        ranked = sorted(found, key=lambda row: (-row[1], float(space.cost[row[0]])))
        for state, right in ranked[:NEAR]:
            self.add("chain", [int(state)], float(space.cost[state]) + self.view.bits, int(right))

    def rules(self) -> None:
        """Pixel rules on one, two and three rasters."""
        search, space = self.search, self.search.space
        frame = search.frame
        assert frame is not None
        count = search.found(RASTERS)
        if count == search.ruled:
            return
        search.ruled = count
        order = np.random.default_rng(0).permutation(search.shown)
        order = np.concatenate([search.places[order], search.places[search.shown :]])
        columns, goal = space.rasters[:count].view(np.int8), space.goal[order[: search.shown]]
        cost = space.cost[space.drawn[:count]].astype(np.float64)
        root = bool(frame.placed and space.drawn[0] == 0)
        for width, limit in ((1, count), (2, min(count, 1000)), (3, WIDE if root else 60)):
            found = np.zeros((RULES, 4), np.int64)
            value = np.zeros(RULES)
            stacks.kernel(stacks.pixel_rules)(
                columns, order, goal, cost, width, root and width == 3, limit, found, value
            )
            for m in range(RULES):
                if value[m] > 1e8:
                    break
                chosen = [int(k) for k in found[m, :width]]
                bits = value[m] + frame.bits + self.view.bits + 3.0 * (width - 1)
                mode = int(found[m, 3])
                table = exceptions(columns[chosen][:, order[: search.shown]], goal, mode)
                if width == 1 and not table:
                    continue
                states = [int(space.drawn[k]) for k in chosen]
                self.add("rule", states, float(bits), search.demonstrations,
                         frame=frame.rule, table=table, default=mode)  # fmt: skip

    def stacks(self) -> None:
        """Greedy stacks of pieces, of cheap ones first."""
        search, space, frame = self.search, self.search.space, self.search.frame
        assert frame is not None
        count = search.found(PIECES)
        if count == search.stacked:
            return
        search.stacked = count
        need = pack(space.goal[: 8 * space.mode[2]] > 0, space.good.shape[1])
        states, paints = space.piece[:count, 0], space.piece[:count, 1]
        cost = space.cost[states].astype(np.float64) + 3.0 * (paints != 0) + 2.0
        limits = sorted({float(np.quantile(cost, q)) for q in (0.05, 0.3, 1.0)} | {9.0})
        for limit in limits:
            allowed = cost <= limit
            if not allowed.any():
                continue
            for rule in (0, 1):
                chosen = np.zeros(stacks.PIECES, np.int64)
                number = stacks.kernel(stacks.greedy)(
                    space.good[:count], space.bad[:count], cost, allowed, need, rule, chosen
                )
                if number < 1:
                    continue
                picked = chosen[:number]
                bits = float(cost[picked].sum()) + frame.bits + self.view.bits
                self.add("stack", [int(s) for s in states[picked]], bits, search.demonstrations,
                         frame=frame.rule,
                         paints=tuple(int(p) for p in paints[picked]))  # fmt: skip


def exceptions(columns: np.ndarray, goal: np.ndarray, mode: int) -> dict[str, int]:
    """The entries of a rule's table, colours of its columns to the goal's, that its default does
    not say."""
    keys = (columns.T.astype(np.int64) * 10 ** np.arange(len(columns))).sum(1)
    table = np.full(10 ** len(columns), -1, np.int8)
    table[keys] = goal
    entries = {}
    for key in np.flatnonzero(table >= 0).tolist():
        if table[key] != stacks.plain_default(mode, key % 10, key // 10 % 10):
            entries[str(key).zfill(len(columns))[::-1]] = int(table[key])
    return dict(sorted(entries.items()))


def pack(mask: np.ndarray, words: int) -> np.ndarray:
    """A mask as bits of 64-bit words, the first cell lowest."""
    padded = np.zeros(words * 64, np.uint8)
    padded[: len(mask)] = mask
    return np.packbits(padded, bitorder="little").view(np.uint64)
