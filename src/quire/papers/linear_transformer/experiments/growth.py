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


class Growth(Config):
    """Which attention, and the lengths."""

    attention: Literal["linear", "softmax", "fused"] = "linear"
    """softmax forms every weight; fused is torch's kernel, which does not."""
    heads: PositiveInt = 4
    """Heads."""
    dim: PositiveInt = 64
    """Width of each head."""
    shortest: PositiveInt = 1024
    """Shortest length in tokens; each next one is twice as long."""
    longest: PositiveInt = 32_768
    """Longest length in tokens."""
    repeats: int = Field(5, ge=2)
    """Timed calls at each length."""


def growth(config: Growth, run: Run) -> Metrics:
    """Fitted exponents of time and of the largest memory that tensors take."""

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if config.attention == "linear":
            return linear_attention(q, k, v, Causal())
        if config.attention == "softmax":
            return naive_softmax_attention(q, k, v, Causal())
        with sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION]):
            return softmax_attention(q, k, v, Causal())

    def differentiate(q: Tensor, k: Tensor, v: Tensor) -> object:
        return torch.autograd.grad(attend(q, k, v).sum(), (q, k, v))

    def calls_at(length: int) -> dict[str, Callable[[], object]]:
        shape = 3, 1, config.heads, length, config.dim
        inputs = torch.randn(shape, generator=run.rng("inputs", length)).to(run.device)
        return {"attention": partial(differentiate, *(x.requires_grad_() for x in inputs.unbind()))}

    lengths = doublings(config.shortest, config.longest)
    costs = measure_costs(lengths, calls_at, run.device, repeats=config.repeats)["attention"]
    times = [1000 * second for second in costs.seconds]
    run.series("memory", lengths, costs.megabytes, x_label="tokens", y_label="peak memory, MB")
    run.series("time", lengths, times, x_label="tokens", y_label="forward and backward, ms")
    return {
        "memory_exponent": exponent(lengths, costs.megabytes),
        "longest_mb": costs.megabytes[-1],
        "time_exponent": exponent(lengths, times),
        "longest_ms": times[-1],
    }
