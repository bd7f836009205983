"""What every paper's folder keeps to. A new folder is found and tested by itself."""

import contextlib
import json
import re
import signal
import socket
import tomllib
from dataclasses import replace

import numpy as np
import pytest
import torch

from contract.parts import skip_without_extra
from quire.data.catalogue import DATASETS
from quire.data.store import status
from quire.lab.config import Config
from quire.lab.errors import Interrupted, MissingError
from quire.lab.evidence import all_evidence
from quire.lab.execute import data_root, execute
from quire.lab.job import Job, Options, check_extras, load_experiment
from quire.lab.papers import PRESETS, find_paper, paper_names
from quire.lab.run import Run
from quire.report.tables import results_markdown

every_paper = pytest.mark.parametrize("name", paper_names())
every_experiment = pytest.mark.parametrize(
    ("name", "experiment"),
    [(name, experiment) for name in paper_names() for experiment in find_paper(name).experiments],
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
    try:
        _, config_class = load_experiment(name, experiment)
    except MissingError as error:
        pytest.skip(str(error))
    assert issubclass(config_class, Config)
    for field, info in config_class.model_fields.items():
        assert info.description or field == "precision", f"{experiment}: {field} says nothing"
    for preset in PRESETS:
        for arm in paper.experiments[experiment].arms_at(preset):
            config = config_class.build(paper.experiments[experiment].settings(preset, arm))
            assert config_class.model_validate_json(config.model_dump_json()) == config
            with pytest.raises(ValueError, match="frozen"):
                config.precision = "bfloat16"


@every_experiment
def test_smoke_runs_alone(name, experiment, tmp_path, monkeypatch):
    """The preset `smoke`: no network, nothing outside its folder, no global generator touched."""
    job = smoke_job(name, experiment, tmp_path / "runs")

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
    result = json.loads((outcome.directory / "result.json").read_text())
    assert result["metrics"]


def log_and_stop(run, log=Run.log, **values):
    log(run, **values)
    run.interrupt("stopped")


@pytest.mark.slow
@every_experiment
def test_smoke_repeats_bit_for_bit_even_interrupted(name, experiment, tmp_path):
    """Twice as it is, and once stopped at the end of its first logged step and resumed.

    All but what `timings` in paper.toml names must repeat.
    """
    results, timings = [], set(find_paper(name).experiments[experiment].timings)
    for turn in ("first", "second", "interrupted"):
        job = smoke_job(name, experiment, tmp_path / turn)
        if turn == "interrupted":
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(Run, "log", log_and_stop)
                with contextlib.suppress(Interrupted):
                    execute(job)
        outcome = execute(job)
        result = json.loads((outcome.directory / "result.json").read_text())
        kept = {key: value for key, value in result["metrics"].items() if key not in timings}
        results.append((kept, {k: v for k, v in result["series"].items() if k not in timings}))
        assert timings <= result["metrics"].keys() | result["series"].keys()
    assert results[0] == results[1]
    assert results[0] == results[2]


@pytest.mark.slow
@every_experiment
@pytest.mark.parametrize("preset", ["laptop", "gpu", "paper"])
def test_larger_presets_start(name, experiment, preset, tmp_path, monkeypatch):
    """One step of the real setting, then it is asked to stop; or one line on what is missing.

    After `PATIENCE` it has started well enough: a measurement without a loop is ended, a step that
    goes on is ended after its next backward pass (minibatches in parts may take hours here).
    """
    job, looping, late = smoke_job(name, experiment, tmp_path), [], []

    def steps(run, *args, **options):
        looping.append(True)
        return STEPS(run, *args, **options)

    def backward(tensor, *args, **options):
        BACKWARD(tensor, *args, **options)
        if late:
            raise Interrupted("it runs")

    def lose_patience(number, frame):
        assert not late, "neither a step nor a backward pass ended in 300 s"
        if not looping:
            raise Interrupted("it runs")
        late.append(True)
        signal.alarm(300)

    arm = find_paper(name).experiments[experiment].arms_at(preset)[0]
    monkeypatch.setattr(Run, "log", log_and_stop)
    monkeypatch.setattr(Run, "steps", steps)
    monkeypatch.setattr(torch.Tensor, "backward", backward)
    reason = ""
    before = signal.signal(signal.SIGALRM, lose_patience)
    signal.alarm(PATIENCE)
    try:
        outcome = execute(replace(job, preset=preset, arm=arm))
        assert outcome.status == "done"  # it has no loop, or one step
    except Interrupted as stopped:
        reason = str(stopped)
    except MissingError as missing:
        reason = str(missing)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    assert "\n" not in reason


PATIENCE = 20
"""Seconds."""

STEPS, BACKWARD = Run.steps, torch.Tensor.backward


def smoke_job(name, experiment, runs):
    """The first arm of the preset smoke; the test is skipped where data or an extra lacks."""
    entry = find_paper(name).experiments[experiment]
    try:
        check_extras(entry.needs)
    except MissingError as error:
        pytest.skip(str(error))
    for dataset in entry.data:
        if not status(dataset, data_root()).present:
            pytest.skip(f"dataset {dataset} is not here (QUIRE_DATA)")
    options = Options(runs=runs, threads=1, data=data_root())
    return Job(name, experiment, entry.arms_at("smoke")[0], "smoke", 0, {}, options)
