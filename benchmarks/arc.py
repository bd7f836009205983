"""Race of the ARC solver against the 2020 winner's C++ program at its depth 2, training tasks.

`quire bench arc`, or alone: `python benchmarks/arc.py`. QUIRE_ICECUBER names a checkout of
top-quarks/ARC-solution, compiled: in `src/runner.cpp` set `sample_dir` to "training", then `make`.
QUIRE_RACE_TASKS takes the first so many tasks that are not held back. One process of either side
at a time, task by task in turn. CPU seconds are those of whole processes, start and imports
included.

Both programs were written by people who looked at training tasks: the peer's author had solved 100
of them by hand. What the figures say about other tasks is little.
"""

import json
import os
import resource
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from quire import data
from quire.papers.arc import Attempt, Program, Record, Solver, Task, evaluate, solve_each
from quire.papers.arc.submission import FILLER
from quire.papers.arc.tasks import as_grid, id_number, is_held_back, same_grid

BUDGETS = (0.5, 3.0)
DEPTH = 2
"""The peer's depth."""


def main() -> dict[str, Any]:
    """Solved tasks a CPU minute at two budgets of ours."""
    content = data.arc()
    ids = sorted(content)
    if few := int(os.environ.get("QUIRE_RACE_TASKS", "0")):
        ids = [id for id in ids if not is_held_back(id)][:few]
    tasks = {id: Task.from_dict(content[id], id=id) for id in ids}
    folder = os.environ.get("QUIRE_ICECUBER")
    if not folder:
        return {"races": [], "missing": "top-quarks/ARC-solution (set QUIRE_ICECUBER)"}
    if not (Path(folder) / "run").is_file():
        return {"races": [], "missing": f"{folder}/run (compile it with make)"}
    peer = Peer(Path(folder), content)
    races = []
    for budget in BUDGETS:
        ours = run_ours(tasks, budget, peer)
        parity = reruns(tasks, ours)
        entry: dict[str, Any] = {
            "name": f"{len(tasks)} training tasks, ours at {budget:g} s, peer at depth {DEPTH}",
            "unit": "tasks solved a CPU minute, two attempts",
            "goal": 1.0,
            "parity": parity,
            "parity_test": "our stored programs give the same grids when run again; both sides' "
            "answers are scored by the same evaluator",
            "solved": {"ours": counts(tasks, ours.attempts), "peer": counts(tasks, peer.attempts)},
            "cpu_seconds": {"ours": sum(ours.cpu.values()), "peer": sum(peer.cpu.values())},
            "memory_mb": {"ours": ours.memory, "peer": peer.memory},
            "note": "the quartiles are over three disjoint thirds of the tasks",
        }
        if parity:
            entry |= {side: rate(tasks, run) for side, run in (("ours", ours), ("peer", peer))}
            entry["ratio"] = entry["ours"]["median"] / entry["peer"]["median"]
        races.append(entry)
    return {"races": races}


class Side:
    """What one side answered, CPU seconds by task, and its largest memory, MB."""

    def __init__(self) -> None:
        self.attempts: dict[str, Sequence[Attempt]] = {}
        self.cpu: dict[str, float] = {}
        self.memory = 0.0


