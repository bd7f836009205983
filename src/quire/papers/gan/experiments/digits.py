"""The paper's nets, scaled down, on 8x8 digits, and models of every kind by the same protocol."""

from typing import Literal, NamedTuple

import numpy as np
import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn

from quire import data
from quire.lab import Config, Metrics, Run
from quire.lab.training import update
from quire.papers.gan.experiments.adversaries import (
    SHOWN,
    Played,
    Schedule,
    draw_noise,
    draw_samples,
    judge_middles,
    play,
    show,
)
from quire.papers.gan.experiments.figures import draw_rows, draw_scores
from quire.papers.gan.experiments.judges import judge, measure_accuracy, train_features
from quire.papers.gan.gan import GAN
from quire.papers.gan.nets import (
    Conditional,
    DenseGenerator,
    MaxoutDiscriminator,
    start_at_marginals,
)
from quire.papers.gan.parzen import SIGMAS

NOISE, TRAIN, VALIDATION, CLASSES = 20, 1200, 300, 10


class Digits(Config):
    """One model of scikit-learn's digits, in [0, 1]."""

    model: Literal["gan", "vae", "gaussian", "mixture", "centroids", "training"] = "gan"
    """What gives the samples: the game, a variational autoencoder, a normal distribution, a
    mixture of them, k-means centroids, or the training images themselves."""
    loss: Literal["non-saturating", "saturating"] = "non-saturating"
    """The generator's."""
    conditional: bool = False
    """Both players are told the digit; samples are asked for by digit."""
    dropout: bool = True
    """In the discriminator: 0.2 of the input, 0.5 of hidden units."""
    schedule: Schedule = Schedule(momentum_steps=10_000)
    """How the game is trained."""
    generator_hidden: PositiveInt = 128
    """Units of each of two hidden layers of the generator, and of both halves of the VAE."""
    discriminator_hidden: PositiveInt = 64
    """Maxout units of each of two layers, five pieces each."""
    batch_size: PositiveInt = 100
    """Images a step."""
    steps: PositiveInt = 10_000
    """Minibatches."""
    vae_learning_rate: PositiveFloat = 1e-3
    """Adam's, of the VAE."""
    samples: PositiveInt = 10_000
    """Samples that are judged; training images and centroids are fewer."""
    feature_steps: PositiveInt = 600
    """Minibatches of the classifier whose features are compared."""


class Parts(NamedTuple):
    """Images (N, 1, 8, 8) in [0, 1] and labels, each seed in an order of its own."""

    train: Tensor
    validation: Tensor
    test: Tensor
    labels: Tensor
    test_labels: Tensor


def digits(config: Digits, run: Run) -> Metrics:
    """Fit one model and judge its samples."""
    parts = divide(run)
    features = train_features(run, parts.train, parts.labels, steps=config.feature_steps)
    metrics: Metrics = {
        "feature_accuracy": measure_accuracy(features, parts.test, parts.test_labels)
    }
    if config.model == "gan":
        played = train_gan(config, run, parts)
        noise = draw_noise(config.schedule, config.samples, NOISE, run.rng("samples"))
        noise = noise.to(run.device)
        metrics |= {name: played.kept.numbers[name] for name in ("collapsed", "saturated")}
        if config.conditional:
            asked = torch.arange(len(noise), device=run.device) % CLASSES
            samples = draw_samples(played.generator, noise, asked)
            metrics["asked"] = measure_accuracy(features, samples, asked)
            rows = samples[: CLASSES * SHOWN].view(SHOWN, CLASSES, *samples.shape[1:])
            run.figure("classes", draw_rows({str(k): rows[:, k] for k in range(CLASSES)}))
        else:
            samples, half = draw_samples(played.generator, noise), len(noise) // 2
            ends = noise[:half], noise[half : 2 * half]
            show(run, played.generator, played.kept, parts.train, ends)
            metrics |= judge_middles(played.generator, ends, parts.test, features)
    elif config.model == "vae":
        samples = train_vae(config, run, parts.train)
    else:
        samples = fit_classic(config, run, parts.train)
    run.exhibit("samples", samples)
    if config.model != "gan":
        run.figure("samples", draw_rows({config.model: samples[:10]}))
    found, score = judge(samples, parts.train, parts.validation, parts.test, features)
    run.series(
        "validation", SIGMAS, score.validation,
        x_label="sigma", y_label="validation log-likelihood, nats",
    )  # fmt: skip
    run.figure("sigma", draw_scores(SIGMAS, {config.model: score.validation}))
    return metrics | found


