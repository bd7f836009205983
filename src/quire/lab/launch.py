"""Many jobs at once: over local processes, or over a Ray cluster. Neither changes a result."""

import contextlib
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from typing import Any

from quire.lab.errors import Interrupted, MissingError, UserError
from quire.lab.execute import Outcome, execute, without_fresh
from quire.lab.job import Job, check_extras, cores

Report = Callable[[Outcome, int, int], None]
"""Called with each outcome as it arrives, how many there are by now, and of how many."""

Watch = Callable[[Sequence[Job]], None]
"""Called about twice a second with the jobs at work."""

KEPT = ("config.json", "environment.json", "result.json", "failed.json", "metrics.jsonl", "log.txt")


def attempt(job: Job) -> Outcome:
    """Execute a job and turn every ending into an outcome: for workers."""
    try:
        return execute(job)
    except Interrupted as error:
        return Outcome(job, "interrupted", job.directory, reason=str(error))
    except MissingError as error:
        return Outcome(job, "missing", Path(), reason=str(error))
    except UserError as error:
        return Outcome(job, "crashed", _directory(job), reason=str(error))
    except Exception as error:
        with contextlib.suppress(OSError), (job.directory / "log.txt").open("a") as file:
            file.write(traceback.format_exc())
        reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        return Outcome(job, "crashed", job.directory, reason=f"{reason} (see log.txt)")


def _directory(job: Job) -> Path:
    try:
        return job.directory
    except UserError:  # a config that cannot be built has no folder
        return Path()


