"""Papers as they stand in their folders: `paper.toml` read, validated and found by name.

Nothing here imports torch, so that listing papers is quick.
"""

import functools
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from quire.lab.claims import Check
from quire.lab.errors import UserError, unknown

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]
Preset = Literal["smoke", "laptop", "gpu", "paper"]
PRESETS: tuple[Preset, ...] = ("smoke", "laptop", "gpu", "paper")


class Record(BaseModel):
    """A frozen table of `paper.toml`; an unknown key is an error, and so is an empty text."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_min_length=1)


class Code(Record):
    """The reference implementation that a reader may want to compare with."""

    repository: str
    licence: str


class Experiment(Record):
    """A set of arms that are compared with one another, and the presets they run at.

    timings: metrics and series that are measured times or memory. They follow the machine's mood:
    a repeated run is not held to the same numbers in them.
    """

    summary: str
    metrics: dict[Name, str]
    arms: dict[Name, dict[str, Any]] = Field(min_length=1)
    presets: dict[Preset, dict[str, Any]]
    data: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    timings: tuple[Name, ...] = ()

    @model_validator(mode="after")
    def _presets_are_whole(self) -> "Experiment":
        missing = [preset for preset in PRESETS if preset not in self.presets]
        if missing:
            raise ValueError(f"presets lack {', '.join(missing)}")
        for preset in self.presets:
            for arm in self.presets[preset].get("arms", ()):
                if arm not in self.arms:
                    raise ValueError(f"preset {preset} names an unknown arm '{arm}'")
            for arm in self.arms.keys() & self.presets[preset].keys():
                if not isinstance(self.presets[preset][arm], dict):
                    raise ValueError(f"preset {preset}: '{arm}' is an arm and takes a table")
        return self

    def arms_at(self, preset: Preset) -> tuple[str, ...]:
        """Names of the arms that run at `preset`: all of them unless the preset lists some."""
        return tuple(self.presets[preset].get("arms", self.arms))

    def seeds_at(self, preset: Preset) -> int:
        """How many seeds `verify` runs at `preset` unless told otherwise."""
        return int(self.presets[preset].get("seeds", 1 if preset == "smoke" else 3))

    def settings(self, preset: Preset, arm: str) -> dict[str, Any]:
        """What differs from the config's defaults: the preset's values, then the arm's.

        A table in the preset that is named like an arm comes last: what that arm alone takes at
        that preset, such as a learning rate of its own.
        """
        table = self.presets[preset]
        own = ("arms", "seeds", *self.arms)
        chosen = {key: value for key, value in table.items() if key not in own}
        return chosen | self.arms[arm] | table.get(arm, {})


class Claim(Record):
    """A sentence of the paper with a comparison that decides it."""

    id: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    experiment: Name
    kind: Literal["identity", "trend", "number"]
    says: str
    source: str
    check: str
    at: tuple[Preset, ...] = Field(min_length=1)
    paper: str | None = None
    expected: Literal["holds", "fails"] = "holds"
    reason: str | None = None

    @model_validator(mode="after")
    def _is_decidable(self) -> "Claim":
        check = Check.parse(self.check)
        if check.operator == "==" and self.kind != "identity":
            raise ValueError(f"claim {self.id}: '==' is for identities; compare with a margin")
        if self.expected == "fails" and not self.reason:
            raise ValueError(f"claim {self.id}: expected = 'fails' needs a reason")
        return self


class Paper(Record):
    """All that `paper.toml` says."""

    title: str
    authors: tuple[str, ...] = Field(min_length=1)
    year: int = Field(ge=1900, le=2100)
    family: str
    summary: str
    experiments: dict[Name, Experiment] = Field(min_length=1)
    claims: tuple[Claim, ...] = Field(min_length=1)
    arxiv: str | None = None
    venue: str | None = None
    url: str | None = None
    code: Code | None = None
    expected_failures: dict[str, str] = {}
    """Contract checks that a part cannot pass (``Part.check``), each with its reason."""
    name: str
    folder: Path

    @model_validator(mode="after")
    def _claims_name_what_exists(self) -> "Paper":
        seen: set[str] = set()
        for claim in self.claims:
            if claim.id in seen:
                raise ValueError(f"claim {claim.id} stands twice")
            seen.add(claim.id)
            experiment = self.experiments.get(claim.experiment)
            if experiment is None:
                raise ValueError(
                    f"claim {claim.id}: {unknown('experiment', claim.experiment, self.experiments)}"
                )
            for arm, metric in Check.parse(claim.check).names:
                if arm not in experiment.arms:
                    raise ValueError(f"claim {claim.id}: {unknown('arm', arm, experiment.arms)}")
                if metric not in experiment.metrics:
                    raise ValueError(
                        f"claim {claim.id}: {unknown('metric', metric, experiment.metrics)}"
                    )
                for preset in claim.at:
                    if arm not in experiment.arms_at(preset):
                        raise ValueError(
                            f"claim {claim.id}: arm '{arm}' does not run at preset '{preset}'"
                        )
        return self

    def claims_at(self, experiment: str, preset: Preset) -> list[Claim]:
        """The claims over `experiment` that `preset` can decide."""
        return [c for c in self.claims if c.experiment == experiment and preset in c.at]

    @property
    def is_recipe(self) -> bool:
        """Whether it joins several papers instead of being one."""
        return _recipe(self.folder)

    @property
    def module(self) -> str:
        """The package to import its parts from."""
        return _module(self.folder)

    @property
    def bibtex(self) -> str:
        """The paper's BibTeX entry."""
        surname = re.sub(r"\W", "", self.authors[0].split()[-1]).lower()
        fields = {
            "title": f"{{{self.title}}}",
            "author": " and ".join(self.authors),
            "year": str(self.year),
            "journal": f"arXiv:{self.arxiv}" if self.arxiv and not self.venue else self.venue,
            "eprint": self.arxiv,
            "url": self.url,
        }
        rows = [f"  {key} = {{{value}}}" for key, value in fields.items() if value]
        return f"@article{{{surname}{self.year},\n" + ",\n".join(rows) + "\n}"


