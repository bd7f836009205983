import json

import pytest

from quire.lab.digest import code_digest
from quire.lab.errors import UserError
from quire.lab.evidence import Evidence, all_evidence, best_verdicts, read_evidence
from quire.lab.job import Options, Target
from quire.lab.launch import attempt
from quire.lab.verify import curves, verify


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
    assert starved.reason == "dataset mnist is not here; get it with: quire data get mnist"
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
    assert [item.experiment for item in found] == ["line", "stages", "starved"]
    line = found[0]
    assert {(run.arm, run.seed) for run in line.evidence.runs} == {("method", 0), ("baseline", 0)}
    assert [claim.id for claim in line.surprises] == ["weights-differ"]


def test_evidence_round_trip_and_schema(verified, tmp_path):
    evidence = verified["line"].evidence
    path = evidence.write(tmp_path / "evidence")
    assert path.name.startswith("toy--line--laptop--")
    assert read_evidence(path) == evidence
    assert all_evidence(tmp_path / "evidence") == [evidence]
    content = json.loads(path.read_text())
    content["claims"][0]["verdict"] = "surely"
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"is not evidence: claims.0.verdict"):
        read_evidence(path)


def test_verify_takes_no_single_arm():
    with pytest.raises(UserError, match="a claim compares arms"):
        verify(Target.parse("toy/line:method"), "laptop", launch=serial)


def test_best_verdict_prefers_decided_then_larger_presets(verified):
    base = verified["line"].evidence

    def at(preset, verdict):
        claims = [
            c.model_copy(update={"verdict": verdict}) if c.id == "momentum-helps" else c
            for c in base.claims
        ]
        return Evidence(**base.model_dump() | {"preset": preset, "claims": claims})

    def best(*evidence):
        return best_verdicts(evidence, "toy")["momentum-helps"][0].verdict

    assert best(at("laptop", "holds"), at("gpu", "not run")) == "holds"
    assert best(at("laptop", "holds"), at("gpu", "undecided")) == "holds"
    assert best(at("laptop", "holds"), at("gpu", "fails")) == "fails"


def test_curves_are_thinned_to_means(tmp_path):
    path = tmp_path / "metrics.jsonl"
    rows = [{"loop": "train", "step": k, "of": 300, "loss": float(k)} for k in range(300)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"loop": "tr')
    thinned = curves(path)["loss"]
    assert len(thinned) == 100
    assert thinned[0] == (2.0, 1.0)
