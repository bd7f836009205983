"""How many pairs the state of constant size holds: nothing is trained."""

import math
from typing import Literal

import torch
from pydantic import PositiveInt
from torch import Tensor

from quire.lab import Config, Metrics, Run
from quire.lab.measure import crossing
from quire.nn import softmax_attention
from quire.papers.linear_transformer.attention import linear_attention
from quire.papers.linear_transformer.features import (
    Favor,
    elu_plus_one,
    polynomial,
    squared_relu,
    taylor,
)
from quire.papers.linear_transformer.state import FeatureMap

SCALES = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Norms of keys and queries that are tried, in units of dim^(1/4)."""

VALUES = 64
"""Width of values, and how many different ones there are."""


class Capacity(Config):
    """Random keys and values are stored, then every key is asked for once."""

    attention: Literal[
        "softmax", "elu", "squared_relu", "polynomial", "taylor", "favor"
    ] = "elu"  # fmt: skip
    """softmax, or the feature map of linear attention."""
    dim: PositiveInt = 16
    """Width of keys, whose directions are uniform on the sphere."""
    features: PositiveInt = 256
    """favor: features."""
    most: PositiveInt = 512
    """Pairs stored at most; the numbers tried are 1, 2, 4 and so on."""
    trials: PositiveInt = 16
    """Sets of pairs for each number."""


def capacity(config: Capacity, run: Run) -> Metrics:
    """The number of pairs at which 90 % of the values are still found.

    Each kernel has its best scale of keys and queries, the same for every number of pairs: `scale`
    is their norm divided by dim^(1/4).
    """
    drawn = run.rng("favor")
    maps: dict[str, FeatureMap | None] = {
        "softmax": None,
        "elu": elu_plus_one,
        "squared_relu": squared_relu,
        "polynomial": polynomial,
        "taylor": taylor,
        "favor": Favor(config.dim, config.features, generator=drawn).to(run.device),
    }
    feature_map = maps[config.attention]
    numbers = [2**power for power in range(int(math.log2(config.most)) + 1)]
    curves = {scale: measure_curve(config, run, feature_map, numbers, scale) for scale in SCALES}
    found = {scale: crossing(numbers, curves[scale], 90.0) for scale in SCALES}
    best = max(SCALES, key=lambda scale: (found[scale], sum(curves[scale])))
    run.series("stored", numbers, curves[best], x_label="stored pairs", y_label="values found, %")
    # The width of a state is best asked of the map itself.
    probe = torch.zeros(1, 1, 1, config.dim, device=run.device)
    width = 0 if feature_map is None else feature_map(probe).shape[-1]
    return {
        "capacity": found[best],
        "scale": best,
        "features": float(width),
        "found_at_most": curves[best][-1],
    }


def measure_curve(
    config: Capacity, run: Run, feature_map: FeatureMap | None, numbers: list[int], scale: float
) -> list[float]:
    """Percentage of values found for each number of pairs.

    Args:
        config: Widths and trials.
        run: Its seed decides keys and values.
        feature_map: Of linear attention; None is softmax.
        numbers: Of pairs.
        scale: Norm of keys and queries divided by dim^(1/4).
    """
    found = []
    for pairs in numbers:
        generator = run.rng("pairs", pairs)
        key = torch.randn(config.trials, 1, pairs, config.dim, generator=generator)
        key = (scale * config.dim**0.25 * key / key.norm(dim=-1, keepdim=True)).to(run.device)
        codes = torch.randn(VALUES, VALUES, generator=generator).to(run.device)
        codes = codes / codes.norm(dim=-1, keepdim=True)
        stored = torch.randint(VALUES, (config.trials, 1, pairs), generator=generator)
        stored = stored.to(run.device)
        value = codes[stored]
        # Queries are the keys themselves: all are asked for at once.
        if feature_map is None:
            read: Tensor = softmax_attention(key, key, value)
        else:
            read = linear_attention(key, key, value, feature_map=feature_map)
        # A value counts as found where it is nearest to what was read.
        nearest = (read.flatten(0, 2) @ codes.T).argmax(-1)
        found.append(100 * float((nearest == stored.flatten()).float().mean()))
    return found
