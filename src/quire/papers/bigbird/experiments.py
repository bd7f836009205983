"""BigBird's experiments: each is a function `(config, run) -> metrics` with its config beside it.

Here: what holds exactly, the theory's constructions, and the growth of cost. Sequences of words
stand in `experiments_text.py`, DNA in `experiments_dna.py`, what they share in
`experiments_common.py`.
"""

import itertools
import math
import time
from dataclasses import replace

import numpy as np
import torch
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor
from torch.nn.functional import normalize

from quire.lab import Config, Metrics, Run
from quire.lab.bench import peak_tensor_mb, race
from quire.nn import Padding, naive_softmax_attention, softmax_attention
from quire.papers.bigbird.attention import bigbird_attention
from quire.papers.bigbird.experiments_common import Attention
from quire.papers.bigbird.experiments_dna import (
    Genome,
    Promoters,
    genome,
    genome_real,
    promoters,
)
from quire.papers.bigbird.experiments_text import (
    Context,
    Procedural,
    blocks,
    context,
    copy,
    retrieval,
)
from quire.papers.bigbird.figures import pattern_figure
from quire.papers.bigbird.model import BigBird, Pooler
from quire.papers.bigbird.pattern import BigBirdMask, BigBirdPattern
from quire.papers.bigbird.theory import (
    contextual_mapping,
    furthest_vectors,
    graph_figures,
    run_on_graph,
    run_on_tape,
    star_graph,
    tape_graph,
)

__all__ = [
    "Constructions",
    "Context",
    "Furthest",
    "Genome",
    "Growth",
    "Identities",
    "Procedural",
    "Promoters",
    "blocks",
    "constructions",
    "context",
    "copy",
    "furthest",
    "genome",
    "genome_real",
    "growth",
    "identities",
    "promoters",
    "retrieval",
]


class Identities(Attention):
    """Gathered blocks against dense softmax behind the pattern's mask, in double precision."""

    block: PositiveInt = 8
    """Tokens of a block."""
    random: NonNegativeInt = 2
    """Random blocks."""
    causal: bool = False
    """Whether a query sees its own and earlier positions only."""
    length: PositiveInt = 256
    """Tokens, N."""


