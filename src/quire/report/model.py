"""What the report says, worked out before it is written: verdicts, tallies, means over seeds."""

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from quire.lab.claims import Check
from quire.lab.evidence import ClaimRecord, Evidence, RunRecord, best_verdicts
from quire.lab.papers import PRESETS, Claim, Paper

Outcome = Literal["holds", "fails", "undecided", "not run"]
OUTCOMES: tuple[Outcome, ...] = ("holds", "fails", "undecided", "not run")
Stale = Callable[[Evidence], bool]
"""Whether the code that decided some evidence has changed since."""


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
class Judged:
    """A claim with its most telling verdict, and the verdicts it got elsewhere."""

    claim: Claim
    record: ClaimRecord
    evidence: Evidence | None
    stale: bool
    values: Mapping[str, Spread]
    """Each ``arm.metric`` of the check, over seeds."""
    elsewhere: tuple[tuple[ClaimRecord, Evidence], ...]

    @property
    def outcome(self) -> Outcome:
        """The verdict as it is counted: one seed decides no trend."""
        return "undecided" if self.record.verdict == "one seed" else self.record.verdict

    @property
    def expected(self) -> bool:
        """Whether a decided verdict is the one that `paper.toml` expects."""
        return self.outcome not in ("holds", "fails") or self.outcome == self.claim.expected

    @property
    def check(self) -> Check:
        """The claim's comparison."""
        return Check.parse(self.claim.check)

    @property
    def difference(self) -> float | None:
        """Mean of left - right, where both are finite."""
        left, right = self.record.left, self.record.right
        if left is None or right is None or not math.isfinite(left - right):
            return None
        return left - right


def never_stale(evidence: Evidence) -> bool:
    """Stands in where nobody can tell whether the code has changed."""
    return False


def judge(paper: Paper, evidence: Iterable[Evidence], stale: Stale = never_stale) -> list[Judged]:
    """The claims of `paper` in its own order, each with its verdict."""
    evidence = [item for item in evidence if item.paper == paper.name]
    best = best_verdicts(evidence, paper.name)
    judged = []
    for claim in paper.claims:
        record, item = best.get(claim.id, (ClaimRecord(id=claim.id, verdict="not run"), None))
        if item is None or item.experiment != claim.experiment:
            judged.append(
                Judged(claim, ClaimRecord(id=claim.id, verdict="not run"), None, False, {}, ())
            )
            continue
        others = [
            (other, source)
            for source in by_weight(evidence)
            for other in source.claims
            if other.id == claim.id and source is not item and other.verdict != "not run"
        ]
        values = {
            f"{arm}.{metric}": Spread.of([run.metrics[metric] for run in runs])
            for arm, metric in sorted(Check.parse(claim.check).names)
            if (runs := [run for run in finished(item, arm) if metric in run.metrics])
        }
        judged.append(Judged(claim, record, item, stale(item), values, tuple(others)))
    return judged


def tally(judged: Iterable[Judged]) -> dict[Outcome, int]:
    """How many claims hold, fail, are undecided and were not run."""
    outcomes = [item.outcome for item in judged]
    return {outcome: outcomes.count(outcome) for outcome in OUTCOMES}


def by_weight(evidence: Iterable[Evidence]) -> list[Evidence]:
    """Evidence with something finished first, then by larger preset, then by newer date."""
    return sorted(
        evidence,
        key=lambda item: (
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


def command(paper: str, experiment: str, preset: str) -> str:
    """The command that repeats what some evidence measured."""
    return f"quire verify {paper}/{experiment} --preset {preset}"
