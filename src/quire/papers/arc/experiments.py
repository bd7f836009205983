"""Experiments that need no corpus, or only count it; those with the solver stand beside."""

import math
import statistics
from itertools import permutations

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import PositiveInt

from quire import data
from quire.lab import Config, Metrics, Run
from quire.papers.arc.evaluate import Attempt, evaluate
from quire.papers.arc.experiments_common import (
    Search,
    open_log,
    reruns_that_differ,
    scores,
    search,
    spent,
)
from quire.papers.arc.experiments_solve import ablations, budgets, sizes, solve
from quire.papers.arc.measure import (
    Curriculum,
    Expression,
    Function,
    Language,
    Measured,
    ScopeTask,
    ToyTask,
    intelligence,
    measure,
)
from quire.papers.arc.submission import read_submission, write_submission
from quire.papers.arc.tasks import Pair, Task
from quire.papers.arc.toys import toy_tasks

__all__ = [
    "ablations",
    "budgets",
    "corpus",
    "identities",
    "quantities",
    "sizes",
    "solve",
    "toys",
]


class Identities(Config):
    """How many random cases of each check."""

    cases: PositiveInt = 400
    """Random tasks for the scorer; a tenth of them goes through the files."""
    stacks: PositiveInt = 300
    """Random small stacking problems."""