class Peer(Side):
    """The C++ program: it is called once for each test grid and writes up to three answers."""

    def __init__(self, folder: Path, content: Mapping[str, Any]) -> None:
        super().__init__()
        self.folder = folder
        # Its numbers: test grids of the files in the order in which the directory lists them.
        listed = [name.removesuffix(".json") for name in os.listdir(folder / "dataset/training")]
        names = [(id, place) for id in listed for place in range(len(content[id]["test"]))]
        self.number = {name: number for number, name in enumerate(names)}

    def solve(self, task: Task) -> None:
        """Answer a task that was not answered yet."""
        if task.id in self.attempts:
            return
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        grids = [self._one(task.id, place) for place in range(len(task.test))]
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.cpu[task.id] = cpu(after) - cpu(before)
        most = max(map(len, grids))
        padded = [[*rows, *[FILLER] * (most - len(rows))] for rows in grids]
        self.attempts[task.id] = [Attempt(outputs) for outputs in zip(*padded, strict=True)]

    def _one(self, id: str, place: int) -> list[Any]:
        number = self.number[id, place]
        answer = self.folder / "output" / f"answer_{number}_{DEPTH}.csv"
        answer.parent.mkdir(exist_ok=True)
        answer.unlink(missing_ok=True)
        process = subprocess.Popen(
            ["./run", str(number), str(DEPTH)], cwd=self.folder,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        _, _, used = os.wait4(process.pid, 0)
        process.returncode = 0  # it was waited for above
        self.memory = max(self.memory, used.ru_maxrss / 1024)
        if not answer.is_file():
            return []
        head, *lines = answer.read_text().splitlines()
        if head != f"{id}_{place}":
            raise ValueError(f"{answer.name} is for {head}, not {id}_{place}: other data?")
        rows = [line.split()[0].strip("|").split("|") for line in lines]
        return [as_grid([[int(c) for c in row] for row in grid]) for grid in rows]


def run_ours(tasks: Mapping[str, Task], budget: float, peer: Peer) -> Side:
    """Our answers, one process; after each the peer gets its turn at the same task."""
    side = Side()
    before = cpu(resource.getrusage(resource.RUSAGE_CHILDREN))
    known = sum(peer.cpu.values())
    for record in solve_each(tasks.values(), partial(Solver, budget=budget), workers=1):
        side.attempts[record.task] = record.attempts
        side.cpu[record.task] = seconds(record)
        side.memory = max(side.memory, record.statistics.get("peak_memory_mb", 0.0))
        peer.solve(tasks[record.task])
    whole = cpu(resource.getrusage(resource.RUSAGE_CHILDREN)) - before
    whole -= sum(peer.cpu.values()) - known
    start = max(0.0, whole - sum(side.cpu.values()))  # imports, loading of kernels
    side.cpu = {id: spent + start / len(tasks) for id, spent in side.cpu.items()}
    return side


def seconds(record: Record) -> float:
    """CPU seconds of a task as the solver counts them."""
    return float(record.statistics.get("seconds", 0.0))


def cpu(used: resource.struct_rusage) -> float:
    """User and system seconds."""
    return used.ru_utime + used.ru_stime


def counts(tasks: Mapping[str, Task], attempts: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """Tasks and outputs solved with one, two and three attempts."""
    table = {}
    for k in (1, 2, 3):
        scored = evaluate(attempts, tasks, k)
        table[f"{k} attempts"] = {"tasks": len(scored.solved), "outputs": scored.outputs_solved}
    return table


def rate(tasks: Mapping[str, Task], side: Side) -> dict[str, float]:
    """Tasks solved a CPU minute with two attempts; the quartiles are over thirds of the tasks."""

    def of(part: Mapping[str, Task]) -> float:
        solved = evaluate({id: side.attempts[id] for id in part}, part, 2).solved
        return 60 * len(solved) / max(1e-9, sum(side.cpu[id] for id in part))

    parts = [{id: t for id, t in tasks.items() if id_number(id) % 3 == k} for k in range(3)]
    low, _, high = statistics.quantiles([of(part) for part in parts if part], n=4)
    return {"median": of(tasks), "q1": low, "q3": high}


def reruns(tasks: Mapping[str, Task], side: Side) -> bool:
    """Whether our programs, read from text, give the grids that were answered."""
    return all(
        same_grid(ours, again)
        for id, attempts in side.attempts.items()
        for attempt in attempts
        for ours, again in zip(
            attempt.outputs, Program.from_text(attempt.program).run(tasks[id].blind()), strict=True
        )
    )


if __name__ == "__main__":
    print(json.dumps(main(), indent=1))
