"""Who extrapolates: f(x) = x learned on [-5, 5], and sums of numbers far beyond the table (E3)."""

from typing import Literal

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import nn

from quire.lab import Config, Metrics, Run
from quire.papers.two_plus_two.arithmetic import NAC, NALU, NAU, NMU
from quire.papers.two_plus_two.closed import LeastSquares, with_bias
from quire.papers.two_plus_two.experiments.figures import draw_line
from quire.papers.two_plus_two.experiments.learner import (
    QUESTION,
    ask,
    percent,
    round_half_up,
    train,
)
from quire.papers.two_plus_two.families import HIDDEN, Fitted, Learner
from quire.papers.two_plus_two.nets import Net, Number, Scalar
from quire.papers.two_plus_two.stacked import stack_mlp
from quire.papers.two_plus_two.table import Lesson, list_cells, make_lesson, only

Body = Literal["least_squares", "relu", "tanh", "nac", "nalu", "nau", "nau_nmu"]
UNITS = {"nac": (NAC, NAC), "nalu": (NALU, NALU), "nau": (NAU, NAU), "nau_nmu": (NAU, NMU)}
SEEN, ROWS, FAR = 5.0, 101, 20.0
"""f(x) = x is shown at so many points of [-5, 5], and asked up to 20 on both sides."""
FURTHER = 100.0
"""The slope is that between 200 and 300, and its change that from the one between 100 and 200."""
RANGES = {"20": (10, 20), "200": (100, 200), "2000": (1000, 2000)}
"""a and b are drawn from 10 to 19, 100 to 199, 1000 to 1999."""
ASKED = 1000


class Extrapolation(Config):
    """A body. Steps are updates on whole batches, as many for each of the two tasks."""

    body: Body = "relu"
    """What computes: 64 hidden units twice, units made for sums, or least squares."""
    members: PositiveInt = 10
    """Nets of a panel; there is a panel for each task."""
    steps: PositiveInt = 2000
    """Updates."""
    learning_rate: PositiveFloat = 3e-3
    """AdamW's."""


def extrapolation(config: Extrapolation, run: Run) -> Metrics:
    """Both tasks."""
    return learn_line(config, run) | learn_sums(config, run)


def learn_line(config: Extrapolation, run: Run) -> Metrics:
    """f(x) = x from [-5, 5]."""
    x = torch.linspace(-SEEN, SEEN, ROWS)
    shape = (config.members, ROWS)
    lesson = Lesson(x.expand(shape)[..., None], x.expand(shape), torch.full(shape, 1 / ROWS))
    net = learn(config, lesson, run, "line")
    wide = torch.linspace(-FAR, FAR, 161)
    found = ask(net, wide[:, None])
    far, near = wide.abs() >= 2 * SEEN, wide.abs() <= SEEN
    ends = FURTHER * torch.tensor([-3.0, -2.0, -1.0, 1.0, 2.0, 3.0])
    at = ask(net, ends[:, None])
    slopes = (at[:, 1:] - at[:, :-1]) / FURTHER
    outer = slopes[:, [0, 4]]
    run.figure("line", draw_line(config.body, wide, found, SEEN))
    run.series("f(x) - x", wide, (found - wide).abs().mean(0), x_label="x",
               y_label="mean absolute error")  # fmt: skip
    error = (found - wide).abs()
    return {
        "line_seen": float(error[:, near].mean()),
        "line_far": float(error[:, far].mean()),
        "line_worst": float(error.amax(1).mean()),
        # What f(x) = x asks for is 1; a net that saturates has 0.
        "slope": float(outer.mean()),
        "slope_error": float((outer - 1).abs().mean()),
        "bend": float((outer - slopes[:, [1, 3]]).abs().mean()),
    }


def learn_sums(config: Extrapolation, run: Run) -> Metrics:
    """a + b from the table without 2 + 2."""
    pairs = list_cells()
    shown = ~only(*QUESTION)(pairs)
    lesson = make_lesson(shown.expand(config.members, -1), pairs)
    net = learn(config, lesson, run, "sums")
    found = ask(net, pairs)
    metrics = {
        "seen": percent((round_half_up(found) == pairs.sum(-1))[:, shown]),
        "two_plus_two": float(found[:, ~shown].mean()),
    }
    success = torch.ones(config.members, dtype=torch.bool)
    for name, (low, high) in RANGES.items():
        asked = torch.randint(low, high, (ASKED, 2), generator=run.rng("asked", name))
        answers, truth = ask(net, asked), asked.sum(-1)
        right = round_half_up(answers) == truth
        metrics[f"exact_{name}"] = percent(right)
        metrics[f"error_{name}"] = float((answers - truth).abs().mean())
        success &= right.all(1)
    return metrics | {"success": percent(success)}


def learn(config: Extrapolation, lesson: Lesson, run: Run, name: str) -> Learner | Fitted:
    """A panel that was taught."""
    if config.body == "least_squares":
        return LeastSquares(with_bias).fit(lesson)
    inputs = lesson.pairs.shape[-1]
    net = make_net(config.body, config.members, inputs, generator=run.rng("weights", name))
    for _ in train(
        net, lesson, run, steps=config.steps, learning_rate=config.learning_rate, name=name
    ):  # fmt: skip
        pass
    return net


def make_net(body: Body, members: int, inputs: int, *, generator: torch.Generator) -> Net:
    """The net from numbers to a number."""
    if body in UNITS:
        first, second = UNITS[body]
        # Of one input as well: the units' second layer chooses among two.
        layers = nn.Sequential(
            first(members, inputs, outputs=2, generator=generator),
            second(members, 2, generator=generator),
        )
        return Net(Scalar(1.0), layers, Number(1.0))
    kind = {"relu": nn.ReLU, "tanh": nn.Tanh}[body]
    sizes = [inputs, HIDDEN, HIDDEN, 1]
    return Net(
        Scalar(), stack_mlp(members, sizes, activation=kind, generator=generator), Number()
    )  # fmt: skip
