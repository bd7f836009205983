"""What every paper's folder keeps to. A new folder is found and tested by itself."""

import contextlib
import inspect
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from contract.parts import skip_without_extra
from quire.data.catalogue import DATASETS
from quire.data.store import status
from quire.lab.config import Config, Group
from quire.lab.errors import Interrupted, MissingError, UserError
from quire.lab.evidence import all_evidence
from quire.lab.execute import data_root, execute
from quire.lab.extras import check_extras
from quire.lab.freshness import standings
from quire.lab.job import Job, Options, Target, load_experiment
from quire.lab.papers import PRESETS, find_paper, paper_names
from quire.lab.parsing import parse_run
from quire.report.tables import results_markdown

every_paper = pytest.mark.parametrize("name", paper_names())


def proven():
    """(paper, experiment) -> the presets that fresh or carried evidence shows to run."""
    found, evidence = {}, all_evidence()
    known = standings([item for item in evidence if item.paper in paper_names()])
    for item in evidence:
        if item.file_name in known and known[item.file_name].state != "stale":
            found.setdefault((item.paper, item.experiment), set()).add(item.preset)
    return found


PROVEN = proven()


def unproven_presets():
    """(paper, experiment, preset) that no fresh or carried evidence shows to run."""
    return [
        (name, experiment, preset)
        for name in paper_names()
        for experiment in find_paper(name).experiments
        for preset in ("laptop", "gpu", "paper")
        if preset not in PROVEN.get((name, experiment), set())
    ]


def changed_presets():
    """The smallest preset above smoke of each experiment whose code no evidence belongs to."""
    return [
        (name, experiment, "laptop")
        for name in paper_names()
        for experiment in find_paper(name).experiments
        if not PROVEN.get((name, experiment))
    ]


def smoke_job(name, experiment, arm, runs, preset="smoke"):
    """A job; the test is skipped where data or an extra lacks."""
    entry = find_paper(name).experiments[experiment]
    try:
        check_extras(entry.needs)
    except MissingError as error:
        pytest.skip(str(error))
    for dataset in entry.data:
        if not status(dataset, data_root()).present:
            pytest.skip(f"dataset {dataset} is not here (QUIRE_DATA)")
    options = Options(runs=runs, threads=1, data=data_root())
    return Job(name, experiment, arm, preset, 0, {}, options)


every_experiment = pytest.mark.parametrize(
    ("name", "experiment"),
    [(name, experiment) for name in paper_names() for experiment in find_paper(name).experiments],
)


every_smoke_arm = pytest.mark.parametrize(
    ("name", "experiment", "arm"),
    [
        (name, experiment, arm)
        for name in paper_names()
        for experiment, entry in find_paper(name).experiments.items()
        for arm in entry.arms_at("smoke")
    ],
)


@every_paper
def test_nothing_is_left_to_fill_in(name):
    for path in find_paper(name).folder.rglob("*"):
        if path.suffix in {".py", ".md", ".toml"}:
            left = re.findall(r"<fill: [^>]*>", path.read_text(encoding="utf-8"))
            assert not left, f"{path.name}: {left[0]}"


@every_paper
def test_names_are_known(name):
    paper = find_paper(name)
    pyproject = paper.folder
    while not (pyproject / "pyproject.toml").exists() and pyproject != pyproject.parent:
        pyproject = pyproject.parent
    extras = set()
    if (pyproject / "pyproject.toml").exists():
        table = tomllib.loads((pyproject / "pyproject.toml").read_text(encoding="utf-8"))
        extras = set(table["project"]["optional-dependencies"])
    for experiment in paper.experiments.values():
        assert set(experiment.data) <= set(DATASETS)
        assert not extras or set(experiment.needs) <= extras


@every_paper
def test_something_runs_without_a_download(name):
    assert any(not experiment.data for experiment in find_paper(name).experiments.values())


@every_paper
def test_the_card_is_whole_and_fresh(name):
    paper = find_paper(name)
    card = (paper.folder / "README.md").read_text(encoding="utf-8")
    assert card.startswith("# ")
    assert f"quire verify {name}" in card
    assert f"from {paper.module} import" in card
    assert paper.bibtex in card, "the card's BibTeX is not what `quire show --bibtex` prints"
    if paper.code:
        assert paper.code.repository in card
        assert paper.code.licence in card
    assert re.search(r"^## Differences from the paper", card, re.M)
    block = re.search(r"<!-- results -->\n(.*?)<!-- /results -->", card, re.S)
    assert block, "the card has no results block"
    fresh = results_markdown(paper, all_evidence())
    assert block[1].strip() == fresh.strip(), "run `python docs/refresh.py` and commit"


