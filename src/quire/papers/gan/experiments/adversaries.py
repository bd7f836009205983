"""The paper's game on images, and how a generator is drawn and shown.

`digits`, `images` and `faces` use it. Images are (N, C, H, W) floats on the run's device.
"""

import copy
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from quire.lab import Group, Run
from quire.lab.training import Kept, set_rate
from quire.papers.gan.experiments.figures import draw_rows
from quire.papers.gan.experiments.judges import Features
from quire.papers.gan.gan import GAN, Players, train_alternately, train_at_once
from quire.papers.gan.nets import limit_column_norms
from quire.papers.gan.noise import draw_normal, draw_uniform, interpolate, interpolate_on_sphere
from quire.papers.gan.quality import precision_recall
from quire.papers.gan.watch import Watch

DECAY, LEAST_RATE = 1 / 1.000004, 1e-6
"""Of the learning rate after every update, and where it stops (the authors' configuration)."""
LOOKS, SHOWN = 40, 10


class Schedule(Group):
    """Stochastic gradient descent as the authors have it, or Adam as for DCGAN."""

    optimizer: Literal["sgd", "adam"] = "sgd"
    """adam: betas of 0.5 and 0.999 and a constant rate, without the momentum below."""
    learning_rate: PositiveFloat = 0.1
    """Of both players; sgd's is multiplied by 1 / 1.000004 after every update, at least 1e-6."""
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
    average: float = Field(default=0.0, ge=0, lt=1)
    """Share of the past in a running average of the generator's weights (Yazici et al. 2019), which
    then draws the samples; 0 takes the last weights."""
    largest_norm: NonNegativeFloat = 0.0
    """Of the weights into a unit, after every update; 0 sets no limit."""


class Choice(NamedTuple):
    """Which moment's generator is kept: the one with the highest score."""

    every: int
    """Iterations between two scores; the last one is scored too."""
    score: Callable[[nn.Module], float]
    """Of a generator in evaluation."""


