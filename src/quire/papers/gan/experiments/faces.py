"""The Toronto Face Database (section 5): the generator's upper half first, then all of it."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn

from quire.data.sets.tfd import FOLDS, SIDE, TEST, UNLABELLED, VALIDATION, Faces, tfd
from quire.lab import Config, Metrics, Run
from quire.papers.gan.experiments.adversaries import (
    SHOWN,
    Played,
    Schedule,
    draw_noise,
    draw_samples,
    play,
)
from quire.papers.gan.experiments.figures import draw_rows
from quire.papers.gan.gan import GAN
from quire.papers.gan.nets import (
    DenseGenerator,
    MaxoutDiscriminator,
    face_networks,
    start_at_marginals,
)
from quire.papers.gan.parzen import score_by_parzen
from quire.papers.gan.quality import nearest_distances

NOISE, NEIGHBOURS = 100, 10_000


class FaceGame(Config):
    """The authors' networks and rates on the unlabelled faces, 980 minibatches an epoch."""

    copies: bool = False
    """Judge training images in place of samples: a baseline, without a game."""
    schedule: Schedule = Schedule(
        learning_rate=0.05, momentum_steps=245_000, uniform=False, largest_norm=1.9365
    )
    """How both games are trained."""
    width: PositiveFloat = 1.0
    """Factor on all hidden units."""
    batch_size: PositiveInt = 100
    """Images a step."""
    upper_steps: PositiveInt = 49_000
    """Minibatches of the first game, with the upper half: 50 epochs."""
    steps: PositiveInt = 21_560
    """Minibatches of the second one, with both halves: 22 epochs."""
    samples: PositiveInt = 10_000
    """Samples that are judged."""


def faces(config: FaceGame, run: Run) -> Metrics:
    """Train both games; the Parzen score of each fold, with a sigma of its own."""
    known = tfd(run.data)
    train = to_pixels(known.take(UNLABELLED), run)
    metrics: Metrics = {}
    if config.copies:
        rows = torch.randperm(len(train), generator=run.rng("copies"))[: config.samples]
        samples = train[rows.to(run.device)]
    else:
        played = train_both(config, run, train)
        noise = draw_noise(config.schedule, config.samples, NOISE, run.rng("samples"))
        samples = draw_samples(played.generator, noise.to(run.device))
        metrics |= {name: played.kept.numbers[name] for name in ("collapsed", "saturated")}
    few = samples[:SHOWN]
    apart = torch.cdist(few.flatten(1), train[:NEIGHBOURS].flatten(1))
    rows_shown = {"samples": few, "nearest in training": train[apart.argmin(1)]}
    run.figure("samples", draw_rows(rows_shown))
    return metrics | judge_folds(run, known, samples, train[:NEIGHBOURS])


def to_pixels(image: NDArray[np.uint8], run: Run) -> Tensor:
    """Images (N, 1, 48, 48) in [0, 1] on the run's device."""
    return torch.from_numpy(image).to(run.device).float() / 255


def train_both(config: FaceGame, run: Run, images: Tensor) -> Played:
    """The upper half against a discriminator, then both halves against a new one."""
    generator, first = face_networks(config.width)
    second = MaxoutDiscriminator(SIDE**2, first.logit.in_features)
    upper = generator[1]
    assert isinstance(upper, DenseGenerator)
    start_at_marginals(upper, images)

    def train(player: nn.Module, discriminator: nn.Module, steps: int, name: str) -> Played:
        return play(
            run, run.place(GAN(player, discriminator)), images, config.schedule,
            noise=NOISE, batch_size=config.batch_size, steps=steps, name=name,
        )  # fmt: skip

    train(upper, first, config.upper_steps, "upper")
    return train(generator.train(), second, config.steps, "train")


def judge_folds(run: Run, known: Faces, samples: Tensor, train: Tensor) -> Metrics:
    """The mean over folds of the test score, and its standard error over folds.

    Args:
        run: Its device.
        known: The folds.
        samples: (N, 1, 48, 48).
        train: Training images, for neighbours.
    """
    scores = [
        score_by_parzen(
            samples,
            to_pixels(known.take(VALIDATION, fold), run),
            to_pixels(known.take(TEST, fold), run),
        )
        for fold in range(FOLDS)
    ]
    means = torch.tensor([score.mean for score in scores], dtype=torch.float64)
    test = to_pixels(known.take(TEST), run)
    own, held = (float(nearest_distances(x, train).mean()) for x in (samples[: len(test)], test))
    return {
        "parzen": float(means.mean()),
        "parzen_error": float(means.std()) / math.sqrt(FOLDS),
        "sigma": sum(score.sigma for score in scores) / FOLDS,
        "sigma_on_edge": float(any(score.on_edge for score in scores)),
        "nearest_ratio": own / held,
    }
