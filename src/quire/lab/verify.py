"""From a target to verdicts: run what is missing, decide the claims, write the evidence."""

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from quire.lab.claims import Check, Decision, Results, Verdict, decide
from quire.lab.digest import code_digest
from quire.lab.errors import MissingError, UserError
from quire.lab.evidence import (
    ClaimRecord,
    Evidence,
    RunCurves,
    RunRecord,
    Series,
    machine_name,
)
from quire.lab.execute import Outcome
from quire.lab.extras import check_extras
from quire.lab.freshness import plain
from quire.lab.job import Job, Options, Target, jobs_for
from quire.lab.journal import read_journal
from quire.lab.papers import Claim, Experiment, Paper, Preset

Launch = Callable[[Sequence[Job]], list[Outcome]]


@dataclass(frozen=True)
class Verified:
    """An experiment after `verify`: its evidence, or why there is none."""

    paper: Paper
    experiment: str
    evidence: Evidence | None
    reason: str = ""
    curves: tuple[RunCurves, ...] = ()
    """What is drawn of its runs."""
    crashed: bool = False
    """A run stopped with an error: the experiment is broken, not merely not run."""

    @property
    def surprises(self) -> list[tuple[Claim, Verdict]]:
        """Claims that fail where they were expected to hold, or the other way round."""
        if self.evidence is None:
            return []
        verdicts = {record.id: record.verdict for record in self.evidence.claims}
        preset = self.evidence.preset
        return [
            (claim, verdicts[claim.id])
            for claim in self.paper.experiments[self.experiment].claims
            if verdicts.get(claim.id) in ("holds", "fails")
            and verdicts[claim.id] != claim.expected(preset)
        ]


def verify(
    target: Target,
    preset: Preset,
    *,
    launch: Launch,
    seeds: int | Sequence[int] | None = None,
    options: Options | None = None,
) -> list[Verified]:
    """Run what is missing for `target` and decide its claims, an experiment at a time.

    At `smoke` every experiment runs; at other presets those with a claim that the preset can
    decide, unless the target names one. An experiment that lacks data or an extra is reported as
    not run and does not stop the others.
    """
    options = options or Options()
    if target.arm:
        raise UserError("a claim compares arms: verify takes paper or paper/experiment")
    chosen = [
        name
        for name in target.experiments
        if preset == "smoke" or len(target.experiments) == 1
        or target.paper.claims_at(name, preset)
    ]  # fmt: skip
    missing, jobs = {}, []
    for name in chosen:
        experiment = target.paper.experiments[name]
        try:
            check_extras(experiment.needs)
            check_data(experiment, options)
            one = replace(target, experiments=(name,))
            jobs += jobs_for(one, preset, seeds, options=options)
        except MissingError as error:
            missing[name] = str(error)
    outcomes = launch(jobs)
    verified = []
    for name in chosen:
        mine = [o for o in outcomes if o.job.experiment == name]
        lacking = missing.get(name) or next((o.reason for o in mine if o.status == "missing"), "")
        crashed = [o for o in mine if o.status == "crashed"]
        if crashed:
            lacking = f"{crashed[0].job.label}: {crashed[0].reason}"
        evidence, drawn = None, tuple[RunCurves, ...]()
        if not lacking:
            evidence = collect(target.paper, name, preset, mine, data=options.data)
            drawn = tuple(collect_curves(mine))
        verified.append(Verified(target.paper, name, evidence, lacking, drawn, bool(crashed)))
    return verified


def check_data(experiment: Experiment, options: Options) -> None:
    """Raise `MissingError` naming the first dataset of the experiment that is not here."""
    from quire.data.store import status

    for name in experiment.data:
        found = status(name, options.data)
        if not found.present:
            raise MissingError(found.detail)


def collect(
    paper: Paper,
    experiment: str,
    preset: Preset,
    outcomes: Sequence[Outcome],
    *,
    data: Path | None = None,
) -> Evidence:
    """The evidence that finished runs of one experiment give; `data` is the datasets' root."""
    entry = paper.experiments[experiment]
    environment = common_environment([o.directory for o in outcomes])
    copies = _copies(entry, data)
    runs = tuple(_run_record(o) for o in outcomes)
    arms = dict.fromkeys(run.arm for run in runs)
    return Evidence(
        paper=paper.name,
        experiment=experiment,
        preset=preset,
        machine=_machine(environment),
        created=time.strftime("%Y-%m-%d"),
        code=code_digest(paper.name, experiment),
        settings={arm: plain(entry.settings(preset, arm)) for arm in arms},
        environment=environment | ({"data": copies} if copies else {}),
        runs=runs,
        claims=tuple(judge(paper, experiment, preset, runs)),
    )


def judge(
    paper: Paper, experiment: str, preset: Preset, runs: Sequence[RunRecord]
) -> list[ClaimRecord]:
    """The verdicts that finished runs of one experiment give; what people judge is left to them."""
    results: dict[str, dict[int, dict[str, float]]] = {}
    for run in runs:
        if run.status == "done":
            whole = {k: math.nan if v is None else v for k, v in run.metrics.items()}
            results.setdefault(run.arm, {})[run.seed] = whole
    entry = paper.experiments[experiment]
    return [
        claim_record(claim, _decision(entry, claim, preset, results, runs))
        for claim in entry.claims
        if claim.kind != "judgement"
    ]


