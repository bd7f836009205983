"""Experts over 1, 2 and 4 processes: what they compute, what travels, what it costs."""

import statistics
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from pydantic import PositiveInt
from torch import Tensor

from quire.lab import Config, Metrics, Run
from quire.lab.measure import largest_difference
from quire.papers.gshard.mixture import MixtureOfExperts, side
from quire.papers.gshard.parallel import (
    AllToAll,
    ParallelExperts,
    average_gradients,
    run_together,
    share_experts,
)
from quire.papers.gshard.routers import Top2

SEED = 7
"""Of the weights, the same in every process."""


class Scaling(Config):
    """A mixture whose experts and groups grow with the processes, one layer, gloo on a CPU."""

    processes: PositiveInt = 4
    """D."""
    experts: PositiveInt = 4
    """Experts of a process: E / D."""
    groups: PositiveInt = 2
    """Groups of a process."""
    length: PositiveInt = 512
    """S."""
    dim: PositiveInt = 256
    """M."""
    hidden: PositiveInt = 512
    """H."""
    repeats: PositiveInt = 10
    """Timings, of which the median is taken."""


def make(settings: dict[str, int]) -> tuple[MixtureOfExperts, Tensor]:
    """The layer in one piece, and the tokens of all processes."""
    generator = torch.Generator().manual_seed(SEED)
    number = settings["processes"]
    layer = MixtureOfExperts(
        settings["dim"], settings["hidden"], settings["experts"] * number, router=Top2()
    ).eval()
    with torch.no_grad():
        for parameter in layer.parameters():
            bound = parameter.shape[-2] ** -0.5
            parameter.uniform_(-bound, bound, generator=generator)
    shape = (settings["groups"] * number, settings["length"], settings["dim"])
    return layer, torch.randn(shape, generator=generator)


def step(layer: MixtureOfExperts, x: Tensor) -> Tensor:
    """Forward and backward; gives the output."""
    layer.zero_grad()
    y: Tensor = layer(x)
    (y.square().mean() + 0.01 * side(layer)["balance"].sum()).backward()
    return y.detach()


def work(settings: dict[str, int]) -> dict[str, Any]:
    """What one of the processes does, between barriers, and how long it takes."""
    layer, x = make(settings)
    own = x.chunk(dist.get_world_size())[dist.get_rank()]
    share_experts(layer)
    experts = layer.experts
    assert isinstance(experts, ParallelExperts)
    y = step(layer, own)
    average_gradients(layer)
    gradients = {name: p.grad.clone() for name, p in layer.named_parameters() if p.grad is not None}

    def whole() -> None:
        step(layer, own)
        average_gradients(layer)

    rows = settings["groups"] * int(2 * settings["length"] / layer.number)
    blocks = torch.randn(dist.get_world_size(), settings["experts"], rows, settings["dim"])

    def exchange() -> None:  # two forward, two backward
        for _ in range(4):
            AllToAll.apply(blocks, None)

    spent = {}
    for name, call in (("step", whole), ("exchange", exchange)):
        times = []
        for _ in range(settings["repeats"] + 1):
            dist.barrier()
            began = time.perf_counter()
            call()
            dist.barrier()
            times.append(time.perf_counter() - began)
        spent[name] = 1000 * statistics.median(times[1:])
    return {
        "y": y, "gradients": gradients, "sent": experts.bytes, **spent,
        "weights": sum(p.numel() * p.element_size() for p in experts.parameters()),
    }  # fmt: skip


def scaling(config: Scaling, run: Run) -> Metrics:
    """Distances from one process, bytes and milliseconds."""
    fields = ("processes", "experts", "groups", "length", "dim", "hidden", "repeats")
    settings = {name: getattr(config, name) for name in fields}
    folder = run.directory / "processes" / str(time.time_ns())  # a meeting is held once
    found = run_together(work, config.processes, Path(folder), settings)
    layer, x = make(settings)
    y = step(layer, x)
    output = torch.cat([each["y"] for each in found])
    error = 0.0
    for name, parameter in layer.named_parameters():
        assert parameter.grad is not None
        scale = float(parameter.grad.abs().max())
        own = name.replace("experts.", "experts.local.")
        parts = [each["gradients"][own] for each in found]
        # Experts are parts of the whole, all else must be the whole in every process.
        wholes = parts if own == name else [torch.cat(parts)]
        error = max(error, *(largest_difference(x, parameter.grad) / scale for x in wholes))
    first = found[0]
    numbers = config.groups * layer.number * int(2 * config.length / layer.number) * config.dim
    return {
        "output_error": largest_difference(output, y),
        "gradient_error": error,
        "sent_mb": first["sent"] / 1e6,
        "sent_share": first["sent"] / (4 * numbers),
        "weights_mb": first["weights"] / 1e6,
        "step_ms": first["step"],
        "exchange_ms": first["exchange"],
        "exchange_share": 100 * first["exchange"] / first["step"],
    }
