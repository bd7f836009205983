"""Scoring: how many tasks and outputs are solved with k attempts, and which answers mislead.

A test grid is solved when one of its first k attempts equals it, size included; a task when all of
its test grids are. There is no partial credit (Chollet, 2019, section III.1: three trials;
ARC Prize: two). A duplicate uses up an attempt and brings nothing.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Protocol

from quire.papers.arc.tasks import Grid, Task, same_grid


class Answer(Protocol):
    """What is scored: one grid a test input, and how many demonstrations are explained."""

    @property
    def outputs(self) -> Sequence[Grid]: ...

    @property
    def fits(self) -> int: ...


@dataclass(frozen=True)
class Attempt:
    """One attempt at a task: a grid for each test input, and what is known about it.

    Args:
        outputs: A grid for each test input.
        fits: How many demonstrations it explains.
        program: The program as text that can be run again.
        steps: The same for a reader, a step a line.
        bits: The program's length.
        score: Its rank; higher is better.
    """

    outputs: tuple[Grid, ...]
    fits: int = 0
    program: str = ""
    steps: tuple[str, ...] = ()
    bits: float = 0.0
    score: float = 0.0


@dataclass(frozen=True)
class Evaluation:
    """Scores of a set of tasks with `attempts` a test grid.

    Args:
        attempts: How many attempts at a test grid count.
        tasks: How many tasks there are.
        outputs: How many test grids they ask for.
        solved: Ids of the tasks solved.
        outputs_solved: How many test grids are solved.
        fitting_but_wrong: Ids of unsolved tasks with an attempt that fits every demonstration.
        answered: Ids of the tasks with any attempt.
        strata: By property and class, tasks solved and tasks in all.
    """

    attempts: int
    tasks: int
    outputs: int
    solved: tuple[str, ...]
    outputs_solved: int
    fitting_but_wrong: tuple[str, ...]
    answered: tuple[str, ...]
    strata: dict[str, dict[str, tuple[int, int]]]

    @property
    def solved_percent(self) -> float:
        """Tasks solved, %; nan where there is no task."""
        return _percent(len(self.solved), self.tasks)

    @property
    def outputs_percent(self) -> float:
        """Test grids solved, %; nan where there is none."""
        return _percent(self.outputs_solved, self.outputs)

    def __str__(self) -> str:
        return (
            f"solved {len(self.solved)} of {self.tasks} tasks ({self.solved_percent:.1f} %), "
            f"{self.outputs_solved} of {self.outputs} outputs ({self.outputs_percent:.1f} %), "
            f"wrong but fitting {len(self.fitting_but_wrong)}, attempts {self.attempts}"
        )


def evaluate(
    predictions: Mapping[str, Sequence[Answer]], tasks: Mapping[str, Task], attempts: int = 2
) -> Evaluation:
    """Score predictions by task id, best first; tasks without any count as unsolved.

    Only the first `attempts` of a task count. Raises ValueError for attempts below 1, a prediction
    for a task that is not among `tasks`, one with another number of grids than the task has test
    inputs, and a task whose test outputs are not known.

    Example:
        >>> import numpy as np
        >>> from quire.papers.arc import Attempt, Task, evaluate
        >>> pair = {"input": [[1, 0]], "output": [[0, 1]]}
        >>> task = Task.from_dict({"train": [pair], "test": [pair]}, id="mirror")
        >>> right = Attempt(outputs=(np.array([[0, 1]], np.int8),), fits=1)
        >>> print(evaluate({"mirror": [right]}, {"mirror": task}))
        solved 1 of 1 tasks (100.0 %), 1 of 1 outputs (100.0 %), wrong but fitting 0, attempts 2
    """
    if attempts < 1:
        raise ValueError(f"attempts must be at least 1, got {attempts}")
    check_ids(predictions, tasks)
    solved, misled, answered, right = [], [], [], 0
    for id, task in tasks.items():
        counted = list(predictions.get(id, ()))[:attempts]
        hits = [_hit(task, i, counted) for i in range(len(task.test))]
        right += sum(hits)
        if counted:
            answered.append(id)
        if all(hits):
            solved.append(id)
        elif any(attempt.fits == len(task.train) for attempt in counted):
            misled.append(id)
    return Evaluation(
        attempts=attempts,
        tasks=len(tasks),
        outputs=sum(len(task.test) for task in tasks.values()),
        solved=tuple(solved),
        outputs_solved=right,
        fitting_but_wrong=tuple(misled),
        answered=tuple(answered),
        strata=strata((replace(task, id=id) for id, task in tasks.items()), set(solved)),
    )


def check_ids(predictions: Mapping[str, Sequence[Answer]], tasks: Mapping[str, Task]) -> None:
    """Raise ValueError for a prediction for a task that is not among `tasks`."""
    stray = next((id for id in predictions if id not in tasks), None)
    if stray is not None:
        stem = str(stray).split(".")[0]  # a file's name in place of its task's
        near = [stem] if stem in tasks else get_close_matches(str(stray), tasks, 1)
        hint = f"; is {near[0]} meant?" if near else ""
        raise ValueError(f"a prediction for task {stray}, which is not among the tasks{hint}")


def strata(tasks: Iterable[Task], solved: set[str]) -> dict[str, dict[str, tuple[int, int]]]:
    """Tasks solved and tasks in all, by largest side, number of colours and of demonstrations.

    Properties are taken from what a solver sees: demonstrations and test inputs.
    """
    table: dict[str, dict[str, tuple[int, int]]] = {
        "largest side": {"1-9": (0, 0), "10-15": (0, 0), "16-30": (0, 0)},
        "colours": {"1-3": (0, 0), "4-5": (0, 0), "6-10": (0, 0)},
        "demonstrations": {"1-2": (0, 0), "3": (0, 0), "4+": (0, 0)},
    }
    for task in tasks:
        values = largest_side(task), colours(task), len(task.train)
        for classes, value in zip(table.values(), values, strict=True):
            name = next(name for name in classes if _belongs(value, name))
            won, total = classes[name]
            classes[name] = (won + (task.id in solved), total + 1)
    return table


def largest_side(task: Task) -> int:
    """The longest side of any grid that a solver sees."""
    return max(max(grid.shape) for grid in seen(task))


def colours(task: Task) -> int:
    """How many colours the grids that a solver sees have."""
    return len({int(colour) for grid in seen(task) for colour in grid.flat})


def seen(task: Task) -> list[Grid]:
    """The grids of a task without its test outputs."""
    outputs = [pair.output for pair in task.train if pair.output is not None]
    return [pair.input for pair in (*task.train, *task.test)] + outputs


def _hit(task: Task, place: int, counted: Sequence[Answer]) -> bool:
    truth = task.test[place].output
    if truth is None:
        raise ValueError(f"task {task.id}: the output of test[{place}] is not known")
    for attempt in counted:
        if len(attempt.outputs) != len(task.test):
            raise ValueError(f"task {task.id}: a prediction has {len(attempt.outputs)} grids for "
                             f"{len(task.test)} test inputs")  # fmt: skip
    return any(same_grid(attempt.outputs[place], truth) for attempt in counted)


def _belongs(value: int, name: str) -> bool:
    if name.endswith("+"):
        return value >= int(name[:-1])
    low, _, high = name.partition("-")
    return int(low) <= value <= int(high or low)


def _percent(part: int, whole: int) -> float:
    return 100 * part / whole if whole else math.nan
