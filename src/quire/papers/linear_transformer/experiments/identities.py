"""What holds exactly, and sizes that follow from the definitions; nothing is trained."""

from collections.abc import Callable

import torch
from pydantic import PositiveInt
from torch import Tensor

from quire.lab import Config, Metrics, Run
from quire.lab.measure import largest_difference
from quire.nn import Causal, softmax_attention
from quire.papers.linear_transformer.attention import (
    LinearAttention,
    linear_attention,
    naive_linear_attention,
    recurrent_step,
)
from quire.papers.linear_transformer.experiments.mixture import mixture_log_probability
from quire.papers.linear_transformer.experiments.states import count_numbers
from quire.papers.linear_transformer.features import identity, polynomial
from quire.papers.linear_transformer.models import SequenceModel

Draw = Callable[..., Tensor]
"""Sizes to random numbers of that shape, in float64."""

WORKED = [2.0], [0.5, 1.0, 1.5], [10.0, 20.0, 30.0]
"""One query, three keys and values of width 1."""


class Identities(Config):
    """How long the sequences are."""

    tokens: PositiveInt = 10_000
    """Tokens over which the recurrent and the chunked form are compared."""


def identities(config: Identities, run: Run) -> Metrics:
    """Differences are the largest absolute ones, in float64 unless the name says otherwise."""

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=run.rng("inputs", *shape))

    order = torch.randperm(config.tokens, generator=run.rng("order"))
    levels = torch.arange(256)
    parameters = draw(20, 1, 30).expand(20, 256, 30)
    mass = mixture_log_probability(parameters, levels, 256).exp().sum(-1)
    return (
        compare_with_dense(draw)
        | compare_forms(draw(3, 1, 2, config.tokens, 16), order)
        | work_examples(draw)
        | {"mixture_difference": largest_difference(mass, torch.ones(20))}
        | count_states()
    )


def compare_with_dense(draw: Draw) -> Metrics:
    """The form with every weight in memory, values and gradients, around the chunk's length."""
    metrics: Metrics = {"parallel_difference": 0.0, "gradient_difference": 0.0}
    for length in (1, 7, 63, 130, 257):
        for mask in (None, Causal()):
            q, k, v = draw(3, 2, 3, length, 8).requires_grad_().unbind()
            fast, slow = linear_attention(q, k, v, mask), naive_linear_attention(q, k, v, mask)
            # A sine, so that the gradient of the output is not the same everywhere.
            gradients = [torch.autograd.grad(x.sin().sum(), (q, k, v)) for x in (fast, slow)]
            for name, pair in (("parallel", (fast, slow)), ("gradient", gradients)):
                key = f"{name}_difference"
                metrics[key] = max(metrics[key], largest_difference(*pair))
    return metrics


def compare_forms(inputs: Tensor, order: Tensor) -> Metrics:
    """Chunks of other sizes, the recurrent form, the first output, keys in another order.

    inputs: q, k, v (3, B, H, T, K). order: a permutation of the tokens (T,).
    """
    q, k, v = inputs
    whole = linear_attention(q, k, v, causal=True)
    single = [x.float() for x in (q, k, v)]
    shuffled = linear_attention(q, k[:, :, order], v[:, :, order])
    return {
        "chunk_difference": max(
            largest_difference(whole, linear_attention(q, k, v, causal=True, chunk=chunk))
            for chunk in (7, 128, 1000)
        ),
        "recurrent_difference": largest_difference(whole, attend_stepwise(q, k, v)),
        "recurrent_difference_float32": largest_difference(
            linear_attention(*single, causal=True), attend_stepwise(*single)
        ),
        "first_difference": largest_difference(whole[..., 0, :], v[..., 0, :]),
        "permutation_difference": largest_difference(linear_attention(q, k, v), shuffled),
    }


def attend_stepwise(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal linear attention, one token after the other: (B, H, T, K) each."""
    state, outputs = None, []
    for token in range(q.shape[-2]):
        out, state = recurrent_step(state, *(x[..., token, :] for x in (q, k, v)))
        outputs.append(out)
    return torch.stack(outputs, -2)


def work_examples(draw: Draw) -> Metrics:
    """The degree-2 map against the weights that it stands for, and three keys by hand."""
    q, k, v = draw(3, 1, 2, 50, 6)
    scores = (q @ k.mT).square()
    mapped = linear_attention(q, k, v, feature_map=polynomial, eps=0.0)
    dense = scores / scores.sum(-1, keepdim=True) @ v
    q, k, v = (torch.tensor(x).double()[None, None, :, None] for x in WORKED)
    return {
        "polynomial_difference": largest_difference(mapped, dense),
        "worked_identity": float(linear_attention(q, k, v, feature_map=identity, eps=0.0)),
        "worked_elu": float(linear_attention(q, k, v, eps=0.0)),
        "worked_softmax": float(softmax_attention(q, k, v)),
    }


def count_states(pixels: int = 784) -> Metrics:
    """Numbers kept for one image by the paper's MNIST model: 8 layers, 8 heads of 32."""
    counts = {}
    for name, kernel in (("linear", LinearAttention), ("softmax", lambda: softmax_attention)):
        model = SequenceModel(
            257, 30, length=pixels, dim=256, heads=8, layers=8, kernel=kernel
        ).eval()
        with torch.no_grad():
            _, state = model.extend(torch.zeros(1, pixels, dtype=torch.int64))
        counts[f"{name}_state"] = float(count_numbers(state))
    return counts
