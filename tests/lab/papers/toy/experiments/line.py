"""A line that is fitted, and every accident on the way."""

import os
import signal
import time

import torch
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveInt
from torch import nn
from torch.nn.functional import mse_loss

from quire.lab import Config, Metrics, Run


class Line(Config):
    """A line fitted with dropout (global generator) and momentum (optimizer state)."""

    momentum: NonNegativeFloat = 0.9
    """Momentum of SGD."""
    steps: PositiveInt = 40
    """Minibatches."""
    sleep: NonNegativeFloat = 0.0
    """Seconds to wait in each step."""
    nan_at: NonNegativeInt = 0
    """Step whose logged loss is not a number; 0 for none."""
    die_at: NonNegativeInt = 0
    """Step at which the process is killed, once; 0 for none."""
    dropout: NonNegativeFloat = 0.1
    """Share of inputs dropped."""


def line(config: Line, run: Run) -> Metrics:
    """Fit y = sum(x)."""

    def batch_at(step: int) -> tuple[torch.Tensor, torch.Tensor]:
        x = torch.randn(16, 3, generator=run.rng("batch", step))
        return x, x.sum(1, keepdim=True)

    model = run.place(nn.Sequential(nn.Dropout(config.dropout), nn.Linear(3, 1)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=config.momentum)
    for x, y in run.steps(config.steps, batch_at, state=(model, optimizer)):
        loss = mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        time.sleep(config.sleep)
        died = run.directory / "died"
        if config.die_at and run.step == config.die_at and not died.exists():
            died.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        run.log(loss=loss * (float("nan") if config.nan_at and run.step == config.nan_at else 1))
    weight = next(p for p in model.parameters()).detach()
    error = float((weight - 1).square().mean()) + float(torch.rand(())) * 1e-6
    run.series("weights", range(3), weight[0], x_label="input", y_label="weight")
    return {"error": error, "weight": float(weight[0, 0])}
