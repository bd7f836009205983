"""Evidence that is fresh, carried or stale; and how it is carried over a change of code."""

import subprocess

import pytest

from quire.lab import freshness
from quire.lab.errors import UserError
from quire.lab.evidence import Evidence
from quire.lab.freshness import STEPS, carry, judged, standing, standings
from quire.lab.job import Options, Target
from quire.lab.launch import attempt
from quire.lab.papers import find_paper
from quire.lab.verify import verify


@pytest.fixture(scope="module")
def evidence(tmp_path_factory):
    import quire.papers
    from lab.conftest import TOYS

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quire.papers, "__path__", [*quire.papers.__path__, str(TOYS)])
        options = Options(runs=tmp_path_factory.mktemp("runs"), threads=1)
        (found,) = verify(
            Target.parse("toy/line"), "laptop", launch=lambda jobs: [attempt(j) for j in jobs],
            options=options, seeds=2,
        )  # fmt: skip
        yield found.evidence


def changed(evidence, **update):
    return Evidence(**evidence.model_dump() | update)


def test_fresh_and_every_way_to_be_stale(evidence):
    paper = find_paper("toy")
    assert standing(evidence, paper, evidence.code).state == "fresh"
    now = standing(evidence, paper, "another code")
    assert (now.state, now.reason) == ("stale", "the code behind it changed")
    settings = evidence.settings | {"method": {"steps": 41}}
    now = standing(changed(evidence, settings=settings), paper, evidence.code)
    assert (now.state, now.reason) == ("stale", "the settings of method changed")
    settings = {arm: value for arm, value in evidence.settings.items() if arm != "method"}
    now = standing(changed(evidence, settings=settings), paper, evidence.code)
    assert now.reason == "the arm method was added"
    claims = [c.model_dump() | {"check": "method.error < 7"} for c in evidence.claims]
    now = standing(changed(evidence, claims=claims), paper, evidence.code)
    assert now.reason == "the check of momentum-helps changed"
    now = standing(changed(evidence, run_format=0), paper, evidence.code)
    assert now.reason == "the lab runs otherwise now"
    now = standing(changed(evidence, experiment="gone"), paper, evidence.code)
    assert now.reason == "the experiment is gone"


def test_standings_know_todays_code(evidence, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert standings([evidence])[evidence.file_name].state == "fresh"
    monkeypatch.setattr(freshness, "code_digest", None)  # remembered: nothing is computed again
    assert standings([evidence])[evidence.file_name].state == "fresh"


def test_claims_are_decided_again_from_the_numbers(evidence):
    wrong = [c.model_dump() | {"verdict": "undecided"} for c in evidence.claims]
    assert judged(changed(evidence, claims=wrong)) == evidence


def test_runs_at_other_settings_decide_nothing(evidence):
    settings = evidence.settings | {"method": {"steps": 41}, "gone": {}}
    runs = [*evidence.runs, evidence.runs[0].model_copy(update={"arm": "gone"})]
    again = {c.id: c for c in judged(changed(evidence, settings=settings, runs=runs)).claims}
    assert again["momentum-helps"].verdict == "not run"


@pytest.fixture
def same_revision(monkeypatch):
    """Stands in for a checkout of the old code: the sources as they are."""
    import contextlib
    from pathlib import Path

    import quire

    @contextlib.contextmanager
    def checkout(revision):
        yield Path(quire.__file__).parent.parent

    monkeypatch.setattr(freshness, "_checkout", checkout)


def test_carried_over_a_change_that_changed_nothing(evidence, same_revision, monkeypatch):
    """The code has another digest, every number is the same: the evidence says so and stands."""
    before = changed(evidence, code="0ld0ld0ld0ld")
    probe = freshness._probe

    def old_digest(jobs, data, source):
        found = probe(jobs, data, source)
        return [row | {"digest": "0ld0ld0ld0ld"} for row in found] if source else found

    monkeypatch.setattr(freshness, "_probe", old_digest)
    after = carry(before, "HEAD", data=None)
    assert after.code == "0ld0ld0ld0ld"
    assert after.carried[-1].code == evidence.code
    assert "2 smoke runs" in after.carried[-1].proof
    assert f"{STEPS} steps of 3 arms at laptop" in after.carried[-1].proof
    assert standing(after, find_paper("toy"), evidence.code).state == "carried"
    assert after.runs == evidence.runs


def test_what_differs_is_not_carried(evidence, same_revision, monkeypatch):
    probe = freshness._probe

    def other_numbers(jobs, data, source):
        found = probe(jobs, data, source)
        if source is None:
            found[-1]["log"][-1]["loss"] += 1e-7
        return found

    monkeypatch.setattr(freshness, "_probe", other_numbers)
    with pytest.raises(UserError, match=r"toy/line:\w+ at laptop: log is not the same as at HEAD"):
        carry(evidence, "HEAD", data=None)


def test_evidence_of_other_code_is_not_carried(evidence, same_revision):
    with pytest.raises(UserError, match="does not belong to the code at HEAD"):
        carry(changed(evidence, code="0ld0ld0ld0ld"), "HEAD", data=None)


def test_an_unknown_revision_is_one_line(evidence):
    inside = subprocess.run(["git", "rev-parse"], capture_output=True, check=False)
    if inside.returncode:
        pytest.skip("not a git checkout")
    with pytest.raises(UserError, match="no revision 'nothing-like-it' here") as caught:
        carry(evidence, "nothing-like-it", data=None)
    assert "\n" not in str(caught.value)
