"""Rows on disk against arrays in memory, and after kills, fallbacks and fresh starts."""

import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from quire.lab.checkpoint import Checkpoints
from quire.lab.errors import RunError, UserError
from quire.lab.rows import Rows
from quire.lab.testing import run_in

FIELDS = {"frame": ("uint8", (2, 3)), "action": ("int64", ()), "reward": ("float32", ())}


def make(folder, capacity=10, rows_per_file=4):
    return Rows(folder, FIELDS, capacity=capacity, rows_per_file=rows_per_file)


def rows_of(numbers):
    """What row number n holds, for an array of numbers (N,)."""
    numbers = np.asarray(numbers)
    frame = (numbers[..., None, None] + np.arange(6).reshape(2, 3)) % 256
    return {
        "frame": frame.astype(np.uint8),
        "action": numbers,
        "reward": (numbers / 7).astype("f4"),
    }


def assert_holds(rows, numbers):
    found = rows.gather(numbers)
    for name, expected in rows_of(numbers).items():
        np.testing.assert_array_equal(found[name], expected)
        assert found[name].flags.c_contiguous


def fill(rows, end):
    """Append up to row `end`."""
    while rows.end < end:
        rows.append(**rows_of(rows.end))


def segments(folder):
    return sorted(int(path.stem) for path in folder.rglob("*.bin"))


def test_one_row_and_many_across_files(tmp_path):
    rows = make(tmp_path, capacity=100, rows_per_file=4)
    assert (len(rows), rows.first, rows.end) == (0, 0, 0)
    assert rows.append(**rows_of(0)) == 0
    assert rows.append(**rows_of(np.arange(1, 12))) == 1
    assert (
        rows.append(frame=torch.full((1, 2, 3), 7, dtype=torch.uint8), action=[5], reward=[1]) == 12
    )
    assert_holds(rows, np.arange(12))
    assert_holds(rows, np.array([[11, 0, 3], [4, 4, 8]]))
    assert rows.gather(12, "action")["action"] == 5
    assert rows.gather(np.array([], dtype=int))["frame"].shape == (0, 2, 3)


@pytest.mark.parametrize("block", [1, 3, 25])
def test_old_rows_go_a_file_at_a_time(tmp_path, block):
    rows = make(tmp_path)
    for start in range(0, 75, block):
        rows.append(**rows_of(np.arange(start, start + block)))
    assert (len(rows), rows.first, rows.end) == (10, 65, 75)
    assert segments(tmp_path) == [15, 16, 17, 18]
    assert_holds(rows, np.arange(65, 75))
    for outside in (64, 75, -1):
        with pytest.raises(IndexError, match="rows 65 to 74 are here, asked for"):
            rows.gather([70, outside])


def test_back_to_a_state(tmp_path):
    rows = make(tmp_path)
    fill(rows, 13)
    state = rows.state_dict()
    torch.save(state, tmp_path / "state.pt")
    fill(rows, 26)
    for again in (rows, make(tmp_path)):  # the same object, and another process's
        again.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
        assert (again.first, again.end) == (3, 13)
        assert segments(tmp_path) == [0, 1, 2, 3]
        assert_holds(again, np.arange(3, 13))
        fill(again, 20)
        assert_holds(again, np.arange(10, 20))


def test_what_follows_a_state_is_cut_off(tmp_path):
    """The bytes after the resumed end are zero, whatever was written there before."""
    rows = make(tmp_path)
    fill(rows, 5)
    state = rows.state_dict()
    (before,) = [path.read_bytes() for path in tmp_path.rglob("00000001.bin")]
    fill(rows, 11)
    make(tmp_path).load_state_dict(state)
    (after,) = [path.read_bytes() for path in tmp_path.rglob("00000001.bin")]
    assert before == after
    assert segments(tmp_path) == [0, 1]


def test_a_damaged_checkpoint_falls_back_to_the_rows_of_the_one_before(tmp_path):
    notes = []
    store = Checkpoints(tmp_path / "checkpoint", notes.append)
    rows = make(tmp_path / "rows")
    for number, end in enumerate((9, 40, 80, 120)):  # each state's rows are gone at the next one
        fill(rows, end)
        store.save(number, {"rows": rows.state_dict()})
    fill(rows, 150)
    newest = max((tmp_path / "checkpoint").iterdir())
    newest.write_bytes(newest.read_bytes()[:-1])
    again = make(tmp_path / "rows")
    again.load_state_dict(store.load()["rows"])
    assert (again.first, again.end) == (70, 80)
    assert_holds(again, np.arange(70, 80))
    # The resumed run writes a checkpoint, which is damaged too: back to the same one.
    fill(again, 120)
    store.save(3, {"rows": again.state_dict()})
    newest = max((tmp_path / "checkpoint").iterdir())
    newest.write_bytes(newest.read_bytes()[:-1])
    third = make(tmp_path / "rows")
    third.load_state_dict(Checkpoints(tmp_path / "checkpoint", notes.append).load()["rows"])
    assert_holds(third, np.arange(70, 80))


def test_disk_use_is_bounded(tmp_path):
    rows = make(tmp_path)
    for end in range(20, 400, 20):
        fill(rows, end)
        rows.state_dict()
        assert len(segments(tmp_path)) <= (10 + 2 * 20) // 4 + 2


