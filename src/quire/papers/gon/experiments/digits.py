"""Reconstruction of 8x8 digits: the origin gradient against encoders of several sizes."""

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from quire.lab import Config, Metrics, Run
from quire.papers.gon.baselines import LearnedLatents
from quire.papers.gon.decoders import DenseDecoder, count_parameters
from quire.papers.gon.experiments.learner import (
    ACTIVATIONS,
    ActivationName,
    LinearFloor,
    Method,
    Net,
    draw_rows,
    make_dense,
    measure_error,
    measure_separation,
    train_reconstruction,
)
from quire.papers.gon.experiments.pictures import Pictures, load_digits
from quire.papers.gon.gon import GON
from quire.papers.gon.latents import LatentGaussian

LATENT = 16
"""Latent dimensions."""
SHOWN = 10
"""Pictures in a figure's row."""


class Digits(Config):
    """Autoencoding scikit-learn's 8x8 digits with 16 latents; nothing is downloaded."""

    method: Method = "gon"
    """How a latent is found: the origin gradient, an encoder, a tied one, one affine layer, or
    learned for each picture."""
    inner_steps: PositiveInt = 1
    """Gradient steps from the origin."""
    scale: PositiveFloat = 1.0
    """Length of an inner step, with losses summed over pixels and batch; 1/64 is a batch mean."""
    second_order: bool = True
    """Whether training goes through the inner gradient."""
    noise: NonNegativeFloat = 0.0
    """Standard deviation of the start in training; at test it is the origin."""
    learned_start: bool = False
    """Whether the start is learned."""
    learned_scale: bool = False
    """Whether the length of an inner step is learned, one for each dimension."""
    activation: ActivationName = "silu"
    """Between the layers of decoder and encoder."""
    hidden: tuple[PositiveInt, ...] = (128, 128)
    """Widths of the decoder, mirrored in the encoder."""
    learning_rate: PositiveFloat = 1e-3
    """Adam's."""
    batch_size: PositiveInt = 64
    """Pictures a step."""
    steps: PositiveInt = 3000
    """Minibatches."""


def digits(config: Digits, run: Run) -> Metrics:
    """Error on held-out and trained digits, beside the linear floor; samples and their figures."""
    pictures = load_digits(run)
    net = make_net(config, pictures)

    curve = train_reconstruction(
        run,
        net,
        pictures.train,
        batch_size=config.batch_size,
        steps=config.steps,
        learning_rate=config.learning_rate,
        watched=pictures.test,
    )
    floor = LinearFloor(pictures.train, LATENT)
    drawn = floor.sample(len(pictures.test), run.rng("linear samples")).to(run.device)
    test_error = float(measure_error(net, pictures.test))
    train_error = float(measure_error(net, pictures.train))
    return {
        "test_error": test_error,
        "train_error": train_error,
        "gap": test_error - train_error,
        "parameters": count_parameters(net),
        "pca_error": floor.measure_error(pictures.test),
        "pca_separation": measure_separation(pictures.test, drawn),
        **({"early_error": curve[0][1]} if curve else {}),
        **show(net, pictures, run),
    }


def make_net(config: Digits, pictures: Pictures) -> Net:
    """The GON or the baseline that the config names."""
    activation = ACTIVATIONS[config.activation]
    shape = pictures.train.shape[1:]
    if config.method != "gon":
        return make_dense(
            config.method,
            latent=LATENT,
            shape=shape,
            hidden=config.hidden,
            activation=activation,
            examples=len(pictures.train),
        )
    decoder = DenseDecoder(LATENT, shape, hidden=config.hidden, activation=activation)
    return GON(
        decoder,
        steps=config.inner_steps,
        scale=config.scale,
        second_order=config.second_order,
        noise=config.noise,
        learned_start=config.learned_start,
        learned_scale=config.learned_scale,
    )


def show(net: Net, pictures: Pictures, run: Run) -> Metrics:
    """A figure of reconstructions, samples and a walk between digits; how far samples are off."""
    net.eval()
    if isinstance(net, LearnedLatents):
        known, seen = net.latents.weight.detach(), net.infer(pictures.test[:SHOWN])
    else:
        known, seen = net.encode(pictures.train).detach(), net.encode(pictures.test[:SHOWN])
    gaussian = LatentGaussian.fit(known)
    made = net.decoder(gaussian.sample(len(pictures.test), generator=run.rng("samples"))).detach()
    rows = {
        "held out": pictures.test[:SHOWN],
        "reconstructed": net.decoder(seen),
        "sampled": made[:SHOWN],
    }
    if isinstance(net, GON):
        walk = net.interpolate(pictures.test[:1], pictures.test[1:2], SHOWN)
        rows["interpolated"] = walk[:, 0]
    run.figure("digits", draw_rows(rows))
    return {"separation": measure_separation(pictures.test, made)}
