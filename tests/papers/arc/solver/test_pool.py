import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from papers.arc.solver.standin import Mirror
from quire.papers.arc import Attempt, Record, Task, TaskLog, evaluate, solve_each
from quire.papers.arc.solver.pool import count_run, predicted_cost

PAIR = {"input": [[1, 0]], "output": [[0, 1]]}


def task(id, width=2):
    row = [[1] + [0] * (width - 1)]
    return Task.from_dict(
        {"train": [PAIR], "test": [{"input": row, "output": [row[0][::-1]]}]}, id=id
    )


def tasks(*ids):
    return {id: task(id) for id in ids}


def test_every_task_is_answered_and_nothing_leaks():
    known = tasks("a", "b", "c")
    records = {r.task: r for r in solve_each(known.values(), Mirror, workers=2)}
    assert set(records) == set(known)
    assert not any(record.error for record in records.values())
    scored = evaluate({id: r.attempts for id, r in records.items()}, known)
    assert scored.solved == ("a", "b", "c")
    statistics = records["a"].statistics
    assert (statistics["states"], statistics["found_at_states"]) == (8, None)
    assert statistics["peak_memory_mb"] > 5


def test_a_killed_process_a_raising_solver_and_a_slow_task_cost_themselves_only():
    known = tasks("a", "die1", "raise", "slow", "z", "die2", "b")
    records = {r.task: r for r in solve_each(known.values(), Mirror, workers=1, limit=1.5)}
    errors = {id: record.error for id, record in records.items() if record.error}
    assert errors == {
        "die1": "its process died (SIGKILL)",
        "die2": "its process died (SIGKILL)",
        "raise": "RuntimeError: two",
        "slow": "given up after 1.5 s of wall time",
    }
    assert all(len(records[id].attempts) == 1 for id in "abz")


def test_the_costliest_come_first(tmp_path):
    known = [task("small", 2), task("large", 30), task("middle", 9)]
    marks = tmp_path / "marks"
    order = [r.task for r in solve_each(known, partial(Mirror, str(marks)), workers=1)]
    assert order == marks.read_text().split() == ["large", "middle", "small"]
    assert predicted_cost(known[0]) == 6


def test_a_solver_that_cannot_be_built_is_one_line():
    with pytest.raises(ValueError, match=r"^the solver cannot be built: no compiler$"):
        list(solve_each([task("a")], partial(Mirror, broken=True), workers=1))
    with pytest.raises(ValueError, match="workers must be at least 1, got 0"):
        list(solve_each([task("a")], Mirror, workers=0))
    assert list(solve_each([], Mirror)) == []


def test_closing_ends_the_processes():
    records = solve_each(tasks("a", "slow").values(), Mirror, workers=2)
    assert next(records).task == "a"
    began = time.monotonic()
    records.close()
    assert time.monotonic() - began < 30
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
    if children.exists():
        names = [Path(f"/proc/{c}/cmdline").read_bytes() for c in children.read_text().split()]
        assert not any(b"spawn_main" in name for name in names)


def attempt(colour):
    return Attempt((np.array([[colour]], np.int8),), True, '"p"', ("one", "two"), 2.5, -2.5)


def same(a, b):
    return a.to_line() == b.to_line()


def test_a_log_is_read_again_and_finished_tasks_are_left_out(tmp_path):
    path = tmp_path / "runs" / "tasks.jsonl"
    log = TaskLog(path, {"budget": 3})
    log.add(Record("a", (attempt(1), attempt(2)), {"states": 5}))
    log.add(Record("b", error="gone"))
    again = TaskLog(path, {"budget": 3})
    assert list(again.missing(tasks("a", "b", "c"))) == ["c"]
    assert all(same(again.records[id], log.records[id]) for id in "ab")
    assert again.records["a"].attempts[1].steps == ("one", "two")
    with pytest.raises(ValueError, match="other settings or data; name another file"):
        TaskLog(path, {"budget": 4})


def test_half_a_line_is_dropped(tmp_path):
    path = tmp_path / "tasks.jsonl"
    log = TaskLog(path, {})
    log.add(Record("a", (attempt(1),)))
    with path.open("a") as file:
        file.write('{"task": "b", "att')
    again = TaskLog(path, {})
    assert list(again.records) == ["a"]
    again.add(Record("b"))
    assert list(TaskLog(path, {}).records) == ["a", "b"]


def test_a_state_comes_back_without_a_file():
    log = TaskLog(None, {})
    log.add(Record("a", (attempt(1),)))
    other = TaskLog(None, {})
    other.add(Record("b"))
    other.load_state_dict(json.loads(json.dumps(log.state_dict())))
    assert set(other.records) == {"a", "b"}
    assert same(other.records["a"], log.records["a"])
    with pytest.raises(ValueError, match="not a record of a task"):
        Record.from_line('{"no": 1}')


def test_runs_on_a_set_are_counted(tmp_path):
    path = tmp_path / "evaluation-runs.json"
    known = tasks("a")
    assert [count_run(path, known, "x") for _ in range(3)] == [1, 2, 3]
    assert count_run(path, {"a": replace(known["a"], id="b")}, "y") == 4
    assert count_run(path, tasks("b"), "y") == 1
    path.write_text("[]")
    with pytest.raises(ValueError, match="is not a count of evaluation runs"):
        count_run(path, known, "x")


def test_ctrl_c_keeps_what_is_done(tmp_path):
    """A search in a process of its own, stopped by SIGINT while a task is at work."""
    script = tmp_path / "search.py"
    script.write_text(
        "from pathlib import Path\n"
        "from papers.arc.solver.standin import Mirror\n"
        "from papers.arc.solver.test_pool import tasks\n"
        "from quire.papers.arc import TaskLog, solve_each\n"
        "import signal\n"
        "if __name__ == '__main__':\n"
        # A process that was started in the background ignores SIGINT, and so do its children.
        "    signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"    log = TaskLog(Path({str(tmp_path / 'log')!r}), {{}})\n"
        "    for record in solve_each(tasks('slow', 'zz', 'z').values(), Mirror, workers=1):\n"
        "        log.add(record)\n"
        "        print(record.task, flush=True)\n"
    )
    folder = str(Path(__file__).resolve().parents[3])
    with subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, env=os.environ | {"PYTHONPATH": folder},
    ) as process:  # fmt: skip
        assert [process.stdout.readline().strip() for _ in range(2)] == ["zz", "z"]
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert "KeyboardInterrupt" in errors
    assert list(TaskLog(tmp_path / "log", {}).records) == ["zz", "z"]
