"""What the report says, worked out before it is written: verdicts, tallies, means over seeds."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from quire.lab.claims import Check
from quire.lab.evidence import (
    ClaimRecord,
    Evidence,
    RunRecord,
    all_evidence,
    evidence_folder,
    ranked_verdicts,
)
from quire.lab.freshness import Standing, standings
from quire.lab.papers import PRESETS, Claim, Paper

Answer = Literal["holds", "fails", "undecided", "not run"]
ANSWERS: tuple[Answer, ...] = ("holds", "fails", "undecided", "not run")
Group = Literal["trends", "numbers", "identities", "judged", "beyond"]
GROUPS: dict[Group, str] = {
    "trends": "the paper's trends",
    "numbers": "the paper's numbers",
    "identities": "identities",
    "judged": "judged by people",
    "beyond": "beyond the paper",
}
"""Claims are counted apart: a trend in small is not a number of the paper's table."""
Counts = dict[Group, dict[Answer, int]]
Standings = Mapping[str, Standing]
"""How each piece of evidence stands to the code, by its file's name."""
FRESH = Standing("fresh")


class OwnEvidence(Evidence):
    """Evidence of one's own runs, which nobody has committed."""


def known_evidence(paper: Paper, own: Path) -> list[Evidence]:
    """The committed evidence for `paper` and one's own below the folder `own`.

    Under the same file name one's own wins; it is known by its class, `OwnEvidence`. A file that
    is not evidence raises `UserError` with one line.
    """
    found = {item.file_name: item for item in all_evidence(paper=paper.name)}
    for item in all_evidence(own, paper.name):
        found[item.file_name] = OwnEvidence.model_construct(**dict(item))
    return [found[name] for name in sorted(found)]


def folder_of(evidence: Evidence, own: Path | None) -> Path:
    """The folder that the evidence was read from, where its curves stand as well."""
    return own if own is not None and isinstance(evidence, OwnEvidence) else evidence_folder()


def known_standings(paper: Paper, evidence: Iterable[Evidence]) -> Standings:
    """How the evidence for `paper` stands to the code as it is, by its file's name."""
    return standings([item for item in evidence if item.paper == paper.name])


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation over the seeds whose value is finite."""

    mean: float | None
    std: float | None
    finite: int
    seeds: int

    @classmethod
    def of(cls, values: Sequence[float | None]) -> "Spread":
        """The spread of one value a seed; None and not finite ones are left out of the mean."""
        finite = [value for value in values if value is not None and math.isfinite(value)]
        return cls(
            mean=statistics.fmean(finite) if finite else None,
            std=statistics.stdev(finite) if len(finite) > 1 else None,
            finite=len(finite),
            seeds=len(values),
        )


@dataclass(frozen=True)
class ArmResult:
    """An arm at one preset: its metrics and what it cost, over seeds."""

    arm: str
    done: int
    failed: tuple[RunRecord, ...]
    metrics: Mapping[str, Spread]
    cpu_seconds: Spread
    wall_seconds: Spread
    peak_memory_mb: Spread

    @property
    def planned(self) -> int:
        """Number of seeds, finished or not."""
        return self.done + len(self.failed)


@dataclass(frozen=True)
class Found:
    """A claim's verdict at one scale on one machine, and how its evidence stands to the code."""

    record: ClaimRecord
    evidence: Evidence
    standing: Standing = FRESH

    @property
    def outcome(self) -> Answer:
        """The verdict as it is counted: one seed decides no trend."""
        return "undecided" if self.record.verdict == "one seed" else self.record.verdict

    @property
    def stale(self) -> bool:
        """Whether the code or the settings behind it have changed since."""
        return self.standing.state == "stale"

    def values(self, check: Check) -> dict[tuple[str, str], Spread]:
        """Each ``arm.metric`` of `check` over the seeds that all its arms have finished."""
        runs = {arm: finished(self.evidence, arm) for arm in check.arms}
        done = [{run.seed for run in each} for each in runs.values() if each]
        seeds = set.intersection(*done) if done else set()
        return {
            (arm, metric): Spread.of(values)
            for arm, metric in sorted(check.names)
            if (
                values := [
                    run.metrics[metric]
                    for run in runs[arm]
                    if run.seed in seeds and metric in run.metrics
                ]
            )
        }


@dataclass(frozen=True)
class Judged:
    """A claim with its verdicts, the largest scale first."""

    claim: Claim
    found: tuple[Found, ...] = ()

    @property
    def best(self) -> Found | None:
        """The verdict at the largest scale; None where no evidence decides the claim."""
        return self.found[0] if self.found else None

    @property
    def outcome(self) -> Answer:
        """The verdict as it is counted."""
        return self.found[0].outcome if self.found else "not run"

    @property
    def verdict(self) -> str:
        """The verdict as it was given."""
        return self.found[0].record.verdict if self.found else "not run"

    @property
    def group(self) -> Group:
        """Where it is counted."""
        return group_of(self.claim)

    @property
    def stale(self) -> bool:
        """Whether the evidence of its verdict is stale."""
        return bool(self.found) and self.found[0].stale

    @property
    def expected(self) -> bool:
        """Whether a decided verdict is the one that surprises nobody at its preset."""
        if self.best is None or self.outcome not in ("holds", "fails"):
            return True
        return self.outcome == self.claim.expected(self.best.evidence.preset)

    @property
    def reason(self) -> str:
        """Why it fails where it does, why it was not decided, or nothing."""
        if self.best is None:
            return ""
        known = self.claim.fails.get(self.best.evidence.preset, "")
        return known if self.outcome == "fails" and known else self.best.record.reason

    @property
    def others(self) -> tuple[Found, ...]:
        """What other scales and machines found."""
        return self.found[1:]

    @property
    def disagree(self) -> bool:
        """Whether it holds at one scale or machine and fails at another."""
        return {"holds", "fails"} <= {item.outcome for item in self.found}


