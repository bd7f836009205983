"""Variational GONs against VAEs: the evidence bound of binary digits."""

import math
from typing import Literal

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from quire.lab import Config, Metrics, Run
from quire.papers.gon.decoders import DenseDecoder, DenseEncoder, count_parameters
from quire.papers.gon.experiments.learner import draw_rows, train
from quire.papers.gon.experiments.pictures import Pictures, load_digits, load_real, take_batch
from quire.papers.gon.variational import (
    VariationalAutoencoder,
    VariationalGON,
    to_bits_per_dimension,
)

SHOWN = 10
"""Pictures in a figure's row."""
DRAWS = 20
"""Draws of the posterior with which a bound is measured."""


class Variational(Config):
    """The evidence bound of binary pictures: a pixel is one from half the brightness on."""

    dataset: Literal["digits", "mnist", "fashion_mnist"] = "digits"
    """Which pictures."""
    method: Literal["gon", "autoencoder"] = "gon"
    """How the posterior is found."""
    second_order: bool = True
    """Whether training goes through the inner gradient."""
    scale: PositiveFloat = 1.0
    """Length of an inner step, with losses summed over pixels and batch."""
    latent: PositiveInt = 16
    """Latent dimensions."""
    hidden: tuple[PositiveInt, ...] = (128, 128)
    """Widths of the decoder, mirrored in the encoder."""
    learning_rate: PositiveFloat = 1e-3
    """Adam's."""
    batch_size: PositiveInt = 64
    """Pictures a step."""
    steps: PositiveInt = 20_000
    """Minibatches."""


def variational(config: Variational, run: Run) -> Metrics:
    """Bits for each pixel of held-out pictures, beside a model of independent pixels."""
    pictures = load(config, run)
    net = run.place(make_net(config, pictures.train.shape[1:]))

    def loss_at(step: int) -> Tensor:
        chosen = take_batch(pictures.train, config.batch_size, run)
        return net.bound(pictures.train[chosen]).mean()

    train(run, net, loss_at, steps=config.steps, learning_rate=config.learning_rate)
    net.eval()
    seen = pictures.train[: len(pictures.test)]
    shown = pictures.test[:SHOWN]
    noise = torch.randn(SHOWN, config.latent, generator=run.rng("samples")).to(run.device)
    rows = {
        "held out": shown,
        "reconstructed": net(shown).reconstruction.sigmoid(),
        "sampled": net.decoder(noise).sigmoid(),
    }
    run.figure("variational", draw_rows(rows))
    run.exhibit("samples", rows["sampled"])
    return {
        "bits": measure_bits(net, pictures.test),
        "train_bits": measure_bits(net, seen),
        "marginal_bits": measure_marginal_bits(pictures.train, pictures.test),
        "parameters": count_parameters(net),
    }


def load(config: Variational, run: Run) -> Pictures:
    """Pictures of zeros and ones."""
    if config.dataset == "digits":
        pictures = load_digits(run)
    else:
        pictures = load_real(config.dataset, run, train=60_000, test=10_000)
    return pictures._replace(
        train=(pictures.train >= 0.5).float(), test=(pictures.test >= 0.5).float()
    )


def make_net(config: Variational, shape: torch.Size) -> VariationalGON | VariationalAutoencoder:
    """The net that the config names, for pictures of that shape."""
    decoder = DenseDecoder(config.latent, shape, hidden=config.hidden, logits=True)
    if config.method == "gon":
        return VariationalGON(decoder, scale=config.scale, second_order=config.second_order)
    encoder = DenseEncoder(2 * config.latent, shape, hidden=config.hidden)
    return VariationalAutoencoder(encoder, decoder)


def measure_bits(net: VariationalGON | VariationalAutoencoder, pictures: Tensor) -> float:
    """Negative evidence bound of a picture in bits for each pixel, over some draws."""
    nats = pictures.new_zeros(())
    for batch in pictures.split(512):
        with torch.no_grad():
            nats = nats + net.bound(batch, draws=DRAWS).sum()
    return float(to_bits_per_dimension(nats / len(pictures), math.prod(pictures.shape[1:])))


def measure_marginal_bits(train: Tensor, test: Tensor) -> float:
    """Bits for each test pixel under independent pixels, their rates counted with one of each."""
    rate = (train.sum(0) + 1) / (len(train) + 2)
    return float(-(test * rate.log2() + (1 - test) * (1 - rate).log2()).mean())
