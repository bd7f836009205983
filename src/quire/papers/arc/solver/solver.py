"""The solver: search several views of a task, collect programs, rank what they predict."""

import functools
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from quire.papers.arc.solver.sizes import SizeRule, size_rules
from quire.papers.arc.solver.variants import View, views
from quire.papers.arc.tasks import Grid, Task

if TYPE_CHECKING:
    from quire.papers.arc.solver.explorer import Frame, Search
    from quire.papers.arc.solver.harvest import Candidate
    from quire.papers.arc.solver.primitives import Primitive
    from quire.papers.arc.solver.program import Program


SURE, SHORT = 20.0, 30.0
"""Bits below which the search ends: one program that fits, or as many answers as are asked for."""
SEARCHED = 0.9
"""The part of the budget after which the search stops; collecting answers takes the rest."""


@dataclass(frozen=True)
class Prediction:
    """One answer to a task: a grid for each test input, and the program that gave it.

    Args:
        outputs: A grid for each test input.
        program: What gave them.
        fits: How many demonstrations the program gets right.
        score: Higher is better: first demonstrations, then cheaper programs, by the costs that the
            search goes by (`program.bits` is the length under a code).
    """

    outputs: tuple[Grid, ...]
    program: "Program"
    fits: int
    score: float


@dataclass
class Solver:
    """Program search for ARC tasks on one core.

    Args:
        budget: CPU seconds a task at most, less where a short program fits; None: no limit, then
            give nodes.
        nodes: Joint states a task; with nodes alone, the same answers on every machine.
        depth: The longest chain, 1 to 4.
        attempts: How many predictions at most.
        stacking: Also make stacks and pixel rules.
        colours: Also search views with renamed colours.
        flips: Also search the task flipped about its diagonal.
        dedupe: Drop states that were seen.
        primitives: The language; None for all of `primitives.PRIMITIVES`.

    After `solve`, `statistics` holds states, seconds, depth, found_at_states and found_at_seconds
    (None where no program fits).

    Raises ValueError for options out of range, ImportError where numba is missing.

    Example:
        >>> from quire.papers.arc import Solver, Task
        >>> pairs = [([[1, 0, 0]], [[0, 0, 1]]), ([[0, 2, 3]], [[3, 2, 0]])]
        >>> task = Task.from_dict({"train": [{"input": a, "output": b} for a, b in pairs],
        ...                        "test": [{"input": [[5, 0, 6]]}]}, id="mirror")
        >>> best = Solver(budget=None, nodes=1000, depth=1).solve(task)[0]
        >>> best.outputs[0].tolist(), str(best.program)
        ([[6, 0, 5]], 'mirror left-right')
    """

    budget: float | None = 3.0
    nodes: int | None = None
    depth: int = 3
    attempts: int = 3
    stacking: bool = True
    colours: bool = True
    flips: bool = True
    dedupe: bool = True
    primitives: "tuple[Primitive, ...] | None" = None
    statistics: dict[str, Any] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        if self.budget is None and self.nodes is None:
            raise ValueError("give the solver a budget in seconds, nodes, or both")
        if self.budget is not None and not self.budget > 0:
            raise ValueError(f"budget must be above 0 seconds, not {self.budget}")
        if self.nodes is not None and self.nodes < 1:
            raise ValueError(f"nodes must be at least 1, not {self.nodes}")
        if not 1 <= self.depth <= 4:
            raise ValueError(f"depth must be 1 to 4, not {self.depth}")
        if self.attempts < 1:
            raise ValueError(f"attempts must be at least 1, not {self.attempts}")

    def compile(self) -> None:
        """Compile every kernel, or load it from disk; otherwise the first task does."""
        from quire.papers.arc.solver import explorer, search, stacking

        explorer.drivers()
        for function in stacking.SIGNATURES:
            stacking.kernel(function)
        search.step()
        for primitive in self._primitives():
            search.address(primitive.function)

    def _primitives(self) -> "tuple[Primitive, ...]":
        from quire.papers.arc.solver.primitives import PRIMITIVES

        chosen = PRIMITIVES if self.primitives is None else self.primitives
        if not chosen:
            raise ValueError("the solver needs at least one primitive")
        names = [primitive.name for primitive in chosen]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ValueError(f"primitives need names of their own: {sorted(twice)[0]} occurs twice")
        return chosen

    def solve(self, task: Task) -> list[Prediction]:
        """The best answers, at most `attempts`, best first; test outputs are never looked at."""
        self.compile()
        run = TaskSearch(self, task.blind(), self._primitives())
        run.search()
        self.statistics = run.statistics()
        return run.predictions()


