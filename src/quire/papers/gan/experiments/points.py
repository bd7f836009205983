"""Points in the plane or on a line, of which all modes are known: coverage, collapse and cures.

Carries out `ring`, `grid`, `line` and `saturation`.
"""

from typing import Literal, NamedTuple

import torch
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from quire.lab import Config, Metrics, Run
from quire.lab.training import Kept
from quire.papers.gan.experiments.figures import draw_line, draw_points
from quire.papers.gan.experiments.layouts import LAYOUTS, Layout
from quire.papers.gan.gan import (
    GAN,
    Penalty,
    Players,
    descend,
    train_discriminator,
    train_generator,
)
from quire.papers.gan.losses import (
    HINGE,
    NON_SATURATING,
    RELATIVISTIC,
    SATURATING,
    WASSERSTEIN,
    interpolated_penalty,
    zero_centred_penalty,
)
from quire.papers.gan.nets import MinibatchDiscrimination
from quire.papers.gan.watch import Watch

OBJECTIVES = {
    "non-saturating": NON_SATURATING,
    "saturating": SATURATING,
    "hinge": HINGE,
    "wasserstein": WASSERSTEIN,
    "relativistic": RELATIVISTIC,
}
LOOKS, SNAPSHOTS, DRAWN = 50, 5, 400


class Points(Config):
    """Two small ReLU networks with Adam (beta 0.5 and 0.999)."""

    layout: Literal["ring", "grid", "line"] = "ring"
    """The data: 8 normals on a circle, 25 on a grid, or 2 on a line."""
    objective: Literal["non-saturating", "saturating", "hinge", "wasserstein", "relativistic"] = (
        "non-saturating"
    )
    """What both players go down."""
    penalty: Literal["none", "data", "both", "between"] = "none"
    """On D's slopes: towards 0 on data (R1), on data and samples (R1 and R2), or towards 1 between
    them (WGAN-GP)."""
    penalty_weight: NonNegativeFloat = 0.5
    """What it is multiplied with."""
    pack: PositiveInt = 1
    """Examples that D judges at once."""
    minibatch: NonNegativeInt = 0
    """Kernels by which D compares the points of a minibatch before its last layer (Salimans et al.
    2016)."""
    unroll: NonNegativeInt = 0
    """Steps of D that G looks ahead."""
    spectral: bool = False
    """Spectral normalisation of every layer of D."""
    inner: PositiveInt = 1
    """k, steps of D in an iteration."""
    generator_steps: PositiveInt = 1
    """Steps of G in an iteration."""
    head_start: NonNegativeInt = 0
    """Steps of D against the first generator, before the game begins."""
    hidden: PositiveInt = 64
    """Units of each of two hidden layers, both players."""
    learning_rate: PositiveFloat = 5e-4
    """Of D."""
    generator_rate: PositiveFloat = 1.0
    """G's, as a multiple of D's (Heusel et al. 2017)."""
    batch_size: PositiveInt = 128
    """Points a step."""
    steps: PositiveInt = 4000
    """Iterations."""
    test_points: PositiveInt = 4000
    """Samples that are judged."""


NOISE = 16


class Batch(NamedTuple):
    """Data and noise of one iteration, the steps of both players on the second dimension."""

    real: Tensor
    noise: Tensor


class Test(NamedTuple):
    """Data and as much noise, for the looks."""

    real: Tensor
    noise: Tensor
    at_once: int
    """Points that D judges together: as in training, since it may compare them."""


