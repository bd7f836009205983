"""Predicting the size of the test outputs from the size of the inputs."""

from pathlib import Path

from quire.lab import Config, Metrics, Run
from quire.papers.arc.experiments.sets import SetName, choose_tasks, count_scored
from quire.papers.arc.solver.solver import predict_sizes


class Sizes(Config):
    """Which tasks."""

    set: SetName = "development-third"
    """Part of the training tasks; with -third, a third for each seed."""
    folder: Path | None = None
    """Folder or file of tasks of your own, in place of the set."""
    solutions: Path | None = None
    """Kaggle's file of the folder's test outputs."""


def sizes(config: Sizes, run: Run) -> Metrics:
    """How often the first, or one of the first three, predicted sizes is the test output's."""
    tasks = choose_tasks(run, config.set, folder=config.folder, solutions=config.solutions)
    count_scored(run, tasks, config.set, folder=config.folder)
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
