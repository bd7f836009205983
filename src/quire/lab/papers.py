"""Papers as they stand in their folders, read, validated and found by name.

``paper.toml`` is the title page; each ``experiments/<name>.toml`` says all that is said of one
experiment. Nothing here imports torch, so that listing papers is quick.
"""

import functools
import keyword
import re
import tomllib
from collections.abc import Mapping
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
ClaimName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]*$")]
Preset = Literal["smoke", "laptop", "gpu", "paper"]
PRESETS: tuple[Preset, ...] = ("smoke", "laptop", "gpu", "paper")
Kind = Literal["identity", "trend", "number", "judgement"]
DECIDED_AT: dict[Kind, tuple[Preset, ...]] = {
    "identity": PRESETS,
    "trend": ("laptop", "gpu", "paper"),
    "number": ("paper",),
    "judgement": ("laptop", "gpu", "paper"),
}
"""The presets that decide a claim of each kind, unless it says otherwise."""


class Table(BaseModel):
    """A frozen table of a TOML file; an unknown key is an error, and so is an empty text."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_min_length=1)


class Code(Table):
    """The reference implementation that a reader may want to compare with."""

    repository: str
    licence: str


class Settings(Table):
    """What a preset changes."""

    set: dict[str, Any] = {}
    """Fields of the config, for every arm."""
    for_: dict[Name, dict[str, Any]] = Field(default={}, alias="for")
    """Fields that one arm alone takes at this preset, such as a learning rate of its own."""
    only: tuple[Name, ...] | None = None
    """The arms that run; all of them where None."""
    seeds: int | None = Field(default=None, ge=1)
    """How many seeds `verify` runs; 1 at smoke and 3 elsewhere where None."""


class Pilot(Table):
    """What was tried of one field before the first result: values and what each arm reached."""

    seeds: tuple[int, ...] = Field(min_length=1)
    metric: str | None = None
    """What the scores are."""
    note: str | None = None
    tried: dict[Name, tuple[tuple[Any, Any], ...]] = Field(min_length=1)
    """For each arm its (value, score) pairs, the chosen one first."""


class Claim(Table):
    """A sentence of the paper with a comparison that decides it."""

    id: ClaimName
    experiment: Name
    kind: Kind
    says: str
    source: str
    check: str
    at: tuple[Preset, ...] = Field(min_length=1)
    paper: str | None = None
    """The paper's own numbers."""
    origin: Literal["paper", "beyond"] = "paper"
    """Whether the paper says it, or it goes beyond the paper."""
    fails: dict[Preset, str] = {}
    """The presets at which it is known to fail, each with the reason."""
    question: str | None = None
    """What people are asked, where they judge: which of two pictures it is."""

    @model_validator(mode="after")
    def _is_decidable(self) -> "Claim":
        if (self.kind == "judgement") != (self.question is not None):
            raise ValueError('a judgement asks a question = "…", and no other claim does')
        names = {arm for arm, _ in Check.parse(self.check).names}
        if self.kind == "judgement" and (len(self.exhibits) != 2 or "_every" in names):
            raise ValueError("a judgement compares two exhibits: gan.samples > vae.samples")
        if Check.parse(self.check).operator == "==" and self.kind != "identity":
            raise ValueError("'==' is for identities; compare with a margin")
        if stray := self.fails.keys() - set(self.at):
            raise ValueError(f"it is not decided at {min(stray)}, where it is said to fail")
        return self

    @property
    def exhibits(self) -> tuple[str, ...]:
        """The names in its check, in order; of a judgement the two exhibits, ``arm.exhibit``."""
        return tuple(".".join(name) for name in sorted(Check.parse(self.check).names))

    def expected(self, preset: Preset) -> Literal["holds", "fails"]:
        """The verdict that surprises nobody at `preset`."""
        return "fails" if preset in self.fails else "holds"


