"""A run that stands on another one."""

import json
import os
import signal
import time

import torch
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveInt
from torch import nn

from quire.lab import Config, Metrics, Run


class Pupil(Config):
    """What goes on from the teacher's weight."""

    steps: PositiveInt = 20
    """Steps."""
    sleep: NonNegativeFloat = 0.0
    """Seconds to wait in each step."""
    die_at: NonNegativeInt = 0
    """Step at which the process is killed, once; 0 for none."""


def pupil(config: Pupil, run: Run) -> Metrics:
    """Add random numbers to the weight that the teacher ended with."""
    text = (run.before("teacher") / "result.json").read_text(encoding="utf-8")
    started = json.loads(text)["metrics"]["weight"]
    model = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(started)
        for _ in run.steps(config.steps, state=(model,)):
            model.weight += torch.rand(1, 1)
            died = run.directory / "died"
            if config.die_at and run.step == config.die_at and not died.exists():
                died.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            run.log(value=model.weight)
            time.sleep(config.sleep)
    return {"weight": float(model.weight.detach()), "started": started}
