"""Time and memory of attention alone against the length."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from pydantic import Field, PositiveInt

from quire.lab import Config, Metrics, Run
from quire.lab.measure import Costs, measure_costs, overtaking
from quire.nn import naive_softmax_attention, softmax_attention
from quire.papers.bigbird.attention import bigbird_attention
from quire.papers.bigbird.experiments.settings import Pattern


class Growth(Config):
    """Time and memory of attention alone against the length."""

    pattern: Pattern = Pattern()
    """Which keys a query attends to."""
    lengths: tuple[PositiveInt, ...] = (1024, 2048, 4096, 8192, 16384)
    """Numbers of tokens, ascending."""
    heads: PositiveInt = 1
    """Attention heads of width 64."""
    backward: bool = True
    """Forward and backward pass, or the forward pass alone."""
    repeats: int = Field(default=2, ge=2)
    """Interleaved timings of each; their median counts."""
    formula_up_to: PositiveInt = 4096
    """Longest sequence of the formula with all weights in memory."""


def growth(config: Growth, run: Run) -> Metrics:
    """Exponents of time and memory, and how both compare with torch's fused full attention.

    Exponents are slopes of a straight line through the logarithms. Time is the processor's on a
    CPU. The fused kernel of torch and the formula are timed in the same rounds.
    """
    pattern = config.pattern.build(run.seed)

    def calls_at(length: int) -> dict[str, Callable[[], None]]:
        generator = run.rng("inputs", length)
        q, k, v = (
            torch.randn(1, config.heads, length, 64, generator=generator)
            .to(run.device)
            .requires_grad_(config.backward)
            for _ in range(3)
        )

        def attend(kernel: str) -> None:
            if kernel == "sparse":
                out = bigbird_attention(q, k, v, pattern)
            elif kernel == "full":
                out = softmax_attention(q, k, v)
            else:
                out = naive_softmax_attention(q, k, v)
            if config.backward:
                out.sum().backward()

        kernels = ("sparse", "full") + (("formula",) if length <= config.formula_up_to else ())
        return {kernel: partial(attend, kernel) for kernel in kernels}

    costs = measure_costs(config.lengths, calls_at, run.device, repeats=config.repeats)
    metrics: Metrics = {}
    for kernel in ("sparse", "full", "formula"):
        # The formula is left out above `formula_up_to`, which may be every length.
        found = costs.get(kernel, Costs())
        curves = {"seconds": ("seconds", found.seconds), "mb": ("MB", found.megabytes)}
        for unit, (label, values) in curves.items():
            if values:
                name = f"{kernel}_{unit}"
                run.series(name, found.lengths, values, x_label="tokens", y_label=label)
        metrics[f"{kernel}_time"] = fit_exponent(found.lengths, found.seconds)
        metrics[f"{kernel}_memory"] = fit_exponent(found.lengths, found.megabytes)
    pairs = zip(costs["full"].seconds, costs["sparse"].seconds, strict=True)
    ratio = [full / sparse for full, sparse in pairs]
    block = pattern.block
    work = [float(pattern.table(length).sum()) * block**2 for length in config.lengths]
    return metrics | {
        "crossover": overtaking(config.lengths, ratio),
        "speedup": ratio[-1],
        "memory_ratio": costs["sparse"].megabytes[-1] / costs["full"].megabytes[-1],
        "work": fit_exponent(config.lengths, work),
    }


def fit_exponent(lengths: Sequence[int], costs: Sequence[float]) -> float:
    """The exponent of a power law through the costs; 0 for fewer than two."""
    if len(costs) < 2:
        return 0.0
    return float(np.polyfit(np.log(lengths), np.log(costs), 1)[0])
