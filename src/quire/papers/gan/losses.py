"""Losses of both players on logits, and what keeps the game stable.

B examples in a minibatch; D(x) = sigmoid(logit). No logarithm of a sigmoid is taken anywhere.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import relu, softplus


@dataclass(frozen=True)
class Objective:
    """What each player goes down: two functions of the logits (B,) on data and on samples."""

    discriminator: Callable[[Tensor, Tensor], Tensor]
    """(real, fake) -> a scalar."""
    generator: Callable[[Tensor, Tensor | None], Tensor]
    """(fake, real) -> a scalar; real is looked at where `pairs`."""
    pairs: bool = False
    """Whether the generator's loss needs the logits on data too."""


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """-V(D, G) of a minibatch, a scalar: what D goes down (algorithm 1).

    real: logits on data; fake: logits on samples, (B,) each. It is 2 log 2 where D is 1/2
    everywhere. Raises ValueError for an empty minibatch.
    """
    return mean_of(softplus(-real)) + mean_of(softplus(fake))


def saturating_loss(fake: Tensor, real: Tensor | None = None) -> Tensor:
    """The mean of log(1 - D(G(z))), a scalar: the generator's part of V.

    fake: logits on samples, (B,); real is not looked at. Its derivative is -D(G(z)), nothing where
    D wins. Raises ValueError for an empty minibatch.
    """
    return -mean_of(softplus(fake))


def non_saturating_loss(fake: Tensor, real: Tensor | None = None) -> Tensor:
    """The mean of -log D(G(z)), a scalar: what section 3 uses in its place.

    fake: logits on samples, (B,); real is not looked at. Its derivative is D(G(z)) - 1: per sample
    (1 - D) / D times the saturating one's. Raises ValueError for an empty minibatch.
    """
    return mean_of(softplus(-fake))


def mean_of(losses: Tensor) -> Tensor:
    """Their mean. Raises ValueError where there are none, which would be no number."""
    if not losses.numel():
        raise ValueError("a loss needs a minibatch of at least one example, got none")
    return losses.mean()


def compare_pairs(real: Tensor, fake: Tensor) -> Tensor:
    """Softplus of fake - real, pair by pair: D should score data above samples."""
    if real.shape != fake.shape:
        raise ValueError(
            "relativistic losses pair data with samples: as many logits of each, "
            f"got {tuple(real.shape)} and {tuple(fake.shape)}"
        )
    return mean_of(softplus(fake - real))


def lose_pairs(fake: Tensor, real: Tensor | None) -> Tensor:
    """The same with the sides changed, for the generator."""
    if real is None:
        raise ValueError("the relativistic loss of the generator needs a minibatch of data too")
    return compare_pairs(fake, real)


NON_SATURATING = Objective(discriminator_loss, non_saturating_loss)
"""Section 3, in practice."""
SATURATING = Objective(discriminator_loss, saturating_loss)
"""Equation 1."""
HINGE = Objective(
    lambda real, fake: mean_of(relu(1 - real)) + mean_of(relu(1 + fake)),
    lambda fake, real: -mean_of(fake),
)
"""Lim and Ye 2017; Miyato et al. 2018 with `spectral_norm` on every layer of D."""
WASSERSTEIN = Objective(
    lambda real, fake: mean_of(fake) - mean_of(real),
    lambda fake, real: -mean_of(fake),
)
"""Arjovsky et al. 2017; with `interpolated_penalty` Gulrajani et al. 2017."""
RELATIVISTIC = Objective(compare_pairs, lose_pairs, pairs=True)
"""Huang et al. 2024: pairs, with the zero-centred penalty on data and on samples."""
OBJECTIVES = {"non-saturating": NON_SATURATING, "saturating": SATURATING}
"""The paper's two, by the names that `GAN` takes."""


def zero_centred_penalty(discriminator: nn.Module, x: Tensor) -> Tensor:
    """The mean squared norm of dD/dx, a scalar: R1 on data, R2 on samples (Mescheder et al. 2018).

    discriminator: gives logits for x, (B, ...). A usual weight is gamma / 2 with gamma from 0.1 to
    10. Raises ValueError for an empty minibatch.
    """
    return mean_of(slopes(discriminator, x).square().sum(1))


def interpolated_penalty(
    discriminator: nn.Module, real: Tensor, fake: Tensor, mix: Tensor
) -> Tensor:
    """The mean of (norm of dD/dx - 1)^2 between data and samples, a scalar (Gulrajani et al. 2017).

    Args:
        discriminator: Gives a logit for each example.
        real: Data, (B, ...).
        fake: Samples, of the same shape.
        mix: How far each point is from its sample, (B,) in [0, 1].

    Raises ValueError where shapes differ or the minibatch is empty.
    """
    if real.shape != fake.shape or mix.shape != real.shape[:1]:
        raise ValueError(
            "the penalty takes data and samples (B, ...) of one shape and mix (B,), "
            f"got {tuple(real.shape)}, {tuple(fake.shape)} and {tuple(mix.shape)}"
        )
    between = torch.lerp(fake, real, mix.view(-1, *[1] * (real.ndim - 1)))
    # The square root's slope at 0 is infinite, and a new D may be flat.
    norms = (slopes(discriminator, between).square().sum(1) + 1e-12).sqrt()
    return mean_of((norms - 1).square())


def slopes(discriminator: nn.Module, x: Tensor) -> Tensor:
    """dD/dx of each row, flat, (B, ...) -> (B, D), with a graph of its own."""
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        (slope,) = torch.autograd.grad(discriminator(x).sum(), x, create_graph=True)
    return slope.flatten(1)
