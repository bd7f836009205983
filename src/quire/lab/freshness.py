"""Whether evidence still belongs to the code: fresh, carried or stale; and how it is carried."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from quire.lab.digest import code_digest
from quire.lab.errors import UserError
from quire.lab.evidence import RUN_FORMAT, Carried, Evidence
from quire.lab.memo import remembered, source_files
from quire.lab.papers import Experiment, Paper, find_paper, paper_folders

State = Literal["fresh", "carried", "stale"]
STEPS = 20
"""Steps of the evidence's own preset that are compared."""
PATIENCE = 40.0
"""Seconds that a trial may take, on average over the arms."""


@dataclass(frozen=True)
class Standing:
    """How evidence stands to the code as it is, and why."""

    state: State
    reason: str = ""


def standing(evidence: Evidence, paper: Paper, digest: str) -> Standing:
    """Compare the evidence with today's settings, checks and code, whose digest is `digest`."""
    experiment = paper.experiments.get(evidence.experiment)
    if experiment is None:
        return Standing("stale", "the experiment is gone")
    if evidence.run_format != RUN_FORMAT:
        return Standing("stale", "the lab runs otherwise now")
    if digest not in evidence.digests:
        return Standing("stale", "the code behind it changed")
    for arm, settings in settings_now(evidence, experiment).items():
        if arm not in evidence.settings:
            return Standing("stale", f"the arm {arm} was added")
        if evidence.settings[arm] != settings:
            return Standing("stale", f"the settings of {arm} changed")
    checks = {claim.id: claim.check for claim in evidence.claims}
    claims = paper.claims_at(evidence.experiment, evidence.preset)
    claims = [claim for claim in claims if evidence.decides(claim)]
    if evidence.rated and not claims:
        return Standing("stale", f"the claim {evidence.rated.claim} is gone")
    if evidence.rated and claims[0].question != evidence.rated.question:
        return Standing("stale", f"the question of {evidence.rated.claim} changed")
    for claim in claims:
        if claim.id not in checks:
            return Standing("stale", f"the claim {claim.id} was added")
        if checks[claim.id] != claim.check:
            return Standing("stale", f"the check of {claim.id} changed")
    if digest == evidence.code:
        return Standing("fresh")
    proof = next(item for item in evidence.carried if item.code == digest)
    return Standing("carried", f"{proof.date}: {proof.proof}")


def settings_now(evidence: Evidence, experiment: Experiment) -> dict[str, dict[str, Any]]:
    """Today's settings of each arm that runs; where people judged, of those that they saw."""
    return {
        arm: plain(experiment.settings(evidence.preset, arm))
        for arm in experiment.arms_at(evidence.preset)
        if evidence.rated is None or arm in evidence.settings
    }


def standings(evidence: Sequence[Evidence]) -> dict[str, Standing]:
    """How each piece of evidence stands to the code as it is, by its file's name."""
    papers = {name: find_paper(name) for name in {item.paper for item in evidence}}
    digests = code_digests([(item.paper, item.experiment) for item in evidence])
    return {
        item.file_name: standing(
            item, papers[item.paper], digests.get((item.paper, item.experiment), "")
        )
        for item in evidence
    }


