"""Searching a set of tasks with the solver, and what is measured of it: shared apparatus."""

import contextlib
import multiprocessing
import statistics
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt

from quire.lab import Config, Metrics, Run
from quire.papers.arc.evaluate import Evaluation, evaluate
from quire.papers.arc.solver.pool import Record, TaskLog, solve_each
from quire.papers.arc.tasks import Task, data_hash, same_grid


class SolverSettings(Config):
    """The solver's settings, and how many processes search."""

    budget: NonNegativeFloat = 3.0
    """CPU seconds a task; 0: no limit."""
    nodes: NonNegativeInt = 0
    """Joint states a task, which repeats exactly as seconds do not; 0: no limit."""
    depth: Annotated[int, Field(ge=1, le=4)] = 3
    """Most functions one after another."""
    stacking: bool = True
    """Put partial outputs together."""
    colours: bool = True
    """Also search with colours renamed to a task's own order."""
    flips: bool = True
    """Also search the transposed task."""
    dedupe: bool = True
    """Look at equal joint states once."""
    attempts: PositiveInt = 2
    """Attempts a test grid that count for the printed line and the gallery."""
    workers: NonNegativeInt = 0
    """Processes; 0: as many as the run has threads."""


def solver_arguments(config: SolverSettings) -> dict[str, Any]:
    """The solver's keyword arguments."""
    return config.model_dump(include={"depth", "stacking", "colours", "flips", "dedupe"}) | {
        "budget": config.budget or None,
        "nodes": config.nodes or None,
        "attempts": max(3, config.attempts),
    }


def open_log(config: SolverSettings, run: Run, tasks: Mapping[str, Task]) -> TaskLog:
    """The run's `tasks.jsonl`, with what an earlier start left there."""
    return TaskLog(
        run.directory / "tasks.jsonl", solver_arguments(config) | {"data": data_hash(tasks)}
    )


def search(config: SolverSettings, run: Run, tasks: Mapping[str, Task], log: TaskLog) -> None:
    """Solve the tasks that the log lacks, one step a task in the order they are finished."""
    from quire.papers.arc.solver.solver import Solver

    make_solver = partial(Solver, **solver_arguments(config))
    workers = config.workers or torch.get_num_threads()
    records = None
    with contextlib.ExitStack() as stack:
        for _ in run.steps(len(tasks), state=(log,), name="tasks"):
            if records is None:  # only now the records of an earlier start are back in the log
                records = solve_each(log.missing(tasks).values(), make_solver, workers=workers)
                stack.enter_context(contextlib.closing(records))
            record = next(records, None)
            if record is not None:
                log.add(record)
                # The run counts its own process alone; the work is done in others.
                run.spent["cpu"] += record.statistics.get("seconds", 0.0)
            run.log(fitting=measure_fitting(tasks, log.records.values()))
    for record in log.records.values():
        if record.error:
            run.note(f"task {record.task}: {record.error}")


def measure_fitting(tasks: Mapping[str, Task], records: Iterable[Record]) -> float:
    """Of the tasks searched, those with an attempt that fits every demonstration, %."""
    found = [
        any(attempt.fits == len(tasks[record.task].train) for attempt in record.attempts)
        for record in records
    ]
    return 100 * sum(found) / max(1, len(found))


def score(tasks: Mapping[str, Task], log: TaskLog, attempts: int) -> tuple[Evaluation, Metrics]:
    """The evaluation with `attempts`, and the metrics with one, two and three."""
    found = log.attempts()
    by_count = {k: evaluate(found, tasks, k) for k in {1, 2, 3, attempts}}
    metrics: Metrics = {}
    for k in (1, 2, 3):
        metrics[f"solved_{k}"] = by_count[k].solved_percent
        metrics[f"outputs_{k}"] = by_count[k].outputs_percent
    metrics["fitting_but_wrong"] = 100 * len(by_count[2].fitting_but_wrong) / max(1, len(tasks))
    return by_count[attempts], metrics


def mean_costs(records: Iterable[Record]) -> Metrics:
    """Means of states and seconds a task, median of the rate while searching."""
    rows = [record.statistics for record in records if record.statistics]
    rates = [r["states"] / r["search_seconds"] for r in rows if r["search_seconds"] > 0]
    return {
        "states": statistics.fmean(row["states"] for row in rows) if rows else 0.0,
        "seconds": statistics.fmean(row["seconds"] for row in rows) if rows else 0.0,
        "states_per_second": statistics.median(rates) if rates else 0.0,
    }


def count_differing_reruns(tasks: Mapping[str, Task], log: TaskLog, ids: Iterable[str]) -> int:
    """Attempts at the tasks `ids` whose program gives other grids in a fresh process."""
    asked = [
        (tasks[id].blind(), attempt.program, attempt.outputs)
        for id in ids
        for attempt in log.records[id].attempts
    ]
    if not asked:
        return 0
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as fresh:
        outputs = list(fresh.map(_rerun, [(task, program) for task, program, _ in asked]))
    return sum(
        not all(same_grid(a, b) for a, b in zip(before, again, strict=True))
        for (_, _, before), again in zip(asked, outputs, strict=True)
    )


def _rerun(asked: tuple[Task, str]) -> tuple[Any, ...]:
    from quire.papers.arc.solver.program import Program

    task, text = asked
    return tuple(Program.from_text(text).run(task))


def numpy_generator(run: Run, name: str) -> np.random.Generator:
    """A NumPy generator that follows from the run's seed."""
    return np.random.default_rng(int(torch.randint(2**62, (1,), generator=run.rng(name))))
