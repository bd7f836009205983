"""What a training step costs: feedback with a cut graph, with hooks, and back-propagation."""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import PositiveInt
from torch import Tensor, nn

from quire.lab import Config, Metrics, Run
from quire.lab.measure import now, race
from quire.papers.dfa.direct import DirectFeedback
from quire.papers.dfa.language import LanguageModel
from quire.papers.dfa.placements import macro, micro

VOCABULARY = 1000
"""Kinds of tokens."""


class Speed(Config):
    """One forward and backward pass of a Transformer of six blocks."""

    placement: Literal["macro", "micro"] = "macro"
    """One mark a block, or three."""
    dim: PositiveInt = 512
    """Width D; the hidden layers are four times as wide."""
    layers: PositiveInt = 6
    """Blocks."""
    length: PositiveInt = 128
    """Tokens of a text."""
    batch_size: PositiveInt = 64
    """Texts."""
    repeats: PositiveInt = 9
    """Timings, of which the median is taken."""


class Hooked(nn.Module):
    """Feedback as tensor hooks over an uncut graph: the formulation of the published NeRF code.

    Every mark replaces the gradient that arrives there, which back-propagation through the layers
    above has computed in vain. model: has been prepared; its feedback is used.
    """

    def __init__(self, model: DirectFeedback) -> None:
        super().__init__()
        self.direct = model

    def forward(self, x: Tensor) -> Tensor:
        """What the model gives."""
        with self.direct.recorded() as seen:
            out: Tensor = self.direct(x)
        assert seen.output is not None
        sent: list[Tensor] = []

        def replace(gradient: Tensor) -> Tensor:
            return sent[0][:, : gradient.shape[-1]].reshape(gradient.shape)

        seen.output.register_hook(lambda gradient: sent.append(self.project(gradient)))
        for tap in seen.taps:
            tap.hidden.register_hook(replace)
        return out

    def project(self, gradient: Tensor) -> Tensor:
        """The error's projection (R, D_max)."""
        matrix = self.direct.feedback.matrix
        assert isinstance(matrix, Tensor)
        return gradient.flatten(0, -2) @ matrix


def speed(config: Speed, run: Run) -> Metrics:
    """The time of a step of each kind, as a multiple of back-propagation's."""
    net = LanguageModel(
        VOCABULARY, dim=config.dim, layers=config.layers, heads=max(1, config.dim // 64)
    ).to(run.device)
    marks = macro(net) if config.placement == "macro" else micro(net)
    model = DirectFeedback(net, marks, source="encoder", seed=run.seed)
    shape = (config.batch_size, config.length)
    x, y = torch.randint(VOCABULARY, (2, *shape), generator=run.rng("tokens")).to(run.device)
    model.prepare(x[:1])
    hooked = Hooked(model)

    def step(module: nn.Module, rule: str | None = None) -> Callable[[], Tensor]:
        def call() -> Tensor:
            if rule is not None:
                model.set_rule(rule)  # type: ignore[arg-type]
            net.zero_grad()
            loss = F.cross_entropy(module(x).flatten(0, 1), y.flatten())
            loss.backward()
            return loss

        return call

    calls = {
        "direct": step(model, "direct"),
        "backward": step(model, "backward"),
        "hooked": step(hooked),
    }
    clock = lambda: now(run.device)  # noqa: E731
    timings = race(calls, repeats=max(2, config.repeats), warmup=1, clock=clock)
    seconds = {name: timing.median for name, timing in timings.items()}
    return {
        "milliseconds": 1000 * seconds["direct"],
        "ratio": seconds["direct"] / seconds["backward"],
        "hooked_ratio": seconds["hooked"] / seconds["backward"],
    }
