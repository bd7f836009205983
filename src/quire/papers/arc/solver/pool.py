"""A solver over many tasks: processes, a log line a task, resume.

Only blind tasks are sent to the processes that solve: test outputs are never in their memory. A
process that dies costs the task it was at work on and nothing else.
"""

import json
import multiprocessing
import os
import resource
import signal
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Protocol, Self

from quire.papers.arc.evaluate import Attempt, seen
from quire.papers.arc.submission import replace_file
from quire.papers.arc.tasks import Task, as_grid, data_hash


class Solves(Protocol):
    """A solver as the pool uses it; `quire.papers.arc.Solver` is one."""

    statistics: Any

    def solve(self, task: Task) -> Sequence[Any]:
        """Predictions, best first, each with `outputs`, `program`, `score` and `fits` (a count)."""
        ...


MakeSolver = Callable[[], Solves]
"""What each process builds its solver with: a function that can be pickled, such as
`functools.partial(Solver, budget=3.0)`."""


@dataclass(frozen=True)
class Record:
    """What became of one task.

    Args:
        task: Its id.
        attempts: The answers, best first.
        statistics: What the solver counted.
        error: Why it failed; empty where it did not.
    """

    task: str
    attempts: tuple[Attempt, ...] = ()
    statistics: dict[str, Any] = field(default_factory=dict)
    error: str = ""

    def to_line(self) -> str:
        """One line of JSON."""
        rows = [asdict(attempt) | {"outputs": [grid.tolist() for grid in attempt.outputs]}
                for attempt in self.attempts]  # fmt: skip
        return json.dumps(asdict(self) | {"attempts": rows}, default=float)

    @classmethod
    def from_line(cls, line: str) -> Self:
        """Raises ValueError where the line is not one of `to_line`'s."""
        try:
            content = json.loads(line)
            attempts = tuple(
                Attempt(**row | {
                    "outputs": tuple(as_grid(grid) for grid in row["outputs"]),
                    "steps": tuple(row["steps"]),
                })
                for row in content.pop("attempts")
            )  # fmt: skip
            return cls(attempts=attempts, **content)
        except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
            raise ValueError(f"not a record of a task: {error}") from None


