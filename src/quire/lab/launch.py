"""Many jobs at once: over local processes, or over a Ray cluster. Neither changes a result."""

import contextlib
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from typing import Any

from quire.lab.errors import Interrupted, MissingError, UserError
from quire.lab.execute import Outcome, execute, finished, without_fresh
from quire.lab.extras import check_extras, install
from quire.lab.job import Job, cores
from quire.lab.papers import find_experiment, find_paper

Report = Callable[[Outcome, int, int], None]
"""Called with each outcome as it arrives, how many there are by now, and of how many."""

Watch = Callable[[Sequence[Job]], None]
"""Called about twice a second with the jobs at work."""

SENT_BACK = (
    "config.json",
    "environment.json",
    "result.json",
    "failed.json",
    "metrics.jsonl",
    "log.txt",
)


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

    Outcomes stand in the order of the jobs. A job waits for the runs that it stands on; those of
    an experiment that measures times run alone, after the others. A worker that dies costs its own
    job one retry, which resumes at the job's last checkpoint. After Ctrl-C or SIGTERM every worker
    saves its state, then `Interrupted` is raised.
    """
    if not jobs:
        return []
    queue = _Queue(jobs)
    outcomes = queue.take_finished()
    for done, outcome in enumerate(outcomes.values(), 1):
        if report:
            report(outcome, done, len(queue.jobs))
    if not queue.waiting:
        return [outcomes[index] for index in queue.asked]
    gpus = _gpus(jobs)
    count = max(1, min(workers or gpus or cores(), len(queue.waiting)))
    retried: set[int] = set()
    with _slots(count, jobs[0].options.threads or 1) as slots, _stopping() as stopped:
        busy: dict[Future[Outcome], tuple[int, int]] = {}
        while (queue.waiting or busy) and not stopped:
            for slot in set(range(count)) - {slot for slot, _ in busy.values()}:
                index = queue.take(outcomes, [index for _, index in busy.values()])
                if index is not None:
                    job = _on_gpu(queue.jobs[index], slot % gpus if gpus > 1 else None)
                    busy[slots[slot].submit(attempt, job)] = (slot, index)
            ended, _ = wait(busy, timeout=0.5, return_when=FIRST_COMPLETED)
            for future in ended:
                slot, index = busy.pop(future)
                try:
                    outcome = future.result()
                except BrokenProcessPool:
                    slots[slot] = _pool()
                    if index not in retried:
                        retried.add(index)
                        queue.put_back(index)
                        continue
                    job = queue.jobs[index]
                    outcome = Outcome(job, "crashed", job.directory, reason=WORKER_DIED)
                outcomes[index] = outcome
                if report:
                    report(outcome, len(outcomes), len(queue.jobs))
            if watch:
                watch([queue.jobs[index] for _, index in busy.values()])
        if stopped:
            wait(busy, timeout=60)
    if stopped or any(o.status == "interrupted" for o in outcomes.values()):
        raise Interrupted(f"interrupted after {len(outcomes)} of {len(queue.jobs)} runs; "
                          "the same command goes on from here")  # fmt: skip
    return [outcomes[index] for index in queue.asked]


WORKER_DIED = "its worker process died twice"


class _Queue:
    """Jobs that wait: parents before children, measurements of time alone and last."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.jobs, self.parents, self.asked = _ordered(jobs)
        self.alone = {i for i, job in enumerate(self.jobs) if _measures_time(job)}
        ordinary = [i for i in range(len(self.jobs)) if i not in self.alone]
        self.waiting = [*ordinary, *sorted(self.alone)]

    def take_finished(self) -> dict[int, Outcome]:
        """Outcomes of runs that ended before: no worker need be started for them."""
        found = {}
        for index in tuple(self.waiting):
            job = self.jobs[index]
            with contextlib.suppress(UserError):  # its worker says what is wrong with it
                outcome = None if job.options.fresh else finished(job, job.directory)
                if outcome is not None:
                    found[index] = outcome
                    self.waiting.remove(index)
        return found

    def take(self, outcomes: Mapping[int, Outcome], busy: Sequence[int]) -> int | None:
        """The next job that may start beside those that are at work, if there is one."""
        if any(index in self.alone for index in busy):
            return None
        for index in self.waiting:
            if index in self.alone and busy:
                return None
            if all(parent in outcomes for parent in self.parents[index]):
                self.waiting.remove(index)
                return index
        return None

    def put_back(self, index: int) -> None:
        """Let a job go first, to resume where its last checkpoint stands."""
        self.jobs[index] = without_fresh(self.jobs[index])
        self.waiting.insert(0, index)


