"""What a paper's own pages are made of: each experiment's runs at the largest scale measured."""

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from quire.lab.evidence import Evidence, RunRecord
from quire.report.model import FRESH, arm_names, finished, of_experiment

if TYPE_CHECKING:
    from quire.report.page import Sheet


@dataclass(frozen=True)
class Facts:
    """One experiment's runs."""

    evidence: Evidence
    settings: dict[str, dict[str, Any]]
    """What each arm sets at that preset."""
    stale: bool

    @property
    def arms(self) -> list[str]:
        """The arms with a finished run, in their order."""
        return [arm for arm in arm_names(self.evidence, self.settings) if self.runs(arm)]

    def runs(self, arm: str) -> list[RunRecord]:
        """Its finished runs, by seed."""
        return finished(self.evidence, arm)

    def values(self, arm: str, metric: str) -> list[float]:
        """The metric of each finished run that has a finite one."""
        found = [run.metrics.get(metric) for run in self.runs(arm)]
        return [value for value in found if value is not None and math.isfinite(value)]

    def mean(self, arm: str, metric: str) -> float | None:
        """Its mean over seeds; None where there is none."""
        values = self.values(arm, metric)
        return statistics.fmean(values) if values else None

    @property
    def content(self) -> dict[str, Any]:
        """All of it for a script: arms with their settings and each seed's metrics."""
        return {
            "preset": self.evidence.preset,
            "arms": {
                arm: {
                    "settings": self.settings.get(arm, {}),
                    "runs": [{"seed": run.seed, **run.metrics} for run in self.runs(arm)],
                }
                for arm in self.arms
            },
        }


def facts_of(sheet: "Sheet") -> dict[str, Facts]:
    """The experiments that were measured, smoke runs aside, by name."""
    found = {}
    for name, experiment in sheet.paper.experiments.items():
        measured = [
            item
            for item in of_experiment(sheet.evidence, sheet.paper, name)
            if item.preset != "smoke" and not item.rated
        ]
        if measured:
            best = measured[0]
            standing = sheet.standings.get(best.file_name, FRESH)
            settings = {arm: experiment.settings(best.preset, arm) for arm in experiment.arms}
            found[name] = Facts(best, settings, standing.state == "stale")
    return found