def identities(config: Identities, run: Run) -> Metrics:
    """Largest differences of outputs and gradients, without and with padding."""
    base = config.pattern(run.seed)
    if base is None:
        raise ValueError("identities compare a pattern with its mask: attention must be sparse")
    pattern = replace(base, causal=config.causal)
    generator = run.rng("inputs")
    shape = (2, 3, config.length, 16)
    tensors = [
        torch.randn(shape, dtype=torch.float64, generator=generator).to(run.device)
        for _ in range(4)
    ]
    lengths = Padding(torch.tensor([config.length, config.length // 3], device=run.device))
    dense = BigBirdMask(pattern, config.length, 3).to(run.device)
    metrics: Metrics = {}
    for name, mask in (("", None), ("padded_", lengths)):
        sides = []
        for attend in (
            lambda q, k, v, m=mask: bigbird_attention(q, k, v, pattern, m),
            lambda q, k, v, m=mask: softmax_attention(q, k, v, dense if m is None else dense & m),
        ):
            q, k, v = (t.detach().clone().requires_grad_() for t in tensors[:3])
            out = attend(q, k, v)
            out.backward(tensors[3])
            sides.append((out.detach(), q.grad, k.grad, v.grad))
        differences = [float((a - b).abs().max()) for a, b in zip(*sides, strict=True)]
        metrics[f"{name}output_error"] = differences[0]
        metrics[f"{name}gradient_error"] = max(differences[1:])
    return metrics


class Constructions(Config):
    """The pattern's counts at the paper's sizes, and the constructions of its proofs."""

    turing_steps: PositiveInt = 60
    """Steps of the Turing machines."""


BUSY_BEAVER = {
    ("a", 0): ("b", 1, 1), ("a", 1): ("c", 1, -1), ("b", 0): ("a", 1, -1), ("b", 1): ("b", 1, 1),
    ("c", 0): ("b", 1, -1), ("c", 1): ("halt", 1, 1),
    ("halt", 0): ("halt", 0, 0), ("halt", 1): ("halt", 1, 0),
}  # fmt: skip
COUNTER = {
    ("left", 0): ("right", 1, 1), ("left", 1): ("left", 0, -1),
    ("right", 0): ("left", 0, -1), ("right", 1): ("right", 1, 1),
}  # fmt: skip


def constructions(config: Constructions, run: Run) -> Metrics:
    """Counts, densities, diameters; the tape lookup and the contextual mapping."""
    pattern = BigBirdPattern(seed=run.seed)
    run.figure("pattern", pattern_figure(pattern, 4096))
    with torch.device("meta"):
        parts = BigBird(), Pooler(768)
        parameters = sum(p.numel() for part in parts for p in part.parameters())
    plan = pattern.plan(4096, 12)[:, 1:-1]
    twice = sum(len(row) - len(set(row.tolist())) for head in plan for row in head)
    metrics: Metrics = {
        "key_blocks": float(pattern.table(4096, 12).sum((1, 2)).mean()),
        "duplicates": float(twice),
        "parameters": float(parameters),
        "star_diameter": graph_figures(star_graph(64)).diameter,
    }
    for count in (32, 64, 256):
        sizes = {"r": (0, 3, 0), "w": (3, 0, 0), "rw": (3, 3, 0), "wg": (3, 0, 2), "rwg": (3, 3, 2)}
        for name, (window, random, ends) in sizes.items():
            table = BigBirdPattern(1, window, random, ends, run.seed).table(count)[0]
            figures = graph_figures(table)
            metrics[f"{name}_{count}_diameter"] = min(figures.diameter, 1e6)
            metrics[f"{name}_{count}_gap"] = figures.spectral_gap
        metrics[f"density_{count}"] = float(table.mean())
    steps = config.turing_steps
    wrong = sum(
        a != b
        for machine, state in ((BUSY_BEAVER, "a"), (COUNTER, "left"))
        for a, b in zip(
            run_on_graph(machine, state, steps), run_on_tape(machine, state, steps), strict=True
        )
    )
    codes = [
        code
        for tokens in itertools.product(range(3), repeat=5)
        for code in contextual_mapping(tokens, 3)
    ]
    return metrics | {
        "turing_mismatches": float(wrong),
        "turing_edges": float(tape_graph(steps).size / len(tape_graph(steps))),
        "code_collisions": float(len(codes) - len(set(codes))),
    }


class Furthest(Attention):
    """For each of n vectors the furthest one, by hardmax layers (proposition 2)."""

    vectors: PositiveInt = 1024
    """Vectors, one a token."""
    dim: PositiveInt = 16
    """Dimensions of a vector."""
    block: PositiveInt = 16
    """Tokens of a block."""
    shared: bool = True
    """Whether all heads have the same random blocks."""


def furthest(config: Furthest, run: Run) -> Metrics:
    """Share of tokens whose answer is exact, after 1 to 16 layers."""
    draws = torch.randn(config.vectors, config.dim, generator=run.rng("vectors"))
    vectors = normalize(draws.double(), dim=1).to(run.device)
    exact = (vectors @ vectors.T).argmin(1)
    pattern, allowed = config.pattern(run.seed), None
    if pattern is not None:
        mask = BigBirdMask(pattern, config.vectors).to(run.device)
        allowed = mask.dense(config.vectors, config.vectors, device=run.device)[0, 0]
    layers = (1, 2, 4, 8, 16)
    found = [furthest_vectors(vectors, allowed, layers=count) for count in layers]
    right = [100 * float((answer == exact).double().mean()) for answer in found]
    run.series("accuracy", layers, right, x_label="layers", y_label="exact answers, %")
    return {f"accuracy_{count}": share for count, share in zip(layers, right, strict=True)}


class Growth(Attention):
    """Time and memory of attention alone against the length."""

    lengths: tuple[PositiveInt, ...] = (1024, 2048, 4096, 8192, 16384)
    """Numbers of tokens, ascending."""
    heads: PositiveInt = 1
    """Attention heads of width 64."""
    backward: bool = True
    """Forward and backward pass, or the forward pass alone."""
    repeats: PositiveInt = 5
    """Interleaved timings of each, at least 2; their median counts."""
    formula_up_to: PositiveInt = 4096
    """Longest sequence of the formula with all weights in memory."""


def growth(config: Growth, run: Run) -> Metrics:
    """Exponents of time and memory, and the length from which the pattern is faster.

    Exponents are slopes of a straight line through the logarithms. Time is the processor's on a
    CPU. The fused kernel of torch and the formula are timed in the same rounds.
    """
    pattern = config.pattern(run.seed)
    if pattern is None:
        raise ValueError("growth compares a pattern with full attention: attention must be sparse")
    clock = time.perf_counter if run.device.type == "cuda" else time.process_time
    seconds: dict[str, list[float]] = {}
    memory: dict[str, list[float]] = {}
    for length in config.lengths:
        generator = run.rng("inputs", length)
        inputs = [
            torch.randn(1, config.heads, length, 64, generator=generator)
            .to(run.device)
            .requires_grad_(config.backward)
            for _ in range(3)
        ]

        def attend(kernel: str, inputs: list[Tensor] = inputs) -> None:
            if kernel == "sparse":
                out = bigbird_attention(inputs[0], inputs[1], inputs[2], pattern)
            else:
                full = softmax_attention if kernel == "full" else naive_softmax_attention
                out = full(inputs[0], inputs[1], inputs[2])
            if config.backward:
                out.sum().backward()
            if run.device.type == "cuda":
                torch.cuda.synchronize()

        kernels = ("sparse", "full") + (("formula",) if length <= config.formula_up_to else ())
        contestants = {kernel: (lambda kernel=kernel: attend(kernel)) for kernel in kernels}
        timings = race(contestants, repeats=max(2, config.repeats), warmup=1, clock=clock)
        for kernel in kernels:
            seconds.setdefault(kernel, []).append(timings[kernel].median)
            memory.setdefault(kernel, []).append(peak_tensor_mb(contestants[kernel]))
    for kernel, values in seconds.items():
        axis = config.lengths[: len(values)]
        run.series(f"{kernel}_seconds", axis, values, x_label="tokens", y_label="seconds")
        run.series(f"{kernel}_mb", axis, memory[kernel], x_label="tokens", y_label="MB")
    ratio = [full / sparse for full, sparse in zip(seconds["full"], seconds["sparse"], strict=True)]
    metrics = {"crossover": _crossover(config.lengths, ratio), "speedup": ratio[-1]}
    for kernel in ("sparse", "full", "formula"):
        metrics[f"{kernel}_time"] = _slope(config.lengths, seconds.get(kernel, []))
        metrics[f"{kernel}_memory"] = _slope(config.lengths, memory.get(kernel, []))
    work = [float(pattern.table(length).sum()) * pattern.block**2 for length in config.lengths]
    return metrics | {"work": _slope(config.lengths, work)}


def _slope(lengths: tuple[int, ...], values: list[float]) -> float:
    """The exponent of a power law through the values; 0 for fewer than two."""
    if len(values) < 2:
        return 0.0
    return float(np.polyfit(np.log(lengths[: len(values)]), np.log(values), 1)[0])


def _crossover(lengths: tuple[int, ...], ratio: list[float]) -> float:
    """The length at which the ratio passes 1 for good, between lengths by its logarithm.

    The shortest length if it is above 1 everywhere, twice the longest if it is below at the end.
    """
    if ratio[-1] <= 1:
        return 2.0 * lengths[-1]
    last = max((i for i, value in enumerate(ratio) if value <= 1), default=-1)
    if last < 0:
        return float(lengths[0])
    a, b = math.log(ratio[last]), math.log(ratio[last + 1])
    share = -a / (b - a)
    return float(
        math.exp((1 - share) * math.log(lengths[last]) + share * math.log(lengths[last + 1]))
    )
