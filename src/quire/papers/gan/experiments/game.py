"""Algorithm 1 on finitely many symbols, where every expectation is exact (section 4.2)."""

import math
from typing import Literal

import torch
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn

from quire.lab import Config, Metrics, Run
from quire.lab.training import Kept
from quire.papers.gan.game import game_value, jensen_shannon, optimal_discriminator


class Game(Config):
    """A table of logits as generator and one as discriminator; no sampling, no noise."""

    symbols: PositiveInt = 16
    """S."""
    games: PositiveInt = 8
    """Data distributions, each a game of its own; the worst is reported."""
    loss: Literal["non-saturating", "saturating"] = "saturating"
    """The generator's."""
    inner: NonNegativeInt = 10
    """k, steps of the discriminator before each of the generator; 0 leaves it at its first best
    answer for ever."""
    direction: Literal[1, -1] = 1
    """-1 lets the generator go up its loss: a control."""
    learning_rate: PositiveFloat = 2.0
    """Of plain gradient descent on the generator's logits."""
    steps: PositiveInt = 1000
    """Steps of the generator."""


class Tables(nn.Module):
    """Both players' logits, (games, S) each."""

    def __init__(self, q: Tensor, p: Tensor) -> None:
        super().__init__()
        self.generator = nn.Parameter(q.log())
        # The best answer to the first generator: what "frozen" stays with.
        self.discriminator = nn.Parameter(optimal_discriminator(p, q).logit())

    def draw(self) -> Tensor:
        """The generator's probabilities, (games, S)."""
        return torch.softmax(self.generator, -1)


def game(config: Game, run: Run) -> Metrics:
    """Play; how far the generator is from the data, and how it got there."""
    p, q = begin(config, run)
    tables = Tables(q, p).double()
    kept = Kept(rise=0.0)
    first = jensen_shannon(p, q)
    for step in run.steps(config.steps, state=(tables, kept)):
        with torch.no_grad():
            before = tables.draw()
            for _ in range(config.inner):
                answer(tables, p, before)
            improve(tables, before, config)
            after = tables.draw()
            distance = jensen_shannon(p, after)
            rise = float((game_value(p, after) - game_value(p, before)).max())
        kept.numbers["rise"] = max(kept.numbers["rise"], rise)
        if step % max(1, config.steps // 200) == 0:
            kept.add("distance", distance.max())
            kept.add("step", step + 1)
        run.log(divergence=distance.max())
    last = tables.draw().detach()
    run.series(
        "divergence", kept.series["step"], kept.series["distance"],
        x_label="generator steps", y_label="largest JSD, nats",
    )  # fmt: skip
    flat = (tables.discriminator.detach().sigmoid() - 0.5).abs()
    used = (p + last).clamp_min(1e-12)
    return {
        "divergence": float(jensen_shannon(p, last).max()),
        "least_divergence": float(jensen_shannon(p, last).min()),
        "first_divergence": float(first.min()),
        "value_gap": float((game_value(p, last) + math.log(4)).max()),
        "rise": kept.numbers["rise"],
        "symbols_left": float(torch.special.entr(last).sum(-1).exp().max()),
        "flatness": float(((flat * used).sum(-1) / 2).max()),
    }


def begin(config: Game, run: Run) -> tuple[Tensor, Tensor]:
    """Data and first generator, (games, S) each."""
    shape = (config.games, config.symbols)
    p, q = (
        torch.softmax(torch.randn(shape, generator=run.rng(name), dtype=torch.float64), -1)
        for name in ("data", "generator")
    )
    return p, q


def answer(tables: Tables, p: Tensor, q: Tensor) -> None:
    """One of Newton's steps of D up V in its logits, each of which moves by at most 1."""
    d = tables.discriminator.sigmoid()
    slope, curvature = p - (p + q) * d, (p + q) * d * (1 - d)
    tables.discriminator.add_((slope / curvature.clamp_min(1e-30)).clamp(-1, 1))


def improve(tables: Tables, q: Tensor, config: Game) -> None:
    """One step of G down the exact expectation of its loss, sum of q(x) f(D(x)) over symbols."""
    logits = tables.discriminator
    if config.loss == "saturating":
        losses = nn.functional.logsigmoid(-logits)
    else:
        losses = -nn.functional.logsigmoid(logits)
    slope = q * (losses - (q * losses).sum(-1, keepdim=True))
    tables.generator.sub_(config.direction * config.learning_rate * slope)
