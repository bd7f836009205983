"""What holds exactly: gathered blocks against dense softmax behind the pattern's mask."""

from dataclasses import replace

import torch
from pydantic import PositiveInt

from quire.lab import Config, Metrics, Run
from quire.lab.measure import largest_difference
from quire.nn import Padding, softmax_attention
from quire.papers.bigbird.attention import bigbird_attention, gathered_bigbird
from quire.papers.bigbird.experiments.settings import Pattern
from quire.papers.bigbird.pattern import BigBirdMask


class Identities(Config):
    """Gathered blocks against dense softmax behind the pattern's mask, in double precision."""

    pattern: Pattern = Pattern(block=8, random=2)
    """Which keys a query attends to."""
    causal: bool = False
    """Whether a query sees its own and earlier positions only."""
    length: PositiveInt = 256
    """Tokens, N."""
    gathered: bool = False
    """Whether blocks are gathered even where the pattern is full attention."""


def identities(config: Identities, run: Run) -> Metrics:
    """Largest differences of outputs and gradients, without and with padding."""
    pattern = replace(config.pattern.build(run.seed), causal=config.causal)
    generator = run.rng("inputs")
    shape = (2, 3, config.length, 16)
    tensors = [
        torch.randn(shape, dtype=torch.float64, generator=generator).to(run.device)
        for _ in range(4)
    ]
    lengths = Padding(torch.tensor([config.length, config.length // 3], device=run.device))
    dense = BigBirdMask(pattern, config.length, 3).to(run.device)
    sparse = gathered_bigbird if config.gathered else bigbird_attention
    metrics: Metrics = {}
    for name, mask in (("", None), ("padded_", lengths)):
        sides = []
        for attend in (
            lambda q, k, v, m=mask: sparse(q, k, v, pattern, m),
            lambda q, k, v, m=mask: softmax_attention(q, k, v, dense if m is None else dense & m),
        ):
            q, k, v = (t.detach().clone().requires_grad_() for t in tensors[:3])
            out = attend(q, k, v)
            out.backward(tensors[3])
            sides.append((out.detach(), [q.grad, k.grad, v.grad]))
        (out, gradients), (dense_out, dense_gradients) = sides
        metrics[f"{name}output_error"] = largest_difference(out, dense_out)
        metrics[f"{name}gradient_error"] = largest_difference(gradients, dense_gradients)
    return metrics