@every_paper
def test_the_cards_python_runs(name):
    card = (find_paper(name).folder / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", card, re.M | re.S)
    assert blocks, "the card shows no use"
    for block in blocks:
        try:
            exec(compile(block, f"{name}/README.md", "exec"), {})
        except ImportError as error:
            skip_without_extra(error)


@every_experiment
def test_configs_are_frozen_and_survive_json(name, experiment):
    paper = find_paper(name)
    entry = paper.experiments[experiment]
    try:
        _, config_class = load_experiment(entry, paper)
    except MissingError as error:
        pytest.skip(str(error))
    assert issubclass(config_class, Config)
    check_fields(config_class)
    for preset in PRESETS:
        for arm in entry.arms_at(preset):
            config = config_class.build(entry.settings(preset, arm))
            assert config_class.model_validate_json(config.model_dump_json()) == config
            with pytest.raises(ValueError, match="frozen"):
                config.precision = "bfloat16"


@every_experiment
def test_the_command_line_takes_its_options(name, experiment):
    try:
        words = ["--preset", "smoke", "--seed", "3"]
        preset, seed, _, overrides = parse_run(
            Target.parse(f"{name}/{experiment}"), words, Path("runs")
        )
    except MissingError as error:
        pytest.skip(str(error))
    assert (preset, seed) == ("smoke", 3)
    assert not any(overrides)


def check_fields(kind):
    """Every field, also of a group within, says what it is; a path may be one of the user's."""
    for field, info in kind.model_fields.items():
        assert info.description or field == "precision", f"{kind.__name__}.{field} says nothing"
        if inspect.isclass(info.annotation) and issubclass(info.annotation, Group):
            check_fields(info.annotation)


@every_smoke_arm
def test_smoke(name, experiment, arm, tmp_path, monkeypatch):
    """The preset `smoke`: no network, nothing outside its folder, no global generator touched."""
    job = smoke_job(name, experiment, arm, tmp_path / "runs")

    def refuse(*args):
        raise OSError("a run tried to reach the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    torch.manual_seed(3), np.random.seed(3)
    expected = torch.rand(1), np.random.rand()
    torch.manual_seed(3), np.random.seed(3)
    outcome = execute(job)
    assert outcome.status == "done"
    assert (torch.rand(1), np.random.rand()) == expected
    assert not list((tmp_path / "here").iterdir())
    declared = find_paper(name).experiments[experiment].metrics
    assert outcome.metrics
    assert outcome.metrics.keys() <= declared.keys()
    for claim in find_paper(name).experiments[experiment].claims:
        for shown in claim.exhibits if claim.kind == "judgement" else ():
            of, _, exhibit = shown.partition(".")
            left = list((outcome.directory / "exhibits" / exhibit).glob("*.png"))
            assert of != arm or left, f"{claim.id}: the run left no pictures called {exhibit}"


@pytest.mark.slow
@every_experiment
def test_smoke_repeats_bit_for_bit_even_interrupted(name, experiment, tmp_path):
    """Once as it is, and once stopped after its first step and resumed.

    All but what `timings` names must repeat.
    """
    entry = find_paper(name).experiments[experiment]
    results, timings = [], set(entry.timings)
    for turn in ("whole", "interrupted"):
        job = smoke_job(name, experiment, entry.arms_at("smoke")[0], tmp_path / turn)
        if turn == "interrupted":
            short = replace(job, options=replace(job.options, stop_after=1))
            with contextlib.suppress(Interrupted):
                execute(short)
        outcome = execute(job)
        result = json.loads((outcome.directory / "result.json").read_text())
        kept = {key: value for key, value in result["metrics"].items() if key not in timings}
        results.append((kept, {k: v for k, v in result["series"].items() if k not in timings}))
        assert timings <= result["metrics"].keys() | result["series"].keys()
    assert results[0] == results[1]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "experiment", "preset"), unproven_presets())
def test_larger_presets_start(name, experiment, preset, tmp_path):
    """What no evidence proves is built on `meta`, up to the end of its first step.

    So every size fits every other, at no cost. What needs a value cannot go on there, which is
    as far as it gets; where data is missing it says so in one line; what is still at work after
    `GLANCE` seconds (it has no loop, or does not use the device) is interrupted as by Ctrl-C, and
    at once by another one if its step does not end in as many seconds again.
    """
    paper = find_paper(name)
    entry = paper.experiments[experiment]
    job = smoke_job(name, experiment, entry.arms_at(preset)[0], tmp_path, preset)
    options = replace(job.options, device="meta", stop_after=1)
    # Not on the clock: a library that is interrupted while it is imported stays half there.
    with contextlib.suppress(UserError):
        load_experiment(entry, paper)
    with pressing_ctrl_c(GLANCE, 2 * GLANCE):
        try:
            assert execute(replace(job, options=options)).status == "done"  # it has no loop
        except KeyboardInterrupt:
            return
        except (UserError, NotImplementedError) as stopped:
            said = str(stopped)
            missing = isinstance(stopped, MissingError)
        else:
            return
    assert "\n" not in said
    assert missing or re.search("command resumes it|[Mm]eta|no data", said)


@contextlib.contextmanager
def pressing_ctrl_c(*seconds):
    """Ctrl-C after so many seconds each; one that comes late, after the run, is not heard."""
    before = signal.signal(signal.SIGINT, lambda number, frame: None)
    clocks = [threading.Timer(at, os.kill, (os.getpid(), signal.SIGINT)) for at in seconds]
    for clock in clocks:
        clock.start()
    try:
        yield
    finally:
        for clock in clocks:
            clock.cancel()
        signal.signal(signal.SIGINT, before)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "experiment", "preset"), changed_presets())
def test_changed_presets_take_a_real_step(name, experiment, preset):
    """Where the code changed since its evidence, one real step; still at work in time will do."""
    arm = find_paper(name).experiments[experiment].arms_at(preset)[0]
    smoke_job(name, experiment, arm, None, preset)  # skips where data or an extra lacks
    job = {"paper": name, "experiment": experiment, "arm": arm, "preset": preset, "seed": 0}
    wanted = {"data": str(data_root() or ""), "jobs": [job | {"steps": 1}]}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "quire.lab.probe"], input=json.dumps(wanted), text=True,
            capture_output=True, timeout=PATIENCE, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return
    assert done.returncode == 0, done.stderr
    (line,) = [row for row in done.stdout.splitlines() if row.startswith("probe: ")]
    error = json.loads(line.removeprefix("probe: ")).get("error")
    if error and "put there by hand" in error:
        pytest.skip(error)  # a file that only its user has, beside a dataset that is here
    assert not error, line


GLANCE, PATIENCE = 5, 30
"""Seconds."""
