"""The tasks of a set, counted (section III.1)."""

import statistics

import numpy as np

from quire.lab import Config, Metrics, Run
from quire.papers.arc.experiments.sets import SetName, choose_tasks


class Corpus(Config):
    """Which tasks."""

    set: SetName = "training"
    """What is counted."""


def corpus(config: Corpus, run: Run) -> Metrics:
    """Count the tasks of a set."""
    tasks = choose_tasks(run, config.set).values()
    shown = [len(task.train) for task in tasks]
    pairs = [pair for task in tasks for pair in (*task.train, *task.test)]
    grids = [pair.input for pair in pairs] + [p.output for p in pairs if p.output is not None]
    same = [all(p.output is not None and p.input.shape == p.output.shape for p in task.train)
            for task in tasks]  # fmt: skip
    return {
        "tasks": len(tasks),
        "test_grids": sum(len(task.test) for task in tasks),
        "demonstrations": sum(shown),
        "demonstrations_mean": statistics.fmean(shown),
        "demonstrations_median": statistics.median(shown),
        "largest_side": max(max(grid.shape) for grid in grids),
        "symbols": len(set().union(*(np.unique(grid).tolist() for grid in grids))),
        "keep_size": 100 * sum(same) / len(same),
    }
