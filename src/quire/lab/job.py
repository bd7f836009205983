"""Jobs: one arm, one seed, one preset, and the folder that its run stands in."""

import hashlib
import importlib
import inspect
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import BaseModel

from quire.lab.config import Config
from quire.lab.digest import code_digest
from quire.lab.errors import UserError, unknown
from quire.lab.evidence import RUN_FORMAT
from quire.lab.extras import check_extras
from quire.lab.papers import (
    PRESETS,
    Experiment,
    Paper,
    Preset,
    find_experiment,
    find_paper,
    module_of,
)

LARGEST_SEED = 2**32 - 1
"""NumPy's global generator takes no larger one."""


@dataclass(frozen=True)
class Options:
    """How runs are carried out; device and threads decide the digits of the results as well."""

    runs: Path = Path("runs")
    """Folder that the runs' own folders stand in."""
    data: Path | None = None
    """Root of the datasets; QUIRE_DATA or the user's cache where None."""
    device: str = "auto"
    """cpu, cuda, cuda:1, mps; auto takes an accelerator where there is one."""
    threads: int | None = None
    """Torch threads of a run: one on a CPU where None, since runs go side by side."""
    checkpoint_seconds: float = 15.0
    """Seconds between two checkpoints, more where saving would take over 5 % of the time; 0 saves
    after every step whatever it costs."""
    tensorboard: bool = False
    """Also write TensorBoard events (extra `tensorboard`)."""
    fresh: bool = False
    """Run again what has finished."""
    stop_after: int | None = None
    """Stop after so many steps, as Ctrl-C would: to see that a run starts, or goes as before."""


@dataclass(frozen=True)
class Target:
    """What a user asked for: ``paper``, ``paper/experiment`` or ``paper/experiment:arm``."""

    paper: Paper
    experiments: tuple[str, ...]
    arm: str | None = None

    @classmethod
    def parse(cls, text: str) -> "Target":
        """Read a target. Unknown names raise `UserError` with the nearest known one."""
        match = re.fullmatch(r"([^/:]+)(?:/([^/:]+)(?::([^/:]+))?)?", text.strip())
        if match is None:
            raise UserError(f"'{text}' is not a target: write paper, paper/experiment "
                            "or paper/experiment:arm")  # fmt: skip
        name, experiment, arm = match.groups()
        paper = find_paper(name)
        if experiment is None:
            return cls(paper, tuple(paper.experiments))
        arms = find_experiment(paper, experiment).arms
        if arm is not None and arm not in arms:
            raise unknown(f"arm of {paper.name}/{experiment}", arm, arms)
        return cls(paper, (experiment,), arm)


def check_preset(name: str) -> Preset:
    """`name` as a preset; an unknown one raises `UserError`."""
    if name not in PRESETS:
        raise unknown("preset", name, PRESETS)
    return name


ExperimentFunction = Callable[[Any, Any], dict[str, float]]


@dataclass(frozen=True)
class Resolved:
    """What a job's names stand for, looked up once."""

    paper: Paper
    experiment: Experiment
    function: ExperimentFunction
    config: Config
    directory: Path
    """The run's folder. Its last part is a hash of all that decides the result."""
    parents: dict[str, "Job"]
    """The runs that this one stands on, by the name that the experiment gives them."""


@dataclass(frozen=True)
class Job:
    """One arm with one seed at one preset. Can be sent to another process or machine."""

    paper: str
    experiment: str
    arm: str
    preset: Preset
    seed: int = 0
    overrides: dict[str, Any] = field(default_factory=dict)
    options: Options = field(default_factory=Options)

    def __post_init__(self) -> None:
        if not 0 <= self.seed <= LARGEST_SEED:
            raise UserError(f"a seed is a number from 0 to {LARGEST_SEED}, got {self.seed}")

    def __getstate__(self) -> dict[str, Any]:
        # What the names stand for is looked up anew in the process that it is sent to.
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @property
    def label(self) -> str:
        """Name for a person: ``resnet/digits:plain20 seed 0``."""
        return f"{self.paper}/{self.experiment}:{self.arm} seed {self.seed}"

    @cached_property
    def resolved(self) -> Resolved:
        """Paper, experiment, function, config, folder and parents."""
        paper = find_paper(self.paper)
        experiment = find_experiment(paper, self.experiment)
        function, config_class = load_experiment(experiment, paper)
        settings = experiment.settings(self.preset, self.arm)
        config = config_class.build(settings | self.overrides)
        parents = {name: self._parent(paper, target) for name, target in experiment.after.items()}
        directory = self.options.runs / self._folder(experiment, config, parents)
        return Resolved(paper, experiment, function, config, directory, parents)

    @property
    def config(self) -> Config:
        """The config: defaults, then the preset, the arm, the overrides."""
        return self.resolved.config

    @property
    def directory(self) -> Path:
        """The run's folder."""
        return self.resolved.directory

    def _parent(self, paper: Paper, target: str) -> "Job":
        name, _, arm = target.partition(":")
        arm = arm or self.arm
        if arm not in paper.experiments[name].arms_at(self.preset):
            raise UserError(f"{self.label} stands on {name}:{arm}, which does not run at "
                            f"{self.preset}")  # fmt: skip
        return replace(self, experiment=name, arm=arm, overrides={})

    def _folder(self, experiment: Experiment, config: Config, parents: dict[str, "Job"]) -> Path:
        from quire.lab.device import pick_device, pick_precision, pick_threads

        device = pick_device(self.options.device)
        decides = {
            "format": RUN_FORMAT,
            "paper": self.paper,
            "experiment": self.experiment,
            "config": config.model_dump(mode="json", exclude={"compile"}),
            "precision": pick_precision(config.precision, device),
            "device": device.type,
            "threads": pick_threads(self.options.threads, device),
            "processes": int(os.environ.get("WORLD_SIZE", "1")),
            "seed": self.seed,
            "code": code_digest(self.paper, self.experiment),
            "data": _contents(experiment, config, self.options.data),
            "after": {name: parent.directory.name for name, parent in parents.items()},
        }
        if config.compile and device.type == "cuda":
            decides["compile"] = True
        text = json.dumps(decides, sort_keys=True)
        short = hashlib.sha256(text.encode()).hexdigest()[:10]
        preset = f"{self.preset}-custom" if self.overrides else self.preset
        return Path(self.paper, self.experiment, preset, self.arm, f"seed{self.seed}-{short}")


