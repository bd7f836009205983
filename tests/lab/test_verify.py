import json
from dataclasses import replace

import pytest

from quire.lab.digest import code_digest
from quire.lab.errors import UserError
from quire.lab.evidence import Evidence, all_evidence, ranked_verdicts, read_curves, read_evidence
from quire.lab.job import Options, Target
from quire.lab.launch import attempt
from quire.lab.papers import find_paper
from quire.lab.verify import curves, judge, verify


def serial(jobs):
    return [attempt(job) for job in jobs]


@pytest.fixture
def verified(tmp_path):
    options = Options(runs=tmp_path / "runs", threads=1, data=tmp_path / "nothing")
    return {
        item.experiment: item
        for item in verify(Target.parse("toy"), "laptop", launch=serial, options=options)
    }


def test_verdicts_come_from_runs(verified):
    evidence = verified["line"].evidence
    claims = {claim.id: claim for claim in evidence.claims}
    assert claims["momentum-helps"].verdict == "holds"
    assert claims["momentum-helps"].seeds == 3
    assert claims["momentum-helps"].interval[1] < 0
    assert claims["no-nan"].verdict == "not run"
    assert "diverges seed 0: loss became nan at step 5" in claims["no-nan"].reason
    assert claims["weights-differ"].reason == "decided at smoke"
    assert {run.status for run in evidence.runs if run.arm == "diverges"} == {"failed"}
    assert evidence.code == code_digest("toy", "line")


def test_missing_data_does_not_stop_the_others(verified):
    starved = verified["starved"]
    assert starved.evidence is None
    assert starved.reason.startswith("mnist is not here: ")
    assert "\n" not in starved.reason
    assert "stages" not in verified  # it has no claim at laptop


def test_a_crash_is_no_verdict(tmp_path, monkeypatch):
    from quire.lab.run import Run

    def broken(run, **values):
        raise KeyError("a bug")

    monkeypatch.setattr(Run, "log", broken)
    options = Options(runs=tmp_path, threads=1)
    (found,) = verify(Target.parse("toy/line"), "smoke", launch=serial, options=options)
    assert found.crashed
    assert found.evidence is None
    assert "KeyError" in found.reason


def test_smoke_runs_everything_once(tmp_path):
    options = Options(runs=tmp_path, threads=1, data=tmp_path / "nothing")
    found = verify(Target.parse("toy"), "smoke", launch=serial, options=options)
    assert [item.experiment for item in found] == ["line", "pupil", "stages", "starved"]
    line = found[0]
    assert {(run.arm, run.seed) for run in line.evidence.runs} == {("method", 0), ("baseline", 0)}
    assert [(claim.id, verdict) for claim, verdict in line.surprises] == [
        ("weights-differ", "fails")
    ]


def test_evidence_stands_for_itself(verified, tmp_path):
    """What is read back gives the same verdicts, from its own numbers alone."""
    evidence, curves = verified["line"].evidence, verified["line"].curves
    folder = tmp_path / "evidence"
    path = evidence.write(folder, curves)
    assert path.relative_to(folder).as_posix() == evidence.file_name
    assert evidence.file_name.startswith("toy/line--laptop--")
    assert read_evidence(path) == evidence
    assert all_evidence(folder) == all_evidence(folder, "toy") == [evidence]
    assert evidence.settings["baseline"] == {"steps": 40, "momentum": 0.0}
    again = judge(find_paper("toy"), "line", "laptop", read_evidence(path).runs)
    assert tuple(again) == evidence.claims
    results = [run.metrics["weight"] for run in evidence.runs if run.arm == "method"]
    first = next(path for path in tmp_path.rglob("result.json") if "method" in path.parts)
    assert json.loads(first.read_text())["metrics"]["weight"] in results  # every digit of it
    drawn = read_curves(folder, evidence)
    assert drawn["method", 0] == next(c for c in curves if (c.arm, c.seed) == ("method", 0))
    content = json.loads(path.read_text())
    content["claims"][0]["verdict"] = "surely"
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"is not evidence: claims.0.verdict"):
        read_evidence(path)


def test_verify_takes_no_single_arm():
    with pytest.raises(UserError, match="a claim compares arms"):
        verify(Target.parse("toy/line:method"), "laptop", launch=serial)


def test_the_largest_scale_comes_first_and_the_others_stand_beside_it(verified):
    base = verified["line"].evidence

    def at(preset, verdict):
        claims = [
            c.model_copy(update={"verdict": verdict}) if c.id == "momentum-helps" else c
            for c in base.claims
        ]
        return Evidence(**base.model_dump() | {"preset": preset, "claims": claims})

    def ranked(*evidence):
        found = ranked_verdicts(evidence, "toy")["momentum-helps"]
        return [(item.preset, claim.verdict) for claim, item in found]

    assert ranked(at("laptop", "holds"), at("gpu", "not run")) == [("laptop", "holds")]
    both = [("gpu", "undecided"), ("laptop", "holds")]
    assert ranked(at("laptop", "holds"), at("gpu", "undecided")) == both


def test_what_was_timed_beside_other_work_decides_no_trend(verified):
    paper = find_paper("toy")
    line = paper.experiments["line"].model_copy(update={"timings": ("error",)})
    timed = paper.model_copy(update={"experiments": paper.experiments | {"line": line}})
    runs = verified["line"].evidence.runs

    def verdict(busy):
        beside = [run.model_copy(update={"busy": busy}) for run in runs]
        records = {claim.id: claim for claim in judge(timed, "line", "laptop", beside)}
        return records["momentum-helps"]

    assert verdict(0.1).verdict == "holds"
    assert verdict(None).verdict == "holds"
    assert verdict(1.2).verdict == "undecided"
    assert "1.2 cores busy" in verdict(1.2).reason


def test_a_failure_that_was_expected_and_holds_is_a_surprise(verified):
    paper = find_paper("toy")
    line = paper.experiments["line"]
    claims = tuple(
        c.model_copy(update={"fails": {"laptop": "why"}}) if c.id == "momentum-helps" else c
        for c in line.claims
    )
    line = line.model_copy(update={"claims": claims})
    other = paper.model_copy(update={"experiments": paper.experiments | {"line": line}})
    found = replace(verified["line"], paper=other)
    assert [(c.id, verdict) for c, verdict in found.surprises] == [("momentum-helps", "holds")]


def test_curves_are_thinned_to_means(tmp_path):
    path = tmp_path / "metrics.jsonl"
    rows = [{"loop": "train", "step": k, "of": 300, "loss": float(k)} for k in range(300)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"loop": "tr')
    thinned = curves(path)["loss"]
    assert len(thinned) == 38
    assert thinned[0] == (7.0, 3.5)
