"""Experiments with the solver on the corpus: scores, budgets, ablations, sizes."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from quire.lab import Config, Metrics, Run
from quire.papers.arc.evaluate import Attempt, Evaluation, evaluate
from quire.papers.arc.experiments_common import (
    Search,
    chosen_tasks,
    open_log,
    reruns_that_differ,
    scores,
    search,
    spent,
)
from quire.papers.arc.figures import anytime_curve, draw_anytime, draw_solved, draw_strata
from quire.papers.arc.gallery import write_gallery
from quire.papers.arc.pool import Record, TaskLog, count_run
from quire.papers.arc.submission import write_submission
from quire.papers.arc.tasks import Task, data_hash, is_held_back, load, same_grid

TRAINING = "58599ab594750bd7f44ec796aee539fd7f3acfbc89ad50b2f9aba042b39e26c2"
"""`data_hash` of the 400 training tasks."""


class Solve(Search):
    """Which tasks, and how long each may take."""


def solve(config: Solve, run: Run) -> Metrics:
    """Search every task, score it, write submissions and a gallery.

    What is not solved yet when the run is stopped is left out of `submission.json`; what is, is
    there.
    """
    tasks = chosen_tasks(config, run)
    log = open_log(config, run, tasks)
    try:
        search(config, run, tasks, log)
    finally:
        for name in ("submission.json", "submission.csv"):
            write_submission(run.directory / name, log.attempts(), tasks)
    used = spent(log.records.values())
    total = used["seconds"] * len(tasks)
    if not all(task.has_outputs for task in tasks.values()):
        write_gallery(run.directory / "gallery", tasks, log.records, title=_title(config))
        run.note(f"{len(tasks)} tasks without known outputs: nothing is scored, {total:.0f} CPU s")
        return used
    _count(config, run, tasks)
    evaluation, metrics = scores(tasks, log, config.attempts)
    write_gallery(
        run.directory / "gallery", tasks, log.records, evaluation,
        title=_title(config), attempts=config.attempts,
    )  # fmt: skip
    run.note(f"{evaluation}, {total:.0f} CPU s in all")
    run.note(f"gallery: {run.directory / 'gallery' / 'index.html'}")
    _draw(run, tasks, log, evaluation)
    return metrics | used | _splits(tasks, log, config.attempts) | {
        "reruns_differ": reruns_that_differ(tasks, log, evaluation.solved),
        "failed": sum(bool(record.error) for record in log.records.values()),
    }  # fmt: skip


def _searched(config: Search, run: Run) -> Metrics:
    """Search the tasks that the config names; scores, states and times."""
    tasks = chosen_tasks(config, run)
    log = open_log(config, run, tasks)
    search(config, run, tasks, log)
    evaluation, metrics = scores(tasks, log, config.attempts)
    run.note(str(evaluation))
    return metrics | spent(log.records.values())


class Budgets(Search):
    """How the scores grow with time; the held-back quarter is left out."""

    set: str = "development-third"
    """As in `solve`."""


def budgets(config: Budgets, run: Run) -> Metrics:
    """The scores at one budget a task."""
    return _searched(config, run)


class Ablations(Search):
    """The solver without one of its parts, all with as many joint states."""

    set: str = "development-third"
    """As in `solve`."""
    budget: float = 0.0
    """CPU seconds a task; 0: no limit, so that the comparison repeats exactly."""
    nodes: int = 30_000
    """Joint states a task."""


def ablations(config: Ablations, run: Run) -> Metrics:
    """The scores of one arm at a budget of joint states."""
    return _searched(config, run)


class Sizes(Config):
    """Predicting the size of the test outputs."""

    set: str = "development-third"
    """As in `solve`."""


def sizes(config: Sizes, run: Run) -> Metrics:
    """How often the first, or one of the first three, predicted sizes is the test output's."""
    from quire.papers.arc.solver import predict_sizes

    tasks = chosen_tasks(Search(set=config.set), run)
    first = three = none = outputs = 0
    for task in tasks.values():
        for pair, ranked in zip(task.test, predict_sizes(task.blind()), strict=True):
            assert pair.output is not None
            first += pair.output.shape in ranked[:1]
            three += pair.output.shape in ranked[:3]
            none += not ranked
            outputs += 1
    return {
        "first_right": 100 * first / outputs,
        "first_three_right": 100 * three / outputs,
        "no_rule": 100 * none / outputs,
    }


def _title(config: Search) -> str:
    name = config.set if "/" not in config.set else Path(config.set).name
    limit = f"{config.budget:g} s" if config.budget else f"{config.nodes:,} states"
    return f"ARC: {name}, {limit} a task"


def _count(config: Search, run: Run, tasks: Mapping[str, Task]) -> None:
    """Count how often a set other than the training tasks was scored."""
    if not Path(config.set).exists() or data_hash(load(config.set)) == TRAINING:
        return
    # <runs>/arc/solve/<preset>/<arm>/<run>: one count for all runs of the paper.
    times = count_run(run.directory.parents[3] / "evaluation-runs.json", tasks, config.set)
    run.note(f"{config.set} was scored {times} times so far (data {data_hash(tasks)[:12]})")


def _splits(tasks: Mapping[str, Task], log: TaskLog, attempts: int) -> Metrics:
    """Solved, %, of the tasks to develop on and of those held back; nan where there are none."""

    def rate(ids: Iterable[str]) -> float:
        part = {id: tasks[id] for id in ids}
        found = {id: a for id, a in log.attempts().items() if id in part}
        return evaluate(found, part, attempts).solved_percent

    return {
        "development": rate(id for id in tasks if not is_held_back(id)),
        "held_back": rate(id for id in tasks if is_held_back(id)),
    }


def _draw(run: Run, tasks: Mapping[str, Task], log: TaskLog, evaluation: Evaluation) -> None:
    solved = [log.records[id] for id in evaluation.solved]
    for unit in ("seconds", "states"):
        x, y = anytime_curve(solved, len(tasks), f"found_at_{unit}")
        name = "anytime" if unit == "seconds" else "anytime_states"
        run.series(name, x, y, x_label=f"{unit} a task", y_label="tasks solved, %")
    run.figure("anytime", draw_anytime(*anytime_curve(solved, len(tasks), "found_at_seconds")))
    run.figure("strata", draw_strata(evaluation.strata))
    shown = solved[:: max(1, len(solved) // 8)][:8]
    run.figure("solved", draw_solved([(tasks[r.task], _right(tasks[r.task], r)) for r in shown]))


def _right(task: Task, record: Record) -> Attempt:
    """The attempt that solves a task's first test."""
    right = (a for a in record.attempts if same_grid(a.outputs[0], task.test[0].output))
    return next(right, record.attempts[0])
