"""What the experiments share: which attention, and how a model is trained."""

import itertools
import time
from collections.abc import Callable
from typing import Any, Literal

import torch
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn

from quire.lab import Config, Run
from quire.nn import AttentionKernel, softmax_attention
from quire.papers.linear_transformer.attention import LinearAttention
from quire.papers.linear_transformer.features import (
    Favor,
    Hedgehog,
    elu_plus_one,
    polynomial,
    squared_relu,
    taylor,
)
from quire.papers.linear_transformer.lsh import LSHAttention

Attention = Literal[
    "softmax", "linear", "relu", "squared_relu", "polynomial", "taylor", "favor", "hedgehog",
    "mean", "lsh",
]  # fmt: skip
"""softmax; linear is phi = elu + 1; then other feature maps; mean weighs all keys alike; lsh is
the Reformer's."""


class Attending(Config):
    """A transformer's size and its attention."""

    attention: Attention = "linear"
    """Attention, the same in every layer."""
    dim: PositiveInt = 64
    """Width."""
    heads: PositiveInt = 4
    """Heads, which divide the width."""
    layers: PositiveInt = 2
    """Layers; feed-forward parts are four times as wide as the model."""
    norm: Literal["pre", "post"] = "pre"
    """Layer normalisation before each part, or after each sum as in the authors' code."""
    features: PositiveInt = 64
    """favor: features a head."""
    rounds: PositiveInt = 1
    """lsh: rounds of hashing."""
    buckets: PositiveInt = 64
    """lsh: buckets, an even number."""
    chunk: PositiveInt = 32
    """lsh: tokens a chunk."""


class Training(Attending):
    """How it is trained: RAdam, whose rate drops to a tenth."""

    steps: PositiveInt = 600
    """Minibatches."""
    batch_size: PositiveInt = 64
    """Sequences a minibatch."""
    lr: PositiveFloat = 1e-3
    """Learning rate."""
    drop_after: NonNegativeInt = 3000
    """Steps after which the rate is a tenth; 0 never drops it."""


def kernels(config: Attending, run: Run) -> Callable[[], AttentionKernel]:
    """Makes the attention of each layer."""
    head = config.dim // config.heads
    seeds, drawn = itertools.count(1000 * run.seed), run.rng("favor")
    make: dict[str, Callable[[], AttentionKernel]] = {
        "softmax": lambda: softmax_attention,
        "linear": lambda: LinearAttention(elu_plus_one),
        "relu": lambda: LinearAttention(torch.relu),
        "squared_relu": lambda: LinearAttention(squared_relu),
        "polynomial": lambda: LinearAttention(polynomial),
        "taylor": lambda: LinearAttention(taylor),
        "favor": lambda: LinearAttention(Favor(head, config.features, generator=drawn)),
        "hedgehog": lambda: LinearAttention(Hedgehog(config.heads, head)),
        "mean": lambda: LinearAttention(alike),
        "lsh": lambda: LSHAttention(
            head,
            rounds=config.rounds,
            buckets=config.buckets,
            chunk=config.chunk,
            seed=next(seeds),
        ),
    }
    return make[config.attention]


def alike(x: Tensor) -> Tensor:
    """One feature that is 1: every key has the same weight."""
    return torch.ones_like(x[..., :1])


def fit(
    config: Training,
    run: Run,
    model: nn.Module,
    *,
    batch_at: Callable[[int], Any],
    loss: Callable[[Any], Tensor],
) -> float:
    """Train, with the gradient's norm clipped at 1; gives the mean of the loss over all steps."""
    optimizer = torch.optim.RAdam(model.parameters(), lr=config.lr)
    mean = Mean()
    model.train()
    for batch in run.steps(config.steps, batch_at, state=(model, optimizer, mean)):
        dropped = config.drop_after and run.step >= config.drop_after
        for group in optimizer.param_groups:
            group["lr"] = config.lr / 10 if dropped else config.lr
        with run.precision():
            value = loss(batch)
        optimizer.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        mean.add(value)
        run.log(loss=value)
    model.eval()
    return mean.value


class Mean:
    """A running mean that is saved with the run."""

    def __init__(self) -> None:
        self.value, self.count = 0.0, 0

    def add(self, value: Tensor) -> None:
        """Take one more in."""
        self.count += 1
        self.value += (float(value.detach()) - self.value) / self.count

    def state_dict(self) -> dict[str, Any]:
        """Both numbers."""
        return {"value": self.value, "count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put them back."""
        self.value, self.count = state["value"], state["count"]


def now(device: torch.device) -> float:
    """Seconds of this process's CPU time, or on an accelerator of the clock."""
    if device.type == "cpu":
        return time.process_time()
    torch.accelerator.synchronize()
    return time.perf_counter()


def seconds(call: Callable[[], Any], repeats: int, device: torch.device) -> float:
    """Median time of a call; the first one should not be the first of all."""
    spent = []
    for _ in range(repeats):
        began = now(device)
        call()
        spent.append(now(device) - began)
    return sorted(spent)[repeats // 2]


def exponent(lengths: list[int], costs: list[float]) -> float:
    """Slope of log cost against log length: 1 is linear, 2 quadratic."""
    x, y = (torch.tensor(v, dtype=torch.float64).log() for v in (lengths, costs))
    x = x - x.mean()
    return float((x * y).sum() / x.square().sum())
