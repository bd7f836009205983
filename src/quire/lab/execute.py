"""One job carried out in this process: lock, cache, seeds, signals, result."""

import contextlib
import json
import math
import os
import random
import signal
import threading
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import filelock
import numpy as np
import torch

from quire.data import DataMissing
from quire.lab import distributed
from quire.lab.checkpoint import random_state, set_random_state
from quire.lab.device import environment, peak_memory_mb, pick_device, reset_peak_memory
from quire.lab.errors import Diverged, Interrupted, MissingError, RunError, UserError
from quire.lab.files import write_atomically
from quire.lab.job import Job, Options, check_preset, load_experiment
from quire.lab.papers import find_experiment, find_paper
from quire.lab.progress import Progress
from quire.lab.run import Metrics, Run


@dataclass(frozen=True)
class Outcome:
    """How a job ended. `failed` is final (a NaN); `missing` lacks data or an extra."""

    job: Job
    status: Literal["done", "cached", "failed", "missing", "interrupted", "crashed"]
    directory: Path
    metrics: Metrics = field(default_factory=dict)
    reason: str = ""


def execute(job: Job, progress: Progress | None = None) -> Outcome:
    """Run a job, or take its finished result.

    Raises `UserError` for a mistake in the job, `MissingError` for missing data or extras,
    `Interrupted` after Ctrl-C or SIGTERM (the state is saved), and whatever the experiment raises,
    save that its `ValueError` becomes a `UserError` with the traceback in ``log.txt``.
    A run whose loss is not finite ends as `failed`; that is remembered like a result.
    """
    config = job.config()
    directory = job.directory
    if not job.options.fresh and (found := finished(job, directory)):
        return found
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to {directory}: {error.strerror}") from None
    with distributed.process_group(pick_device(job.options.device)) as device, _locked(directory):
        if not job.options.fresh and (found := finished(job, directory)):
            return found
        if job.options.fresh and distributed.rank() == 0:
            _clear(directory)
        distributed.barrier()
        threads = _threads(job.options, directory)
        with _isolated(job.seed, threads):
            write_json(directory / "config.json", config.model_dump(mode="json"))
            record = environment(device, threads) | {"experiment": job.label, "preset": job.preset}
            write_json(directory / "environment.json", record)
            run = Run(
                config, directory, seed=job.seed, device=device, data=job.options.data,
                progress=progress, checkpoint_seconds=job.options.checkpoint_seconds,
                tensorboard=job.options.tensorboard, stop_after=job.options.stop_after,
            )  # fmt: skip
            return _carry_out(job, run, record)


def _carry_out(job: Job, run: Run, record: dict[str, Any]) -> Outcome:
    function, _ = load_experiment(job.paper, job.experiment)
    reset_peak_memory(run.device)
    try:
        with _signals(run):
            metrics = _checked(job, function(run.config, run))
    except DataMissing as error:
        raise MissingError(str(error)) from None
    except ImportError as error:
        if "pip install" not in str(error):
            raise
        raise MissingError(str(error)) from None
    except ValueError as error:  # a value that only the experiment can judge: one line, no lost run
        with contextlib.suppress(OSError), (run.directory / "log.txt").open("a") as log:
            log.write(traceback.format_exc())
        where = run.directory / "log.txt"
        raise UserError(f"{_first_line(error)} (traceback in {where})") from error
    except Interrupted as error:
        run.note(str(error))
        raise
    except Diverged as error:
        run.note(str(error))
        write_json(run.directory / "failed.json", {"reason": str(error), "step": run.step})
        return Outcome(job, "failed", run.directory, reason=str(error))
    finally:
        run.close()
    if distributed.rank() == 0:
        cost = run.cost()
        spent = {
            "cpu_seconds": round(cost["cpu"], 2),
            "wall_seconds": round(cost["wall"], 2),
            "peak_memory_mb": round(peak_memory_mb(run.device), 1),
        }
        write_json(run.directory / "environment.json", record | spent)
        finite = {k: v if math.isfinite(v) else None for k, v in metrics.items()}
        result = {"job": _identity(job), "metrics": finite, "series": run.results}
        write_json(run.directory / "result.json", result)
    distributed.barrier()
    return Outcome(job, "done", run.directory, metrics)


