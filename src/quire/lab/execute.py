"""One job carried out in this process: lock, cache, seeds, signals, result."""

import contextlib
import json
import math
import os
import random
import shutil
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
from quire.lab.device import (
    OtherWork,
    environment,
    peak_memory_mb,
    pick_device,
    pick_threads,
    reset_peak_memory,
)
from quire.lab.errors import Diverged, Interrupted, MissingError, RunError, UserError
from quire.lab.extras import versions_of
from quire.lab.files import write_atomically
from quire.lab.job import Job
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
    """Run a job, or take its finished result; the runs that it stands on come first.

    Raises `UserError` for a mistake in the job, `MissingError` for missing data or extras,
    `Interrupted` after Ctrl-C or SIGTERM (the state is saved). What the experiment itself raises
    becomes one line, with the traceback in ``log.txt``: a `UserError` for its `ValueError`, a
    `RunError` for anything else. A run whose loss is not finite ends as `failed`; that is
    remembered like a result.
    """
    work = job.resolved
    directory = work.directory
    if not job.options.fresh and (found := finished(job, directory)):
        return found
    for parent in work.parents.values():
        done = execute(without_fresh(parent), progress)
        if done.status == "failed":
            raise RunError(f"{job.label} stands on {parent.label}, which failed: {done.reason}")
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to {directory}: {error.strerror}") from None
    with distributed.process_group(pick_device(job.options.device)) as device, _locked(directory):
        if not job.options.fresh and (found := finished(job, directory)):
            return found
        if job.options.fresh and distributed.rank() == 0:
            _set_aside(directory)
        distributed.barrier()
        threads = pick_threads(job.options.threads, device)
        with _isolated(job.seed, threads):
            write_json(directory / "config.json", work.config.model_dump(mode="json"))
            record = environment(device, threads) | {
                "processes": distributed.world_size(), "experiment": job.label,
                "preset": job.preset,
            }  # fmt: skip
            if work.experiment.needs:
                record["packages"] = versions_of(work.experiment.needs)
            write_json(directory / "environment.json", record)
            run = Run(
                work.config, directory, seed=job.seed, device=device, data=job.options.data,
                before={name: parent.directory for name, parent in work.parents.items()},
                options=job.options, progress=progress,
            )  # fmt: skip
            return _carry_out(job, run, record)


def _carry_out(job: Job, run: Run, record: dict[str, Any]) -> Outcome:
    reset_peak_memory(run.device)
    others = OtherWork()
    try:
        with _signals(run):
            metrics = _checked(job, job.resolved.function(run.config, run))
    except Diverged as error:
        run.note(str(error))
        write_json(run.directory / "failed.json", {"reason": str(error), "step": run.step})
        return Outcome(job, "failed", run.directory, reason=str(error))
    except Interrupted as error:
        run.note(str(error))
        raise
    except UserError:
        raise
    except DataMissing as error:
        raise MissingError(str(error)) from None
    except Exception as error:
        if run.stopping:  # some C code turns the interrupt that it meets into an error of its own
            raise Interrupted(f"{run.stopping}; the same command resumes it") from error
        if isinstance(error, ImportError) and "pip install" in str(error):
            raise MissingError(str(error)) from None
        # One line for the user; what a developer needs is not lost.
        where = run.directory / "log.txt"
        with contextlib.suppress(OSError), where.open("a", encoding="utf-8") as log:
            log.write(traceback.format_exc())
        # A value that only the experiment can judge is the user's; anything else stopped the run.
        kind, what = (UserError, "") if isinstance(error, ValueError) else (RunError, _name(error))
        raise kind(f"{what}{_first_line(error)} (traceback in {where})") from error
    finally:
        run.close()
    if distributed.rank() == 0:
        cost = run.cost()
        spent = {
            "cpu_seconds": round(cost["cpu"], 2),
            "wall_seconds": round(cost["wall"], 2),
            "peak_memory_mb": round(peak_memory_mb(run.device), 1),
            "busy": others.cores(),
        }
        write_json(run.directory / "environment.json", record | spent)
        finite = {k: v if math.isfinite(v) else None for k, v in metrics.items()}
        result = {"job": _identity(job), "metrics": finite, "series": run.results}
        write_json(run.directory / "result.json", result)
        shutil.rmtree(run.directory / PREVIOUS, ignore_errors=True)
    distributed.barrier()
    return Outcome(job, "done", run.directory, metrics)


def finished(job: Job, directory: Path) -> Outcome | None:
    """The outcome of a run that has ended in `directory`, or None.

    A file that cannot be read is set aside as ``….damaged`` and the run counts as not ended.
    """
    if (result := _ending(directory / "result.json", "metrics")) is not None:
        whole = {k: math.nan if v is None else float(v) for k, v in result["metrics"].items()}
        return Outcome(job, "cached", directory, whole)
    if (failure := _ending(directory / "failed.json", "reason")) is not None:
        return Outcome(job, "failed", directory, reason=str(failure["reason"]))
    return None


def _ending(path: Path, key: str) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    with contextlib.suppress(ValueError):  # malformed JSON, or not UTF-8
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content, dict) and key in content:
            return content
    path.replace(path.with_name(f"{path.name}.damaged"))
    return None


def data_root() -> Path | None:
    """The folder that QUIRE_DATA names, absolute so that workers elsewhere find it."""
    named = os.environ.get("QUIRE_DATA")
    return Path(named).expanduser().resolve() if named else None


def _name(error: Exception) -> str:
    return f"{type(error).__name__}: "


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
    declared = job.resolved.experiment.metrics
    if not isinstance(metrics, dict):
        raise UserError(f"{job.paper}/{job.experiment} must return a dict of numbers, "
                        f"not {type(metrics).__name__}")  # fmt: skip
    stray = sorted(set(metrics) - set(declared))
    if stray:
        raise UserError(f"{job.paper}/{job.experiment} returned '{stray[0]}', which its TOML does "
                        "not declare among the metrics")  # fmt: skip
    return {key: float(value) for key, value in metrics.items()}


PREVIOUS = "previous"
"""Where the files of a run stand that is run afresh, until the new one has ended."""


def _set_aside(directory: Path) -> None:
    aside = directory / PREVIOUS
    if (directory / "result.json").is_file():
        shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(exist_ok=True)
    for path in directory.iterdir():
        if path.name in ("lock", PREVIOUS):
            continue
        if (aside / path.name).exists():  # left by a fresh run that did not end: that one is kept
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        else:
            path.replace(aside / path.name)


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
        run.interrupt(why)
        if not run.in_loop:
            raise Interrupted(f"{why} outside a loop; the same command resumes it")

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def without_fresh(job: Job) -> Job:
    """The same job, allowed to take what a first try left: for a retry."""
    return replace(job, options=replace(job.options, fresh=False))
