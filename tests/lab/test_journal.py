"""The log of a run: what a kill or a full disk leaves of it."""

import json

from quire.lab.journal import Journal, read_journal


def test_lines_that_are_damaged_are_left_out(tmp_path):
    path = tmp_path / "metrics.jsonl"
    assert read_journal(path) == []
    rows = [{"loop": "train", "step": step, "of": 4, "loss": 1.0} for step in range(3)]
    whole = [json.dumps(row).encode() for row in rows]
    path.write_bytes(b"\n".join([whole[0], b"\0\0\xff", whole[1], b"7", whole[2], b'{"loop": "tr']))
    assert read_journal(path) == rows
    Journal(path).rewind("train", 2)
    assert path.read_bytes().count(b"\n") == 2
    assert read_journal(path) == rows[:2]


def test_other_loops_stay(tmp_path):
    path = tmp_path / "metrics.jsonl"
    steps = [("first", 0), ("first", 1), ("second", 0), ("second", 1)]
    rows = [{"loop": loop, "step": step, "of": 2} for loop, step in steps]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    Journal(path, writes=False).rewind("second", 0)
    assert read_journal(path) == rows
    Journal(path).rewind("second", 1)
    assert read_journal(path) == rows[:3]
