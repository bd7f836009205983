"""Causal attention alone, forward and backward, over growing lengths (figure 1)."""

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from quire.lab import Config, Metrics, Run
from quire.lab.measure import doublings, exponent, measure_costs
from quire.nn import Causal, naive_softmax_attention, softmax_attention
from quire.papers.linear_transformer.attention import linear_attention
from quire.papers.linear_transformer.experiments.lsh import LSHAttention


class Growth(Config):
    """Which attention, and the lengths."""

    attention: Literal["linear", "softmax", "fused", "lsh"] = "linear"
    """softmax forms every weight, fused does not: it is torch's kernel; lsh is the Reformer's."""
    rounds: PositiveInt = 4
    """lsh: rounds of hashing into 64 buckets, in chunks of 32 tokens."""
    heads: PositiveInt = 4
    """Heads."""
    dim: PositiveInt = 64
    """Width of each head."""
    shortest: PositiveInt = 1024
    """Shortest length in tokens; each next one is twice as long."""
    longest: PositiveInt = 32_768
    """Longest length in tokens."""
    common: PositiveInt = 2048
    """One of the lengths, the same for all arms that are compared."""
    repeats: int = Field(5, ge=2)
    """Timed calls at each length."""


def growth(config: Growth, run: Run) -> Metrics:
    """Fitted exponents of time and of the largest memory that tensors take."""
    lengths = doublings(config.shortest, config.longest)
    if config.common not in lengths:
        raise ValueError(f"common must be one of {', '.join(map(str, lengths))}: {config.common}")
    hashed = LSHAttention(config.dim, rounds=config.rounds, seed=run.seed).to(run.device)

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if config.attention == "lsh":
            return hashed(q, q, v, Causal())  # type: ignore[no-any-return]
        if config.attention == "linear":
            return linear_attention(q, k, v, Causal())
        if config.attention == "softmax":
            return naive_softmax_attention(q, k, v, Causal())
        with sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION]):
            return softmax_attention(q, k, v, Causal())

    def differentiate(q: Tensor, k: Tensor, v: Tensor) -> object:
        # Keys of lsh are the queries: they have no gradient of their own.
        return torch.autograd.grad(attend(q, k, v).sum(), (q, k, v), allow_unused=True)

    def calls_at(length: int) -> dict[str, Callable[[], object]]:
        shape = 3, 1, config.heads, length, config.dim
        inputs = torch.randn(shape, generator=run.rng("inputs", length)).to(run.device)
        return {"attention": partial(differentiate, *(x.requires_grad_() for x in inputs.unbind()))}

    costs = measure_costs(lengths, calls_at, run.device, repeats=config.repeats)["attention"]
    times = [1000 * second for second in costs.seconds]
    run.series("memory", lengths, costs.megabytes, x_label="tokens", y_label="peak memory, MB")
    run.series("time", lengths, times, x_label="tokens", y_label="forward and backward, ms")
    return {
        "memory_exponent": exponent(lengths, costs.megabytes),
        "longest_mb": costs.megabytes[-1],
        "time_exponent": exponent(lengths, times),
        "longest_ms": times[-1],
        "common_mb": costs.megabytes[lengths.index(config.common)],
        "common_ms": times[lengths.index(config.common)],
    }
