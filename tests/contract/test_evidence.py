"""Committed evidence: every verdict follows from the numbers in its own file."""

from pathlib import Path

import pytest

from quire.lab.evidence import evidence_files, read_curves, read_evidence
from quire.lab.freshness import judged, plain, standings
from quire.lab.papers import find_paper

FOLDER = Path(__file__).resolve().parent.parent.parent / "evidence"
FILES = list(evidence_files(FOLDER))
every_file = pytest.mark.parametrize("path", FILES, ids=lambda p: f"{p.parent.name}/{p.stem}")


@every_file
def test_every_verdict_follows_from_its_file(path):
    evidence = read_evidence(path)
    assert path == FOLDER / evidence.file_name
    paper = find_paper(evidence.paper)
    assert evidence.experiment in paper.experiments
    assert evidence == judged(evidence), "run `quire evidence judge` and commit"
    if evidence.rated and not evidence.carried:
        assert evidence.machine == f"people-{evidence.page}"


@every_file
def test_runs_and_settings_belong_together(path):
    evidence = read_evidence(path)
    arms = {run.arm for run in evidence.runs}
    assert arms == set(evidence.settings)
    if evidence.rated:
        return  # nothing of it is drawn by step
    drawn = read_curves(FOLDER, evidence)
    assert {(run.arm, run.seed) for run in evidence.runs} == set(drawn)


def test_what_is_called_fresh_has_todays_settings_and_checks():
    items = [read_evidence(path) for path in FILES]
    for name, standing in standings(items).items():
        evidence = next(item for item in items if item.file_name == name)
        if standing.state == "stale":
            assert standing.reason
            continue
        experiment = find_paper(evidence.paper).experiments[evidence.experiment]
        for arm, settings in evidence.settings.items():
            assert settings == plain(experiment.settings(evidence.preset, arm)), name
