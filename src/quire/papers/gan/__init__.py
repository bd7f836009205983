"""Generative adversarial nets: a generator and a discriminator that play against each other.

To read it: `game` (the theory, exact on finitely many symbols), `losses`, `gan` (the players and
algorithm 1), `nets`, `convolutional`, `noise`, `augment`, then how samples are judged: `parzen`,
`quality`, `watch`.
"""

# ruff: noqa: I001, RUF022
# Both lists are in reading order.

from quire.papers.gan.game import (
    optimal_discriminator,
    measure_value,
    game_value,
    jensen_shannon,
    LEAST_VALUE,
)
from quire.papers.gan.losses import (
    Objective,
    discriminator_loss,
    saturating_loss,
    non_saturating_loss,
    NON_SATURATING,
    SATURATING,
    HINGE,
    WASSERSTEIN,
    RELATIVISTIC,
    zero_centred_penalty,
    interpolated_penalty,
)
from quire.papers.gan.gan import (
    GAN,
    Players,
    train_discriminator,
    train_generator,
    train_alternately,
    train_at_once,
)
from quire.papers.gan.nets import (
    Maxout,
    MaxoutDiscriminator,
    DenseGenerator,
    Conditional,
    MinibatchDiscrimination,
    start_at_marginals,
    start_sparse,
    limit_column_norms,
    mnist_networks,
    face_networks,
    cifar10_networks,
)
from quire.papers.gan.convolutional import (
    MaxoutConvolution,
    ConvolutionalGenerator,
    ConvolutionalDiscriminator,
    cifar10_convolutional_networks,
    DCGANGenerator,
    DCGANDiscriminator,
)
from quire.papers.gan.noise import (
    draw_uniform,
    draw_normal,
    interpolate,
    interpolate_on_sphere,
)
from quire.papers.gan.augment import diff_augment, change_colours, translate, cut_out
from quire.papers.gan.parzen import (
    parzen_log_likelihood,
    ParzenScore,
    score_by_parzen,
    SIGMAS,
)
from quire.papers.gan.quality import (
    Coverage,
    cover_modes,
    nearest_distances,
    precision_recall,
    frechet_distance,
    kernel_distance,
    TwoSampleTest,
    two_sample_test,
)
from quire.papers.gan.watch import Watch

__all__ = [
    "optimal_discriminator",
    "measure_value",
    "game_value",
    "jensen_shannon",
    "LEAST_VALUE",
    "Objective",
    "discriminator_loss",
    "saturating_loss",
    "non_saturating_loss",
    "NON_SATURATING",
    "SATURATING",
    "HINGE",
    "WASSERSTEIN",
    "RELATIVISTIC",
    "zero_centred_penalty",
    "interpolated_penalty",
    "GAN",
    "Players",
    "train_discriminator",
    "train_generator",
    "train_alternately",
    "train_at_once",
    "Maxout",
    "MaxoutDiscriminator",
    "DenseGenerator",
    "Conditional",
    "MinibatchDiscrimination",
    "start_at_marginals",
    "start_sparse",
    "limit_column_norms",
    "mnist_networks",
    "face_networks",
    "cifar10_networks",
    "MaxoutConvolution",
    "ConvolutionalGenerator",
    "ConvolutionalDiscriminator",
    "cifar10_convolutional_networks",
    "DCGANGenerator",
    "DCGANDiscriminator",
    "draw_uniform",
    "draw_normal",
    "interpolate",
    "interpolate_on_sphere",
    "diff_augment",
    "change_colours",
    "translate",
    "cut_out",
    "parzen_log_likelihood",
    "ParzenScore",
    "score_by_parzen",
    "SIGMAS",
    "Coverage",
    "cover_modes",
    "nearest_distances",
    "precision_recall",
    "frechet_distance",
    "kernel_distance",
    "TwoSampleTest",
    "two_sample_test",
    "Watch",
]
