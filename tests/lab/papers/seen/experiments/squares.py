"""Squares for people to look at."""

import torch
from pydantic import NonNegativeFloat, PositiveInt

from quire.lab import Config, Metrics, Run


class Squares(Config):
    """Squares of one brightness, nearly."""

    level: NonNegativeFloat = 0.9
    """Brightness, up to 0.9."""
    pictures: PositiveInt = 6
    """How many."""


def squares(config: Squares, run: Run) -> Metrics:
    """Draw them, each a little different."""
    drawn = config.level + torch.rand(config.pictures, 1, 1, 1, generator=run.rng("squares")) / 10
    run.exhibit("squares", drawn.expand(-1, 1, 8, 8))
    return {"brightness": float(drawn.mean())}
