"""Variational GONs against VAEs: the evidence bound of binary and of grey pictures."""

import math
from typing import Literal

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn

from quire.lab import Config, Metrics, Run
from quire.papers.gon.decoders import (
    ConvDecoder,
    ConvEncoder,
    DenseDecoder,
    DenseEncoder,
    batch_norm,
    count_parameters,
)
from quire.papers.gon.experiments.learner import Objective, draw_rows, train
from quire.papers.gon.experiments.pictures import Pictures, load_digits, load_real, take_batch
from quire.papers.gon.origin import Loss, sum_cross_entropy
from quire.papers.gon.variational import (
    VariationalAutoencoder,
    VariationalGON,
    sum_discretised_logistic,
    to_bits_per_dimension,
)

SHOWN = 10
"""Pictures in a figure's row."""
DRAWS = 20
"""Draws of the posterior with which a bound is measured."""
AT_ONCE = 512
"""Pictures at once at test."""
COUNTED = 10_000
"""Training pictures whose pixels are counted for the model of independent ones."""
LEVELS = {"binary": 2, "grey": 256}


class Variational(Config):
    """The evidence bound of pictures."""

    dataset: Literal["digits", "mnist", "fashion_mnist", "cifar10"] = "digits"
    """Which pictures."""
    pixels: Literal["binary", "grey"] = "binary"
    """Bits, one from half the brightness on, under a Bernoulli likelihood; or 256 levels of each
    channel under a discretised logistic one."""
    method: Literal["gon", "autoencoder"] = "gon"
    """How the posterior is found."""
    second_order: bool = True
    """Whether training goes through the inner gradient."""
    scale: PositiveFloat = 1.0
    """Length of an inner step, with losses summed over pixels and batch."""
    latent: PositiveInt = 16
    """Latent dimensions."""
    net: Literal["dense", "conv"] = "dense"
    """Fully connected, or the published convolutional one with the batch's statistics."""
    hidden: tuple[PositiveInt, ...] = (128, 128)
    """Widths of the dense decoder, mirrored in the encoder."""
    width: PositiveInt = 32
    """Channels before the last layer of the convolutional one."""
    learning_rate: PositiveFloat = 1e-3
    """Adam's."""
    batch_size: PositiveInt = 64
    """Pictures a step."""
    steps: PositiveInt = 20_000
    """Minibatches."""
    train_examples: PositiveInt = 60_000
    """Pictures to train on, at most."""
    test_examples: PositiveInt = 10_000
    """Pictures to test on, at most."""


def variational(config: Variational, run: Run) -> Metrics:
    """Bits for each pixel of held-out pictures, beside a model of independent pixels."""
    pictures = load(config, run)
    net = make_net(config, pictures.train.shape[1:])

    def batch_at(step: int) -> tuple[Tensor, ...]:
        return (pictures.train[take_batch(pictures.train, config.batch_size, run)],)

    train(
        run,
        Objective(net, net.bound),
        batch_at,
        steps=config.steps,
        learning_rate=config.learning_rate,
    )
    net.eval()
    seen = pictures.train[: len(pictures.test)]
    shown = pictures.test[:SHOWN]
    noise = torch.randn(SHOWN, config.latent, generator=run.rng("samples")).to(run.device)
    # The batch's statistics are those of as many pictures as in training.
    at_once = config.batch_size if config.net == "conv" else AT_ONCE
    channels, levels = shown.shape[1], LEVELS[config.pixels]
    rows = {
        "held out": shown,
        "reconstructed": net(shown).reconstruction[:, :channels].sigmoid(),
        "sampled": net.decoder(noise)[:, :channels].sigmoid(),
    }
    run.figure("variational", draw_rows(rows))
    run.exhibit("samples", rows["sampled"])
    return {
        "bits": measure_bits(net, pictures.test, at_once=at_once),
        "train_bits": measure_bits(net, seen, at_once=at_once),
        "marginal_bits": measure_marginal_bits(pictures.train, pictures.test, levels),
        "parameters": count_parameters(net),
    }


def load(config: Variational, run: Run) -> Pictures:
    """Pictures whose pixels are multiples of one over the number of levels less one."""
    if config.dataset == "digits":
        pictures = load_digits(run)
    else:
        pictures = load_real(
            config.dataset, run, train=config.train_examples, test=config.test_examples
        )
    if config.pixels == "binary":
        parts = [(part >= 0.5).float() for part in (pictures.train, pictures.test)]
    else:
        parts = [(255 * part).round() / 255 for part in (pictures.train, pictures.test)]
    return pictures._replace(train=parts[0], test=parts[1])


def make_net(config: Variational, shape: torch.Size) -> VariationalGON | VariationalAutoencoder:
    """The net that the config names, for pictures of that shape, (C, H, W)."""
    channels, *size = shape
    is_binary = config.pixels == "binary"
    likelihood: Loss = sum_cross_entropy if is_binary else sum_discretised_logistic
    outputs = channels if is_binary else 2 * channels
    latent, width = config.latent, config.width
    decoder: nn.Module
    if config.net == "conv":
        decoder = ConvDecoder(latent, width=width, channels=outputs, norm=batch_norm, logits=True)
    else:
        decoder = DenseDecoder(latent, (outputs, *size), hidden=config.hidden, logits=True)
    if config.method == "gon":
        return VariationalGON(
            decoder, likelihood=likelihood, scale=config.scale, second_order=config.second_order
        )
    encoder: nn.Module
    if config.net == "conv":
        encoder = ConvEncoder(2 * latent, width=width, channels=channels, norm=batch_norm)
    else:
        encoder = DenseEncoder(2 * latent, shape, hidden=config.hidden)
    return VariationalAutoencoder(encoder, decoder, likelihood=likelihood)


def measure_bits(
    net: VariationalGON | VariationalAutoencoder, pictures: Tensor, *, at_once: int
) -> float:
    """Negative evidence bound of a picture in bits for each pixel, over some draws."""
    nats = pictures.new_zeros(())
    for batch in pictures.split(at_once):
        with torch.no_grad():
            nats = nats + net.bound(batch, draws=DRAWS).sum()
    return float(to_bits_per_dimension(nats / len(pictures), math.prod(pictures.shape[1:])))


def measure_marginal_bits(train: Tensor, test: Tensor, levels: int) -> float:
    """Bits for each test pixel under independent pixels, whose levels are counted with one each."""
    kept = train[:COUNTED].flatten(1).mul(levels - 1).round().long()  # (N, D)
    asked = test.flatten(1).mul(levels - 1).round().long()
    ones = torch.ones(kept.T.shape, device=kept.device)
    counts = ones.new_ones(kept.shape[1], levels).scatter_add(1, kept.T, ones)
    rates = counts / (len(kept) + levels)  # (D, levels)
    return float(-rates.gather(1, asked.T).log2().mean())