def read_paper(folder: Path) -> Paper:
    """The paper that stands in `folder`.

    Raises `UserError` with one line when `paper.toml` is malformed: the file, the key, the fault.
    """
    path = folder / "paper.toml"
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        return Paper.model_validate(table | {"name": folder.name, "folder": folder})
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{folder.name}/paper.toml is not valid TOML: {error}") from None
    except ValidationError as error:
        raise UserError(f"{folder.name}/paper.toml: {first_fault(error)}") from None


def first_fault(error: ValidationError) -> str:
    """The first fault that pydantic found, as one line: where, what, and what it got."""
    fault = error.errors()[0]
    where = ".".join(str(part) for part in fault["loc"])
    what = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "extra_forbidden":
        return f"unknown key '{where}'"
    if fault["type"] in ("missing", "value_error"):
        return f"{where}: {what}" if where else what
    return f"{where}: {what} (got {fault['input']!r})"


def paper_folders() -> dict[str, Path]:
    """Folders that hold a `paper.toml`, by name: papers in Quire or QUIRE_PAPERS, then recipes."""
    import quire.papers
    import quire.recipes

    found: dict[str, Path] = {}
    for root in (*quire.papers.__path__, *quire.recipes.__path__):
        for path in sorted(Path(root).glob("*/paper.toml")):
            found.setdefault(path.parent.name, path.parent)
    return found


def module_of(name: str) -> str:
    """The package of the paper or recipe called `name`."""
    return _module(paper_folders()[name])


def _module(folder: Path) -> str:
    return f"quire.{'recipes' if _recipe(folder) else 'papers'}.{folder.name}"


def _recipe(folder: Path) -> bool:
    import quire.recipes

    return str(folder.parent) in quire.recipes.__path__


def paper_names() -> list[str]:
    """Names of all papers, then of all recipes."""
    folders = paper_folders()
    return sorted(folders, key=lambda name: (_recipe(folders[name]), name))


def find_paper(name: str) -> Paper:
    """The paper called `name`; an unknown name raises `UserError` with the nearest one."""
    folders = paper_folders()
    if name not in folders:
        raise unknown("paper", name, folders)
    return _cached(folders[name])


@functools.cache
def _cached(folder: Path) -> Paper:
    return read_paper(folder)


def find_experiment(paper: Paper, name: str) -> Experiment:
    """The experiment called `name`; an unknown name raises `UserError` with the nearest one."""
    if name not in paper.experiments:
        raise unknown(f"experiment of {paper.name}", name, paper.experiments)
    return paper.experiments[name]
