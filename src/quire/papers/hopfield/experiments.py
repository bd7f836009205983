"""Experiments without training: identities, retrieval of images, capacity, kinds of fixed points.

Those that train stand in `experiments_heads`, `experiments_repertoires`, `experiments_bags`.
"""

import math
from collections.abc import Callable
from typing import Literal

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor

from quire import data
from quire.lab import Config, Metrics, Run
from quire.papers.hopfield.energy import hopfield_update, retrieve
from quire.papers.hopfield.experiments_bags import Mil, Tables, mil, tables
from quire.papers.hopfield.experiments_heads import Heads, heads
from quire.papers.hopfield.experiments_identities import Identities, identities
from quire.papers.hopfield.experiments_repertoires import (
    Receptors,
    Repertoire,
    repertoires,
    repertoires_real,
)
from quire.papers.hopfield.figures import capacity_curve, energy_landscape, retrieval_sheet
from quire.papers.hopfield.heads import patterns_needed
from quire.papers.hopfield.memories import DenseMemory, HebbianMemory, exponential, polynomial
from quire.papers.hopfield.theory import capacity_bound

Recall = Callable[[Tensor, Tensor], Tensor]
"""(stored (N, K), states (S, K)) -> what is retrieved (S, K)."""


class Retrieval(Config):
    """Corrupted images are completed from memory. Images have 28x28 pixels of -1 and +1."""

    memory: Literal["hopfield", "hebbian", "polynomial", "exponential"] = "hopfield"
    """What stores them."""
    degree: PositiveInt = 3
    """polynomial: degree."""
    beta: PositiveFloat = 1.0
    """hopfield: inverse temperature."""
    images: PositiveInt = 1000
    """Images stored of each dataset."""
    queries: PositiveInt = 200
    """Images asked for, each once with its lower half erased and once with flipped pixels."""
    flipped: float = Field(default=0.3, ge=0, le=0.5)
    """Share of pixels that are flipped."""


def retrieval(config: Retrieval, run: Run) -> Metrics:
    """Images of which 99 % of the pixels come back, and images that are nearest to their own."""
    metrics, rows = {}, {}
    for name in ("mnist", "omniglot"):
        stored = binary_images(name, config.images, run)
        asked = stored[: config.queries]
        flips = torch.rand(asked.shape, generator=run.rng(name, "flips")).to(run.device)
        corrupted = {
            "half": asked * (torch.arange(784, device=run.device) < 392),
            "noise": torch.where(flips < config.flipped, -asked, asked),
        }
        for kind, state in corrupted.items():
            found = recall(config)(stored, state)
            right = ((found.sign() == asked).float().mean(-1) >= 0.99).float().mean()
            nearest = (found @ stored.T).argmax(-1)
            own = (stored[nearest] == asked).all(-1).float().mean()
            metrics[f"{name}_{kind}"] = 100 * float(right)
            metrics[f"{name}_{kind}_nearest"] = 100 * float(own)
            rows[f"{name}, {kind}"] = (asked[:8], state[:8], found[:8])
    run.figure("retrieval", retrieval_sheet(rows))
    return metrics


def recall(config: Retrieval) -> Recall:
    """The memory that the config names."""
    function = exponential if config.memory == "exponential" else polynomial(config.degree)
    if config.memory == "hopfield":
        return lambda stored, state: hopfield_update(state, stored, beta=config.beta)
    if config.memory == "hebbian":
        return lambda stored, state: HebbianMemory(stored).retrieve(state)
    return lambda stored, state: DenseMemory(stored, function).retrieve(state)


def binary_images(name: str, count: int, run: Run) -> Tensor:
    """Different images (count, 784) of -1 and +1: MNIST's at half ink, Omniglot's at any ink."""
    if name == "mnist":
        image = torch.from_numpy(data.mnist(run.data).train.image)
    else:
        image = torch.from_numpy(data.omniglot(run.data).image)
    order = torch.randperm(len(image), generator=run.rng(name))[: 2 * count]
    if name == "mnist":
        ink = image[order].flatten(1) >= 128
    else:
        pool = torch.nn.AdaptiveAvgPool2d(28)
        ink = torch.cat([pool(image[rows].float()).flatten(1) > 0.2 for rows in order.split(500)])
    different: dict[bytes, int] = {}
    for row, key in enumerate(ink.numpy()):
        different.setdefault(key.tobytes(), row)
    if len(different) < count:
        raise ValueError(f"{name} has too few different images for {count}, got {len(different)}")
    return (2.0 * ink[sorted(different.values())[:count]] - 1).to(run.device)


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
        pairs = [came_back(config, run, dim, number) for number in numbers]
        back[dim] = crossing(numbers, [pair[0] for pair in pairs])
        nearest[dim] = crossing(numbers, [pair[1] for pair in pairs])
        run.series(f"back_{dim}", numbers, [pair[0] for pair in pairs],
                   x_label="stored patterns", y_label="patterns that come back, %")  # fmt: skip
    dims, last = list(config.dims), config.dims[-1]
    run.series("capacity", dims, list(back.values()), x_label="dimension", y_label="patterns")
    bounds = [capacity_bound(dim, beta=config.beta).patterns for dim in dims]
    modern = config.memory == "hopfield"
    run.figure("capacity", capacity_curve(dims, back, nearest, bounds if modern else None))
    return {
        "largest": back[last],
        "at_8": back.get(8, math.nan) if 8 in back else back[last],
        "per_dim": back[last] / last,
        "growth": slope(dims, [math.log2(n) for n in back.values()]),
        "power": slope([math.log(d) for d in dims], [math.log(n) for n in back.values()]),
        "nearest": nearest[last],
        "bound": bounds[-1],
    }