def _copies(experiment: Experiment, root: Path | None) -> str:
    """Which copy of each dataset was read: a lossy one must be known as such."""
    from quire.data.store import version

    return "; ".join(f"{name}: {version(name, root)}" for name in experiment.data)


def _decision(
    entry: Experiment, claim: Claim, preset: Preset, results: Results, runs: Sequence[RunRecord]
) -> Decision:
    if preset not in claim.at:
        return Decision("not run", reason=f"decided at {', '.join(claim.at)}")
    check = Check.parse(claim.check).over(entry.arms_at(preset))
    decision = decide(check, claim.kind, results)
    mine = [run for run in runs if run.arm in check.arms]
    if stopped := [run for run in mine if run.status == "failed"]:
        reason = "; ".join(f"{run.arm} seed {run.seed}: {run.reason}" for run in stopped[:3])
        return replace(decision, reason=f"{len(stopped)} runs stopped ({reason})")
    timed = {metric for _, metric in check.names} & set(entry.timings)
    busiest = max((run.busy or 0.0 for run in mine), default=0.0)
    if claim.kind != "identity" and timed and busiest > QUIET and decision.verdict != "not run":
        reason = f"timed while other work kept {busiest:.1f} cores busy"
        return replace(decision, verdict="undecided", reason=reason)
    return decision


QUIET = 0.25
"""Cores that other work may keep busy while something is timed."""


def claim_record(claim: Claim, decision: Decision) -> ClaimRecord:
    """A decision as it stands in an evidence file; what is not finite is None there."""

    def finite(value: float | None) -> float | None:
        return value if value is not None and math.isfinite(value) else None

    interval = decision.interval
    if interval is not None and not all(math.isfinite(v) for v in interval):
        interval = None
    return ClaimRecord(
        id=claim.id, check=claim.check, verdict=decision.verdict, left=finite(decision.left),
        right=finite(decision.right), interval=interval, seeds=decision.seeds,
        reason=decision.reason,
    )  # fmt: skip


def _run_record(outcome: Outcome) -> RunRecord:
    folder, job = outcome.directory, outcome.job
    environment, result = _read(folder / "environment.json"), _read(folder / "result.json")
    return RunRecord(
        arm=job.arm, seed=job.seed,
        status="failed" if outcome.status == "failed" else "done",
        metrics=result.get("metrics", {}),
        cpu_seconds=environment.get("cpu_seconds", 0.0),
        wall_seconds=environment.get("wall_seconds", 0.0),
        peak_memory_mb=environment.get("peak_memory_mb", 0.0),
        busy=environment.get("busy"), reason=outcome.reason,
    )  # fmt: skip


def collect_curves(outcomes: Sequence[Outcome]) -> list[RunCurves]:
    """What is drawn of finished runs: logged values and series."""
    return [
        RunCurves(
            arm=outcome.job.arm, seed=outcome.job.seed,
            curves=curves(outcome.directory / "metrics.jsonl"),
            series={
                name: Series(
                    x=tuple(float(v) for v in map(_short, s["x"]) if v is not None),
                    y=tuple(map(_short, s["y"])), x_label=s["x_label"], y_label=s["y_label"],
                )
                for name, s in _read(outcome.directory / "result.json").get("series", {}).items()
            },
        )
        for outcome in outcomes
    ]  # fmt: skip


def curves(journal: Path, points: int = 40) -> dict[str, tuple[tuple[float, float], ...]]:
    """Logged values as (step, value), thinned to means over at most `points` equal stretches."""
    found: dict[str, list[tuple[int, float]]] = {}
    for row in read_journal(journal):
        for key, value in row.items():
            if key not in ("loop", "step", "of"):
                name = key if row["loop"] == "train" else f"{row['loop']}/{key}"
                found.setdefault(name, []).append((row["step"], value))
    thinned = {}
    for name, rows in found.items():
        width = math.ceil(len(rows) / points)
        groups = [rows[k : k + width] for k in range(0, len(rows), width)]
        thinned[name] = tuple(
            (float(group[-1][0]), float(f"{sum(v for _, v in group) / len(group):.5g}"))
            for group in groups
        )
    return thinned


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def common_environment(runs: Sequence[Path]) -> dict[str, Any]:
    """What the environments of the runs in these folders share; where they differ, every value."""
    environments = [_read(folder / "environment.json") for folder in runs]
    own = ("experiment", "preset", "cpu_seconds", "wall_seconds", "peak_memory_mb")
    keys = [key for key in environments[0] if key not in own] if environments else []
    common: dict[str, Any] = {}
    for key in keys:
        values = sorted({str(e.get(key)) for e in environments})
        common[key] = environments[0][key] if len(values) == 1 else ", ".join(values)
    return common


def _machine(environment: dict[str, Any]) -> str:
    if environment.get("device") == "cuda":
        return str(environment["processor"]).lower().replace(" ", "-").replace("_", "-")
    return machine_name()
