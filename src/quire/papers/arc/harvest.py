"""Candidates from a search: exact states, stacks of pieces, pixel rules, near misses."""

from typing import TYPE_CHECKING

import numpy as np

from quire.papers.arc import stacking as stacks
from quire.papers.arc.explorer import Search
from quire.papers.arc.program import Chain, Program
from quire.papers.arc.search import HITS, PARTIAL, PIECES, RASTERS
from quire.papers.arc.variants import View

if TYPE_CHECKING:
    from quire.papers.arc.primitives import Primitive
    from quire.papers.arc.solver import Candidate

EXACT, NEAR, RULES = 6, 3, 4
"""How many exact states, near misses and pixel rules of each width become candidates."""
WIDE = 400
"""Rasters among which rules of three columns are tried."""


def harvest(
    search: Search, view: View, primitives: "tuple[Primitive, ...]", *, stacking: bool
) -> "list[Candidate]":
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

    def add(self, kind: str, states: "list[int]", bits: float, fits: int, **more: object) -> None:
        from quire.papers.arc.solver import Candidate

        program = Program(
            kind, tuple(self.chain(int(s)) for s in states), round(bits, 3), self.view,
            primitives=self.primitives, **more,  # type: ignore[arg-type]
        )  # fmt: skip
        self.candidates.append(Candidate(program, bits, fits))

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
        if count == 0:
            return
        demos = len(space.target)
        order = np.random.default_rng(0).permutation(demos)
        columns = space.rasters[:count]
        columns = np.ascontiguousarray(np.hstack([columns[:, order], columns[:, demos:]]))
        goal = np.ascontiguousarray(space.goal[:demos][order])
        cost = space.cost[space.drawn[:count]].astype(np.float64)
        root = bool(frame.placed and space.drawn[0] == 0)
        for width, limit in ((1, count), (2, min(count, 1000)), (3, WIDE if root else 60)):
            found = np.zeros((RULES, 4), np.int64)
            value = np.zeros(RULES)
            stacks.kernel(stacks.pixel_rules)(
                columns, goal, demos, cost, width, root and width == 3, limit, found, value
            )
            for m in range(RULES):
                if value[m] > 1e8:
                    break
                chosen = [int(k) for k in found[m, :width]]
                bits = value[m] + frame.bits + self.view.bits + 3.0 * (width - 1)
                table = self._table(chosen)
                mode = int(found[m, 3])
                table = {
                    key: value for key, value in table.items()
                    if value != stacks.plain_default(mode, int(key[0]), int(key[1:2] or 0))
                }  # fmt: skip
                if width == 1 and not table:
                    continue
                states = [int(space.drawn[k]) for k in chosen]
                self.add("rule", states, float(bits), search.demonstrations,
                         frame=frame.rule, table=table, default=mode)  # fmt: skip

    def _table(self, chosen: "list[int]") -> dict[str, int]:
        space = self.search.space
        demos = len(space.target)
        table = {}
        for values in np.unique(
            np.vstack([space.rasters[chosen, :demos], space.goal[None, :demos]]), axis=1
        ).T:
            table["".join(str(v) for v in values[:-1])] = int(values[-1])
        return table

    def stacks(self) -> None:
        """Greedy stacks of pieces, of cheap ones first."""
        search, space, frame = self.search, self.search.space, self.search.frame
        assert frame is not None
        count = search.found(PIECES)
        if count == 0:
            return
        need = pack(space.target != 0, space.good.shape[1])
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


def pack(mask: np.ndarray, words: int) -> np.ndarray:
    """A mask as bits of 64-bit words, the first cell lowest."""
    padded = np.zeros(words * 64, np.uint8)
    padded[: len(mask)] = mask
    return np.packbits(padded, bitorder="little").view(np.uint64)