def identities(config: Identities, run: Run) -> Metrics:
    """The scorer and the files against brute force, the stacker against every order of pieces."""
    rng = numpy_rng(run, "identities")
    tasks, found = random_answers(config.cases, rng)
    wrong = 0
    for attempts in (1, 2, 3):
        scored = evaluate(found, tasks, attempts)
        for id, task in tasks.items():
            wrong += (id in scored.solved) != solved_by_hand(task, found[id][:attempts])
    few = dict(list(tasks.items())[: max(1, config.cases // 10)])
    kept = {id: found[id] for id in few}
    files = 0
    for suffix, attempts in ((".csv", 3), (".json", 2)):
        path = run.directory / f"round-trip{suffix}"
        write_submission(path, kept, few)
        again = evaluate(read_submission(path), few, attempts)
        files += again.solved != evaluate(kept, few, attempts).solved
    unsound, solvable, reached = stack_counts(config.stacks, rng)
    return {
        "scorer_differs": wrong,
        "files_differ": files,
        "stacks_wrong": unsound,
        "stacks_found": 100 * reached / max(1, solvable),
    }


def numpy_rng(run: Run, name: str) -> np.random.Generator:
    """A NumPy generator that follows from the run's seed."""
    return np.random.default_rng(int(torch.randint(2**62, (1,), generator=run.rng(name))))


def random_answers(
    count: int, rng: np.random.Generator
) -> tuple[dict[str, Task], dict[str, list[Attempt]]]:
    """Tasks with one or two test grids, and up to four attempts that are often nearly right."""
    tasks: dict[str, Task] = {}
    found: dict[str, list[Attempt]] = {}
    for number in range(count):
        id = f"case{number}"
        truth = [rng.integers(0, 3, (2, 2)).astype(np.int8) for _ in range(rng.integers(1, 3))]
        pairs = tuple(Pair(np.zeros((1, 1), np.int8), grid) for grid in truth)
        tasks[id] = Task(id, pairs[:1], pairs)
        found[id] = []
        for _ in range(rng.integers(0, 5)):
            outputs = []
            for grid in truth:
                kind = rng.integers(0, 4)
                shown = grid if kind < 2 else (grid[:1] if kind == 2 else (grid + 1) % 3)
                outputs.append(np.ascontiguousarray(shown, dtype=np.int8))
            found[id].append(Attempt(tuple(outputs), fits=bool(rng.integers(0, 2))))
        if found[id] and rng.integers(0, 2):
            found[id].insert(0, found[id][0])  # a duplicate uses up an attempt
    return tasks, found


def solved_by_hand(task: Task, attempts: list[Attempt]) -> bool:
    """The definition, cell by cell."""
    for place, pair in enumerate(task.test):
        assert pair.output is not None
        rows = pair.output.tolist()
        if not any(attempt.outputs[place].tolist() == rows for attempt in attempts):
            return False
    return True


def stack_counts(count: int, rng: np.random.Generator) -> tuple[int, int, int]:
    """Of random problems of four pieces and six cells: wrong stacks, solvable ones, solved ones."""
    from quire.papers.arc.stacking import greedy, kernel

    run_greedy = kernel(greedy)
    wrong = solvable = reached = 0
    for _ in range(count):
        right = rng.random((4, 6)) < 0.45
        painted = right | (rng.random((4, 6)) < 0.15)
        good, bad = as_bits(right), as_bits(painted & ~right)
        need, chosen = as_bits(np.ones((1, 6), bool))[0], np.zeros(4, np.int64)
        number = run_greedy(good, bad, np.ones(4), np.ones(4, bool), need, 0, chosen)
        orders = (p[:n] for n in range(1, 5) for p in permutations(range(4), n))
        possible = any(covers(right, painted, order) for order in orders)
        solvable += possible
        reached += number > 0
        wrong += number > 0 and not covers(right, painted, tuple(chosen[:number].tolist()))
    return wrong, solvable, reached


def as_bits(cells: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """Rows of up to 64 cells as words."""
    weights = np.uint64(1) << np.arange(cells.shape[1], dtype=np.uint64)
    return np.where(cells, weights, np.uint64(0)).sum(1, keepdims=True).astype(np.uint64)


def covers(right: NDArray[np.bool_], painted: NDArray[np.bool_], order: tuple[int, ...]) -> bool:
    """Whether pieces, the first on top, show every cell rightly."""
    shown = np.full(right.shape[1], -1)
    for piece in order:
        free = painted[piece] & (shown < 0)
        shown[free] = right[piece, free]
    return bool((shown == 1).all())


class Corpus(Config):
    """No settings."""


def corpus(config: Corpus, run: Run) -> Metrics:
    """Count the training tasks."""
    content = data.arc(run.data)
    tasks = [Task.from_dict(task, id=id) for id, task in content.items()]
    shown = [len(task.train) for task in tasks]
    pairs = [pair for task in tasks for pair in (*task.train, *task.test)]
    grids = [pair.input for pair in pairs] + [p.output for p in pairs if p.output is not None]
    same = [all(p.output is not None and p.input.shape == p.output.shape for p in task.train)
            for task in tasks]  # fmt: skip
    return {
        "tasks": len(tasks),
        "test_grids": sum(len(task.test) for task in tasks),
        "demonstrations_mean": statistics.fmean(shown),
        "demonstrations_median": statistics.median(shown),
        "largest_side": max(max(grid.shape) for grid in grids),
        "symbols": len(set().union(*(np.unique(grid).tolist() for grid in grids))),
        "keep_size": 100 * sum(same) / len(same),
    }


class Quantities(Config):
    """The toy language's search."""

    most: float = 8.0
    """Longest program looked at, bits."""


SUCC = Function("succ", ("number",), "number", lambda n: n + 1)
DOUBLE = Function("double", ("number",), "number", lambda n: 2 * n)
NUMBERS = Language("number", (SUCC, DOUBLE))
"""succ, double and x: three choices, so log2(3) = 1.585 bits a node."""


def program(*names: str) -> Expression:
    """Functions one after another on x, the last applied first."""
    made = Expression("x")
    for name in reversed(names):
        made = Expression(name, (made,))
    return made


def quantities(config: Quantities, run: Run) -> Metrics:
    """Planted programs recovered; GD, P, E and I against values worked out by hand."""
    node = math.log2(3)
    programs = NUMBERS.programs(config.most)
    planted = [p for bits, p in programs if bits > node]
    lost = 0
    for one in planted:
        wanted = [NUMBERS.run(one, x) for x in (3, 5, 11)]
        same = [p for _, p in programs if [NUMBERS.run(p, x) for x in (3, 5, 11)] == wanted]
        lost += not same or NUMBERS.bits(same[0]) > NUMBERS.bits(one) + 1e-9
    errors = hand_errors(config.most, node, run)
    way = Curriculum(probability=1.0, difficulty=0.5, priors=0.25, experience=0.25)
    scope = [ScopeTask(1.0, 0.8, (way,)), ScopeTask(2.0, 1.0, (way, way))]
    errors["intelligence_error"] = abs(intelligence(scope) - (0.8 + 4.0) / 2)
    return errors | {
        "planted": len(planted),
        "not_recovered": lost,
        "kraft": sum(2.0**-bits for bits, _ in programs),
    }


def hand_errors(most: float, node: float, run: Run) -> Metrics:
    """Distances of GD, P and E of toy tasks from values worked out by hand.

    Sol is succ(double(x)), three nodes of log2(3) bits.
    """
    odd, known = program("succ", "double"), program("double")
    evaluation = ((3, 7), (5, 11))

    def of(*curriculum: tuple[int, int], system: tuple[Expression, ...] = ()) -> Measured:
        return measure(NUMBERS, ToyTask(curriculum, evaluation), most=most, system=system)

    honest, useless = of((3, 7), (4, 9)), of((3, 7), (3, 7))
    able, half = of((3, 7), system=(odd,)), of((3, 7), system=(known,))
    # 2 -> 3 is done by succ(x), which is no part of Sol: nothing is shared. 1 -> 2 is done by
    # double(x) first: as a word it leaves two nodes with four choices each.
    shortcut, near = of((2, 3)), of((1, 2))
    # Within two nodes: x (1/3), succ(x) and double(x) (1/9 each); 3 -> 4 leaves succ(x) alone.
    pinned = measure(NUMBERS, ToyTask(((3, 4),), ((3, 4), (5, 6))), most=2 * node)
    for name, value in (("H(Sol)", honest.h_solution), ("GD after a shortcut", near.difficulty),
                        ("P, double(x) known", half.priors), ("E", pinned.experience)):  # fmt: skip
        run.note(f"{name}: {value}")
    shared = 4 / (3 * node)
    return {
        "gd_error": max(
            abs(honest.difficulty), abs(shortcut.difficulty - 1), abs(near.difficulty - shared)
        ),
        "priors_error": max(
            abs(able.priors - 1), abs(honest.priors), abs(half.priors - (1 - shared))
        ),
        "experience_error": max(
            abs(pinned.experience - math.log2(5) / (2 * node)),
            abs(useless.experience - of((3, 7)).experience),
            abs(able.experience),
        ),
    }


class Toys(Search):
    """Made-up tasks in place of the corpus."""

    set: str = "toys"
    """Not read: the tasks are made."""
    per_rule: PositiveInt = 5
    """Tasks of each of the twelve planted rules."""
    depth: int = 2
    """Most functions one after another."""
    budget: float = 0.0
    """CPU seconds a task; 0: no limit, so that the run repeats exactly."""
    nodes: int = 20_000
    """Joint states a task."""


def toys(config: Toys, run: Run) -> Metrics:
    """Solve tasks whose rule is planted; needs no data."""
    tasks = toy_tasks(config.per_rule, numpy_rng(run, "toys"))
    log = open_log(config, run, tasks)
    search(config, run, tasks, log)
    evaluation, metrics = scores(tasks, log, config.attempts)
    run.note(str(evaluation))
    kept = ("solved_1", "solved_2", "fitting_but_wrong")
    return {name: metrics[name] for name in kept} | spent(log.records.values()) | {
        "reruns_differ": reruns_that_differ(tasks, log, evaluation.solved),
    }  # fmt: skip