def group_of(claim: Claim) -> Group:
    """Where a claim is counted: what people judge is apart, then what goes beyond the paper."""
    if claim.kind == "judgement":
        return "judged"
    if claim.origin == "beyond":
        return "beyond"
    return {"trend": "trends", "number": "numbers", "identity": "identities"}[claim.kind]  # type: ignore[return-value]


def judge(paper: Paper, evidence: Iterable[Evidence], standings: Standings) -> list[Judged]:
    """The claims of `paper` in its own order, each with its verdicts."""
    items = [item for item in evidence if item.paper == paper.name]
    ranked = ranked_verdicts(items, paper.name)
    return [
        Judged(
            claim,
            tuple(
                Found(record, item, standings.get(item.file_name, FRESH))
                for record, item in ranked.get(claim.id, ())
                if item.experiment == claim.experiment
            ),
        )
        for claim in paper.claims
    ]


def tally(judged: Iterable[Judged]) -> Counts:
    """How many claims of each group hold, fail, are undecided and were not run."""
    counts: Counts = {group: dict.fromkeys(ANSWERS, 0) for group in GROUPS}
    for item in judged:
        counts[item.group][item.outcome] += 1
    return counts


def headline(paper: Paper, judged: Sequence[Judged], amount: int = 6) -> list[Judged]:
    """The claims that a reader asks for first: the paper's headline, else its first trends."""
    chosen = [item for item in judged if item.claim.id in paper.headline]
    if chosen:
        return chosen
    trends = [item for item in judged if item.claim.kind != "identity"]
    decided = [item for item in trends if item.outcome != "not run"]
    return (decided or trends or list(judged))[:amount]


def by_weight(evidence: Iterable[Evidence]) -> list[Evidence]:
    """Evidence with something finished first, then by larger preset, then by newer date; what
    people judged last, since it has no curves."""
    return sorted(
        evidence,
        key=lambda item: (
            item.rated is None,
            any(run.status == "done" for run in item.runs),
            PRESETS.index(item.preset),
            item.created,
            item.machine,
        ),
        reverse=True,
    )


def of_experiment(evidence: Iterable[Evidence], paper: Paper, experiment: str) -> list[Evidence]:
    """The evidence for one experiment, the most telling first."""
    return by_weight(
        item for item in evidence if item.paper == paper.name and item.experiment == experiment
    )


def finished(evidence: Evidence, arm: str) -> list[RunRecord]:
    """The runs of `arm` that came to their end, by seed."""
    runs = [run for run in evidence.runs if run.arm == arm and run.status == "done"]
    return sorted(runs, key=lambda run: run.seed)


def arm_names(evidence: Evidence, known: Iterable[str] = ()) -> list[str]:
    """The arms that ran, in the order of `known`; arms it lacks come last."""
    ran = dict.fromkeys(run.arm for run in evidence.runs)
    known = list(known)
    return [arm for arm in known if arm in ran] + [arm for arm in ran if arm not in known]


def arm_results(evidence: Evidence, known: Iterable[str] = ()) -> list[ArmResult]:
    """One result an arm that ran, in the order of `known`."""
    return [_arm_result(evidence, arm) for arm in arm_names(evidence, known)]


def _arm_result(evidence: Evidence, arm: str) -> ArmResult:
    done = finished(evidence, arm)
    failed = sorted(
        (run for run in evidence.runs if run.arm == arm and run.status == "failed"),
        key=lambda run: run.seed,
    )
    names = dict.fromkeys(name for run in done for name in run.metrics)
    return ArmResult(
        arm=arm,
        done=len(done),
        failed=tuple(failed),
        metrics={
            name: Spread.of([run.metrics[name] for run in done if name in run.metrics])
            for name in names
        },
        cpu_seconds=Spread.of([run.cpu_seconds for run in done]),
        wall_seconds=Spread.of([run.wall_seconds for run in done]),
        peak_memory_mb=Spread.of([run.peak_memory_mb for run in done]),
    )


def command(evidence: Evidence) -> str:
    """The command that repeats what some evidence measured, or has more people judge it."""
    verb, what = "verify", evidence.experiment
    if evidence.rated:
        verb, what = "rate", evidence.rated.claim
    return f"quire {verb} {evidence.paper}/{what} --preset {evidence.preset}"


def sample(evidence: Evidence) -> str:
    """What its verdicts are over, in the singular."""
    return "rater" if evidence.rated else "seed"
