"""What a step of the layer costs against the number of experts, on one device."""

import torch
from pydantic import NonNegativeInt, PositiveInt
from torch import nn
from torch.utils.checkpoint import checkpoint

from quire.lab import Config, Metrics, Run
from quire.lab.measure import now, peak_tensor_mb, race
from quire.papers.gshard.mixture import MixtureOfExperts
from quire.papers.gshard.published import count_products
from quire.papers.gshard.routers import Einsum, Top2


class Cost(Config):
    """Forward and backward of one layer."""

    experts: NonNegativeInt = 8
    """E; 0 is the dense layer with as many products, the gate counted."""
    compared: PositiveInt = 8
    """Experts that a dense layer is to cost as much as."""
    einsum: bool = False
    """Whether tokens go by the paper's einsums in place of indices."""
    groups: PositiveInt = 4
    """G."""
    length: PositiveInt = 1024
    """S."""
    dim: PositiveInt = 512
    """M."""
    hidden: PositiveInt = 1024
    """H of an expert."""
    recomputes: bool = False
    """Whether the backward pass computes the layer's values anew in place of keeping them."""
    square: PositiveInt = 8192
    """Side of the matrices whose product is the measure of the device's rate."""
    repeats: PositiveInt = 5
    """Timings, of which the median is taken."""


def cost(config: Cost, run: Run) -> Metrics:
    """Milliseconds, share of the device's rate, memory and weights."""
    if config.experts:
        router = Einsum(Top2()) if config.einsum else Top2()
        layer: nn.Module = MixtureOfExperts(
            config.dim, config.hidden, config.experts, router=router
        )
    else:
        width = 2 * config.hidden + config.compared // 2
        layer = nn.Sequential(
            nn.Linear(config.dim, width, bias=False), nn.ReLU(),
            nn.Linear(width, config.dim, bias=False),
        )  # fmt: skip
    layer = layer.to(run.device)
    shape = (config.groups, config.length, config.dim)
    x = torch.randn(shape, generator=run.rng("tokens")).to(run.device).requires_grad_()

    def call() -> None:
        with run.precision():
            y = checkpoint(layer, x, use_reentrant=False) if config.recomputes else layer(x)
        y.square().mean().backward()

    a = torch.randn(config.square, config.square, generator=run.rng("square")).to(run.device)

    def multiply() -> None:
        with run.precision():
            a @ a

    clock = lambda: now(run.device)  # noqa: E731
    repeats = max(2, config.repeats)
    found = race({"layer": call, "square": multiply}, repeats=repeats, warmup=1, clock=clock)
    tokens, step = config.groups * config.length, found["layer"].median
    # The backward pass has two products for each one of the forward pass.
    rate = 3 * tokens * count_work(config) / step
    return {
        "step_ms": 1000 * step,
        "tokens_a_second": tokens / step,
        "roofline": 100 * rate / (config.square**3 / found["square"].median),
        "peak_mb": peak_tensor_mb(call),
        "weights": sum(p.numel() for p in layer.parameters()) / 1e6,
    }


def count_work(config: Cost) -> int:
    """Multiplications of a token going forward, the gate included."""
    if not config.experts:
        return count_products(config.dim, 2 * config.hidden + config.compared // 2)
    return count_products(config.dim, config.hidden, experts=config.experts, choices=2)
