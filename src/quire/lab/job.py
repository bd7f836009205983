"""Jobs: one arm, one seed, one preset, and the folder that its run stands in."""

import hashlib
import importlib
import importlib.metadata
import inspect
import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

from quire.lab.config import Config
from quire.lab.digest import code_digest
from quire.lab.errors import MissingError, UserError, unknown
from quire.lab.evidence import RUN_FORMAT
from quire.lab.papers import (
    PRESETS,
    Experiment,
    Paper,
    Preset,
    find_experiment,
    find_paper,
    module_of,
)


@dataclass(frozen=True)
class Options:
    """How runs are carried out; nothing here changes what they measure, save the device."""

    runs: Path = Path("runs")
    """Folder that the runs' own folders stand in."""
    data: Path | None = None
    """Root of the datasets; QUIRE_DATA or the user's cache where None."""
    device: str = "auto"
    """cpu, cuda, cuda:1, mps; auto takes an accelerator where there is one."""
    threads: int | None = None
    """Torch threads of a run; a resumed run keeps those it was started with."""
    checkpoint_seconds: float = 15.0
    """Seconds between two checkpoints."""
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

    @property
    def label(self) -> str:
        """Name for a person: ``resnet/digits:plain20 seed 0``."""
        return f"{self.paper}/{self.experiment}:{self.arm} seed {self.seed}"

    def config(self) -> Config:
        """The config: defaults, then the preset, the arm, the overrides."""
        _, config_class = load_experiment(self.paper, self.experiment)
        settings = self._experiment.settings(self.preset, self.arm)
        return config_class.build(settings | self.overrides)

    @property
    def _experiment(self) -> Experiment:
        return find_experiment(find_paper(self.paper), self.experiment)

    @property
    def directory(self) -> Path:
        """The run's folder. Its last part is a hash of all that decides the result."""
        from quire.lab.device import pick_device, pick_precision

        config = self.config()
        device = pick_device(self.options.device)
        decides = {
            "format": RUN_FORMAT,
            "paper": self.paper,
            "experiment": self.experiment,
            "config": config.model_dump(mode="json"),
            "precision": pick_precision(config.precision, device),
            "device": device.type,
            "seed": self.seed,
            "code": code_digest(self.paper, self.experiment),
        }
        text = json.dumps(decides, sort_keys=True)
        short = hashlib.sha256(text.encode()).hexdigest()[:10]
        preset = f"{self.preset}-custom" if self.overrides else self.preset
        where = Path(self.paper, self.experiment, preset, self.arm, f"seed{self.seed}-{short}")
        return self.options.runs / where


ExperimentFunction = Callable[[Any, Any], dict[str, float]]


def load_experiment(paper: str, experiment: str) -> tuple[ExperimentFunction, type[Config]]:
    """The experiment's function and the config class that its first parameter is annotated with.

    Raises `MissingError` where an extra that the experiment needs is not installed, `UserError`
    where `experiments.py` does not hold what `paper.toml` promises.
    """
    check_extras(find_experiment(find_paper(paper), experiment).needs)
    module = importlib.import_module(f"{module_of(paper)}.experiments")
    function = getattr(module, experiment, None)
    if not inspect.isfunction(function):
        raise UserError(f"{paper}/experiments.py holds no function '{experiment}'")
    hints = list(get_type_hints(function).values())
    if not hints or not (isinstance(hints[0], type) and issubclass(hints[0], Config)):
        raise UserError(f"{paper}/experiments.py: the first parameter of '{experiment}' "
                        "must be annotated with a Config")  # fmt: skip
    return function, hints[0]


def check_extras(extras: tuple[str, ...]) -> None:
    """Raise `MissingError` naming the first extra with a package that is not installed."""
    for extra in extras:
        for package in packages_of(extra):
            try:
                importlib.metadata.version(package)
            except importlib.metadata.PackageNotFoundError:
                raise MissingError(
                    f"{package} is not installed; get it with: pip install 'quire[{extra}]'"
                ) from None


def packages_of(extra: str) -> list[str]:
    """Names of the packages that an extra of `quire` brings, from the installed metadata."""
    try:
        requirements = importlib.metadata.requires("quire") or []
    except importlib.metadata.PackageNotFoundError:
        return []  # run from a source tree that was never installed: imports speak for themselves
    found = []
    for line in requirements:
        name, _, marker = line.partition(";")
        if re.search(rf"""extra\s*==\s*['"]{re.escape(extra)}['"]""", marker):
            found.append(re.split(r"[\s<>=!~\[(]", name.strip())[0])
    return found


def jobs_for(
    target: Target,
    preset: Preset,
    seeds: int | list[int] | None = None,
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


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