class Experiment(Table):
    """A set of arms that are compared with one another, the presets they run at, the claims.

    timings: metrics and series that are measured times or memory. They follow the machine's mood:
    a repeated run is not held to the same numbers in them.
    """

    name: Name
    summary: str
    source: str | None = None
    code: Name
    """Module and function that carry it out; the experiment's own name unless said."""
    metrics: dict[Name, str] = Field(min_length=1)
    exhibits: dict[Name, str] = {}
    """Pictures that a run leaves for people to judge (`Run.exhibit`)."""
    arms: dict[Name, dict[str, Any]] = Field(min_length=1)
    presets: dict[Preset, Settings]
    pilots: dict[Preset, dict[str, Pilot]] = {}
    claims: tuple[Claim, ...] = ()
    data: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    timings: tuple[Name, ...] = ()
    after: dict[Name, str] = {}
    """Runs that each run of this experiment stands on: a name for it, ``experiment[:arm]``."""

    @model_validator(mode="before")
    @classmethod
    def _write_out(cls, table: Any) -> Any:
        """Fill in what the file need not say: code, claims' names, kinds and presets."""
        if not isinstance(table, dict):
            return table
        table = {"code": table.get("name")} | table
        claims = table.get("claims", {})
        if isinstance(claims, Mapping):
            table["claims"] = [_claim(key, row, table.get("name")) for key, row in claims.items()]
        pilots = table.get("pilots")
        if isinstance(pilots, Mapping):
            table["pilots"] = {
                preset: {field: _pilot(row) for field, row in fields.items()}
                for preset, fields in pilots.items()
                if isinstance(fields, Mapping)
            }
        return table

    @model_validator(mode="after")
    def _names_what_exists(self) -> "Experiment":
        missing = [preset for preset in PRESETS if preset not in self.presets]
        if missing:
            raise ValueError(f"presets lack {', '.join(missing)}")
        for preset, settings in self.presets.items():
            for arm in (*(settings.only or ()), *settings.for_):
                if arm not in self.arms:
                    raise ValueError(f"preset {preset}: {unknown('arm', arm, self.arms)}")
        for pilots in self.pilots.values():
            for pilot in pilots.values():
                for arm in pilot.tried:
                    if arm not in self.arms:
                        raise ValueError(f"pilots: {unknown('arm', arm, self.arms)}")
        for claim in self.claims:
            self._check_names(claim)
        return self

    def _check_names(self, claim: Claim) -> None:
        judged = claim.kind == "judgement"
        word, known = ("exhibit", self.exhibits) if judged else ("metric", self.metrics)
        for preset in claim.at:
            arms = self.arms_at(preset)
            for arm, metric in Check.parse(claim.check).over(arms).names:
                if arm not in self.arms:
                    raise ValueError(f"claim {claim.id}: {unknown('arm', arm, self.arms)}")
                if metric not in known:
                    raise ValueError(f"claim {claim.id}: {unknown(word, metric, known)}")
                if arm not in arms:
                    raise ValueError(
                        f"claim {claim.id}: arm '{arm}' does not run at preset '{preset}'"
                    )

    @property
    def meanings(self) -> dict[str, str]:
        """What each metric is, and of each exhibit the share that people chose."""
        chosen = {name: f"share of pairs in which people chose {text}"
                  for name, text in self.exhibits.items()}  # fmt: skip
        return self.metrics | chosen

    def arms_at(self, preset: Preset) -> tuple[str, ...]:
        """Names of the arms that run at `preset`: all of them unless the preset lists some."""
        only = self.presets[preset].only
        return tuple(self.arms) if only is None else only

    def seeds_at(self, preset: Preset) -> int:
        """How many seeds `verify` runs at `preset` unless told otherwise."""
        return self.presets[preset].seeds or (1 if preset == "smoke" else 3)

    def settings(self, preset: Preset, arm: str) -> dict[str, Any]:
        """What differs from the config's defaults: the preset's values, the arm's, then what the
        arm alone takes at that preset. Groups are merged field by field."""
        table = self.presets[preset]
        return merged(merged(table.set, self.arms[arm]), table.for_.get(arm, {}))

    def claims_at(self, preset: Preset) -> list[Claim]:
        """The claims that `preset` can decide."""
        return [claim for claim in self.claims if preset in claim.at]


def merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` laid over `under`, tables within them field by field."""
    whole = dict(under)
    for key, value in over.items():
        below = whole.get(key)
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            value = merged(below, value)
        whole[key] = value
    return whole


def _claim(name: str, row: Any, experiment: Any) -> Any:
    if not isinstance(row, Mapping):
        return row
    kinds = [kind for kind in DECIDED_AT if kind in row]
    if len(kinds) != 1:
        raise ValueError(f'claim {name} says one of {", ".join(DECIDED_AT)} = "…"')
    kind = kinds[0]
    rest = {key: value for key, value in row.items() if key != kind}
    own = {"id": name, "experiment": experiment, "kind": kind, "says": row[kind]}
    return {"at": DECIDED_AT[kind]} | rest | own


def _pilot(row: Any) -> Any:
    if not isinstance(row, Mapping):
        return row
    said = {key: row[key] for key in ("seeds", "metric", "note") if key in row}
    return said | {"tried": {key: value for key, value in row.items() if key not in said}}


class Paper(Table):
    """The title page, and the experiments that stand beside it."""

    title: str
    authors: tuple[str, ...] = Field(min_length=1)
    year: int = Field(ge=1900, le=2100)
    family: str
    summary: str
    read: tuple[Name, ...] = ()
    """Modules in the order in which to read them."""
    headline: tuple[ClaimName, ...] = ()
    """The claims that a reader asks for first."""
    arxiv: str | None = None
    venue: str | None = None
    url: str | None = None
    code: Code | None = None
    expected_failures: dict[str, str] = {}
    """Contract checks that a part cannot pass (``Part.check``), each with its reason."""
    name: str
    folder: Path
    experiments: dict[Name, Experiment] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_what_exists(self) -> "Paper":
        seen: set[str] = set()
        for claim in self.claims:
            if claim.id in seen:
                raise ValueError(f"claim {claim.id} stands twice")
            seen.add(claim.id)
        if not seen:
            raise ValueError("no experiment has a claim")
        for name in self.headline:
            if name not in seen:
                raise ValueError(f"headline: {unknown('claim', name, seen)}")
        for experiment in self.experiments.values():
            for parent in experiment.after.values():
                self._check_parent(experiment.name, parent)
        return self

    def _check_parent(self, child: str, parent: str) -> None:
        name, _, arm = parent.partition(":")
        if name not in self.experiments:
            raise ValueError(f"{child}: after: {unknown('experiment', name, self.experiments)}")
        arms = self.experiments[name].arms
        for needed in [arm] if arm else self.experiments[child].arms:
            if needed not in arms:
                raise ValueError(f"{child}: after: {unknown(f'arm of {name}', needed, arms)}")
        if child in self._ancestors(name):
            raise ValueError(f"{child}: after: it would stand on itself")

    def _ancestors(self, name: str) -> set[str]:
        """The experiment and all that it stands on."""
        found, waiting = set(), [name]
        while waiting:
            current = waiting.pop()
            if current not in found and current in self.experiments:
                found.add(current)
                after = self.experiments[current].after.values()
                waiting += [parent.partition(":")[0] for parent in after]
        return found

    @property
    def claims(self) -> tuple[Claim, ...]:
        """All claims: those of the headline first, in its order, identities last."""
        found = [claim for entry in self.experiments.values() for claim in entry.claims]
        places = {name: place for place, name in enumerate(self.headline)}
        return tuple(
            sorted(found, key=lambda c: (places.get(c.id, len(places)), c.kind == "identity"))
        )

    def claims_at(self, experiment: str, preset: Preset) -> list[Claim]:
        """The claims over `experiment` that `preset` can decide."""
        return self.experiments[experiment].claims_at(preset)

    def find_claim(self, name: str) -> Claim:
        """The claim called `name`; an unknown name raises `UserError` with the nearest one."""
        for claim in self.claims:
            if claim.id == name:
                return claim
        raise unknown(f"claim of {self.name}", name, [claim.id for claim in self.claims])

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

    Raises `UserError` with one line when a file is malformed: the file, the key, the fault.
    """
    table = _read(folder / "paper.toml", folder.name)
    files = sorted((folder / "experiments").glob("*.toml"))
    experiments = {path.stem: _read_experiment(path, folder.name) for path in files}
    whole = table | {"name": folder.name, "folder": folder, "experiments": experiments}
    try:
        return Paper.model_validate(whole)
    except ValidationError as error:
        raise UserError(f"{folder.name}/paper.toml: {first_fault(error)}") from None


def _read_experiment(path: Path, paper: str) -> Experiment:
    table = _read(path, paper)
    try:
        return Experiment.model_validate(table | {"name": path.stem})
    except ValidationError as error:
        raise UserError(f"{paper}/experiments/{path.name}: {first_fault(error)}") from None


def _read(path: Path, paper: str) -> dict[str, Any]:
    inner = "experiments/" if path.parent.name == "experiments" else ""
    where = f"{paper}/{inner}{path.name}"
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{where} is not valid TOML: {error}") from None
    except OSError as error:
        raise UserError(f"{where} cannot be read: {error.strerror}") from None


def first_fault(error: ValidationError) -> str:
    """The first fault that pydantic found, as one line: where, what, and what it got."""
    fault = error.errors()[0]
    where = ".".join(str(part) for part in fault["loc"])
    what = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "extra_forbidden":
        return f"unknown key '{where}'"
    if fault["type"] in ("missing", "value_error"):
        return f"{where}: {what}" if where else what
    return f"{where}: {what} (got {_short(fault['input'])})".removeprefix(": ")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


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


def readable_papers() -> tuple[list[Paper], list[UserError]]:
    """All papers whose files are sound, and what is wrong with the others."""
    papers, faults = [], []
    for name in paper_names():
        try:
            papers.append(find_paper(name))
        except UserError as error:
            faults.append(error)
    return papers, faults


@functools.cache
def _cached(folder: Path) -> Paper:
    return read_paper(folder)


def find_experiment(paper: Paper, name: str) -> Experiment:
    """The experiment called `name`; an unknown name raises `UserError` with the nearest one."""
    if name not in paper.experiments:
        raise unknown(f"experiment of {paper.name}", name, paper.experiments)
    return paper.experiments[name]


def is_folder_name(name: str) -> bool:
    """Whether a paper or an experiment can have this name: it is a module's name as well."""
    return re.fullmatch(r"[a-z][a-z0-9_]*", name) is not None and not keyword.iskeyword(name)
