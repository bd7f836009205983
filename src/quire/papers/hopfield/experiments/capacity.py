"""How many random patterns come back from a noisy version of themselves, by dimension."""

import math
from typing import Literal

import torch
from pydantic import PositiveFloat, PositiveInt

from quire.lab import Config, Metrics, Run
from quire.lab.measure import crossing, slope
from quire.papers.hopfield.energy import hopfield_update
from quire.papers.hopfield.experiments.figures import draw_capacity
from quire.papers.hopfield.memories import DenseMemory, HebbianMemory, exponential
from quire.papers.hopfield.theory import capacity_bound

LEVEL = 95.0
"""Percentage of the patterns that must come back."""


class Capacity(Config):
    """Random patterns are stored; how many come back from a noisy version of themselves."""

    memory: Literal["hopfield", "hebbian", "exponential"] = "hopfield"
    """hopfield on the sphere of radius sqrt(dim - 1); the others on bits."""
    dims: tuple[int, ...] = (8, 10, 12, 14, 16, 18)
    """Dimensions."""
    most: PositiveInt = 65536
    """Patterns at most; the numbers tried are 2, 4, 8 and so on."""
    beta: PositiveFloat = 1.0
    """hopfield: inverse temperature."""
    queries: PositiveInt = 256
    """Patterns asked for at each size, in several draws where fewer are stored."""


def capacity(config: Capacity, run: Run) -> Metrics:
    """Patterns of which 95 % come back, by dimension, with the line through their logarithms."""
    numbers = [2**power for power in range(1, int(math.log2(config.most)) + 1)]
    back, nearest = {}, {}
    for dim in config.dims:
        pairs = [measure_recall(config, run, dim, number) for number in numbers]
        back[dim] = crossing(numbers, [pair[0] for pair in pairs], LEVEL, below=1.0)
        nearest[dim] = crossing(numbers, [pair[1] for pair in pairs], LEVEL, below=1.0)
        run.series(f"back_{dim}", numbers, [pair[0] for pair in pairs],
                   x_label="stored patterns", y_label="patterns that come back, %")  # fmt: skip
    dims, last = list(config.dims), config.dims[-1]
    run.series("capacity", dims, list(back.values()), x_label="dimension", y_label="patterns")
    bounds = [capacity_bound(dim, beta=config.beta).patterns for dim in dims]
    modern = config.memory == "hopfield"
    run.figure("capacity", draw_capacity(dims, back, nearest, bounds if modern else None))
    metrics = {
        "largest": back[last],
        "at_8": back.get(8, back[last]),
        "per_dim": back[last] / last,
        "growth": slope(dims, [math.log2(n) for n in back.values()]),
        "power": slope([math.log(d) for d in dims], [math.log(n) for n in back.values()]),
        "nearest": nearest[last],
    }
    return metrics | ({"bound": bounds[-1]} if modern else {})


def measure_recall(config: Capacity, run: Run, dim: int, number: int) -> tuple[float, float]:
    """Percentage that comes back, and that is nearest to its own pattern.

    Args:
        config: Names the memory and how many are asked for.
        run: The run.
        dim: K.
        number: Patterns stored.
    """
    generator, draws = run.rng("patterns", dim, number), max(1, config.queries // number)
    back = nearest = 0.0
    for _ in range(draws):
        stored = torch.randn(number, dim, generator=generator)
        asked = slice(0, min(number, config.queries))
        noise = torch.randn(stored[asked].shape, generator=generator)
        if config.memory == "hopfield":
            stored = (dim - 1) ** 0.5 * stored / stored.norm(dim=-1, keepdim=True)
            state = (stored[asked] + 0.1 * noise).to(run.device)
            stored = stored.to(run.device)
            found = hopfield_update(state, stored, beta=config.beta, chunk=2**16)
            error = (found - stored[asked]).norm(dim=-1) / stored[asked].norm(dim=-1)
            right = error <= 0.1
        else:
            stored = torch.where(stored > 0, 1.0, -1.0)
            # One bit in twenty is wrong.
            state = torch.where(noise > 1.645, -stored[asked], stored[asked]).to(run.device)
            stored = stored.to(run.device)
            if config.memory == "hebbian":
                found = HebbianMemory(stored).retrieve(state)
            else:
                found = DenseMemory(stored, exponential).retrieve(state)
            right = (found == stored[asked]).float().mean(-1) >= 0.95
        own = torch.arange(len(found), device=run.device)
        back += float(right.float().mean()) / draws
        nearest += float(((found @ stored.T).argmax(-1) == own).float().mean()) / draws
    return 100 * back, 100 * nearest
