"""Convolutional GONs on pictures of 32x32 pixels, as published: MNIST, Fashion-MNIST, CIFAR-10."""

from typing import Literal

from pydantic import PositiveFloat, PositiveInt

from quire.lab import Config, Metrics, Run
from quire.papers.gon.baselines import Autoencoder, LearnedLatents, TiedEncoder
from quire.papers.gon.decoders import (
    ConvDecoder,
    ConvEncoder,
    batch_norm,
    count_parameters,
    group_norm,
)
from quire.papers.gon.experiments.learner import (
    ACTIVATIONS,
    ActivationName,
    LinearFloor,
    Net,
    draw_rows,
    measure_error,
    train_reconstruction,
)
from quire.papers.gon.experiments.pictures import Pictures, RealName, load_real
from quire.papers.gon.gon import GON

SHOWN = 10
"""Pictures in a figure's row."""
LOOKED_AT = 512
"""Test pictures that are looked at during training."""


class Convolutional(Config):
    """The published convolutional decoder, with and without a mirrored encoder."""

    dataset: RealName = "mnist"
    """Which pictures; those of 28 pixels are brought to 32 bilinearly."""
    method: Literal["gon", "autoencoder", "tied", "learned"] = "gon"
    """How a latent is found: the origin gradient, a mirrored encoder, one of the decoder's own
    weights, or learned for each picture."""
    inner_steps: PositiveInt = 1
    """Gradient steps from the origin."""
    scale: PositiveFloat = 1.0
    """Length of an inner step, with losses summed over pixels and batch."""
    second_order: bool = True
    """Whether training goes through the inner gradient."""
    activation: ActivationName = "elu"
    """After each normalisation."""
    norm: Literal["batch", "group"] = "batch"
    """The batch's statistics, at test too, as published; or groups of channels of one picture."""
    latent: PositiveInt = 32
    """Latent dimensions."""
    width: PositiveInt = 16
    """Channels before the last layer."""
    learning_rate: PositiveFloat = 1e-3
    """Adam's."""
    batch_size: PositiveInt = 64
    """Pictures a step, and encoded at once at test."""
    steps: PositiveInt = 500_000
    """Minibatches."""
    train_examples: PositiveInt = 60_000
    """Pictures to train on."""
    test_examples: PositiveInt = 10_000
    """Pictures to test on."""


def conv(config: Convolutional, run: Run) -> Metrics:
    """Errors on held-out and trained pictures, beside as many principal components as latents."""
    pictures = load_real(
        config.dataset, run, train=config.train_examples, test=config.test_examples
    )
    net = make_net(config, pictures)

    curve = train_reconstruction(
        run,
        net,
        pictures.train,
        batch_size=config.batch_size,
        steps=config.steps,
        learning_rate=config.learning_rate,
        watched=pictures.test[:LOOKED_AT],
        at_once=config.batch_size,
    )
    test_error = float(measure_error(net, pictures.test, batch_size=config.batch_size))
    again = pictures.train[: len(pictures.test)]
    train_error = float(measure_error(net, again, batch_size=config.batch_size))
    shown = pictures.test[: config.batch_size]
    net.eval()
    z = net.infer(shown) if isinstance(net, LearnedLatents) else net.encode(shown)
    rows = {"held out": shown[:SHOWN], "reconstructed": net.decoder(z)[:SHOWN]}
    run.figure(config.dataset, draw_rows(rows))
    floor = LinearFloor(pictures.train[:10_000], config.latent)
    return {
        "test_error": test_error,
        "train_error": train_error,
        "gap": test_error - train_error,
        "parameters": count_parameters(net),
        "pca_error": floor.measure_error(pictures.test),
        **({"early_error": curve[0][1]} if curve else {}),
    }


def make_net(config: Convolutional, pictures: Pictures) -> Net:
    """The GON, or a baseline around the same decoder."""
    activation = ACTIVATIONS[config.activation]
    norm = batch_norm if config.norm == "batch" else group_norm
    channels = pictures.train.shape[1]
    decoder = ConvDecoder(
        config.latent, width=config.width, channels=channels, norm=norm, activation=activation
    )
    if config.method == "gon":
        return GON(
            decoder,
            steps=config.inner_steps,
            scale=config.scale,
            second_order=config.second_order,
        )
    if config.method == "learned":
        return LearnedLatents(decoder, len(pictures.train))
    if config.method == "tied":
        return Autoencoder(TiedEncoder(decoder, norm=norm), decoder)
    encoder = ConvEncoder(
        config.latent, width=config.width, channels=channels, norm=norm, activation=activation
    )
    return Autoencoder(encoder, decoder)
