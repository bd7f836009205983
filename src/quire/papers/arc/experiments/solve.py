"""The solver on a set of tasks: submission files, a gallery, scores, figures."""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import NonNegativeInt

from quire.lab import Metrics, Run
from quire.papers.arc.evaluate import Attempt, Evaluation, evaluate
from quire.papers.arc.experiments.figures import (
    anytime_curve,
    draw_anytime,
    draw_solved,
    draw_strata,
)
from quire.papers.arc.experiments.searching import (
    SolverSettings,
    count_differing_reruns,
    mean_costs,
    open_log,
    score,
    search,
)
from quire.papers.arc.experiments.sets import (
    SetName,
    choose_tasks,
    count_scored,
    is_ours,
    name_set,
)
from quire.papers.arc.gallery.gallery import write_gallery
from quire.papers.arc.solver.pool import Record, TaskLog
from quire.papers.arc.submission import write_submission
from quire.papers.arc.tasks import Task, is_held_back, same_grid

NO_SPLITS: Metrics = {"development": math.nan, "held_back": math.nan}
"""Rates on the splits of the training tasks, for other tasks."""


class Solve(SolverSettings):
    """Which tasks, and how long each may take."""

    set: SetName = "training-third"
    """Part of the training tasks; with -third, a third for each seed."""
    folder: Path | None = None
    """Folder or file of tasks of your own, in place of the set."""
    solutions: Path | None = None
    """Kaggle's file of the folder's test outputs."""
    first: NonNegativeInt = 0
    """Only so many tasks, in the order of their ids; 0: all."""


def solve(config: Solve, run: Run) -> Metrics:
    """Search every task, score it, write submissions and a gallery.

    What is not solved yet when the run is stopped is left out of `submission.json`; what is, is
    there.
    """
    tasks = choose_tasks(
        run, config.set, folder=config.folder, solutions=config.solutions, first=config.first
    )
    log = open_log(config, run, tasks)
    try:
        search(config, run, tasks, log)
    finally:
        for name in ("submission.json", "submission.csv"):
            write_submission(run.directory / name, log.attempts(), tasks)
    used = mean_costs(log.records.values())
    total = used["seconds"] * len(tasks)
    if not all(task.has_outputs for task in tasks.values()):
        write_gallery(run.directory / "gallery", tasks, log.records, title=_title(config))
        run.note(f"{len(tasks)} tasks without known outputs: nothing is scored, {total:.0f} CPU s")
        return used
    count_scored(run, tasks, config.set, folder=config.folder)
    ours = is_ours(config.set, config.folder)
    evaluation, metrics = score(tasks, log, config.attempts)
    looked_at = {id: t for id, t in tasks.items() if not (ours and is_held_back(id))}
    write_gallery(
        run.directory / "gallery", looked_at, log.records, evaluation,
        title=_title(config), attempts=config.attempts,
    )  # fmt: skip
    run.note(f"{evaluation}, {total:.0f} CPU s in all")
    run.note(f"gallery: {run.directory / 'gallery' / 'index.html'}")
    _draw(run, tasks, log, evaluation, looked_at)
    splits = _score_splits(tasks, log, config.attempts) if ours else NO_SPLITS
    return metrics | used | splits | {
        "reruns_differ": count_differing_reruns(tasks, log, evaluation.solved),
        "failed": sum(bool(record.error) for record in log.records.values()),
    }  # fmt: skip


def _title(config: Solve) -> str:
    limit = f"{config.budget:g} s" if config.budget else f"{config.nodes:,} states"
    return f"ARC: {name_set(config.set, config.folder)}, {limit} a task"


def _score_splits(tasks: Mapping[str, Task], log: TaskLog, attempts: int) -> Metrics:
    """Solved, %, of the tasks to develop on and of those held back; nan where there are none."""

    def rate(ids: Iterable[str]) -> float:
        part = {id: tasks[id] for id in ids}
        found = {id: a for id, a in log.attempts().items() if id in part}
        return evaluate(found, part, attempts).solved_percent

    return {
        "development": rate(id for id in tasks if not is_held_back(id)),
        "held_back": rate(id for id in tasks if is_held_back(id)),
    }


def _draw(
    run: Run,
    tasks: Mapping[str, Task],
    log: TaskLog,
    evaluation: Evaluation,
    looked_at: Mapping[str, Task],
) -> None:
    """Curves of all tasks; of `looked_at` alone examples are shown."""
    solved = [log.records[id] for id in evaluation.solved]
    for unit in ("seconds", "states"):
        x, y = anytime_curve(solved, len(tasks), f"found_at_{unit}")
        name = "anytime" if unit == "seconds" else "anytime_states"
        run.series(name, x, y, x_label=f"{unit} a task", y_label="tasks solved, %")
    run.figure("anytime", draw_anytime(*anytime_curve(solved, len(tasks), "found_at_seconds")))
    run.figure("strata", draw_strata(evaluation.strata))
    shown = [record for record in solved if record.task in looked_at]
    shown = shown[:: max(1, len(shown) // 8)][:8]
    run.figure(
        "solved", draw_solved([(tasks[r.task], _find_right(tasks[r.task], r)) for r in shown])
    )


def _find_right(task: Task, record: Record) -> Attempt:
    """The attempt that solves a task's first test."""
    right = (a for a in record.attempts if same_grid(a.outputs[0], task.test[0].output))
    return next(right, record.attempts[0])