def finished(job: Job, directory: Path) -> Outcome | None:
    """The outcome of a run that has ended in `directory`, or None."""
    if (path := directory / "result.json").is_file():
        metrics = json.loads(path.read_text(encoding="utf-8"))["metrics"]
        whole = {k: math.nan if v is None else float(v) for k, v in metrics.items()}
        return Outcome(job, "cached", directory, whole)
    if (path := directory / "failed.json").is_file():
        reason = json.loads(path.read_text(encoding="utf-8"))["reason"]
        return Outcome(job, "failed", directory, reason=reason)
    return None


def try_run(
    paper: str,
    experiment: str,
    *,
    arm: str | None = None,
    preset: str = "smoke",
    seed: int = 0,
    directory: Path,
    overrides: dict[str, Any] | None = None,
    **options: Any,
) -> Metrics:
    """Run one arm (the preset's first by default) under `directory` and return its metrics.

    Other keywords go to `Options`. Raises as `execute` does, and `RunError` where the run failed.
    """
    preset = check_preset(preset)
    arm = arm or find_experiment(find_paper(paper), experiment).arms_at(preset)[0]
    chosen = Options(runs=directory, **{"threads": 1, "data": data_root(), **options})
    outcome = execute(Job(paper, experiment, arm, preset, seed, overrides or {}, chosen))
    if outcome.status == "failed":
        raise RunError(outcome.reason)
    return outcome.metrics


def data_root() -> Path | None:
    """The folder that QUIRE_DATA names, absolute so that workers elsewhere find it."""
    named = os.environ.get("QUIRE_DATA")
    return Path(named).expanduser().resolve() if named else None


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def write_json(path: Path, content: Any) -> None:
    """Write JSON, whole or not at all."""
    if distributed.rank() == 0:
        text = json.dumps(content, indent=1, allow_nan=False, default=str)
        write_atomically(path, (text + "\n").encode())


def _identity(job: Job) -> dict[str, Any]:
    row = {k: getattr(job, k) for k in ("paper", "experiment", "arm", "preset", "seed")}
    return row | {"overrides": job.overrides}


def _checked(job: Job, metrics: Any) -> Metrics:
    declared = find_experiment(find_paper(job.paper), job.experiment).metrics
    if not isinstance(metrics, dict):
        raise TypeError(f"{job.paper}/{job.experiment} must return a dict of numbers")
    stray = sorted(set(metrics) - set(declared))
    if stray:
        raise ValueError(f"{job.paper}/{job.experiment} returned '{stray[0]}', which paper.toml "
                         "does not declare among its metrics")  # fmt: skip
    return {key: float(value) for key, value in metrics.items()}


def _threads(options: Options, directory: Path) -> int:
    # Sums depend on the number of threads: a resumed run keeps the one it was started with.
    if (directory / "checkpoint").is_dir():
        with contextlib.suppress(OSError, ValueError, KeyError):
            text = (directory / "environment.json").read_text(encoding="utf-8")
            return int(json.loads(text)["threads"])
    return options.threads or torch.get_num_threads()


def _clear(directory: Path) -> None:
    import shutil

    for path in directory.iterdir():
        if path.name == "lock":
            continue
        shutil.rmtree(path) if path.is_dir() else path.unlink()


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    if distributed.rank() > 0:
        yield
        return
    lock = filelock.FileLock(str(directory / "lock"))
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout:
        raise UserError(f"another process is at work in {directory}") from None
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _isolated(seed: int, threads: int) -> Iterator[None]:
    """Seed the global generators for the run; give the caller's back afterwards."""
    before, threads_before = random_state(), torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        yield
    finally:
        set_random_state(before)
        torch.set_num_threads(threads_before)


@contextlib.contextmanager
def _signals(run: Run) -> Iterator[None]:
    """Turn the first SIGINT or SIGTERM into a saved state; a second one stops at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    seen: list[int] = []

    def handle(number: int, frame: Any) -> None:
        if seen and number == signal.SIGINT:
            raise KeyboardInterrupt
        seen.append(number)
        why = "interrupted" if number == signal.SIGINT else "terminated"
        if not run.in_loop:
            raise Interrupted(f"{why} outside a loop; the same command resumes it")
        run.interrupt(why)

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def without_fresh(job: Job) -> Job:
    """The same job, allowed to take what a first try left: for a retry."""
    return replace(job, options=replace(job.options, fresh=False))
