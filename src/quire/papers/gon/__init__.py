"""Gradient Origin Networks: an autoencoder without an encoder.

To read it: `origin` (the latent), `gon` (the net), `latents` (sampling and interpolation),
`decoders`, `siren` and `fields` (images at any resolution), `variational`, `classifier`,
`baselines`.
"""

# ruff: noqa: I001, RUF022
# Both lists are in reading order.

from quire.papers.gon.origin import (
    Decoder,
    Loss,
    origin,
    sum_squares,
    sum_cross_entropy,
    find_mean_scale,
)
from quire.papers.gon.gon import GON, GONOutput, Renderer
from quire.papers.gon.latents import LatentGaussian, slerp
from quire.papers.gon.decoders import (
    DenseDecoder,
    DenseEncoder,
    ConvDecoder,
    ConvEncoder,
    group_norm,
    batch_norm,
    resize,
    count_parameters,
)
from quire.papers.gon.siren import Siren, ImplicitDecoder, make_grid
from quire.papers.gon.fields import FourierField, ShiftedSiren
from quire.papers.gon.variational import (
    VariationalGON,
    VariationalAutoencoder,
    Posterior,
    kl_to_standard,
    sum_discretised_logistic,
    to_bits_per_dimension,
)
from quire.papers.gon.classifier import OriginClassifier
from quire.papers.gon.baselines import Autoencoder, TiedEncoder, LearnedLatents

__all__ = [
    "Decoder",
    "Loss",
    "origin",
    "sum_squares",
    "sum_cross_entropy",
    "find_mean_scale",
    "GON",
    "GONOutput",
    "Renderer",
    "LatentGaussian",
    "slerp",
    "DenseDecoder",
    "DenseEncoder",
    "ConvDecoder",
    "ConvEncoder",
    "group_norm",
    "batch_norm",
    "resize",
    "count_parameters",
    "Siren",
    "ImplicitDecoder",
    "make_grid",
    "FourierField",
    "ShiftedSiren",
    "VariationalGON",
    "VariationalAutoencoder",
    "Posterior",
    "kl_to_standard",
    "sum_discretised_logistic",
    "to_bits_per_dimension",
    "OriginClassifier",
    "Autoencoder",
    "TiedEncoder",
    "LearnedLatents",
]
