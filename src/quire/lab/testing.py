"""For unit tests: one arm carried out, and a real `Run` for what takes one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from quire.lab.config import Config
from quire.lab.errors import RunError
from quire.lab.execute import data_root, execute
from quire.lab.job import Job, Options, check_preset
from quire.lab.journal import read_journal
from quire.lab.papers import find_experiment, find_paper
from quire.lab.run import Metrics, Run


def try_run(
    paper: str,
    experiment: str,
    *,
    arm: str | None = None,
    preset: str = "smoke",
    seed: int = 0,
    directory: Path,
    overrides: dict[str, Any] | None = None,
    **options: Any,
) -> Metrics:
    """Run one arm (the preset's first by default) under `directory` and return its metrics.

    Other keywords go to `Options`. Raises as `execute` does, and `RunError` where the run failed.
    """
    preset = check_preset(preset)
    arm = arm or find_experiment(find_paper(paper), experiment).arms_at(preset)[0]
    chosen = Options(runs=directory, **{"threads": 1, "data": data_root(), **options})
    outcome = execute(Job(paper, experiment, arm, preset, seed, overrides or {}, chosen))
    if outcome.status == "failed":
        raise RunError(outcome.reason)
    return outcome.metrics


def run_in(
    directory: Path,
    config: Config | None = None,
    *,
    seed: int = 0,
    device: str = "cpu",
    data: Path | None = None,
    before: Mapping[str, Path] | None = None,
    **options: Any,
) -> Run:
    """A `Run` as an experiment gets it, for the functions beside it that take one.

    Its log, notes, figures and checkpoints are in `directory`, which is made; a second one in the
    same directory resumes the first. Global random generators stay as they are.

    Args:
        directory: Where the run writes.
        config: The experiment's config; None for what looks at none of its fields.
        seed: What `run.rng` follows from.
        device: Where it trains.
        data: The folder of the datasets; None is for functions that read none.
        before: The folders of the runs that it stands on, by name.
        options: Other fields of `Options`, such as `checkpoint_seconds` and `stop_after`.
    """
    directory.mkdir(parents=True, exist_ok=True)
    return Run(
        config or Config(), directory, seed=seed, device=torch.device(device), data=data,
        before=before, options=Options(runs=directory, **options),
    )  # fmt: skip


def logged(run: Run, name: str, *, loop: str = "train") -> list[float]:
    """What a loop of `run` logged under `name`, a number for each recorded step."""
    run.close()
    rows = read_journal(run.directory / "metrics.jsonl")
    return [float(row[name]) for row in rows if row["loop"] == loop and name in row]


def noted(run: Run) -> list[str]:
    """What `run` noted, in its order, without the times."""
    path = run.directory / "log.txt"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [line.partition(" ")[2] for line in lines]
