"""Two loops in one run."""

import time
from pathlib import Path

import torch
from pydantic import NonNegativeFloat
from torch import nn

from quire.lab import Config, Metrics, Run


class Stages(Config):
    """Two loops."""

    sleep: NonNegativeFloat = 0.0
    """Seconds to wait in each step."""
    text: Path | None = None
    """A file of the user's."""


def stages(config: Stages, run: Run) -> Metrics:
    """Add random numbers in two loops; the second stops itself after seven steps."""
    first = nn.Linear(1, 1, bias=False)
    second = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        for _ in run.steps(10, state=(first,), name="first"):
            first.weight += torch.rand(1, 1)
            run.log(value=first.weight)
            time.sleep(config.sleep)
        ended = run.step + 1
        for _ in run.steps(100, state=(second,), name="second"):
            second.weight += first.weight * torch.rand(1, 1)
            run.log(value=second.weight)
            time.sleep(config.sleep)
            if run.step == 6:
                run.stop()
    weight = float((first.weight + second.weight).detach())
    return {"first": ended, "second": run.step + 1, "weight": weight}