def came_back(config: Capacity, run: Run, dim: int, number: int) -> tuple[float, float]:
    """Percentage that comes back, and that is nearest to its own pattern."""
    rng, draws = run.rng("patterns", dim, number), max(1, config.queries // number)
    back = nearest = 0.0
    for _ in range(draws):
        stored = torch.randn(number, dim, generator=rng)
        asked = slice(0, min(number, config.queries))
        noise = torch.randn(stored[asked].shape, generator=rng)
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
            found = recall(Retrieval(memory=config.memory))(stored, state)
            right = (found == stored[asked]).float().mean(-1) >= 0.95
        own = torch.arange(len(found), device=run.device)
        back += float(right.float().mean()) / draws
        nearest += float(((found @ stored.T).argmax(-1) == own).float().mean()) / draws
    return 100 * back, 100 * nearest


def crossing(numbers: list[int], percent: list[float], level: float = 95.0) -> float:
    """Where a curve first falls below a level, between numbers on the logarithmic scale."""
    if percent[0] < level:
        return 1.0
    for at in range(1, len(numbers)):
        if percent[at] < level:
            share = (percent[at - 1] - level) / (percent[at - 1] - percent[at])
            return float(numbers[at - 1] * (numbers[at] / numbers[at - 1]) ** share)
    return float(numbers[-1])


def slope(x: list[float] | list[int], y: list[float]) -> float:
    """Of the least-squares line."""
    xs, ys = (torch.tensor(v, dtype=torch.float64) for v in (x, y))
    xs = xs - xs.mean()
    return float((xs * ys).sum() / xs.square().sum())


class Regimes(Config):
    """Three clusters of patterns, and what states that begin at a pattern converge to."""

    clusters: PositiveInt = 3
    """Clusters; all patterns lie on the sphere of radius 4."""
    members: PositiveInt = 10
    """Patterns in a cluster."""
    dim: PositiveInt = 32
    """Dimension."""
    spread: PositiveFloat = 0.3
    """Standard deviation of a member's coordinates around the centre, before it is scaled."""
    betas: PositiveInt = 31
    """Inverse temperatures from 0.01 to 10, evenly on the logarithmic scale."""


def regimes(config: Regimes, run: Run) -> Metrics:
    """Entropy of the association and number of different fixed points over beta (section 2)."""
    rng = run.rng("patterns")
    centre = torch.randn(config.clusters, 1, config.dim, generator=rng, dtype=torch.float64)
    centre = 4 * centre / centre.norm(dim=-1, keepdim=True)
    around = torch.randn(
        config.clusters, config.members, config.dim, generator=rng, dtype=torch.float64
    )
    # Patterns of one norm are all separated: none is hidden by a longer one of its cluster.
    stored = 4 * torch.nn.functional.normalize(centre + config.spread * around, dim=-1)
    stored = stored.flatten(0, 1).to(run.device)
    betas = torch.logspace(-2, 1, config.betas, dtype=torch.float64).tolist()
    entropies, points, needed = [], [], []
    for beta in betas:
        state = retrieve(stored, stored, beta=beta).state
        p = (beta * state @ stored.T).softmax(-1)
        entropies.append(float(torch.special.entr(p).sum(-1).mean()))
        points.append(different(state))
        needed.append(float(patterns_needed(p).double().mean()))
    run.series("entropy", betas, entropies, x_label="beta", y_label="entropy, nats")
    run.series("fixed_points", betas, [float(n) for n in points], x_label="beta", y_label="number")
    run.series("needed", betas, needed, x_label="beta", y_label="patterns for 0.90 of the mass")
    # Six patterns on a circle, in pairs 24 degrees apart.
    angle = torch.deg2rad(torch.tensor([-12.0, 12.0, 108.0, 132.0, 228.0, 252.0]))
    circle = 1.2 * torch.stack((angle.cos(), angle.sin()), 1)
    run.figure("landscape", energy_landscape(circle, (0.5, 4.0, 60.0)))
    middle = min(range(len(betas)), key=lambda at: abs(entropies[at] - math.log(config.members)))
    return {
        "entropy_low": entropies[0],
        "entropy_middle": entropies[middle],
        "entropy_high": entropies[-1],
        "points_low": float(points[0]),
        "points_middle": float(points[middle]),
        "points_high": float(points[-1]),
        "needed_low": needed[0],
        "needed_middle": needed[middle],
        "needed_high": needed[-1],
        "beta_middle": betas[middle],
    }


def different(state: Tensor, tolerance: float = 0.01) -> int:
    """How many of the states (S, K) are apart by more than the tolerance."""
    kept: list[Tensor] = []
    for row in state:
        if all((row - other).norm() > tolerance for other in kept):
            kept.append(row)
    return len(kept)


__all__ = [
    "Capacity",
    "Heads",
    "Identities",
    "Mil",
    "Receptors",
    "Regimes",
    "Repertoire",
    "Retrieval",
    "Tables",
    "capacity",
    "heads",
    "identities",
    "mil",
    "regimes",
    "repertoires",
    "repertoires_real",
    "retrieval",
    "tables",
]