def run_local(
    jobs: Sequence[Job],
    *,
    workers: int | None = None,
    report: Report | None = None,
    watch: Watch | None = None,
) -> list[Outcome]:
    """Run `jobs` in local processes, as many as there are cores (GPUs) unless told otherwise.

    Outcomes stand in the order of the jobs. A worker that dies costs its own job one retry, which
    resumes at the job's last checkpoint. After Ctrl-C or SIGTERM every worker saves its state,
    then `Interrupted` is raised.
    """
    if not jobs:
        return []
    gpus = _gpus(jobs)
    count = max(1, min(workers or gpus or cores(), len(jobs)))
    threads = max(1, cores() // count)
    jobs = [_with_threads(job, threads) for job in jobs]
    waiting = list(enumerate(jobs))[::-1]
    outcomes: dict[int, Outcome] = {}
    retried: set[int] = set()
    with _slots(count, threads) as slots, _stopping() as stopped:
        busy: dict[Future[Outcome], tuple[int, int]] = {}
        while (waiting or busy) and not stopped:
            for slot in set(range(count)) - {slot for slot, _ in busy.values()}:
                if waiting:
                    index, job = waiting.pop()
                    job = _on_gpu(job, slot % gpus if gpus > 1 else None)
                    busy[slots[slot].submit(attempt, job)] = (slot, index)
            done, _ = wait(busy, timeout=0.5, return_when=FIRST_COMPLETED)
            for future in done:
                slot, index = busy.pop(future)
                try:
                    outcome = future.result()
                except BrokenProcessPool:
                    slots[slot] = _pool()
                    if index not in retried:
                        retried.add(index)
                        waiting.append((index, without_fresh(jobs[index])))
                        continue
                    reason = "its worker process died twice"
                    outcome = Outcome(jobs[index], "crashed", jobs[index].directory, reason=reason)
                outcomes[index] = outcome
                if report:
                    report(outcome, len(outcomes), len(jobs))
            if watch:
                watch([jobs[index] for _, index in busy.values()])
        if stopped:
            wait(busy, timeout=60)
    if stopped or any(o.status == "interrupted" for o in outcomes.values()):
        raise Interrupted(f"interrupted after {len(outcomes)} of {len(jobs)} runs; "
                          "the same command goes on from here")  # fmt: skip
    return [outcomes[index] for index in sorted(outcomes)]


def run_ray(
    jobs: Sequence[Job], *, report: Report | None = None, threads: int = 1
) -> list[Outcome]:
    """Run `jobs` on a Ray cluster: the one at RAY_ADDRESS, else one started here.

    A worker that dies in the middle costs its own job one retry. What the runs left (save their
    checkpoints) comes back into the local runs folder, so no shared disk is needed; with one, a
    retried job resumes instead of starting again. Raises `MissingError` without the extra `ray`.
    """
    check_extras(("ray",))
    try:
        import ray
    except ImportError:
        raise MissingError("ray is not installed; get it with: pip install 'quire[ray]'") from None
    if not jobs:
        return []
    if not ray.is_initialized():
        address = os.environ.get("RAY_ADDRESS")
        local: dict[str, Any] = {} if address else {"num_cpus": cores(), "include_dashboard": False}
        ray.init(address=address, log_to_driver=False, configure_logging=False, **local)
    gpus = 1 if _gpus(jobs) else 0
    remote = ray.remote(num_cpus=threads, num_gpus=gpus, max_retries=1)(_attempt_and_pack)
    jobs = [_with_threads(_absolute(job), threads) for job in jobs]
    index_of = {remote.remote(job): index for index, job in enumerate(jobs)}
    waiting = list(index_of)
    outcomes: dict[int, Outcome] = {}
    while waiting:
        ready, waiting = ray.wait(waiting, num_returns=1)
        index = index_of[ready[0]]
        try:
            outcome, files = ray.get(ready[0])
            _unpack(outcome.directory, files)
        except ray.exceptions.RayError as error:
            reason = f"its Ray worker died twice ({type(error).__name__})"
            outcome = Outcome(jobs[index], "crashed", Path(), reason=reason)
        outcomes[index] = outcome
        if report:
            report(outcome, len(outcomes), len(jobs))
    return [outcomes[index] for index in range(len(jobs))]


def _attempt_and_pack(job: Job) -> tuple[Outcome, dict[str, bytes]]:
    outcome = attempt(without_fresh(job) if _was_retried() else job)
    folder = outcome.directory
    paths = [folder / name for name in KEPT] + sorted(folder.glob("figures/*"))
    files = {str(p.relative_to(folder)): p.read_bytes() for p in paths if p.is_file()}
    return outcome, files if folder != Path() else {}


def _was_retried() -> bool:
    import ray

    # A retried task keeps its id; Ray counts its attempts from zero.
    return bool(getattr(ray.get_runtime_context(), "get_task_attempt_number", lambda: 0)())


def _unpack(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        path = folder / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def _absolute(job: Job) -> Job:
    return replace(job, options=replace(job.options, runs=job.options.runs.resolve()))


def _with_threads(job: Job, threads: int) -> Job:
    chosen = job.options.threads or threads
    return replace(job, options=replace(job.options, threads=chosen))


def _gpus(jobs: Sequence[Job]) -> int:
    import torch

    from quire.lab.device import pick_device

    is_cuda = pick_device(jobs[0].options.device).type == "cuda"
    return torch.cuda.device_count() if is_cuda else 0


def _on_gpu(job: Job, index: int | None) -> Job:
    if index is None or job.options.device not in ("auto", "cuda"):
        return job
    return replace(job, options=replace(job.options, device=f"cuda:{index}"))


def _pool() -> ProcessPoolExecutor:
    # One process a pool: when it dies, only its own job is affected.
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(1, mp_context=context, initializer=_ignore_ctrl_c)


def _ignore_ctrl_c() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a run that is at work has its own handler


@contextlib.contextmanager
def _slots(count: int, threads: int) -> Iterator[list[ProcessPoolExecutor]]:
    before = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    os.environ.update(dict.fromkeys(before, str(threads)))
    slots = [_pool() for _ in range(count)]
    try:
        yield slots
    finally:
        for slot in slots:
            slot.shutdown(wait=True, cancel_futures=True)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _stopping() -> Iterator[list[int]]:
    """A list that fills when this process is asked to stop; the workers are told as well."""
    stopped: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield stopped
        return

    def handle(number: int, frame: Any) -> None:
        stopped.append(number)
        for child in multiprocessing.active_children():
            child.terminate()  # SIGTERM: a run that is at work saves its state first

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
