"""What the experiments share: which attention, and how a model is trained."""

import itertools
from collections.abc import Callable
from typing import Any, Literal

import torch
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn

from quire.lab import Config, Group, Run
from quire.lab.training import Kept, divided_at, set_rate, update
from quire.nn import AttentionKernel, softmax_attention
from quire.papers.linear_transformer.attention import LinearAttention
from quire.papers.linear_transformer.experiments.lsh import LSHAttention
from quire.papers.linear_transformer.features import (
    Favor,
    Hedgehog,
    elu_plus_one,
    polynomial,
    squared_relu,
    taylor,
)

Attention = Literal[
    "softmax", "linear", "relu", "squared_relu", "polynomial", "taylor", "favor", "hedgehog",
    "mean", "lsh",
]  # fmt: skip
"""softmax; linear is phi = elu + 1; then other feature maps; mean weighs all keys alike; lsh is
the Reformer's."""

FAVOR_FEATURES = 64
"""Random features a head."""


class Hashing(Group):
    """The Reformer's attention (lsh)."""

    rounds: PositiveInt = 1
    """Rounds of hashing."""
    buckets: PositiveInt = 64
    """Buckets, an even number."""
    chunk: PositiveInt = 32
    """Tokens a chunk."""


class Learner(Config):
    """A transformer and its attention, and how it is trained: RAdam, whose rate drops once."""

    attention: Attention = "linear"
    """Attention, the same in every layer."""
    hashing: Hashing = Hashing()
    """Of lsh attention."""
    dim: PositiveInt = 64
    """Width."""
    heads: PositiveInt = 4
    """Heads, which divide the width."""
    layers: PositiveInt = 2
    """Layers; feed-forward parts are four times as wide as the model."""
    steps: PositiveInt = 600
    """Minibatches."""
    batch_size: PositiveInt = 64
    """Sequences a minibatch."""
    learning_rate: PositiveFloat = 1e-3
    """Learning rate."""
    drop_after: NonNegativeInt = 3000
    """Steps after which the rate is a tenth; 0 never drops it."""


def choose_kernel(
    name: Attention, run: Run, *, dim: int, heads: int, hashing: Hashing
) -> Callable[[], AttentionKernel]:
    """What makes the attention of each layer.

    Args:
        name: Which attention.
        run: Its seed decides random features and rotations.
        dim: Width D of the model.
        heads: Heads H, which divide it.
        hashing: Of lsh attention.
    """
    head = dim // heads
    # Each layer draws features and rotations of its own.
    seeds, drawn = itertools.count(1000 * run.seed), run.rng("favor")
    make: dict[str, Callable[[], AttentionKernel]] = {
        "softmax": lambda: softmax_attention,
        "linear": lambda: LinearAttention(elu_plus_one),
        "relu": lambda: LinearAttention(torch.relu),
        "squared_relu": lambda: LinearAttention(squared_relu),
        "polynomial": lambda: LinearAttention(polynomial),
        "taylor": lambda: LinearAttention(taylor),
        "favor": lambda: LinearAttention(Favor(head, FAVOR_FEATURES, generator=drawn)),
        "hedgehog": lambda: LinearAttention(Hedgehog(heads, head)),
        "mean": lambda: LinearAttention(weigh_alike),
        "lsh": lambda: LSHAttention(
            head,
            rounds=hashing.rounds,
            buckets=hashing.buckets,
            chunk=hashing.chunk,
            seed=next(seeds),
        ),
    }
    return make[name]


def kernel_of(config: Learner, run: Run) -> Callable[[], AttentionKernel]:
    """What makes the attention of each layer of the config's transformer."""
    return choose_kernel(
        config.attention, run, dim=config.dim, heads=config.heads, hashing=config.hashing
    )


def weigh_alike(x: Tensor) -> Tensor:
    """One feature that is 1, so that every key has the same weight: (..., K) -> (..., 1)."""
    return torch.ones_like(x[..., :1])


def fit(
    config: Learner,
    run: Run,
    model: nn.Module,
    *,
    batch_at: Callable[[int], Any],
    loss: Callable[[Any], Tensor],
) -> float:
    """Train, with the gradient's norm clipped at 1; gives the mean of the loss over all steps.

    Args:
        config: Steps and rates.
        run: The run.
        model: Which is in evaluation mode afterwards.
        batch_at: Gives the minibatch of a step.
        loss: Of a minibatch, ().
    """
    optimizer = torch.optim.RAdam(model.parameters(), lr=config.learning_rate)
    milestones = [config.drop_after] if config.drop_after else []
    kept = Kept(loss=0.0)
    model.train()
    for batch in run.steps(config.steps, batch_at, state=(model, optimizer, kept)):
        # Divided, not multiplied by 0.1: the last digit differs.
        set_rate(optimizer, config.learning_rate / divided_at(run.step, milestones, by=10))
        with run.precision():
            value = loss(batch)
        update(value, model, optimizer, clip=1.0)
        kept.average("loss", value)
        run.log(loss=value)
    model.eval()
    return kept.numbers["loss"]
