"""The paper's game on images, and how a generator is drawn and shown. `digits` and `images` use it.

Images are (N, C, H, W) floats on the run's device.
"""

from typing import NamedTuple

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn

from quire.lab import Group, Run
from quire.lab.training import Kept, set_rate
from quire.papers.gan.experiments.figures import draw_rows
from quire.papers.gan.experiments.judges import Features
from quire.papers.gan.gan import GAN, Players, train_alternately, train_at_once
from quire.papers.gan.noise import draw_normal, draw_uniform, interpolate, interpolate_on_sphere
from quire.papers.gan.quality import precision_recall
from quire.papers.gan.watch import Watch

DECAY, LEAST_RATE = 1 / 1.000004, 1e-6
"""Of the learning rate after every update, and where it stops (the authors' configuration)."""
LOOKS, SHOWN = 40, 10


class Schedule(Group):
    """Stochastic gradient descent as the authors have it."""

    learning_rate: PositiveFloat = 0.1
    """Of both players; multiplied by 1 / 1.000004 after every update, at least 1e-6."""
    momentum: PositiveFloat = 0.5
    """At the start."""
    last_momentum: PositiveFloat = 0.7
    """Reached along a line after `momentum_steps`."""
    momentum_steps: PositiveInt = 125_000
    """250 epochs of 500 minibatches."""
    inner: PositiveInt = 1
    """k, steps of D for each of G."""
    at_once: bool = False
    """Both players step from the same point, as in the authors' code; D's loss is then halved."""
    uniform: bool = True
    """Noise uniform in ±sqrt(3); else normal."""


class Draws(NamedTuple):
    """Rows of the data, (B, k), and noise, (B, k + 1, Z)."""

    rows: Tensor
    noise: Tensor


