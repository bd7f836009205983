"""The scorer and the files against brute force, the stacker against every order of pieces."""

from itertools import permutations

import numpy as np
from numpy.typing import NDArray
from pydantic import PositiveInt

from quire.lab import Config, Metrics, Run
from quire.papers.arc.evaluate import Attempt, evaluate
from quire.papers.arc.experiments.searching import numpy_generator
from quire.papers.arc.solver.stacking import greedy, kernel
from quire.papers.arc.submission import read_submission, write_submission
from quire.papers.arc.tasks import Pair, Task


class Identities(Config):
    """How many random cases of each check."""

    cases: PositiveInt = 400
    """Random tasks for the scorer; a tenth of them goes through the files."""
    stacks: PositiveInt = 300
    """Random small stacking problems."""


def identities(config: Identities, run: Run) -> Metrics:
    """The scorer and the files against brute force, the stacker against every order of pieces."""
    generator = numpy_generator(run, "identities")
    tasks, found = draw_answers(config.cases, generator)
    wrong = 0
    for attempts in (1, 2, 3):
        scored = evaluate(found, tasks, attempts)
        for id, task in tasks.items():
            wrong += (id in scored.solved) != is_solved_by_hand(task, found[id][:attempts])
    few = dict(list(tasks.items())[: max(1, config.cases // 10)])
    kept = {id: found[id] for id in few}
    files = 0
    for suffix, attempts in ((".csv", 3), (".json", 2)):
        path = run.directory / f"round-trip{suffix}"
        write_submission(path, kept, few)
        again = evaluate(read_submission(path), few, attempts)
        files += again.solved != evaluate(kept, few, attempts).solved
    unsound, solvable, reached = count_stacks(config.stacks, generator)
    return {
        "scorer_differs": wrong,
        "files_differ": files,
        "stacks_wrong": unsound,
        "stacks_found": 100 * reached / max(1, solvable),
    }


def draw_answers(
    count: int, generator: np.random.Generator
) -> tuple[dict[str, Task], dict[str, list[Attempt]]]:
    """Tasks with one or two test grids, and up to four attempts that are often nearly right."""
    tasks: dict[str, Task] = {}
    found: dict[str, list[Attempt]] = {}
    for number in range(count):
        id = f"case{number}"
        truth = [
            generator.integers(0, 3, (2, 2)).astype(np.int8)
            for _ in range(generator.integers(1, 3))
        ]
        pairs = tuple(Pair(np.zeros((1, 1), np.int8), grid) for grid in truth)
        tasks[id] = Task(id, pairs[:1], pairs)
        found[id] = []
        for _ in range(generator.integers(0, 5)):
            outputs = []
            for grid in truth:
                kind = generator.integers(0, 4)
                shown = grid if kind < 2 else (grid[:1] if kind == 2 else (grid + 1) % 3)
                outputs.append(np.ascontiguousarray(shown, dtype=np.int8))
            found[id].append(Attempt(tuple(outputs), fits=bool(generator.integers(0, 2))))
        if found[id] and generator.integers(0, 2):
            found[id].insert(0, found[id][0])  # a duplicate uses up an attempt
    return tasks, found


def is_solved_by_hand(task: Task, attempts: list[Attempt]) -> bool:
    """The definition, cell by cell."""
    for place, pair in enumerate(task.test):
        assert pair.output is not None
        rows = pair.output.tolist()
        if not any(attempt.outputs[place].tolist() == rows for attempt in attempts):
            return False
    return True


def count_stacks(count: int, generator: np.random.Generator) -> tuple[int, int, int]:
    """Of random problems of four pieces and six cells: wrong stacks, solvable ones, solved ones."""
    run_greedy = kernel(greedy)
    wrong = solvable = reached = 0
    for _ in range(count):
        right = generator.random((4, 6)) < 0.45
        painted = right | (generator.random((4, 6)) < 0.15)
        good, bad = pack_bits(right), pack_bits(painted & ~right)
        need, chosen = pack_bits(np.ones((1, 6), bool))[0], np.zeros(4, np.int64)
        number = run_greedy(good, bad, np.ones(4), np.ones(4, bool), need, 0, chosen)
        orders = (p[:n] for n in range(1, 5) for p in permutations(range(4), n))
        possible = any(shows_all(right, painted, order) for order in orders)
        solvable += possible
        reached += number > 0
        wrong += number > 0 and not shows_all(right, painted, tuple(chosen[:number].tolist()))
    return wrong, solvable, reached


def pack_bits(cells: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """Rows of up to 64 cells as words."""
    weights = np.uint64(1) << np.arange(cells.shape[1], dtype=np.uint64)
    return np.where(cells, weights, np.uint64(0)).sum(1, keepdims=True).astype(np.uint64)


def shows_all(right: NDArray[np.bool_], painted: NDArray[np.bool_], order: tuple[int, ...]) -> bool:
    """Whether pieces, the first on top, show every cell rightly."""
    shown = np.full(right.shape[1], -1)
    for piece in order:
        free = painted[piece] & (shown < 0)
        shown[free] = right[piece, free]
    return bool((shown == 1).all())
