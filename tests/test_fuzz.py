"""Whatever a user types or writes into a TOML file: one clear line, never a traceback."""

import contextlib
import io
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import quire.papers
from quire import cli
from quire.data import store
from quire.lab.errors import UserError
from quire.lab.papers import paper_names, read_paper

TOY = Path(__file__).parent / "lab" / "papers" / "toy"
FUZZED = int(os.environ.get("QUIRE_FUZZ", "150"))
"""Examples of each kind; set QUIRE_FUZZ for a long hunt."""
often = settings(
    max_examples=FUZZED, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip

COMMANDS = [*cli.COMMANDS, "help", "version", "shw", ""]
NAMES = [
    "toy", "toy/line", "toy/line:method", "toy/momentum-helps", "toy/line:", "resnet", "/", ":",
    "toy/nothing", "class", "../..", "nothing", "mnist", "check", "carry", "get", "list",
]  # fmt: skip
OPTIONS = [
    "--preset", "--seed", "--seeds", "--steps", "--momentum", "--threads", "--device", "--runs",
    "--data", "--on", "--workers", "--all", "--bibtex", "--family", "--markdown", "--from", "--out",
    "--help", "-h", "--checkpoint-seconds", "--precision", "--pset", "--", "-x", "--folder",
]  # fmt: skip
VALUES = [
    "smoke", "laptop", "0", "-1", "1e9", "inf", "nan", "4294967296", "99999999999999999999", "1,1",
    "0,2", "cpu", "meta", "cuda", "x", "", " ", "\u2603", "None", "True", "{}", "[1]", "a=b", "\\0",
]  # fmt: skip
words = st.lists(st.sampled_from(NAMES + OPTIONS + VALUES) | st.text(max_size=8), max_size=6)


@pytest.fixture
def harmless(monkeypatch, tmp_path):
    """The command line with everything that takes long taken out, in an empty folder."""
    from quire.lab import bench, execute, launch
    from quire.report import site

    def done(job, progress=None):
        return execute.Outcome(job, "done", job.directory, {"error": 0.0})

    monkeypatch.setattr(quire.papers, "__path__", [*quire.papers.__path__, str(TOY.parent)])
    monkeypatch.setattr(execute, "execute", done)
    monkeypatch.setattr(launch, "run_local", lambda jobs, **options: [done(job) for job in jobs])
    monkeypatch.setattr(launch, "run_ray", lambda jobs, **options: [done(job) for job in jobs])
    monkeypatch.setattr(site, "build", lambda out, **options: (Path(out) / "index.html", []))
    monkeypatch.setattr(site, "refresh", lambda out, paper, **options: Path(out) / "page.html")
    monkeypatch.setattr(bench, "scripts", lambda folder: {})
    monkeypatch.setattr("quire.data.store.get", _refuse)
    monkeypatch.setattr("quire.data.store.check", store.status)
    monkeypatch.setattr("quire.lab.freshness.carry", _refuse)
    monkeypatch.chdir(tmp_path)


def _refuse(*arguments, **options):
    raise UserError("nothing is fetched or carried here")


@often
@given(command=st.sampled_from(COMMANDS), rest=words)
def test_any_command_line_is_answered_or_refused_in_one_line(harmless, command, rest):
    out, said = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(said):
        code = cli.main([command, *rest])
    assert code in (0, 1, 2, 3, 130), (code, said.getvalue())
    faults = [line for line in said.getvalue().splitlines() if not line.startswith("quire: left")]
    assert "Traceback" not in said.getvalue()
    assert len(faults) <= 1, said.getvalue()
    if code == 2 and command in cli.COMMANDS and command != "run":
        assert faults
        assert faults[0].startswith("quire: ")


TEXTS = {path.relative_to(TOY): path.read_text() for path in TOY.rglob("*.toml")}
PIECES = [
    "[", "]", "{", "}", "=", '"', "\n", "[claims.x]", "[presets.smoke]", "only = []", "= 7", "= {}",
    'fails = { laptop = "" }', "at = []", "max(*.error)", "** 99", "nan", "1e999", "true",
    "seeds = 0",
    'after = { a = "line" }', "for.method = 3", "[pilots.laptop]", "check = 3", "\u2603", "\x00",
]  # fmt: skip


@often
@given(data=st.data())
def test_any_toml_is_read_or_refused_in_one_line(tmp_path, data):
    place = data.draw(st.sampled_from(sorted(TEXTS)))
    text = TEXTS[place]
    for _ in range(data.draw(st.integers(1, 4))):
        begin = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(begin, min(len(text), begin + 12)))
        text = text[:begin] + data.draw(st.sampled_from(["", *PIECES])) + text[end:]
    for path, whole in TEXTS.items():
        (tmp_path / "toy" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "toy" / path).write_text(text if path == place else whole)
    said = "toy/"
    try:
        read_paper(tmp_path / "toy")
    except UserError as error:
        said = str(error)
    assert "\n" not in said
    assert said.startswith("toy/")


def test_the_toy_is_there(harmless):
    assert "toy" in paper_names()
