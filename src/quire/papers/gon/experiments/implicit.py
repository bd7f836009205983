"""Implicit GONs: a SIREN for a whole data set, drawn on finer grids than it was trained on."""

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn

from quire.lab import Config, Metrics, Run
from quire.papers.gon.baselines import Autoencoder
from quire.papers.gon.decoders import DenseEncoder, count_parameters
from quire.papers.gon.experiments.learner import (
    LinearFloor,
    draw_rows,
    measure_error,
    measure_psnr,
    train_reconstruction,
)
from quire.papers.gon.experiments.pictures import (
    FinePictures,
    draw_shapes,
    load_omniglot,
)
from quire.papers.gon.fields import FourierField, ShiftedSiren
from quire.papers.gon.gon import GON
from quire.papers.gon.siren import ImplicitDecoder, Siren

SHOWN = 8
"""Pictures in a figure's row."""


class Implicit(Config):
    """A SIREN over coordinates and latents, trained on a coarse grid and tested on a fine one."""

    dataset: Literal["shapes", "omniglot"] = "shapes"
    """Shapes drawn by a program, or drawings of characters of unseen alphabets."""
    method: Literal["gon", "autoencoder"] = "gon"
    """How a latent is found; the encoder has two hidden layers as wide as the field's."""
    field: Literal["siren", "shifted", "fourier"] = "siren"
    """What draws: a SIREN of coordinates beside latents, one whose sines a latent shifts (functa),
    or a plain net of random Fourier features."""
    inner_steps: PositiveInt = 1
    """Gradient steps from the origin."""
    learned_scale: bool = False
    """Whether the length of an inner step is learned, one for each dimension."""
    second_order: bool = True
    """Whether training goes through the inner gradient."""
    scale: PositiveFloat = 1 / 512
    """Length of an inner step, with losses summed over pixels and batch; published is 1/64."""
    latent: PositiveInt = 16
    """Latent dimensions."""
    hidden: PositiveInt = 64
    """Width of the field."""
    layers: PositiveInt = 3
    """Its hidden layers."""
    size: PositiveInt = 16
    """Pixels of a side in training."""
    fine: PositiveInt = 64
    """Pixels of a side at test, of the same pictures."""
    learning_rate: PositiveFloat = 1e-3
    """Adam's."""
    batch_size: PositiveInt = 32
    """Pictures a step."""
    steps: PositiveInt = 20_000
    """Minibatches."""
    train_examples: PositiveInt = 4000
    """Pictures to train on."""
    test_examples: PositiveInt = 500
    """Pictures to test on."""


def implicit(config: Implicit, run: Run) -> Metrics:
    """Errors at the trained size, and signal to noise at the finer one beside bicubic drawing."""
    pictures = load(config, run)
    net = make_net(config)

    train_reconstruction(
        run,
        net,
        pictures.train,
        batch_size=config.batch_size,
        steps=config.steps,
        learning_rate=config.learning_rate,
    )
    net.eval()
    test_error = float(measure_error(net, pictures.test))
    seen = pictures.train[: len(pictures.test)]
    return {
        "test_error": test_error,
        "train_error": float(measure_error(net, seen)),
        "parameters": count_parameters(net),
        "pca_error": LinearFloor(pictures.train, config.latent).measure_error(pictures.test),
        **measure_finer(net, pictures, run),
    }


def load(config: Implicit, run: Run) -> FinePictures:
    """The pictures at both sizes."""
    loader = draw_shapes if config.dataset == "shapes" else load_omniglot
    return loader(
        run,
        size=config.size,
        fine=config.fine,
        train=config.train_examples,
        test=config.test_examples,
    )


def make_net(config: Implicit) -> GON | Autoencoder:
    """The GON, or an encoder before the same field."""
    decoder = ImplicitDecoder(make_field(config), (config.size, config.size))
    if config.method == "gon":
        return GON(
            decoder,
            steps=config.inner_steps,
            scale=config.scale,
            second_order=config.second_order,
            learned_scale=config.learned_scale,
        )
    encoder = DenseEncoder(
        config.latent,
        (1, config.size, config.size),
        hidden=(config.hidden, config.hidden),
        activation=nn.SiLU,
    )
    return Autoencoder(encoder, decoder)


def make_field(config: Implicit) -> Siren | ShiftedSiren | FourierField:
    """The net of points and latents."""
    latent, hidden, layers = config.latent, config.hidden, config.layers
    if config.field == "fourier":
        return FourierField(latent, hidden=hidden, layers=layers)
    if config.field == "shifted":
        return ShiftedSiren(latent, hidden=hidden, layers=layers)
    return Siren(latent, hidden=hidden, layers=layers)


def measure_finer(net: GON | Autoencoder, pictures: FinePictures, run: Run) -> Metrics:
    """Signal to noise (dB) on the fine grid: drawn by the net, enlarged bicubically from its own
    coarse reconstruction and from the coarse truth."""
    fine = pictures.fine.shape[-1]
    decoder = net.decoder
    assert isinstance(decoder, ImplicitDecoder)
    parts, coarse = [], []
    for batch in pictures.test.split(50):
        z = net.encode(batch).detach()
        with torch.no_grad():
            parts.append(decoder.render(z, fine, fine).clamp(0, 1))
            coarse.append(net.decode(z))
    drawn, enlarged = torch.cat(parts), enlarge(torch.cat(coarse), fine)
    from_truth = enlarge(pictures.test, fine)
    rows = {
        f"seen, {pictures.test.shape[-1]} pixels": pictures.test,
        f"drawn, {fine} pixels": drawn,
        "bicubic": from_truth,
        "truth": pictures.fine,
    }
    run.figure("finer", draw_rows({name: row[:SHOWN] for name, row in rows.items()}))
    return {
        "fine_psnr": measure_psnr((drawn - pictures.fine).square()),
        "enlarged_psnr": measure_psnr((enlarged - pictures.fine).square()),
        "bicubic_psnr": measure_psnr((from_truth - pictures.fine).square()),
    }


def enlarge(pictures: Tensor, size: int) -> Tensor:
    """Pictures (N, C, H, W) at size x size by bicubic interpolation between centres of pixels."""
    wide = F.interpolate(pictures, (size, size), mode="bicubic", align_corners=False)
    return wide.clamp(0, 1)
