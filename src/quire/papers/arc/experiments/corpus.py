"""The training tasks, counted (section III.1)."""

import statistics

import numpy as np

from quire import data
from quire.lab import Config, Metrics, Run
from quire.papers.arc.tasks import Task


def corpus(config: Config, run: Run) -> Metrics:
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