def play(
    run: Run,
    gan: GAN,
    images: Tensor,
    schedule: Schedule,
    *,
    noise: int,
    batch_size: int,
    steps: int,
) -> Kept:
    """Train both players; says in one line when D is saturated or the samples collapse.

    Args:
        run: Carries the loop.
        gan: Both players, on the run's device.
        images: Training images.
        schedule: Rates and order of the steps.
        noise: Z.
        batch_size: Images a step.
        steps: Iterations.
    """
    players = Players(*(
        torch.optim.SGD(part.parameters(), lr=schedule.learning_rate, momentum=schedule.momentum)
        for part in (gan.discriminator, gan.generator)
    ))  # fmt: skip
    kept, watch = Kept(), Watch()
    shown = draw_noise(schedule, SHOWN**2, noise, run.rng("shown")).to(run.device)

    def draws_at(step: int) -> Draws:
        generator = run.rng("train", step)
        rows = torch.randint(len(images), (batch_size, schedule.inner), generator=generator)
        count = batch_size * (schedule.inner + 1)
        drawn = draw_noise(schedule, count, noise, generator)
        return Draws(rows, drawn.view(batch_size, -1, noise))

    state = (gan, players.discriminator, players.generator, kept, watch)
    every = max(1, steps // LOOKS)
    for rows, noises in run.steps(steps, draws_at, state=state):
        set_pace(players, schedule, run.step)
        if schedule.at_once:
            losses = train_at_once(gan, players, images[rows[:, 0]], noises[:, 0])
        else:
            reals = [images[chosen] for chosen in rows.unbind(1)]
            losses = train_alternately(gan, players, reals, noises.unbind(1))
        run.log(discriminator_loss=losses[0], generator_loss=losses[1])
        if (run.step + 1) % every == 0 or run.step + 1 == steps:
            look(run, gan, images[rows[:, 0]], shown, kept, watch)
    kept.numbers["collapsed"] = float("collapsed" in watch.since)
    kept.numbers["saturated"] = float("saturated" in watch.since)
    return kept


def set_pace(players: Players, schedule: Schedule, step: int) -> None:
    """Learning rate and momentum of a step."""
    share = min(1.0, step / schedule.momentum_steps)
    momentum = schedule.momentum + share * (schedule.last_momentum - schedule.momentum)
    rate = max(LEAST_RATE, schedule.learning_rate * DECAY**step)
    # Halving D's rate halves its loss: the rule is linear in the gradient.
    set_rate(players.discriminator, rate / 2 if schedule.at_once else rate)
    set_rate(players.generator, rate)
    for optimizer in (players.discriminator, players.generator):
        for group in optimizer.param_groups:
            group["momentum"] = momentum


def draw_noise(schedule: Schedule, count: int, width: int, generator: torch.Generator) -> Tensor:
    """Noise (count, width) of the schedule's kind."""
    return (draw_uniform if schedule.uniform else draw_normal)(count, width, generator)


@torch.no_grad()
def look(run: Run, gan: GAN, real: Tensor, noise: Tensor, kept: Kept, watch: Watch) -> None:
    """Keep some samples at five moments, and say what has gone wrong.

    Args:
        run: Gets the line.
        gan: Both players.
        real: A minibatch of data.
        noise: (N, Z), always the same.
        kept: Gets the samples.
        watch: What looks.
    """
    fake = gan(noise)
    kept.average("looks", 1.0)
    kept.numbers["count"] = kept.numbers.get("count", 0.0) + 1
    if kept.numbers["count"] % (LOOKS // 5) == 1:
        kept.add("step", run.step + 1)
        kept.add("shown", fake[:SHOWN])
    # As in training, with dropout on: that is the D whose gradient the generator gets.
    said = watch.look(run.step + 1, gan.score(real), gan.score(fake), real, fake)
    if said:
        run.note(said)


@torch.no_grad()
def draw_samples(gan: nn.Module, noise: Tensor) -> Tensor:
    """Samples of noise (N, Z), a thousand at a time."""
    return torch.cat([gan(part) for part in noise.split(1000)])


@torch.no_grad()
def show(run: Run, gan: GAN, kept: Kept, images: Tensor, ends: tuple[Tensor, Tensor]) -> None:
    """Figures: samples over training, nearest training images, interpolations.

    Args:
        run: Gets them.
        gan: Both players, trained.
        kept: What the looks gave.
        images: Training images.
        ends: Noise of both ends, (n, Z) each.
    """
    limit = float(images.min()), float(images.max())
    rows = {
        f"step {step}": torch.tensor(shown)
        for step, shown in zip(kept.series["step"], kept.series["shown"], strict=True)
    }
    samples = gan(ends[0])[:SHOWN]
    apart = torch.cdist(samples.flatten(1), images.flatten(1))
    rows |= {"samples": samples, "nearest in training": images[apart.argmin(1)]}
    run.figure("samples", draw_rows(rows, limit))
    ways = {}
    for name, way in (("line", interpolate), ("sphere", interpolate_on_sphere)):
        for pair in range(min(4, len(ends[0]))):
            between = way(ends[0][pair], ends[1][pair], SHOWN)
            ways[f"{name} {pair + 1}"] = gan(between)
    run.figure("interpolations", draw_rows(ways, limit))


@torch.no_grad()
def judge_middles(
    gan: GAN, ends: tuple[Tensor, Tensor], test: Tensor, features: Features
) -> dict[str, float]:
    """Precision half-way between two samples: through the noise, and by blending their pixels.

    Args:
        gan: Both players.
        ends: Noise of both ends, (n, Z) each.
        test: Images to compare with.
        features: Reads images.
    """
    few = min(len(test), len(ends[0]))
    start, end = ends[0][:few], ends[1][:few]
    middles = {
        "middle_precision": gan((start + end) / 2),
        "blend_precision": (gan(start) + gan(end)) / 2,
    }
    real = features.read(test[:few])
    return {name: precision_recall(real, features.read(x))[0] for name, x in middles.items()}