class TaskLog:
    """Records by task, kept as lines of JSON in a file; what stands there is not solved again.

    path: the file, None to keep nothing. settings: what decides the records (budget, data); the
    file's first line holds them. Raises ValueError where the file was written with others.
    """

    def __init__(self, path: Path | None, settings: Mapping[str, Any]) -> None:
        self.path = path
        self.records: dict[str, Record] = {}
        self._head = json.dumps({"settings": settings}, sort_keys=True)
        if path is not None and path.is_file():
            self._read(path)
        elif path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._append(self._head)

    def missing(self, tasks: Mapping[str, Task]) -> dict[str, Task]:
        """The tasks without a record."""
        return {id: task for id, task in tasks.items() if id not in self.records}

    def add(self, record: Record) -> None:
        """Keep a record, on disk before this returns."""
        self.records[record.task] = record
        self._append(record.to_line())

    def attempts(self) -> dict[str, tuple[Attempt, ...]]:
        """All attempts by task."""
        return {id: record.attempts for id, record in self.records.items()}

    def state_dict(self) -> dict[str, Any]:
        """The records as lines."""
        return {"lines": [record.to_line() for record in self.records.values()]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Add what the file does not hold."""
        for line in state["lines"]:
            record = Record.from_line(line)
            if record.task not in self.records:
                self.add(record)

    def _read(self, path: Path) -> None:
        lines = path.read_text(encoding="utf-8").split("\n")
        if lines[0] != self._head:
            raise ValueError(f"{path} was written with other settings or data; name another file "
                             "or move it away")  # fmt: skip
        whole = lines[1:-1]
        if lines[-1]:  # a process that was killed while it wrote leaves half a line
            replace_file(path, "".join(line + "\n" for line in [lines[0], *whole]))
        for line in whole:
            record = Record.from_line(line)
            self.records[record.task] = record

    def _append(self, line: str) -> None:
        if self.path is not None:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
                file.flush()
                os.fsync(file.fileno())


def predicted_cost(task: Task) -> int:
    """Cells of all grids that a solver sees: what a step over them costs."""
    return sum(grid.size for grid in seen(task))


def solve_each(
    tasks: Iterable[Task], make_solver: MakeSolver, *, workers: int = 2, limit: float | None = None
) -> Generator[Record, None, None]:
    """Records as they come, the costliest tasks first; `workers` processes.

    A task whose solver raises, or whose process dies, gives a record with `error` and no attempts.
    Closing the iterator ends the processes.

    Args:
        tasks: What to solve.
        make_solver: What each process builds its solver with.
        workers: How many processes.
        limit: Wall seconds after which a task is given up and its process killed; None: no limit.

    Raises ValueError where the solver cannot be built.
    """
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    waiting = sorted(tasks, key=lambda task: (predicted_cost(task), task.id))
    size = min(workers, len(waiting))
    crew = [_Worker(make_solver)] if waiting else []
    try:
        while True:
            for place, worker in enumerate(crew):
                if worker.task is None and waiting:
                    crew[place] = worker.give(waiting.pop())
            busy = {worker.connection: worker for worker in crew if worker.task is not None}
            if not busy:
                return
            for ready in wait(list(busy), timeout=None if limit is None else 0.1):
                record = busy[ready].take()  # type: ignore[index]
                if record is not None:
                    yield record
                else:  # ready: what it had to compile is on disk now, so the others need not
                    crew += [_Worker(make_solver) for _ in range(size - len(crew))]
            for worker in crew:
                if limit is not None and worker.task is not None and worker.spent() > limit:
                    yield worker.give_up(f"given up after {limit:g} s of wall time")
    finally:
        for worker in crew:
            worker.end()


def count_run(path: Path, tasks: Mapping[str, Task], name: str) -> int:
    """Note that a set was scored: how often it was so far, by data hash, in a small JSON file."""
    try:
        table = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        entry = table.setdefault(data_hash(tasks), {"set": name, "runs": 0})
        entry["runs"] += 1
    except (ValueError, RecursionError, AttributeError, KeyError, TypeError):
        raise ValueError(f"{path} is not a count of evaluation runs; move it away") from None
    replace_file(path, json.dumps(table, indent=1) + "\n")
    return int(entry["runs"])


class _Worker:
    """A process with a solver, and the task it is at work on."""

    def __init__(self, make_solver: MakeSolver) -> None:
        # Spawned, not forked: a fork would carry the test outputs along in its memory.
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.make_solver = make_solver
        self.process = context.Process(target=_work, args=(theirs, make_solver), daemon=True)
        self.process.start()
        theirs.close()
        self.task: str | None = None
        self._began, self._ready = 0.0, False

    def give(self, task: Task) -> "_Worker":
        """Send a task; gives the worker that has it, a new one where this one has died."""
        try:
            self.connection.send((task.id, task.blind().to_dict()))
        except OSError:
            self.end()
            return _Worker(self.make_solver).give(task)
        self.task, self._began = task.id, time.monotonic()
        return self

    def spent(self) -> float:
        """Wall seconds on the task; 0 while the solver is being built."""
        return time.monotonic() - self._began if self._ready else 0.0

    def take(self) -> Record | None:
        """The answer to the task, or what became of the process; None if it is only ready now."""
        assert self.task is not None
        try:
            kind, text = self.connection.recv()
        except (EOFError, OSError):
            self.process.join(5)
            return self.give_up(f"its process died ({_how(self.process.exitcode)})")
        if kind == "ready":
            self._ready, self._began = True, time.monotonic()
            return None
        if kind == "broken":
            raise ValueError(text)
        record = Record.from_line(text) if kind == "record" else Record(self.task, error=text)
        self.task = None
        return record

    def give_up(self, why: str) -> Record:
        """A record of failure; the process is ended."""
        assert self.task is not None
        record, self.task = Record(self.task, error=why), None
        self.end()
        return record

    def end(self) -> None:
        self.connection.close()
        self.process.kill()
        self.process.join()


def _how(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        return signal.Signals(-exit_code).name
    return f"exit code {exit_code}"


def _work(connection: Connection, make_solver: MakeSolver) -> None:
    """The process: build a solver, then answer blind tasks until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent to handle
    try:
        solver = make_solver()
        compile_kernels = getattr(solver, "compile", None)
        if compile_kernels is not None:
            compile_kernels()
    except Exception as error:
        connection.send(("broken", f"the solver cannot be built: {_first_line(error)}"))
        return
    connection.send(("ready", ""))
    while True:
        try:
            id, content = connection.recv()
        except EOFError:
            return
        connection.send(_answer(solver, Task.from_dict(content, id=id)))


def _answer(solver: Solves, task: Task) -> tuple[str, str]:
    try:
        attempts = tuple(as_attempt(prediction) for prediction in solver.solve(task))
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        statistics = dict(solver.statistics) | {"peak_memory_mb": memory}
        return "record", Record(task.id, attempts, statistics).to_line()
    except Exception as error:
        return "error", f"{type(error).__name__}: {_first_line(error)}"


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "")


def as_attempt(prediction: Any) -> Attempt:
    """A solver's prediction as plain data that can be kept in a file."""
    program = prediction.program
    return Attempt(
        outputs=tuple(prediction.outputs),
        fits=int(prediction.fits),
        program=program.to_text(),
        steps=tuple(program.steps),
        bits=float(program.bits),
        score=float(prediction.score),
    )
