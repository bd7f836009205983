"""Progress of many runs."""

import io
from dataclasses import dataclass, field

import pytest

from quire.report.board import Board, last_line


@dataclass
class Job:
    label: str


@dataclass
class Outcome:
    status: str
    job: Job = field(default_factory=lambda: Job("toy/line:method seed 0"))
    metrics: dict = field(default_factory=lambda: {"error": 0.25})
    reason: str = ""


def test_what_had_finished_before_took_no_time(capsys):
    board = Board()
    board.begin([Job("a")] * 6)
    assert board.summary(0.0) == "0 of 6 runs"
    for done in (1, 2, 3):
        board.report(Outcome("cached"), done, 8)  # with two that they stand on
    assert board.summary(1.0) == "3 of 8 runs"
    board.report(Outcome("done"), 4, 8)
    board.report(Outcome("failed", reason="loss is nan"), 5, 8)
    # Two runs took 240 s, three are left.
    assert board.summary(240.0) == "5 of 8 runs, about 6 min left"
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "[1/8] toy/line:method seed 0 cached  error 0.25"
    assert said[4] == "[5/8] toy/line:method seed 0 failed  loss is nan"


def test_a_live_table_on_a_terminal(tmp_path, monkeypatch):
    from rich.console import Console

    out = Console(file=io.StringIO(), force_terminal=True, width=100)
    monkeypatch.setattr("quire.report.board.console", lambda: out)
    job = Job("toy/line:method seed 0")
    job.directory = tmp_path
    (tmp_path / "metrics.jsonl").write_text('{"loop": "train", "step": 4, "of": 9, "loss": 0.5}\n')
    with Board() as board:
        board.begin([job])
        board.watch([job])
    said = out.file.getvalue()
    assert "train 5/9" in said
    assert "loss 0.5" in said
    assert "0 of 1 runs" in said


@pytest.mark.parametrize(
    ("content", "row"),
    [
        (b"", {}),
        (b'{"a": 1}\n{"a": 2}\n', {"a": 2}),
        (b'{"a": 1}\n{"a": 2', {"a": 1}),  # a line that is being written
        (b'{"a": 1}\n[3]\n\xff\n', {"a": 1}),
    ],
    ids=["empty", "whole", "half", "other"],
)
def test_the_last_whole_line(tmp_path, content, row):
    path = tmp_path / "metrics.jsonl"
    assert last_line(path) == {}
    path.write_bytes(content)
    assert last_line(path) == row
