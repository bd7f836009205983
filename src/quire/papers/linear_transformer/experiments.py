"""The experiments: what was run for the claims in paper.toml."""

from functools import partial
from typing import Any, Literal

import torch
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from quire.lab import Config, Metrics, Run
from quire.lab.bench import peak_tensor_mb
from quire.nn import Causal, naive_softmax_attention, softmax_attention
from quire.papers.linear_transformer.attention import (
    LinearAttention,
    linear_attention,
    naive_linear_attention,
    recurrent_step,
)
from quire.papers.linear_transformer.experiments_capacity import Capacity, capacity
from quire.papers.linear_transformer.experiments_common import Attending, exponent, kernels, seconds
from quire.papers.linear_transformer.experiments_images import (
    DigitPicturing,
    Picturing,
    cifar10,
    digits,
    images,
)
from quire.papers.linear_transformer.experiments_sequences import (
    Copying,
    Recalling,
    copy,
    recall,
)
from quire.papers.linear_transformer.experiments_speech import Speech, speech
from quire.papers.linear_transformer.features import identity, polynomial
from quire.papers.linear_transformer.mixture import mixture_log_probability, sample_mixture
from quire.papers.linear_transformer.models import (
    Extend,
    SequenceModel,
    generate,
    recomputing,
    recurrent,
)


class Identities(Config):
    """What holds exactly, and sizes that follow from the definitions."""

    tokens: PositiveInt = 10_000
    """Tokens over which the recurrent and the chunked form are compared."""
    image: PositiveInt = 784
    """Pixels after which the states of the paper's MNIST model are counted."""


def identities(config: Identities, run: Run) -> Metrics:
    """Differences are the largest absolute ones, in float64 unless the name says otherwise."""

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=run.rng("inputs", *shape))

    metrics: Metrics = {"parallel_difference": 0.0, "gradient_difference": 0.0}
    for length in (1, 7, 63, 130, 257):
        for mask in (None, Causal()):
            q, k, v = random(3, 2, 3, length, 8).requires_grad_().unbind()
            fast, slow = linear_attention(q, k, v, mask), naive_linear_attention(q, k, v, mask)
            gradients = [torch.autograd.grad(x.sin().sum(), (q, k, v)) for x in (fast, slow)]
            worst = max(gap(a, b) for a, b in zip(*gradients, strict=True))
            metrics["parallel_difference"] = max(metrics["parallel_difference"], gap(fast, slow))
            metrics["gradient_difference"] = max(metrics["gradient_difference"], worst)
    q, k, v = random(3, 1, 2, config.tokens, 16)
    whole = linear_attention(q, k, v, causal=True)
    metrics["chunk_difference"] = max(
        gap(whole, linear_attention(q, k, v, causal=True, chunk=chunk)) for chunk in (7, 128, 1000)
    )
    metrics["recurrent_difference"] = gap(whole, stepwise(q, k, v))
    single = [x.float() for x in (q, k, v)]
    metrics["recurrent_difference_float32"] = gap(
        linear_attention(*single, causal=True), stepwise(*single)
    )
    metrics["first_difference"] = gap(whole[..., 0, :], v[..., 0, :])
    shuffled = torch.randperm(config.tokens, generator=run.rng("order"))
    metrics["permutation_difference"] = gap(
        linear_attention(q, k, v), linear_attention(q, k[:, :, shuffled], v[:, :, shuffled])
    )
    q, k, v = random(3, 1, 2, 50, 6)
    scores = (q @ k.mT).square()
    metrics["polynomial_difference"] = gap(
        linear_attention(q, k, v, feature_map=polynomial, eps=0.0),
        scores / scores.sum(-1, keepdim=True) @ v,
    )
    q, k, v = (torch.tensor(x).double()[None, None, :, None] for x in WORKED)
    metrics["worked_identity"] = float(linear_attention(q, k, v, feature_map=identity, eps=0.0))
    metrics["worked_elu"] = float(linear_attention(q, k, v, eps=0.0))
    metrics["worked_softmax"] = float(softmax_attention(q, k, v))
    levels = torch.arange(256)
    parameters = random(20, 1, 30).expand(20, 256, 30)
    metrics["mixture_difference"] = gap(
        mixture_log_probability(parameters, levels, 256).exp().sum(-1), torch.ones(20)
    )
    return metrics | counted_states(config.image)


WORKED = [2.0], [0.5, 1.0, 1.5], [10.0, 20.0, 30.0]
"""One query, three keys and values of width 1."""


def gap(a: Tensor, b: Tensor) -> float:
    """Largest absolute difference."""
    return float((a.detach() - b.detach()).abs().max())


