"""The scores with one solver on a set of tasks: at growing budgets, and without its parts."""

from pathlib import Path

from pydantic import NonNegativeInt

from quire.lab import Metrics, Run
from quire.papers.arc.experiments.searching import (
    SolverSettings,
    mean_costs,
    open_log,
    score,
    search,
)
from quire.papers.arc.experiments.sets import SetName, choose_tasks, count_scored


class Budgets(SolverSettings):
    """Which tasks, and what the solver may do; the held-back quarter is left out."""

    set: SetName = "development-third"
    """Part of the training tasks; with -third, a third for each seed."""
    folder: Path | None = None
    """Folder or file of tasks of your own, in place of the set."""
    solutions: Path | None = None
    """Kaggle's file of the folder's test outputs."""
    first: NonNegativeInt = 0
    """Only so many tasks, in the order of their ids; 0: all."""


def budgets(config: Budgets, run: Run) -> Metrics:
    """Search the tasks that the config names; scores, states and times."""
    tasks = choose_tasks(
        run, config.set, folder=config.folder, solutions=config.solutions, first=config.first
    )
    log = open_log(config, run, tasks)
    search(config, run, tasks, log)
    count_scored(run, tasks, config.set, folder=config.folder)
    evaluation, metrics = score(tasks, log, config.attempts)
    run.note(str(evaluation))
    return metrics | mean_costs(log.records.values())