class TaskSearch:
    """One task in work: searches of its views, and the candidates so far."""

    def __init__(self, solver: Solver, task: Task, primitives: "tuple[Primitive, ...]") -> None:
        self.solver, self.task, self.primitives = solver, task, primitives
        self.began = time.process_time()
        self.tried = 0
        self.searched = 0.0
        self.depth = 0
        self.inputs = [pair.input for pair in (*task.train, *task.test)]
        self.targets = [pair.output for pair in task.train if pair.output is not None]
        self.views = views(self.inputs, colours=solver.colours, flips=solver.flips)
        self.answers: dict[bytes, Prediction] = {}
        self.known: set[str] = set()
        self.found_at: tuple[int, float] | None = None

    def search(self) -> None:
        """Depth by depth, every view in turn, until the budget is spent or enough is found: every
        view is searched to depth 1, as a rule may fit one view by chance and hold in another."""
        searches: dict[View, Search | None] = {}
        for depth in range(1, self.solver.depth + 1):
            waiting = [view for view in self.views if searches.get(view, True) is not None]
            for k, view in enumerate(waiting):
                search = searches[view] = searches.get(view) or self._begin(view)
                share = len(waiting) - k
                done = self._grow(search, share, depth == self.solver.depth)
                self.depth = max(self.depth, depth)
                self._collect(search, view)
                if not done:
                    searches[view] = None
                if self._over() or (depth > 1 and self._fitting(SURE) > 0):
                    return
            if self._fitting(SURE) > 0 or self._fitting(SHORT) >= self.solver.attempts:
                return

    def _begin(self, view: View) -> "Search":
        """A view's search; where no size rule holds, a first look finds a state that has it."""
        from quire.papers.arc.solver.explorer import Search

        names = [view.renaming(grid) for grid in self.inputs]
        inputs = [view.forward(grid, n) for grid, n in zip(self.inputs, names, strict=True)]
        targets = [view.forward(grid, n) for grid, n in zip(self.targets, names, strict=False)]
        frame = self._frame(inputs, targets)

        def begin() -> "Search":
            return Search(inputs, targets, self.primitives, frame=frame, dedupe=self.solver.dedupe)

        search = begin()
        if self.solver.stacking and not (frame and frame.placed):
            before = time.process_time()
            search.grow(last=False, stop=lambda: False, nodes=self._left())
            self.tried += search.tried
            self.searched += time.process_time() - before
            found = _state_frame(search, frame)
            if found is not None:
                frame = found
            search = begin()
        return search

    def _frame(self, inputs: Sequence[Grid], targets: Sequence[Grid]) -> "Frame | None":
        from quire.papers.arc.solver.explorer import Frame
        from quire.papers.arc.solver.program import linear

        if not self.solver.stacking:
            return None
        for rule in usable_rules(inputs, targets):
            sizes = [rule.predict(grid.shape) for grid in inputs]
            rows = np.array([[*size, 0, 0] for size in sizes if size is not None], np.int32)
            return Frame(rows, rule.same, 0.0 if rule.same else 2.0, linear(rule, placed=rule.same))
        return None

    def _grow(self, search: "Search", share: int, last: bool) -> bool:
        """One more depth within an equal share of what is left."""
        solver, now, already = self.solver, time.process_time(), search.tried
        end = self.began + SEARCHED * solver.budget if solver.budget is not None else float("inf")
        until = (end - now) / share
        left = self._left()
        nodes = None if left is None else max(1, left // share)

        def stop() -> bool:
            return time.process_time() - now >= until

        done = search.grow(last=last, stop=stop, nodes=nodes)
        self.tried += search.tried - already
        self.searched += time.process_time() - now
        return done

    def _left(self) -> int | None:
        """Joint states that may still be evaluated."""
        return None if self.solver.nodes is None else max(1, self.solver.nodes - self.tried)

    def _over(self) -> bool:
        budget, nodes = self.solver.budget, self.solver.nodes
        if nodes is not None and self.tried >= nodes:
            return True
        return budget is not None and time.process_time() - self.began >= SEARCHED * budget

    def _fitting(self, bits: float) -> int:
        """How many answers fit all demonstrations with programs below so many bits."""
        full = [a for a in self.answers.values() if a.fits == len(self.task.train)]
        return sum(answer.score > 1000.0 - bits for answer in full)

    def _collect(self, search: "Search", view: View) -> None:
        from quire.papers.arc.solver.harvest import harvest

        for candidate in harvest(search, view, self.primitives, stacking=self.solver.stacking):
            self._add(candidate)

    def _add(self, candidate: "Candidate") -> None:
        """Run a candidate on everything; keep the best program of each answer."""
        text = candidate.program.to_text()
        if text in self.known:
            return
        self.known.add(text)
        outputs = [candidate.program(pair.input) for pair in self.task.test]
        if any(output is None for output in outputs):
            return
        fits = sum(_equal(candidate.program(pair.input), pair.output) for pair in self.task.train)
        score = 1000.0 * fits / len(self.task.train) - candidate.cost
        grids = tuple(output for output in outputs if output is not None)
        key = b"|".join(bytes(grid.shape) + grid.tobytes() for grid in grids)
        before = self.answers.get(key)
        if before is None or before.score < score:
            self.answers[key] = Prediction(grids, candidate.program, fits, score)
        if fits == len(self.task.train) and self.found_at is None:
            self.found_at = (self.tried, time.process_time() - self.began)

    def predictions(self) -> list[Prediction]:
        """The answers, best first; of equal scores the one stacked of fewer pieces."""
        ranked = sorted(self.answers.values(), key=lambda p: (-p.score, p.program.pieces))
        return ranked[: self.solver.attempts]

    def statistics(self) -> dict[str, Any]:
        """What `Solver.statistics` holds."""
        states, seconds = self.found_at or (None, None)
        return {
            "states": self.tried, "seconds": time.process_time() - self.began,
            "search_seconds": self.searched, "depth": self.depth, "found_at_states": states,
            "found_at_seconds": seconds, "answers": len(self.answers),
        }  # fmt: skip


_size_rules = functools.lru_cache(maxsize=16)(size_rules)


def usable_rules(inputs: Sequence[Grid], targets: Sequence[Grid]) -> list[SizeRule]:
    """Size rules that hold in the demonstrations and give a size for every input."""
    shapes = [(int(g.shape[0]), int(g.shape[1])) for g in inputs]
    wanted = [(int(g.shape[0]), int(g.shape[1])) for g in targets]
    rules = _size_rules(tuple(shapes[: len(wanted)]), tuple(wanted))
    return [rule for rule in rules if all(rule.predict(shape) for shape in shapes)]


def _state_frame(search: "Search", ruled: "Frame | None") -> "Frame | None":
    """The frame of the cheapest state that has the outputs' sizes; those that the rule gives, if
    there is one."""
    from quire.papers.arc.solver.explorer import Frame
    from quire.papers.arc.solver.search import FITS

    space = search.space
    fits = [int(s) for s in space.fits[: search.found(FITS)] if space.starts[s, 0] >= 0]
    for state in sorted(fits, key=lambda state: float(space.cost[state])):
        rows = space.meta[space.starts[state, :-1], 1:5].astype(np.int32)
        if ruled is None or (rows[:, :2] == ruled.rows[:, :2]).all():
            chain = [(step.primitive.name, step.arg) for step in search.chain(state)]
            return Frame(rows, True, float(space.cost[state]), {"chain": chain})
    return None


def __getattr__(name: str) -> Any:
    # Programs need numba (extra `fast`), so they are imported when asked for.
    if name == "Program":
        from quire.papers.arc.solver.program import Program

        return Program
    raise AttributeError(f"quire.papers.arc.solver.solver has no {name!r}")


def _equal(grid: Grid | None, other: Grid | None) -> bool:
    return (
        grid is not None and other is not None and grid.shape == other.shape
        and bool((grid == other).all())
    )  # fmt: skip


def predict_sizes(task: Task) -> list[list[tuple[int, int]]]:
    """Output sizes by the size rules, for each test input, likeliest first; empty where none holds.

    Example:
        >>> from quire.papers.arc import Task
        >>> pair = {"input": [[1, 0]], "output": [[1, 1, 0, 0]]}
        >>> task = Task.from_dict({"train": [pair], "test": [{"input": [[1, 2, 3]]}]}, id="wide")
        >>> predict_sizes(task)[0][0]
        (1, 4)
    """
    task = task.blind()
    inputs = [pair.input for pair in (*task.train, *task.test)]
    targets = [pair.output for pair in task.train if pair.output is not None]
    rules = usable_rules(inputs, targets)
    sizes: list[list[tuple[int, int]]] = []
    for pair in task.test:
        shape = (int(pair.input.shape[0]), int(pair.input.shape[1]))
        ranked: Iterable[tuple[int, int] | None] = (rule.predict(shape) for rule in rules)
        sizes.append(list(dict.fromkeys(size for size in ranked if size is not None)))
    return sizes


__all__ = ["Prediction", "Solver", "TaskSearch", "predict_sizes", "usable_rules"]
