"""Evidence: what one machine measured for one experiment at one preset, as a JSON file.

``evidence/<paper>/<experiment>--<preset>--<machine>.json`` holds all that a verdict follows from:
metrics in full, settings, the text of every check, the digest of the code. What is drawn (logged
values and series) stands in a ``….curves.json`` beside it. Both are checked against the models here
when they are written and when they are read.

What people said of pictures is evidence in the same form, ``…--people-<digest of the page>.json``:
the pairs and every choice, and as runs what follows from them, one a rater and arm.
"""

import hashlib
import json
import os
import platform
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from quire.lab.claims import Verdict
from quire.lab.errors import UserError
from quire.lab.files import write_atomically
from quire.lab.papers import Claim, Preset, first_fault

RUN_FORMAT = 1
"""Raised when the lab itself changes what a run's numbers mean (seeding, order of steps)."""


class Entry(BaseModel):
    """A frozen table of an evidence file."""

    model_config = ConfigDict(frozen=True, extra="forbid")


T = TypeVar("T", bound=Entry)
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Series(Entry):
    """A curve of a finished run, for example expected steps against difficulty."""

    x: tuple[float, ...]
    y: tuple[float | None, ...]
    x_label: str = ""
    y_label: str = ""


class RunRecord(Entry):
    """One arm with one seed: how it ended and what it cost."""

    arm: str
    seed: int
    status: Literal["done", "failed"]
    metrics: dict[str, float | None] = {}
    """In full: every verdict can be computed again from them."""
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    peak_memory_mb: float = 0.0
    busy: float | None = None
    """Cores of the machine that other work kept busy meanwhile; None where it was not noted."""
    reason: str = ""


class RunCurves(Entry):
    """What is drawn of one run."""

    arm: str
    seed: int
    curves: dict[str, tuple[tuple[float, float], ...]] = {}
    """Logged values as (step, value), thinned to at most 40 points."""
    series: dict[str, Series] = {}


class ClaimRecord(Entry):
    """A claim's verdict with what was measured."""

    id: str
    check: str = ""
    """The comparison as it was decided."""
    verdict: Verdict
    left: float | None = None
    right: float | None = None
    interval: tuple[float, float] | None = None
    """Student's 95 % interval of the mean of left - right, paired by seed; of shares that people
    chose see `quire.lab.claims.decide_judgement`."""
    seeds: int = 0
    """How many seeds, or raters, decided it."""
    reason: str = ""


class Carried(Entry):
    """A later state of the code that was shown to give the same numbers."""

    code: str
    """Digest of the code to which the evidence was carried."""
    date: str
    proof: str
    """What was run at both states, with identical results."""


class Rating(Entry):
    """What one person chose on a page of pairs, from its first pair on."""

    id: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]{1,40}$")]
    """Drawn by the page when the rater began."""
    rater: Annotated[str, StringConstraints(max_length=100)] = ""
    """A name, where the rater gave one."""
    date: Annotated[str, StringConstraints(pattern=r"^\d{4}-\d\d-\d\d$")]
    choices: tuple[tuple[str | None, Seconds], ...] = Field(min_length=1)
    """For each pair the exhibit that was chosen (None: could not tell), and the seconds it took."""


class Rated(Entry):
    """A page of pairs, and what people chose on it."""

    claim: str
    question: str
    pictures: str
    """Digest of the pictures."""
    pairs: tuple[tuple[int, int, str, str], ...] = Field(min_length=1)
    """Seed of the runs, number of the picture, the exhibits ``arm.exhibit`` left and right."""
    ratings: tuple[Rating, ...] = ()

    @property
    def counted(self) -> int:
        """How many pairs were rated, over all raters."""
        return sum(len(rating.choices) for rating in self.ratings)