class Played(NamedTuple):
    """What a game ends with: generators in evaluation, and the numbers of its looks."""

    generator: nn.Module
    """The chosen one; the last where there was no choice."""
    last: nn.Module
    kept: Kept


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
    labels: Tensor | None = None,
    choice: Choice | None = None,
    name: str = "train",
) -> Played:
    """Train both players; says in one line when D is saturated or the samples collapse.

    Args:
        run: Carries the loop.
        gan: Both players, on the run's device.
        images: Training images.
        schedule: Rates and order of the steps.
        noise: Z.
        batch_size: Images a step.
        steps: Iterations.
        labels: In a conditional game the classes of the images.
        choice: Which moment's generator is kept; None keeps the last.
        name: Of the loop.
    """
    players, kept = make_players(gan, schedule), Kept()
    watch = Watch(begin=steps // 5)
    average = make_average(gan.generator, schedule)
    last = gan.generator if average is None else average.module
    best = copy.deepcopy(last) if choice else None
    shown = draw_noise(schedule, SHOWN**2, noise, run.rng("shown")).to(run.device)

    def draws_at(step: int) -> Draws:
        generator = run.rng(name, step)
        rows = torch.randint(len(images), (batch_size, schedule.inner), generator=generator)
        count = batch_size * (schedule.inner + 1)
        drawn = draw_noise(schedule, count, noise, generator)
        return Draws(rows, drawn.view(batch_size, -1, noise))

    parts = (gan, players.discriminator, players.generator, kept, watch, average, best)
    state = [part for part in parts if part is not None]
    for rows, noises in run.steps(steps, draws_at, state=state, name=name):
        set_pace(players, schedule, run.step)
        told = None if labels is None else [labels[chosen] for chosen in rows.unbind(1)]
        reals = [images[chosen] for chosen in rows.unbind(1)]
        if schedule.at_once:
            game = gan if told is None else gan.given(told[0])
            losses = train_at_once(game, players, reals[0], noises[:, 0])
        else:
            losses = train_alternately(gan, players, reals, noises.unbind(1), labels=told)
        if schedule.largest_norm:
            limit_column_norms(gan, schedule.largest_norm)
        if average is not None:
            average.update_parameters(gan.generator)
        run.log(discriminator_loss=losses[0], generator_loss=losses[1])
        if is_due(run.step, steps, max(1, steps // LOOKS)):
            asked = None if told is None else told[0]
            look(run, gan, reals[0], shown, kept, watch, labels=asked)
        if choice is not None and best is not None and is_due(run.step, steps, choice.every):
            keep_better(run.step, last, best, choice, kept)
    kept.numbers["collapsed"] = float("collapsed" in watch.since)
    kept.numbers["saturated"] = float("saturated" in watch.since)
    return Played(last.eval() if best is None else best.eval(), last.eval(), kept)


def is_due(step: int, steps: int, every: int) -> bool:
    """Whether something that comes every so many steps, and at the end, comes after this one."""
    return (step + 1) % every == 0 or step + 1 == steps


def make_players(gan: GAN, schedule: Schedule) -> Players:
    """The optimiser of each player."""

    def make(part: nn.Module) -> torch.optim.Optimizer:
        rate = schedule.learning_rate
        if schedule.optimizer == "adam":
            return torch.optim.Adam(part.parameters(), lr=rate, betas=(0.5, 0.999))
        return torch.optim.SGD(part.parameters(), lr=rate, momentum=schedule.momentum)

    return Players(make(gan.discriminator), make(gan.generator))


def make_average(generator: nn.Module, schedule: Schedule) -> AveragedModel | None:
    """A running average of the generator's weights and of what its normalisation has counted."""
    if not schedule.average:
        return None
    rule = get_ema_multi_avg_fn(schedule.average)
    return AveragedModel(generator, multi_avg_fn=rule, use_buffers=True)


@torch.no_grad()
def keep_better(step: int, last: nn.Module, best: nn.Module, choice: Choice, kept: Kept) -> None:
    """Score the generator as it is, and copy it where no earlier moment was as good.

    Args:
        step: Of this moment.
        last: The generator.
        best: Gets its weights.
        choice: Scores it.
        kept: Gets the scores, and the steps that they belong to.
    """
    mode = last.training
    score = choice.score(last.eval())
    last.train(mode)
    if score > max(kept.series.get("score", [-torch.inf])):
        best.load_state_dict(last.state_dict())
        kept.numbers["best_step"] = step + 1
    kept.add("score", score)
    kept.add("score_step", step + 1)


def set_pace(players: Players, schedule: Schedule, step: int) -> None:
    """Learning rate and momentum of a step; Adam's stay."""
    if schedule.optimizer == "adam":
        return
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
def look(
    run: Run,
    gan: GAN,
    real: Tensor,
    noise: Tensor,
    kept: Kept,
    watch: Watch,
    *,
    labels: Tensor | None = None,
) -> None:
    """Keep some samples at five moments, and say what has gone wrong.

    Args:
        run: Gets the line.
        gan: Both players.
        real: A minibatch of data.
        noise: (N, Z), always the same.
        kept: Gets the samples.
        watch: What looks.
        labels: In a conditional game those of the minibatch; samples are asked for in turn.
    """
    seen = drawn = gan
    if labels is not None:
        seen = gan.given(labels)
        drawn = gan.given(labels[torch.arange(len(noise), device=labels.device) % len(labels)])
    fake = drawn(noise)
    kept.numbers["count"] = kept.numbers.get("count", 0.0) + 1
    if kept.numbers["count"] % (LOOKS // 5) == 1:
        kept.add("step", run.step + 1)
        kept.add("shown", fake[:SHOWN])
    # As in training, with dropout on: that is the D whose gradient the generator gets.
    said = watch.look(run.step + 1, seen.score(real), drawn.score(fake), real, fake)
    if said:
        run.note(said)


@torch.no_grad()
def draw_samples(generator: nn.Module, *inputs: Tensor) -> Tensor:
    """Samples of noise (N, Z), and where it is told them of classes (N,), a thousand at a time."""
    parts = zip(*(x.split(1000) for x in inputs), strict=True)
    return torch.cat([generator(*part) for part in parts])


@torch.no_grad()
def show(
    run: Run, generator: nn.Module, kept: Kept, images: Tensor, ends: tuple[Tensor, Tensor]
) -> None:
    """Figures: samples over training, nearest training images, interpolations.

    Args:
        run: Gets them.
        generator: Trained.
        kept: What the looks gave.
        images: Training images.
        ends: Noise of both ends, (n, Z) each.
    """
    limit = float(images.min()), float(images.max())
    rows = {
        f"step {step}": torch.tensor(shown)
        for step, shown in zip(kept.series["step"], kept.series["shown"], strict=True)
    }
    samples = generator(ends[0])[:SHOWN]
    apart = torch.cdist(samples.flatten(1), images.flatten(1))
    rows |= {"samples": samples, "nearest in training": images[apart.argmin(1)]}
    run.figure("samples", draw_rows(rows, limit))
    ways = {}
    for name, way in (("line", interpolate), ("sphere", interpolate_on_sphere)):
        for pair in range(min(4, len(ends[0]))):
            between = way(ends[0][pair], ends[1][pair], SHOWN)
            ways[f"{name} {pair + 1}"] = generator(between)
    run.figure("interpolations", draw_rows(ways, limit))


@torch.no_grad()
def judge_middles(
    generator: nn.Module, ends: tuple[Tensor, Tensor], test: Tensor, features: Features
) -> dict[str, float]:
    """Precision half-way between two samples: through the noise, and by blending their pixels.

    Args:
        generator: Trained.
        ends: Noise of both ends, (n, Z) each.
        test: Images to compare with.
        features: Reads images.
    """
    few = min(len(test), len(ends[0]))
    start, end = ends[0][:few], ends[1][:few]
    middles = {
        "middle_precision": generator((start + end) / 2),
        "blend_precision": (generator(start) + generator(end)) / 2,
    }
    real = features.read(test[:few])
    return {name: precision_recall(real, features.read(x))[0] for name, x in middles.items()}