def divide(run: Run) -> Parts:
    """1,200 images to train, 300 to choose sigma, 297 to test."""
    split = data.digits()
    image = np.concatenate([split.train.image, split.test.image])
    label = np.concatenate([split.train.label, split.test.label])
    order = torch.randperm(len(image), generator=run.rng("split"))
    images = (torch.from_numpy(image)[order].float() / 16).to(run.device)
    labels = torch.from_numpy(label)[order].to(run.device)
    end = TRAIN + VALIDATION
    return Parts(images[:TRAIN], images[TRAIN:end], images[end:], labels[:TRAIN], labels[end:])


def train_gan(config: Digits, run: Run, parts: Parts) -> Played:
    """The paper's game, or with labels that of Mirza and Osindero (2014)."""
    keep = (0.8, 0.5) if config.dropout else (1.0, 1.0)
    more = CLASSES if config.conditional else 0
    dense = DenseGenerator(NOISE + more, (config.generator_hidden,) * 2, (1, 8, 8))
    start_at_marginals(dense, parts.train)
    maxout = MaxoutDiscriminator(64 + more, config.discriminator_hidden, keep=keep)
    players: tuple[nn.Module, nn.Module] = dense, maxout
    if config.conditional:
        players = Conditional(dense, CLASSES), Conditional(maxout, CLASSES)
    return play(
        run, run.place(GAN(*players, config.loss)), parts.train, config.schedule,
        noise=NOISE, batch_size=config.batch_size, steps=config.steps,
        labels=parts.labels if config.conditional else None,
    )  # fmt: skip


class Vae(nn.Module):
    """A variational autoencoder with as many units as the generator has (Kingma, Welling 2014)."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Flatten(), nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(),
            nn.Linear(hidden, 2 * NOISE),
        )  # fmt: skip
        self.decoder = nn.Sequential(
            nn.Linear(NOISE, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(),
            nn.Linear(hidden, 64), nn.Unflatten(1, (1, 8, 8)),
        )  # fmt: skip
        self.log_scale = nn.Parameter(torch.tensor(-1.5))

    def forward(self, x: Tensor) -> Tensor:
        """The negative lower bound, nats an image, (); normal pixels of one learned deviation."""
        mean, log_variance = self.encoder(x).chunk(2, 1)
        z = mean + torch.randn_like(mean) * (log_variance / 2).exp()
        missed = (x - self.decode(z)).square().flatten(1).sum(1)
        fit = missed / 2 * torch.exp(-2 * self.log_scale) + 64 * self.log_scale
        kl = (mean.square() + log_variance.exp() - 1 - log_variance).sum(1) / 2
        return (fit + kl).mean()

    def decode(self, z: Tensor) -> Tensor:
        """Means of the pixels, in [0, 1]."""
        return torch.sigmoid(self.decoder(z))


def train_vae(config: Digits, run: Run, images: Tensor) -> Tensor:
    """Samples of a variational autoencoder: the decoder's means, as a generator's are."""
    model = run.place(Vae(config.generator_hidden))
    optimizer = torch.optim.Adam(model.parameters(), lr=config.vae_learning_rate)

    def rows_at(step: int) -> Tensor:
        return torch.randint(len(images), (config.batch_size,), generator=run.rng("vae", step))

    for rows in run.steps(config.steps, rows_at, state=(model, optimizer)):
        loss = model(images[rows])
        update(loss, model, optimizer)
        run.log(negative_bound=loss)
    noise = torch.randn(config.samples, NOISE, generator=run.rng("samples")).to(run.device)
    with torch.no_grad():
        return model.decode(noise)


def fit_classic(config: Digits, run: Run, images: Tensor) -> Tensor:
    """Samples of what scikit-learn fits, clamped to [0, 1], or the training images."""
    from sklearn.cluster import KMeans
    from sklearn.mixture import GaussianMixture

    if config.model == "training":
        return images
    rows = images.flatten(1).double().cpu().numpy()
    seed = run.seed
    if config.model == "centroids":
        found = KMeans(300, n_init=1, random_state=seed).fit(rows).cluster_centers_
    else:
        # The covariance floor is what keeps pixels that are always 0 from an infinite density.
        count = 20 if config.model == "mixture" else 1
        mixture = GaussianMixture(count, reg_covar=1e-4, random_state=seed).fit(rows)
        found = mixture.sample(config.samples)[0]
    drawn = torch.from_numpy(np.asarray(found)).float().clamp(0, 1)
    return drawn.view(-1, 1, 8, 8).to(run.device)