def stepwise(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal linear attention, one token after the other."""
    state, outputs = None, []
    for token in range(q.shape[-2]):
        out, state = recurrent_step(state, *(x[..., token, :] for x in (q, k, v)))
        outputs.append(out)
    return torch.stack(outputs, -2)


def counted_states(pixels: int) -> Metrics:
    """Numbers kept for one image by the paper's MNIST model: 8 layers, 8 heads of 32."""
    counts = {}
    for name, kernel in (("linear", LinearAttention), ("softmax", lambda: softmax_attention)):
        model = SequenceModel(
            257, 30, length=pixels, dim=256, heads=8, layers=8, kernel=kernel
        ).eval()
        with torch.no_grad():
            _, state = model.extend(torch.zeros(1, pixels, dtype=torch.int64))
        counts[f"{name}_state"] = float(kept(state))
    return counts


def kept(state: Any) -> int:
    """Floating-point numbers in a state."""
    if isinstance(state, Tensor):
        return state.numel() if state.is_floating_point() else 0
    return sum(kept(part) for part in state) if isinstance(state, tuple) else 0


class Growth(Config):
    """Causal attention alone, forward and backward, over growing lengths (Figure 1)."""

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
    repeats: NonNegativeInt = 5
    """Timed calls at each length; 0 leaves the clock alone, which no two runs agree on."""


def growth(config: Growth, run: Run) -> Metrics:
    """Fitted exponents of time and of the largest memory that tensors take."""

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if config.attention == "linear":
            return linear_attention(q, k, v, Causal())
        if config.attention == "softmax":
            return naive_softmax_attention(q, k, v, Causal())
        with sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION]):
            return softmax_attention(q, k, v, Causal())

    lengths, times, memory = [config.shortest], [], []
    while lengths[-1] * 2 <= config.longest:
        lengths.append(lengths[-1] * 2)
    for length in lengths:
        shape = 3, 1, config.heads, length, config.dim
        inputs = torch.randn(shape, generator=run.rng("inputs", length)).to(run.device)
        q, k, v = (x.requires_grad_() for x in inputs.unbind())

        def once(q: Tensor = q, k: Tensor = k, v: Tensor = v) -> object:
            return torch.autograd.grad(attend(q, k, v).sum(), (q, k, v))

        memory.append(peak_tensor_mb(once))
        if config.repeats:
            once()
            times.append(1000 * seconds(once, config.repeats, run.device))
    run.series("memory", lengths, memory, x_label="tokens", y_label="peak memory, MB")
    metrics = {"memory_exponent": exponent(lengths, memory), "longest_mb": memory[-1]}
    if times:
        run.series("time", lengths, times, x_label="tokens", y_label="forward and backward, ms")
        metrics |= {"time_exponent": exponent(lengths, times), "longest_ms": times[-1]}
    return metrics


class Generation(Attending):
    """Cost of generating sequences with a model whose weights are random."""

    way: Literal["state", "recompute"] = "state"
    """Carry a state (sums, or keys and values), or run the model over the prefix every time."""
    dim: PositiveInt = 256
    """Width."""
    heads: PositiveInt = 8
    """Heads, which divide the width."""
    layers: PositiveInt = 1
    """Layers."""
    batch_size: PositiveInt = 1
    """Sequences at once."""
    shortest: PositiveInt = 128
    """Shortest length in tokens; each next one is twice as long."""
    longest: PositiveInt = 512
    """Longest length in tokens."""
    extra: NonNegativeInt = 0
    """One more length, at which images a second are counted; 0 counts them at the longest."""
    repeats: NonNegativeInt = 3
    """Timed calls at each length; 0 leaves the clock alone, which no two runs agree on."""


def generation(config: Generation, run: Run) -> Metrics:
    """Time to generate against length, and the numbers that are kept of one sequence."""
    lengths = [config.shortest]
    while lengths[-1] * 2 <= config.longest:
        lengths.append(lengths[-1] * 2)
    last = config.extra or lengths[-1]
    model = SequenceModel(
        257,
        30,
        length=max(last, lengths[-1]),
        dim=config.dim,
        heads=config.heads,
        layers=config.layers,
        kernel=kernels(config, run),
    )
    model = model.to(run.device).eval()
    extend: Extend = model.extend
    if config.way == "recompute":
        extend = recomputing(model)
    elif config.attention == "linear":
        extend = recurrent(model, batch=config.batch_size)
    rng = run.rng("choices")
    begin = torch.full((config.batch_size, 1), 256, device=run.device)

    def write(length: int) -> Tensor:
        return generate(extend, begin, length, lambda outputs: sample_mixture(outputs, 256, rng))

    states = {}
    for length in (lengths[0], lengths[-1]):
        with torch.no_grad():
            prompt = torch.zeros(1, length, dtype=torch.int64, device=run.device)
            _, state = (extend if config.way == "recompute" else model.extend)(prompt, None)
        states[length] = float(length if isinstance(state, Tensor) else kept(state))
    metrics = {"short_state": states[lengths[0]], "long_state": states[lengths[-1]]}
    if not config.repeats:
        return metrics | {"written": float(write(lengths[0]).numel())}
    write(lengths[0])
    spent = {}
    for length in {*lengths, last}:
        spent[length] = seconds(partial(write, length), config.repeats, run.device)
    times = [spent[length] for length in lengths]
    per_token = [1e6 * spent[length] / length for length in lengths]
    run.series("token", lengths, per_token, x_label="tokens", y_label="time a token, us")
    return metrics | {
        "time_exponent": exponent(lengths, times),
        "last_doubling": times[-1] / times[-2],
        "images_per_second": config.batch_size / spent[last],
        "token_us": 1e6 * spent[last] / last,
    }


__all__ = [
    "Capacity",
    "Copying",
    "DigitPicturing",
    "Generation",
    "Growth",
    "Identities",
    "Picturing",
    "Recalling",
    "Speech",
    "capacity",
    "cifar10",
    "copy",
    "digits",
    "generation",
    "growth",
    "identities",
    "images",
    "recall",
    "speech",
]
