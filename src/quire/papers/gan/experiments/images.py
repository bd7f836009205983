"""The paper's nets, and DCGAN's, on MNIST, Fashion-MNIST and CIFAR-10 (section 5).

Carries out `mnist`, `fashion_mnist` and `cifar10`.
"""

from typing import Literal, NamedTuple

import torch
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn

from quire import data
from quire.lab import Config, Metrics, Run
from quire.papers.gan.augment import diff_augment
from quire.papers.gan.convolutional import (
    ConvolutionalDiscriminator,
    ConvolutionalGenerator,
    DCGANDiscriminator,
    DCGANGenerator,
)
from quire.papers.gan.experiments.adversaries import (
    Choice,
    Played,
    Schedule,
    draw_noise,
    draw_samples,
    judge_middles,
    play,
    show,
)
from quire.papers.gan.experiments.figures import draw_scores
from quire.papers.gan.experiments.judges import judge, measure_accuracy, train_features
from quire.papers.gan.gan import GAN
from quire.papers.gan.nets import DenseGenerator, MaxoutDiscriminator, start_at_marginals
from quire.papers.gan.parzen import SIGMAS, parzen_log_likelihood, score_by_parzen

LOADERS = {"mnist": data.mnist, "fashion_mnist": data.fashion_mnist, "cifar10": data.cifar10}
CONTRAST = 55.0
"""Norm that a CIFAR-10 image has after its mean is taken off."""


class Images(Config):
    """The paper's networks and DCGAN's; `width` makes all of them narrower."""

    dataset: Literal["mnist", "fashion_mnist", "cifar10"] = "mnist"
    """What is modelled; CIFAR-10 with contrasts normalised, the others in [0, 1]."""
    network: Literal["dense", "convolutional", "dcgan"] = "dense"
    """The paper's two, of which the convolutional one is for CIFAR-10, or DCGAN's."""
    loss: Literal["non-saturating", "saturating"] = "non-saturating"
    """The generator's."""
    copies: bool = False
    """Judge training images in place of samples: a baseline, without a game."""
    train_images: PositiveInt = 50_000
    """Of the first 50,000 (CIFAR-10: 40,000) the game is played with as many."""
    augment: bool = False
    """D sees data and samples with other colours, moved and in part hidden (DiffAugment)."""
    schedule: Schedule = Schedule()
    """How the game is trained."""
    width: PositiveFloat = 1.0
    """Factor on all hidden units and maps."""
    batch_size: PositiveInt = 100
    """Images a step."""
    steps: PositiveInt = 200_000
    """Minibatches: 500 are an epoch of 50,000 images."""
    choose_every: NonNegativeInt = 0
    """Minibatches between two Parzen scores of the validation images; samples are drawn from the
    weights of the best one. 0 draws from the last weights."""
    noise: PositiveInt = 100
    """Z."""
    samples: PositiveInt = 10_000
    """Samples that are judged."""
    test_images: PositiveInt = 10_000
    """Test images that are scored."""
    feature_steps: PositiveInt = 2000
    """Minibatches of the classifier whose features are compared."""


class Parts(NamedTuple):
    """Images (N, C, H, W) and labels, in the order of the files."""

    train: Tensor
    labels: Tensor
    validation: Tensor
    test: Tensor
    test_labels: Tensor