def points(config: Points, run: Run) -> Metrics:
    """Play the game; how the samples are spread at the end, and when it went wrong."""
    layout = LAYOUTS[config.layout]
    gan = run.place(build(config, layout))
    rates = config.learning_rate, config.generator_rate * config.learning_rate
    players = Players(
        *(
            torch.optim.Adam(part.parameters(), lr=rate, betas=(0.5, 0.999))
            for part, rate in zip((gan.discriminator, gan.generator), rates, strict=True)
        )
    )
    kept, watch = Kept(), Watch(begin=config.steps // 5)
    real = layout.draw(config.test_points, run.rng("test")).to(run.device)
    noise = torch.randn(config.test_points, NOISE, generator=run.rng("test noise")).to(run.device)
    test = Test(real, noise, config.batch_size)
    state = (gan, players.discriminator, players.generator, kept, watch)
    with torch.no_grad():
        kept.numbers["first"] = layout.measure(gan(noise))["divergence"]
    if config.head_start:
        start_ahead(config, run, gan, players)
        kept.numbers["slope"] = measure_slope(gan, noise)
    every = max(1, config.steps // LOOKS)
    kept.numbers["every"] = float(every)
    for batch in run.steps(config.steps, Draw(config, run, layout), state=state):
        losses = play(config, gan, players, batch)
        run.log(discriminator_loss=losses[0], generator_loss=losses[1])
        if (run.step + 1) % every == 0 or run.step + 1 == config.steps:
            said = look(run.step + 1, gan, test, layout, kept, watch)
            if said:
                run.note(said)
    return finish(config, run, gan, layout, test, kept, watch)


def build(config: Points, layout: Layout) -> GAN:
    """Both players."""
    generator = make_network(NOISE, config.hidden, layout.dim)
    discriminator = make_network(config.pack * layout.dim, config.hidden, 1)
    if config.minibatch:
        compared = MinibatchDiscrimination(config.hidden, kernels=config.minibatch)
        last = nn.Linear(config.hidden + config.minibatch, 1)
        discriminator = nn.Sequential(*list(discriminator)[:-1], compared, last)
    if config.spectral:
        for layer in discriminator:
            if isinstance(layer, nn.Linear):
                spectral_norm(layer)
    return GAN(
        generator,
        nn.Sequential(*discriminator, nn.Flatten(0)),
        OBJECTIVES[config.objective],
        penalty=choose_penalty(config),
        pack=config.pack,
        apart=config.minibatch > 0,
    )


def make_network(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Two hidden ReLU layers."""
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.ReLU(),
        nn.Linear(hidden, hidden), nn.ReLU(),
        nn.Linear(hidden, outputs),
    )  # fmt: skip


def choose_penalty(config: Points) -> Penalty | None:
    """What is added to D's loss."""
    weight = config.penalty_weight

    def on_data(discriminator: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
        return weight * zero_centred_penalty(discriminator, real)

    def on_both(discriminator: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
        # Slopes are each row's own, so that one pass serves both; twice the mean is their sum.
        return 2 * weight * zero_centred_penalty(discriminator, torch.cat([real, fake]))

    def between(discriminator: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
        mix = torch.rand(len(real), device=real.device)
        return weight * interpolated_penalty(discriminator, real, fake, mix)

    return {"none": None, "data": on_data, "both": on_both, "between": between}[config.penalty]


class Draw:
    """Gives the minibatch of a step: data and noise for k steps of D and those of G."""

    def __init__(self, config: Points, run: Run, layout: Layout, *, name: str = "train") -> None:
        self.config, self.run, self.layout, self.name = config, run, layout, name

    def __call__(self, step: int) -> Batch:
        config, generator = self.config, self.run.rng(self.name, step)
        turns = config.inner + config.generator_steps
        real = self.layout.draw(config.batch_size * turns, generator)
        noise = torch.randn(config.batch_size, turns, NOISE, generator=generator)
        return Batch(real.view(config.batch_size, turns, -1), noise)


def play(config: Points, gan: GAN, players: Players, batch: Batch) -> tuple[Tensor, Tensor]:
    """One iteration of algorithm 1; the last loss of each player."""
    reals, noises = batch.real.unbind(1), batch.noise.unbind(1)
    for turn in range(config.inner):
        ours = train_discriminator(gan, players, reals[turn], noises[turn])
    for turn in range(config.inner, config.inner + config.generator_steps):
        if config.unroll:
            loss = gan.unrolled_generator_loss(
                noises[turn], reals[turn], steps=config.unroll, learning_rate=UNROLLED_RATE
            )
            theirs = descend(loss, gan.generator, players.generator)
        else:
            theirs = train_generator(gan, players, noises[turn], reals[turn])
    return ours, theirs


UNROLLED_RATE = 0.01
"""Of the plain gradient steps that G looks ahead."""


def start_ahead(config: Points, run: Run, gan: GAN, players: Players) -> None:
    """Train D alone, so that it wins when the game begins."""
    state = (gan, players.discriminator)
    batches = Draw(config, run, LAYOUTS[config.layout], name="ahead")
    for batch in run.steps(config.head_start, batches, state=state, name="ahead"):
        loss = train_discriminator(gan, players, batch.real[:, 0], batch.noise[:, 0])
        run.log(discriminator_loss=loss)


def measure_slope(gan: GAN, noise: Tensor) -> float:
    """Norm of the generator's gradient."""
    slopes = torch.autograd.grad(gan.generator_loss(noise), list(gan.generator.parameters()))
    return float(torch.stack([slope.square().sum() for slope in slopes]).sum().sqrt())


@torch.no_grad()
def look(
    step: int,
    gan: GAN,
    test: Test,
    layout: Layout,
    kept: Kept,
    watch: Watch,
) -> str | None:
    """Judge the samples as they are; a line where the game has gone wrong.

    Args:
        step: For the line.
        gan: Both players.
        test: Data and noise.
        layout: Knows the modes.
        kept: Gets the numbers.
        watch: What looks.
    """
    real, fake = test.real, gan(test.noise)
    for name, value in {"step": step, **layout.measure(fake)}.items():
        kept.add(name, float(value))
    if step % (kept.numbers["every"] * LOOKS // SNAPSHOTS) == 0:
        kept.add("snapshot", fake[:DRAWN])
        kept.add("snapshot_step", step)
        if layout.dim == 1:
            grid = layout.grid().to(real.device)
            kept.add("discriminator", gan.score(grid).sigmoid())
    on_data, on_samples = (score_in_turn(gan, x, test.at_once) for x in (real, fake))
    return watch.look(step, on_data, on_samples, real, fake)


def score_in_turn(gan: GAN, x: Tensor, at_once: int) -> Tensor:
    """D's logits of points (N, D), `at_once` of them at a time."""
    return torch.cat([gan.score(part) for part in x.split(at_once)])


def finish(
    config: Points,
    run: Run,
    gan: GAN,
    layout: Layout,
    test: Test,
    kept: Kept,
    watch: Watch,
) -> Metrics:
    """The metrics, the curves and a figure.

    Args:
        config: The experiment's.
        run: Gets curves and figure.
        gan: Both players, at the end.
        layout: Knows the modes.
        test: Data and noise.
        kept: What the looks gave.
        watch: What was seen.
    """
    series = kept.series
    for name in ("divergence", "modes"):
        run.series(name, series["step"], series[name], x_label="iterations", y_label=name)
    draw = draw_line if layout.dim == 1 else draw_points
    run.figure("samples", draw(layout, series))
    with torch.no_grad():
        both = (score_in_turn(gan, x, test.at_once) for x in (test.real, gan(test.noise)))
        scores = torch.cat(list(both)).sigmoid()
    half = kept.numbers["first"] / 2
    halved = [step for step, d in zip(series["step"], series["divergence"], strict=True)
              if d <= half]  # fmt: skip
    # The last fifth of the looks: single moments of a game that turns in circles say little.
    late = max(1, len(series["step"]) // 5)
    metrics = {name: sum(series[name][-late:]) / late for name in ("modes", "near", "divergence")}
    metrics |= {
        "least_divergence": min(series["divergence"]),
        "first_divergence": kept.numbers["first"],
        "halving": float(halved[0] if halved else config.steps),
        "collapsed": float("collapsed" in watch.since),
        "saturated": float("saturated" in watch.since),
    }
    if config.objective in ("non-saturating", "saturating"):
        metrics["flatness"] = float((scores - 0.5).abs().mean())
    if "slope" in kept.numbers:
        metrics["first_slope"] = kept.numbers["slope"]
    return metrics