def _contents(experiment: Experiment, config: Config, root: Path | None) -> dict[str, str]:
    """Fingerprints of the datasets and of the files that the config names, where they are here."""
    from quire.data import store

    paths = {name: store.folder(name, root) for name in experiment.data}
    paths |= {str(path): path for path in _paths(config)}
    try:
        return {name: store.fingerprint(path) for name, path in paths.items() if path.exists()}
    except OSError as error:
        raise UserError(f"cannot read {error.filename}: {error.strerror}") from None


def _paths(value: Any) -> Iterator[Path]:
    if isinstance(value, Path):
        yield value.expanduser()
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _paths(getattr(value, name))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _paths(item)


def load_experiment(
    experiment: Experiment, paper: Paper
) -> tuple[ExperimentFunction, type[Config]]:
    """The experiment's function and the config class that its first parameter is annotated with.

    Raises `MissingError` where an extra that the experiment needs is not installed, `UserError`
    where the module does not hold what its TOML promises or cannot be imported.
    """
    check_extras(experiment.needs)
    name = experiment.code
    where = f"{paper.name}/experiments/{name}.py"
    if not (paper.folder / "experiments" / f"{name}.py").is_file():
        raise UserError(f"{paper.name}/experiments/{experiment.name}.toml has no code: {where} "
                        "is not there")  # fmt: skip
    try:
        module = importlib.import_module(f"{module_of(paper.name)}.experiments.{name}")
    except (SyntaxError, ImportError, NameError, AttributeError, TypeError, ValueError) as error:
        if "pip install" in str(error):
            raise
        line = next(iter(str(error).splitlines()), "")
        raise UserError(f"{where} cannot be imported: {type(error).__name__}: {line}") from error
    function = getattr(module, name, None)
    if not inspect.isfunction(function):
        raise UserError(f"{where} holds no function '{name}'")
    hints = list(get_type_hints(function).values())
    if not hints or not (isinstance(hints[0], type) and issubclass(hints[0], Config)):
        raise UserError(f"{where}: the first parameter of '{name}' must be annotated with a Config")
    return function, hints[0]


def jobs_for(
    target: Target,
    preset: Preset,
    seeds: int | Sequence[int] | None = None,
    *,
    overrides: dict[str, Any] | None = None,
    options: Options | None = None,
) -> list[Job]:
    """The jobs that a target stands for: experiments x arms x seeds.

    `seeds` is how many (0, 1, …) or which; the preset's own number where None.
    """
    jobs = []
    for name in target.experiments:
        experiment = target.paper.experiments[name]
        arms = (target.arm,) if target.arm else experiment.arms_at(preset)
        count = experiment.seeds_at(preset) if seeds is None else seeds
        for seed in range(count) if isinstance(count, int) else count:
            jobs += [
                Job(target.paper.name, name, arm, preset, seed, overrides or {},
                    options or Options())
                for arm in arms
            ]  # fmt: skip
    return jobs


def with_parents(jobs: Iterable[Job]) -> list[Job]:
    """`jobs` and all the runs that they stand on, parents first, each run once."""
    found: dict[Path, Job] = {}

    def add(job: Job) -> None:
        for parent in job.resolved.parents.values():
            add(parent)
        found.setdefault(job.directory, job)

    for job in jobs:
        add(job)
    return list(found.values())


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
