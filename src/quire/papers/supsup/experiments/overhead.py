"""What masks cost at inference: a multiplication of all weights beside a forward pass."""

from typing import Literal

import torch
from pydantic import PositiveInt
from torch import Tensor

from quire.lab import Config, Metrics, Run
from quire.lab.measure import now, race
from quire.papers.supsup.frozen import FrozenNet, evaluating
from quire.papers.supsup.masks import draw_scores
from quire.papers.supsup.networks import ResNet


class Overhead(Config):
    """A forward pass of a ResNet with and without a mask of its weights."""

    depth: Literal[18, 50] = 50
    """Of the ResNet."""
    width: PositiveInt = 64
    """Channels of its first stage."""
    side: PositiveInt = 224
    """Pixels of a side."""
    batch_size: PositiveInt = 256
    """Images a pass."""
    repeats: PositiveInt = 20
    """Timings, of which the median is taken."""


def overhead(config: Overhead, run: Run) -> Metrics:
    """Seconds of a plain and of a masked pass, and of the multiplication alone."""
    net = FrozenNet(ResNet(config.depth, 10, width=config.width, stem="large"), seed=run.seed)
    net = net.to(run.device)
    mask = (draw_scores(net.shapes, run.rng("mask")) >= 0).float().to(run.device)
    shape = (config.batch_size, 3, config.side, config.side)
    x = torch.randn(shape, generator=run.rng("images")).to(run.device)
    own = [net.model.get_parameter(name) for name in net.names]
    bits = [part.view(s) for part, s in zip(mask.split(net.sizes), net.shapes, strict=True)]

    def multiply() -> list[Tensor]:
        return [weight * bit for weight, bit in zip(own, bits, strict=True)]

    with torch.no_grad(), evaluating(net), run.precision():
        timings = race(
            {"plain": lambda: net(x), "masked": lambda: net(x, mask), "multiply": multiply},
            repeats=max(2, config.repeats),
            warmup=1,
            clock=lambda: now(run.device),
        )
    plain, masked = timings["plain"].median, timings["masked"].median
    return {
        "plain_seconds": plain,
        "masked_seconds": masked,
        "multiply_share": 100 * timings["multiply"].median / plain,
        "overhead": 100 * (masked / plain - 1),
    }
