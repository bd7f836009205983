"""For each of n vectors the furthest one, by hardmax layers (section 3.4)."""

from typing import Literal

import torch
from pydantic import PositiveInt
from torch.nn.functional import normalize

from quire.lab import Config, Metrics, Run
from quire.papers.bigbird.experiments.settings import Pattern
from quire.papers.bigbird.pattern import BigBirdMask
from quire.papers.bigbird.theory import find_furthest_vectors

LAYERS = (1, 2, 4, 8, 16)
"""Numbers of layers that are compared."""


class Furthest(Config):
    """For each of n vectors the furthest one, by hardmax layers."""

    attention: Literal["sparse", "full"] = "sparse"
    """sparse (the pattern) or full."""
    pattern: Pattern = Pattern(block=16, shared=True)
    """Which keys a query attends to (full: all of them)."""
    vectors: PositiveInt = 1024
    """Vectors, one a token."""
    dim: PositiveInt = 16
    """Dimensions of a vector."""


def furthest(config: Furthest, run: Run) -> Metrics:
    """Share of tokens whose answer is exact, after 1 to 16 layers."""
    draws = torch.randn(config.vectors, config.dim, generator=run.rng("vectors"))
    vectors = normalize(draws.double(), dim=1).to(run.device)
    # By distances, and not by the inner products that the construction takes.
    exact = torch.cdist(vectors, vectors, compute_mode="donot_use_mm_for_euclid_dist").argmax(1)
    allowed = None
    if config.attention == "sparse":
        mask = BigBirdMask(config.pattern.build(run.seed), config.vectors).to(run.device)
        allowed = mask.dense(config.vectors, config.vectors, device=run.device)[0, 0]
    found = [find_furthest_vectors(vectors, allowed, layers=count) for count in LAYERS]
    right = [100 * float((answer == exact).double().mean()) for answer in found]
    run.series("accuracy", LAYERS, right, x_label="layers", y_label="exact answers, %")
    return {f"accuracy_{count}": share for count, share in zip(LAYERS, right, strict=True)}