class Evidence(Entry):
    """All that one machine measured for one experiment at one preset, but for curves."""

    format: Literal[2] = 2
    paper: str
    experiment: str
    preset: Preset
    machine: str
    created: str
    """Date, ISO 8601."""
    run_format: int = RUN_FORMAT
    code: str
    """Digest of the code that decided the result (see `quire.lab.digest`)."""
    carried: tuple[Carried, ...] = ()
    settings: dict[str, dict[str, Any]]
    """For each arm what differs from the defaults of the experiment's config."""
    environment: dict[str, Any]
    runs: tuple[RunRecord, ...]
    claims: tuple[ClaimRecord, ...]
    rated: Rated | None = None
    """What people judged; None where runs decide. Its `machine` is ``people-<digest>`` then, and
    its runs are the shares that each rater chose, the rater's number in place of the seed."""

    def decides(self, claim: Claim) -> bool:
        """Whether a claim of its experiment is one for such evidence: of runs, or of people."""
        return claim.id == self.rated.claim if self.rated else claim.kind != "judgement"

    @property
    def page(self) -> str:
        """Digest of all that a rater was shown and of the code behind it; empty without raters."""
        if self.rated is None:
            return ""
        kept = {"paper", "experiment", "preset", "code", "settings", "rated"}
        content = self.model_dump(mode="json", include=kept)
        content["rated"].pop("ratings")
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:10]

    @property
    def file_name(self) -> str:
        """Path of its file below the evidence folder."""
        return f"{self.paper}/{self.experiment}--{self.preset}--{self.machine}.json"

    @property
    def digests(self) -> tuple[str, ...]:
        """Digests of the code that it stands for: as measured, then as carried."""
        return (self.code, *(item.code for item in self.carried))

    def write(self, folder: Path, curves: Iterable[RunCurves] | None = None) -> Path:
        """Write it below `folder`, whole or not at all, with its curves unless they are None."""
        path = folder / self.file_name
        if curves is not None:
            drawn = Curves(runs=tuple(curves))
            write_atomically(curves_path(path), _text(drawn, exclude_defaults=True).encode())
        write_atomically(path, self.text().encode())
        return path

    def text(self) -> str:
        """Its file's content."""
        return _text(self, exclude=None if self.rated else {"rated"})


class Curves(Entry):
    """The file beside the evidence."""

    runs: tuple[RunCurves, ...]


def curves_path(path: Path) -> Path:
    """Where the curves of the evidence at `path` stand."""
    return path.with_suffix(".curves.json")


def read_curves(folder: Path, evidence: Evidence) -> dict[tuple[str, int], RunCurves]:
    """What is drawn of each run, by arm and seed; empty where the file is not here (in a wheel)."""
    path = curves_path(folder / evidence.file_name)
    if not path.is_file():
        return {}
    return {(run.arm, run.seed): run for run in _read(Curves, path).runs}


def read_evidence(path: Path) -> Evidence:
    """Read an evidence file; a malformed one raises `UserError` with one line."""
    return _read(Evidence, path)


def _read(model: type[T], path: Path) -> T:
    try:
        return model.model_validate_json(path.read_bytes())
    except (ValidationError, OSError) as error:
        what = first_fault(error) if isinstance(error, ValidationError) else error.strerror
        raise UserError(f"{path.parent.name}/{path.name} is not evidence: {what}") from None


def _text(content: Entry, **options: Any) -> str:
    text = json.dumps(content.model_dump(mode="json", **options), indent=1, allow_nan=False)

    # Innermost lists on one line: a curve reads as a row, and files stay small.
    def join(match: "re.Match[str]") -> str:
        return re.sub(r"\s*\n\s*", " ", match.group(0)).replace("[ ", "[").replace(" ]", "]")

    text = re.sub(r"\[[^\[\]{}]*\]", join, text)
    return re.sub(r"\[(?:\s*\[[^\[\]{}]*\],?)+\s*\]", join, text) + "\n"


def evidence_folder() -> Path:
    """Where committed evidence stands: inside an installed package, else in the checkout.

    The environment variable QUIRE_EVIDENCE names another folder.
    """
    if named := os.environ.get("QUIRE_EVIDENCE"):
        return Path(named)
    package = Path(__file__).resolve().parent.parent
    inside = package / "evidence"
    return inside if inside.is_dir() else package.parent.parent / "evidence"


def evidence_files(folder: Path | None = None) -> Iterator[Path]:
    """Every evidence file, in the order of paper, experiment, preset and machine."""
    for path in sorted((folder or evidence_folder()).glob("*/*--*.json")):
        if not path.name.endswith(".curves.json"):
            yield path


def all_evidence(folder: Path | None = None, paper: str = "*") -> list[Evidence]:
    """The evidence of all papers, or of one, in the order of their files."""
    return [read_evidence(p) for p in evidence_files(folder) if paper in ("*", p.parent.name)]


_RANK = {"paper": 3, "gpu": 2, "laptop": 1, "smoke": 0}


def ranked_verdicts(
    evidence: Iterable[Evidence], paper: str
) -> dict[str, list[tuple[ClaimRecord, Evidence]]]:
    """For each claim of `paper` its verdicts, the largest scale first, then the newer date.

    A scale at which the claim was not run says nothing and is left out.
    """
    found: dict[str, list[tuple[ClaimRecord, Evidence]]] = {}
    for item in evidence:
        for claim in item.claims if item.paper == paper else ():
            if claim.verdict != "not run":
                found.setdefault(claim.id, []).append((claim, item))
    for verdicts in found.values():
        verdicts.sort(key=lambda pair: (_RANK[pair[1].preset], pair[1].created), reverse=True)
    return found


def machine_name() -> str:
    """A short name for this kind of machine, such as ``linux-x86_64-2cpu``."""
    name = f"{platform.system().lower()}-{platform.machine()}-{os.cpu_count()}cpu"
    return name.replace("_", "-")