def images(config: Images, run: Run) -> Metrics:
    """Train the game and judge its samples by the paper's protocol."""
    parts = divide(config, run)
    features = train_features(run, parts.train, parts.labels, steps=config.feature_steps)
    metrics: Metrics = {
        "feature_accuracy": measure_accuracy(features, parts.test, parts.test_labels)
    }
    if config.copies:
        rows = torch.randperm(len(parts.train), generator=run.rng("copies"))[: config.samples]
        samples = parts.train[rows]
    else:
        played = train(config, run, parts)
        noise = draw_noise(config.schedule, config.samples, config.noise, run.rng("samples"))
        noise = noise.to(run.device)
        samples, half = draw_samples(played.generator, noise), min(1000, len(noise) // 2)
        ends = noise[:half], noise[half : 2 * half]
        show(run, played.generator, played.kept, parts.train[:10_000], ends)
        metrics |= judge_middles(played.generator, ends, parts.test, features)
        metrics |= {name: played.kept.numbers[name] for name in ("collapsed", "saturated")}
        if config.choose_every:
            metrics |= report_choice(run, played, parts, draw_samples(played.last, noise))
    found, score = judge(samples, parts.train[:10_000], parts.validation, parts.test, features)
    run.figure("sigma", draw_scores(SIGMAS, {config.dataset: score.validation}))
    return metrics | found


def divide(config: Images, run: Run) -> Parts:
    """The first 50,000 (CIFAR-10: 40,000) train, the first 1,000 of the last 10,000 validate."""
    split = LOADERS[config.dataset](run.data)
    held = len(split.train.image) - 10_000

    def take(array: object, begin: int, end: int) -> Tensor:
        image = torch.as_tensor(array[begin:end]).float()  # type: ignore[index]
        image = normalise(image) if config.dataset == "cifar10" else image / 255
        return image.to(run.device)

    count = min(config.test_images, len(split.test.image))
    labels = torch.from_numpy(split.train.label[:held]).long().to(run.device)
    return Parts(
        train=take(split.train.image, 0, held),
        labels=labels,
        validation=take(split.train.image, held, held + 1000),
        test=take(split.test.image, 0, count),
        test_labels=torch.from_numpy(split.test.label[:count]).long().to(run.device),
    )


def normalise(image: Tensor) -> Tensor:
    """Images (N, ...) without their mean, and with a norm of 55."""
    rows = image.flatten(1)
    rows = rows - rows.mean(1, keepdim=True)
    norms = rows.norm(dim=1, keepdim=True).clamp_min(1e-8)
    return (rows * (CONTRAST / norms)).view_as(image)


def train(config: Images, run: Run, parts: Parts) -> Played:
    """The game, on as many of the training images as the config says."""
    images = parts.train[: config.train_images]
    gan = run.place(
        GAN(
            *build(config, images),
            config.loss,
            apart=config.network == "dcgan",
            augment=diff_augment if config.augment else None,
        )
    )
    return play(
        run, gan, images, config.schedule,
        noise=config.noise, batch_size=config.batch_size, steps=config.steps,
        choice=choose_by_parzen(config, run, parts.validation) if config.choose_every else None,
    )  # fmt: skip


def choose_by_parzen(config: Images, run: Run, validation: Tensor) -> Choice:
    """The moment whose samples give the validation images the highest score at its best sigma."""
    noise = draw_noise(config.schedule, config.samples, config.noise, run.rng("validation"))
    noise = noise.to(run.device)

    def score(generator: nn.Module) -> float:
        samples = draw_samples(generator, noise)
        return float(parzen_log_likelihood(samples, validation, torch.tensor(SIGMAS)).mean(1).max())

    return Choice(config.choose_every, score)


def report_choice(run: Run, played: Played, parts: Parts, samples: Tensor) -> Metrics:
    """Which moment was chosen, and the score of the last one.

    Args:
        run: Gets the curve of the scores.
        played: The game.
        parts: Images to score.
        samples: Of the last weights.
    """
    series = played.kept.series
    run.series(
        "validation", series["score_step"], series["score"],
        x_label="minibatches", y_label="validation log-likelihood, nats",
    )  # fmt: skip
    last = score_by_parzen(samples, parts.validation, parts.test, SIGMAS)
    return {"best_step": played.kept.numbers["best_step"], "last_parzen": last.mean}


def build(config: Images, train_images: Tensor) -> tuple[nn.Module, nn.Module]:
    """The networks of the data set: those of the papers at a width of 1."""

    def units(count: int) -> int:
        return max(1, round(config.width * count))

    shape = tuple(train_images.shape[1:])
    if config.network == "dcgan":
        output = None if config.dataset == "cifar10" else torch.sigmoid
        return (
            DCGANGenerator(config.noise, shape, maps=units(64), output=output),
            DCGANDiscriminator(shape, maps=units(64)),
        )
    if config.network == "convolutional":
        return (
            ConvolutionalGenerator(config.noise, hidden=units(8000), maps=units(80)),
            ConvolutionalDiscriminator(width=config.width),
        )
    if config.dataset == "cifar10":
        generator = DenseGenerator(
            config.noise, (units(8000),) * 2, shape,
            activations=(torch.relu, torch.sigmoid), output=None,
        )  # fmt: skip
        nn.init.uniform_(generator.last.weight, -0.5, 0.5)
        return generator, MaxoutDiscriminator(train_images[0].numel(), units(1600))
    generator = DenseGenerator(config.noise, (units(1200),) * 2, shape)
    start_at_marginals(generator, train_images[:10_000])
    return generator, MaxoutDiscriminator(train_images[0].numel(), units(240))