def _ordered(jobs: Sequence[Job]) -> tuple[list[Job], list[list[int]], list[int]]:
    """All runs with those that they stand on, each one's parents, and where `jobs` are in it.

    A job whose names or config are wrong has no parents: its worker says what is wrong.
    """
    everything: list[Job] = []
    parents: list[list[int]] = []
    places: dict[Path, int] = {}

    def add(job: Job) -> int:
        try:
            work = job.resolved
        except UserError:
            everything.append(job)
            parents.append([])
            return len(everything) - 1
        if work.directory not in places:
            needed = [add(parent) for parent in work.parents.values()]
            places[work.directory] = len(everything)
            everything.append(job)
            parents.append(needed)
        return places[work.directory]

    asked = [add(job) for job in jobs]
    return everything, parents, asked


def _measures_time(job: Job) -> bool:
    experiment = find_experiment(find_paper(job.paper), job.experiment)
    return job.preset != "smoke" and bool(experiment.timings)


def run_ray(jobs: Sequence[Job], *, report: Report | None = None) -> list[Outcome]:
    """Run `jobs` on a Ray cluster: the one at RAY_ADDRESS, else one started here.

    A worker that dies in the middle costs its own job one retry. What the runs left (save their
    checkpoints) comes back into the local runs folder, so no shared disk is needed; with one, a
    retried job resumes instead of starting again. Raises `MissingError` without the extra `ray`.
    """
    check_extras(("ray",))
    try:
        import ray
    except ImportError:
        raise MissingError(f"ray is not installed; get it with: {install('ray')}") from None
    if not jobs:
        return []
    if not ray.is_initialized():
        # "local", since with no address Ray joins whatever cluster was started here last.
        address = os.environ.get("RAY_ADDRESS") or "local"
        local: dict[str, Any] = {"num_cpus": cores(), "include_dashboard": False}
        settings = local if address == "local" else {}
        ray.init(address=address, log_to_driver=False, configure_logging=False, **settings)
    gpus = 1 if _gpus(jobs) else 0
    threads = jobs[0].options.threads or 1
    remote = ray.remote(num_cpus=threads, num_gpus=gpus, max_retries=1)(_attempt_and_pack)
    everything, parents, asked = _ordered([_absolute(job) for job in jobs])
    references: list[Any] = []
    for job, needed in zip(everything, parents, strict=True):
        # What a run stands on is handed to it as it ends, so no shared disk is needed.
        references.append(remote.remote(job, *(references[parent] for parent in needed)))
    index_of = {reference: index for index, reference in enumerate(references)}
    waiting = list(references)
    outcomes: dict[int, Outcome] = {}
    while waiting:
        ready, waiting = ray.wait(waiting, num_returns=1)
        index = index_of[ready[0]]
        try:
            outcome, files = ray.get(ready[0])
            _unpack(outcome.directory, files)
        except ray.exceptions.RayError as error:
            reason = f"its Ray worker died twice ({type(error).__name__})"
            outcome = Outcome(everything[index], "crashed", Path(), reason=reason)
        outcomes[index] = outcome
        if report:
            report(outcome, len(outcomes), len(everything))
    return [outcomes[index] for index in asked]


def _attempt_and_pack(
    job: Job, *parents: tuple[Outcome, dict[str, bytes]]
) -> tuple[Outcome, dict[str, bytes]]:
    for outcome, files in parents:
        _unpack(outcome.directory, files)
    outcome = attempt(without_fresh(job) if _was_retried() else job)
    folder = outcome.directory
    paths = [folder / name for name in SENT_BACK]
    paths += [*folder.glob("figures/*"), *folder.glob("kept/*"), *folder.glob("exhibits/*/*")]
    files = {str(p.relative_to(folder)): p.read_bytes() for p in sorted(paths) if p.is_file()}
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
