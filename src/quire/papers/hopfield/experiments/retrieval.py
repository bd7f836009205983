"""Corrupted images are completed from memory: MNIST and Omniglot as bits."""

from collections.abc import Callable
from typing import Literal

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from quire import data
from quire.lab import Config, Metrics, Run
from quire.papers.hopfield.energy import hopfield_update
from quire.papers.hopfield.experiments.figures import draw_retrieval
from quire.papers.hopfield.memories import DenseMemory, HebbianMemory, exponential, polynomial

Recall = Callable[[Tensor, Tensor], Tensor]
"""(stored (N, K), states (S, K)) -> what is retrieved (S, K)."""

FLIPPED = 0.3
"""Share of pixels that are flipped."""


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


def retrieval(config: Retrieval, run: Run) -> Metrics:
    """Images of which 99 % of the pixels come back, and images that are nearest to their own."""
    metrics, rows = {}, {}
    recall = choose_memory(config)
    for name in ("mnist", "omniglot"):
        stored = load_binary_images(name, config.images, run)
        asked = stored[: config.queries]
        flips = torch.rand(asked.shape, generator=run.rng(name, "flips")).to(run.device)
        corrupted = {
            "half": asked * (torch.arange(784, device=run.device) < 392),
            "noise": torch.where(flips < FLIPPED, -asked, asked),
        }
        for kind, state in corrupted.items():
            found = recall(stored, state)
            right = ((found.sign() == asked).float().mean(-1) >= 0.99).float().mean()
            nearest = (found @ stored.T).argmax(-1)
            own = (stored[nearest] == asked).all(-1).float().mean()
            metrics[f"{name}_{kind}"] = 100 * float(right)
            metrics[f"{name}_{kind}_nearest"] = 100 * float(own)
            rows[f"{name}, {kind}"] = (asked[:8], state[:8], found[:8])
    run.figure("retrieval", draw_retrieval(rows))
    return metrics


def choose_memory(config: Retrieval) -> Recall:
    """The memory that the config names."""
    if config.memory == "hopfield":
        return lambda stored, state: hopfield_update(state, stored, beta=config.beta)
    if config.memory == "hebbian":
        return lambda stored, state: HebbianMemory(stored).retrieve(state)
    function = exponential if config.memory == "exponential" else polynomial(config.degree)
    return lambda stored, state: DenseMemory(stored, function).retrieve(state)


def load_binary_images(name: str, count: int, run: Run) -> Tensor:
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
