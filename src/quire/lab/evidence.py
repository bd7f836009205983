"""Evidence: what one machine measured for one experiment at one preset, as a JSON file.

`evidence/<paper>--<experiment>--<preset>--<machine>.json`, checked against the models here when
it is written and when it is read.
"""

import json
import os
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from quire.lab.claims import Verdict
from quire.lab.errors import UserError
from quire.lab.files import write_atomically
from quire.lab.papers import Preset, first_fault


class Record(BaseModel):
    """A frozen table of an evidence file."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Series(Record):
    """A curve of a finished run, for example expected steps against difficulty."""

    x: tuple[float, ...]
    y: tuple[float | None, ...]
    x_label: str = ""
    y_label: str = ""


class RunRecord(Record):
    """One arm with one seed: how it ended and what it cost."""

    arm: str
    seed: int
    status: Literal["done", "failed"]
    config: dict[str, Any]
    metrics: dict[str, float | None] = {}
    curves: dict[str, tuple[tuple[float, float], ...]] = {}
    """Logged values as (step, value), thinned to at most 100 points."""
    series: dict[str, Series] = {}
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    peak_memory_mb: float = 0.0
    reason: str = ""


class ClaimRecord(Record):
    """A claim's verdict with what was measured."""

    id: str
    verdict: Verdict
    left: float | None = None
    right: float | None = None
    interval: tuple[float, float] | None = None
    """95 % bootstrap interval of the mean of left - right, paired by seed."""
    seeds: int = 0
    reason: str = ""


class Evidence(Record):
    """All that one machine measured for one experiment at one preset."""

    format: Literal[1] = 1
    paper: str
    experiment: str
    preset: Preset
    machine: str
    created: str
    """Date, ISO 8601."""
    code: str
    """Digest of the code that decides the result (see `quire.lab.digest`)."""
    environment: dict[str, Any]
    runs: tuple[RunRecord, ...]
    claims: tuple[ClaimRecord, ...]

    @property
    def file_name(self) -> str:
        """Name of the file that this evidence stands in."""
        return f"{self.paper}--{self.experiment}--{self.preset}--{self.machine}.json"

    def write(self, folder: Path) -> Path:
        """Write it to `folder`, whole or not at all."""
        path = folder / self.file_name
        text = json.dumps(self.model_dump(mode="json"), indent=1, allow_nan=False)
        write_atomically(path, (_compact(text) + "\n").encode())
        return path


def _compact(text: str) -> str:
    """Put innermost lists on one line: a curve reads as a row, and files stay small."""
    import re

    def join(match: "re.Match[str]") -> str:
        return re.sub(r"\s*\n\s*", " ", match.group(0)).replace("[ ", "[").replace(" ]", "]")

    text = re.sub(r"\[[^\[\]{}]*\]", join, text)
    return re.sub(r"\[(?:\s*\[[^\[\]{}]*\],?)+\s*\]", join, text)


def read_evidence(path: Path) -> Evidence:
    """Read an evidence file; a malformed one raises `UserError` with one line."""
    try:
        return Evidence.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise UserError(f"{path.name} is not evidence: {first_fault(error)}") from None


def evidence_folder() -> Path:
    """Where committed evidence stands: inside an installed package, else in the checkout.

    The environment variable QUIRE_EVIDENCE names another folder.
    """
    if named := os.environ.get("QUIRE_EVIDENCE"):
        return Path(named)
    package = Path(__file__).resolve().parent.parent
    inside = package / "evidence"
    return inside if inside.is_dir() else package.parent.parent / "evidence"


def all_evidence(folder: Path | None = None) -> list[Evidence]:
    """Every evidence file, in the order of paper, experiment, preset and machine."""
    folder = folder or evidence_folder()
    return [read_evidence(path) for path in sorted(folder.glob("*--*.json"))]


_RANK = {"paper": 3, "gpu": 2, "laptop": 1, "smoke": 0}
_WEIGHT = {"holds": 2, "fails": 2, "undecided": 1, "one seed": 1, "not run": 0}


def best_verdicts(
    evidence: Iterable[Evidence], paper: str
) -> dict[str, tuple[ClaimRecord, Evidence]]:
    """For each claim of `paper` its most telling verdict: a decided one before an open one, then
    the larger preset, then the newer date."""
    best: dict[str, tuple[tuple[int, int, str], ClaimRecord, Evidence]] = {}
    for item in evidence:
        if item.paper != paper:
            continue
        for claim in item.claims:
            rank = (_WEIGHT[claim.verdict], _RANK[item.preset], item.created)
            if claim.id not in best or rank > best[claim.id][0]:
                best[claim.id] = (rank, claim, item)
    return {key: (claim, item) for key, (_, claim, item) in best.items()}


def machine_name() -> str:
    """A short name for this kind of machine, such as ``linux-x86_64-2cpu``."""
    name = f"{platform.system().lower()}-{platform.machine()}-{os.cpu_count()}cpu"
    return name.replace("_", "-")
