"""The cost of generating token by token, with models whose weights are random (section 3.4)."""

from functools import partial
from typing import Literal

import torch
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor

from quire.lab import Config, Metrics, Run
from quire.lab.measure import doublings, exponent, seconds
from quire.papers.linear_transformer.experiments.learner import Attention, Hashing, choose_kernel
from quire.papers.linear_transformer.experiments.mixture import sample_mixture
from quire.papers.linear_transformer.experiments.states import count_numbers
from quire.papers.linear_transformer.models import (
    Extend,
    SequenceModel,
    generate,
    recomputing_extend,
    recurrent_extend,
)


class Generation(Config):
    """Which model, and how it generates."""

    attention: Attention = "linear"
    """Attention, the same in every layer."""
    way: Literal["state", "recompute"] = "state"
    """Carry a state (sums, or keys and values), or run the model over the prefix every time."""
    rounds: PositiveInt = 1
    """Of lsh attention."""
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
    repeats: PositiveInt = 3
    """Timed calls at each length."""
    processor: bool = False
    """On the CPU, also where the run has an accelerator."""


def generation(config: Generation, run: Run) -> Metrics:
    """Time to generate against length, and the numbers that are kept of one sequence."""
    lengths = doublings(config.shortest, config.longest)
    last = config.extra or lengths[-1]
    device = torch.device("cpu") if config.processor else run.device
    model = make_model(config, run, max(last, lengths[-1])).to(device).eval()
    # Both states in the same quick step, so that what differs is the attention.
    extend: Extend = (
        recomputing_extend(model)
        if config.way == "recompute"
        else recurrent_extend(model, batch=config.batch_size)
    )
    generator = run.rng("choices")
    begin = torch.full((config.batch_size, 1), 256, device=device)

    def choose(outputs: Tensor) -> Tensor:
        return sample_mixture(outputs, 256, generator)

    def write(length: int) -> Tensor:
        return generate(extend, begin, length, choose)

    short, long = (measure_state(extend, length, device) for length in (lengths[0], lengths[-1]))
    # The first call of all is slower than the next ones: it is not timed.
    written = write(lengths[0]).numel()
    spent = {
        length: seconds(partial(write, length), device, repeats=config.repeats, warmup=0)
        for length in {*lengths, last}
    }
    times = [spent[length] for length in lengths]
    per_token = [1e6 * spent[length] / length for length in lengths]
    run.series("token", lengths, per_token, x_label="tokens", y_label="time a token, us")
    return {
        "short_state": short,
        "long_state": long,
        "written": float(written),
        "time_exponent": exponent(lengths, times),
        "last_doubling": times[-1] / times[-2],
        "images_per_second": config.batch_size / spent[last],
        "token_us": 1e6 * spent[last] / last,
    }


def make_model(config: Generation, run: Run, length: int) -> SequenceModel:
    """A model over pixels of 256 levels, for so many at most."""
    return SequenceModel(
        257,
        30,
        length=length,
        dim=config.dim,
        heads=config.heads,
        layers=config.layers,
        kernel=choose_kernel(
            config.attention,
            run,
            dim=config.dim,
            heads=config.heads,
            hashing=Hashing(rounds=config.rounds),
        ),
    )


@torch.no_grad()
def measure_state(extend: Extend, length: int, device: torch.device) -> float:
    """Numbers kept of one sequence; of a prefix that is read anew, its tokens."""
    prompt = torch.zeros(1, length, dtype=torch.int64, device=device)
    _, state = extend(prompt, None)
    return float(length if isinstance(state, Tensor) else count_numbers(state))
