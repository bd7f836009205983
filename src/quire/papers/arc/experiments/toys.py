"""The solver on made-up tasks whose rules are planted: needs no data."""

from pydantic import PositiveInt

from quire.lab import Metrics, Run
from quire.papers.arc.experiments.planted import toy_tasks
from quire.papers.arc.experiments.searching import (
    SolverSettings,
    count_differing_reruns,
    mean_costs,
    numpy_generator,
    open_log,
    score,
    search,
)


class Toys(SolverSettings):
    """Made-up tasks in place of the corpus."""

    per_rule: PositiveInt = 5
    """Tasks of each of the twelve planted rules."""


def toys(config: Toys, run: Run) -> Metrics:
    """Solve tasks whose rule is planted; needs no data."""
    tasks = toy_tasks(config.per_rule, numpy_generator(run, "toys"))
    log = open_log(config, run, tasks)
    search(config, run, tasks, log)
    evaluation, metrics = score(tasks, log, config.attempts)
    run.note(str(evaluation))
    kept = ("solved_1", "solved_2", "fitting_but_wrong")
    return {name: metrics[name] for name in kept} | mean_costs(log.records.values()) | {
        "reruns_differ": count_differing_reruns(tasks, log, evaluation.solved),
    }  # fmt: skip