def code_digests(wanted: Sequence[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Digests of the code behind experiments, those that exist; remembered between commands."""
    known = {
        (paper, experiment)
        for paper, experiment in wanted
        if experiment in find_paper(paper).experiments
    }

    def compute() -> dict[str, str]:
        found = {}
        for name, folder in paper_folders().items():
            for path in sorted((folder / "experiments").glob("*.toml")):
                with suppress(UserError, SyntaxError):
                    found[f"{name}/{path.stem}"] = code_digest(name, path.stem)
        return found

    digests = remembered("digests", source_files(), compute)
    return {key: digests["/".join(key)] for key in known if "/".join(key) in digests}


def judged(evidence: Evidence) -> Evidence:
    """The evidence with its claims decided again from its own metrics, by the checks of today.

    Of its runs those count whose arm has the settings of today: what is claimed of others was not
    measured. Where people judged, their choices decide again.
    """
    from quire.lab.ratings import counted
    from quire.lab.verify import judge

    if evidence.rated:
        return counted(evidence)
    paper = find_paper(evidence.paper)
    now = settings_now(evidence, paper.experiments[evidence.experiment])
    runs = [run for run in evidence.runs if now.get(run.arm) == evidence.settings.get(run.arm)]
    claims = judge(paper, evidence.experiment, evidence.preset, runs)
    return evidence.model_copy(update={"claims": tuple(claims)})


def plain(value: Any) -> Any:
    """`value` as JSON gives it back: tuples as lists."""
    return json.loads(json.dumps(value))


def carry(evidence: Evidence, revision: str, *, data: Path | None, steps: int = STEPS) -> Evidence:
    """The evidence, carried from the code at `revision` to the code as it is.

    Every arm of the smoke preset is run to its end and every arm of the evidence's own preset for
    `steps` steps, at both states of the code; metrics, series, logged values and the tensors of
    the checkpoints must be the same bit for bit. Settings and checks are then those of today; a
    check that is written otherwise must decide as before.

    Raises `UserError` where the evidence does not belong to the code at `revision`, or where
    something differs.
    """
    paper = find_paper(evidence.paper)
    experiment = paper.experiments[evidence.experiment]
    jobs = [_trial(evidence, arm, "smoke", None) for arm in experiment.arms_at("smoke")]
    jobs += [
        _trial(evidence, arm, evidence.preset, steps) for arm in experiment.arms_at(evidence.preset)
    ]
    with _checkout(revision) as source, ThreadPoolExecutor(2) as both:
        before, now = both.map(lambda root: _probe(jobs, data, root), (source, None))
    proven = {"smoke": 0, "steps": 0}
    for job, old, new in zip(jobs, before, now, strict=True):
        where = f"{evidence.paper}/{evidence.experiment}:{job['arm']} at {job['preset']}"
        if old is not None and old["digest"] not in evidence.digests:
            raise UserError(f"the evidence for {where} does not belong to the code at {revision}")
        if old is None or new is None:
            continue  # it took too long at either state: what was compared is said
        # Pictures may come and go beside numbers that stay; what people saw may not.
        apart = {"digest", "job"} if evidence.rated else {"digest", "job", "exhibits"}
        for part in sorted((old.keys() | new.keys()) - apart):
            if old.get(part, "") != new.get(part, ""):
                raise UserError(f"{where}: {part} is not the same as at {revision}")
        if "error" in old:
            raise UserError(f"{where}: {old['error']}")
        proven["smoke" if job["steps"] is None else "steps"] += 1
    if not proven["smoke"]:
        raise UserError(f"{evidence.paper}/{evidence.experiment}: nothing could be compared")
    digest = next(new["digest"] for new in now if new is not None)
    proof = f"{proven['smoke']} smoke runs"
    if proven["steps"]:
        proof += f" and {steps} steps of {proven['steps']} arms at {evidence.preset}"
    proof += f" give the same bits as at {revision}"
    settings = settings_now(evidence, experiment)
    carried = evidence.carried
    if digest not in evidence.digests:
        carried += (Carried(code=digest, date=time.strftime("%Y-%m-%d"), proof=proof),)
    moved = judged(evidence.model_copy(update={"carried": carried, "settings": settings}))
    verdicts = {claim.id: claim.verdict for claim in evidence.claims}
    for claim in moved.claims:  # a check may be written otherwise; it may not decide otherwise
        if claim.id in verdicts and claim.verdict != verdicts[claim.id]:
            raise UserError(f"{evidence.paper}/{claim.id} {claim.verdict} by its new check, and "
                            f"{verdicts[claim.id]} by the old one: verify again")  # fmt: skip
    return moved


def _trial(evidence: Evidence, arm: str, preset: str, steps: int | None) -> dict[str, Any]:
    return {
        "paper": evidence.paper, "experiment": evidence.experiment, "arm": arm, "preset": preset,
        "seed": 0, "steps": steps,
    }  # fmt: skip


@contextmanager
def _checkout(revision: str) -> Iterator[Path]:
    """The sources as they were at `revision`, in a work tree of their own."""
    root = Path(__file__).resolve().parent.parent.parent.parent
    with tempfile.TemporaryDirectory(prefix="quire-") as folder:
        add = ["git", "worktree", "add", "--detach", folder, revision]
        done = subprocess.run(add, cwd=root, capture_output=True, text=True, check=False)
        if done.returncode:
            raise UserError(
                f"no revision '{revision}' here: {done.stderr.strip().splitlines()[-1]}"
            )
        try:
            yield Path(folder) / "src"
        finally:
            remove = ["git", "worktree", "remove", "--force", folder]
            subprocess.run(remove, cwd=root, capture_output=True, check=False)


def _probe(
    jobs: Sequence[dict[str, Any]], data: Path | None, source: Path | None
) -> list[dict[str, Any] | None]:
    """What each job gives, with the sources at `source`; None where it did not end in time."""
    environment = dict(os.environ) | {"OMP_NUM_THREADS": "1"}
    if source is not None:
        environment["PYTHONPATH"] = str(source)
    words = json.dumps({"data": str(data) if data else None, "jobs": list(jobs)})
    limit = PATIENCE * len(jobs)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "quire.lab.probe"], input=words.encode(), env=environment,
            capture_output=True, timeout=limit, check=False,
        )  # fmt: skip
        output = done.stdout
        if done.returncode:
            last = next(iter(done.stderr.decode().strip().splitlines()[::-1]), "no output")
            raise UserError(f"{jobs[0]['paper']}/{jobs[0]['experiment']}: {last}")
    except subprocess.TimeoutExpired as late:
        output = late.stdout or b""
    lines = [line for line in output.decode().splitlines() if line.startswith("probe: ")]
    found = [json.loads(line.removeprefix("probe: ")) for line in lines]
    return found + [None] * (len(jobs) - len(found))