def test_a_start_from_nothing_leaves_alone_what_a_checkpoint_may_need(tmp_path):
    first = make(tmp_path)
    fill(first, 9)
    state = first.state_dict()
    resumed = make(tmp_path)
    resumed.append(**rows_of(100))  # before its loop, and so before it loads its checkpoint
    resumed.load_state_dict(state)
    assert_holds(resumed, np.arange(9))
    fresh = make(tmp_path)  # a run without a checkpoint
    fill(fresh, 3)
    fresh.state_dict()
    assert segments(tmp_path) == [0]
    assert_holds(fresh, np.arange(3))


def test_rows_that_are_gone_or_others(tmp_path):
    rows = make(tmp_path)
    fill(rows, 9)
    state = rows.state_dict()
    with pytest.raises(ValueError, match="the saved rows are"):
        make(tmp_path, capacity=11).load_state_dict(state)
    (path,) = tmp_path.rglob("00000001.bin")
    path.write_bytes(path.read_bytes()[:-1])
    again = make(tmp_path)
    with pytest.raises(ValueError, match=r"rows of the checkpoint are gone: no whole .*1.bin"):
        again.load_state_dict(state)
    assert again.end == 0
    assert segments(tmp_path) == [0, 1, 2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"action": None}, "needs the field 'action' as well"),
        ({"frame": np.zeros((3, 2), np.uint8)}, r"'frame' takes \(2, 3\) for one row"),
        ({"reward": np.zeros((2,), "f4")}, "the same N for every field"),
        ({"action": np.zeros((), "f4")}, "'action' holds int64, got float32"),
        ({"frame": [[1, 2, 3], [4, 5, 300]]}, "'frame' holds uint8"),
    ],
)
def test_rows_that_do_not_fit(tmp_path, change, message):
    rows = make(tmp_path)
    values = {name: v for name, v in (rows_of(0) | change).items() if v is not None}
    with pytest.raises(ValueError, match=message):
        rows.append(**values)
    assert rows.end == 0


def test_names_and_sizes_that_do_not_fit(tmp_path):
    rows = make(tmp_path)
    with pytest.raises(UserError, match="unknown field 'acton': did you mean 'action'"):
        rows.append(acton=1, **rows_of(0))
    with pytest.raises(ValueError, match="got 3 fields, 0 and 4"):
        make(tmp_path, capacity=0)
    with pytest.raises(ValueError, match="Python objects"):
        Rows(tmp_path, {"any": ("object", ())}, capacity=1, rows_per_file=1)


def test_a_full_disk_is_one_line(tmp_path, monkeypatch):
    rows = make(tmp_path)
    fill(rows, 3)
    state = rows.state_dict()
    fill(rows, 4)

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match="No space left on device; the last good checkpoint stands"):
        rows.state_dict()
    rows.load_state_dict(state)
    assert_holds(rows, np.arange(3))


def append_all(folder, total):
    """A run that appends three rows at each step."""
    run, rows = run_in(folder, checkpoint_seconds=0.0), make(folder / "rows")
    for step in run.steps(total, state=(rows,)):
        assert rows.end == 3 * step
        rows.append(**rows_of(np.arange(rows.end, rows.end + 3)))
        yield step


ENDLESS = """
import sys
from pathlib import Path
from test_rows import append_all

for step in append_all(Path(sys.argv[1]), 1_000_000):
    print(step, flush=True)
"""


def test_killed_at_any_moment_and_resumed(tmp_path):
    command = [sys.executable, "-c", ENDLESS, str(tmp_path / "run")]
    environment = os.environ | {"PYTHONPATH": os.path.dirname(__file__)}
    wait = random.Random(0)
    reached, files = 0, tmp_path / "run" / "checkpoint" / "train"
    for _ in range(2):  # twice, so that a resumed run is killed as well
        begun = {path.name for path in files.glob("*.pt")}
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env=environment
        ) as process:
            assert process.stdout is not None
            first = int(process.stdout.readline())
            assert (first > 0) == bool(begun)
            while {path.name for path in files.glob("*.pt")} <= begun:
                process.stdout.readline()
            time.sleep(wait.uniform(0, 0.1))
            process.send_signal(signal.SIGKILL)
            lines = process.stdout.read().split("\n")[:-1]
        reached = max([reached, first, *map(int, lines)])
    total = reached + 20
    first, *_ = list(append_all(tmp_path / "run", total))
    assert first > 0
    list(append_all(tmp_path / "whole", total))
    found = []
    for folder in (tmp_path / "whole", tmp_path / "run"):
        rows = make(folder / "rows")
        notes = []
        saved = Checkpoints(folder / "checkpoint" / "train", notes.append).load()
        rows.load_state_dict(saved["state"][0])
        assert not notes
        assert rows.end == 3 * total
        assert_holds(rows, np.arange(rows.first, rows.end))
        newest = rows.end // rows.rows_per_file
        found.append([p.read_bytes() for p in folder.rglob("*.bin") if int(p.stem) >= newest - 1])
    assert sorted(found[0]) == sorted(found[1])
