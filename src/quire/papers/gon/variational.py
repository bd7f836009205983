"""The variational GON: a VAE whose encoder is the origin gradient (section 3).

Legend: B examples, K latent dimensions.

The decoder begins with two linear maps, mean = W u + b and log variance = V u + c. In the inner
pass u is zero, so the posterior is N(b, exp(c)) for every example; minus the gradient with respect
to that zero is u in the outer pass. Both passes have the whole negative evidence bound as their
loss, each with noise of its own.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quire.papers.gon.origin import Loss, origin, sum_cross_entropy


class Posterior(NamedTuple):
    """A diagonal Gaussian over latents, and what a draw of it decodes to."""

    reconstruction: Tensor
    """(B, ...), as the likelihood takes it."""
    mean: Tensor
    """(B, K)."""
    log_variance: Tensor
    """(B, K)."""


def kl_to_standard(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, exp(log_variance)) || N(0, I)) in nats, (B, K) -> (B,)."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(-1)


def to_bits_per_dimension(nats: Tensor, dimensions: int) -> Tensor:
    """Nats of an example as bits for each of its dimensions."""
    if dimensions < 1:
        raise ValueError(f"dimensions must be at least 1, got {dimensions}")
    return nats / (dimensions * math.log(2))


def sum_discretised_logistic(parameters: Tensor, x: Tensor, *, levels: int = 256) -> Tensor:
    """Negative log-likelihood of grey or coloured pixels in nats, summed over a picture -> (B,).

    A pixel k / (levels - 1) has the mass of a logistic distribution within half a level of it, and
    at both ends all that lies beyond (Kingma et al. 2016, arXiv 1606.04934).

    Args:
        parameters: (B, 2 C, ...): logits of the C means in (0, 1), then C logarithms of scales, of
            which none goes below -8.
        x: (B, C, ...), multiples of 1 / (levels - 1).
        levels: How many a pixel can have.

    Raises ValueError for parameters that do not fit and for levels below 2.
    """
    if levels < 2:
        raise ValueError(f"levels must be at least 2, got {levels}")
    if parameters.shape != (len(x), 2 * x.shape[1], *x.shape[2:]):
        raise ValueError(
            "parameters must be as the data with twice the channels, got "
            f"{tuple(parameters.shape)} and {tuple(x.shape)}"
        )
    logits, log_scale = parameters.chunk(2, 1)
    half = 0.5 / (levels - 1)
    inverse = (-log_scale.clamp(min=-8)).exp()
    distance = x - logits.sigmoid()
    below = F.logsigmoid((distance + half) * inverse)  # log of the mass up to the upper edge
    above = F.logsigmoid((half - distance) * inverse)  # and from the lower edge on
    # s(u) - s(l) = s(u) s(-l) (1 - exp(l - u)), in which nothing cancels.
    inside = below + above + (-torch.expm1(-2 * half * inverse)).log()
    each = torch.where(x < half, below, torch.where(x > 1 - half, above, inside))
    return -each.flatten(1).sum(1)


class VariationalGON(nn.Module):
    """A GON with a Gaussian posterior; train with `net.bound(x).mean().backward()`.

    In evaluation the inner pass decodes the mean, so that u is a function of x.

    Args:
        decoder: Latents (B, K) to what `likelihood` takes, such as logits.
        latent: K; None asks `decoder.latent`.
        likelihood: Negative log-likelihood of each example, (B,), in nats.
        scale: Length of the inner step.
        second_order: Whether the outer loss reaches the weights through the inner gradient.

    Raises ValueError for a width that is not known.

    Example:
        >>> import torch
        >>> from quire.papers.gon import DenseDecoder, VariationalGON
        >>> net = VariationalGON(DenseDecoder(16, (1, 8, 8), logits=True)).eval()
        >>> posterior = net(torch.rand(5, 1, 8, 8))
        >>> posterior.reconstruction.shape, posterior.mean.shape
        (torch.Size([5, 1, 8, 8]), torch.Size([5, 16]))
    """

    def __init__(
        self,
        decoder: nn.Module,
        *,
        latent: int | None = None,
        likelihood: Loss = sum_cross_entropy,
        scale: float = 1.0,
        second_order: bool = True,
    ) -> None:
        super().__init__()
        width = getattr(decoder, "latent", None) if latent is None else latent
        if not isinstance(width, int) or width < 1:
            raise ValueError(f"latent must be a number of dimensions, at least 1, got {width!r}")
        self.decoder = decoder
        self.latent = width
        self.likelihood = likelihood
        self.scale = scale
        self.second_order = second_order
        self.mean = nn.Linear(width, width)
        self.log_variance = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Posterior:
        """Data (B, ...) -> the posterior, with one draw decoded (in evaluation the mean)."""
        return self.decode(self.encode(x))

    def encode(self, x: Tensor) -> Tensor:
        """u (B, K): minus the gradient of the bound at u = 0."""
        return origin(
            self.decode,
            x,
            self.measure_bound,
            latent=self.latent,
            scale=self.scale,
            second_order=self.second_order,
        )

    def decode(self, u: Tensor) -> Posterior:
        """The posterior of u (B, K), with one draw of it decoded; in evaluation its mean."""
        return draw(self.decoder, self.mean(u), self.log_variance(u), noisy=self.training)

    def measure_bound(self, posterior: Posterior, x: Tensor) -> Tensor:
        """Negative evidence lower bound of each example in nats, (B,), from the draw in it."""
        kl = kl_to_standard(posterior.mean, posterior.log_variance)
        return self.likelihood(posterior.reconstruction, x) + kl

    def bound(self, x: Tensor, *, draws: int = 1) -> Tensor:
        """Negative evidence lower bound of each example in nats, (B,), with drawn latents.

        Drawn also in evaluation: the reconstruction of the mean would be no bound.
        """
        return estimate_bound(self, self.encode(x), x, draws)

    def posterior_of(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance (B, K) of what `encode` gave."""
        return self.mean(u), self.log_variance(u)

    def sample(self, count: int, *, generator: torch.Generator | None = None) -> Tensor:
        """What `count` latents of N(0, I) decode to. generator: on the CPU."""
        noise = torch.randn(count, self.latent, generator=generator)
        out: Tensor = self.decoder(noise.to(self.mean.weight))
        return out


class VariationalAutoencoder(nn.Module):
    """The baseline: the same posterior from an encoder of its own.

    `encoder` gives (B, 2 K), means and log variances, and `decoder` takes (B, K). likelihood: as in
    `VariationalGON`.

    Example:
        >>> import torch
        >>> from quire.papers.gon import DenseDecoder, DenseEncoder, VariationalAutoencoder
        >>> decoder = DenseDecoder(16, (1, 8, 8), logits=True)
        >>> net = VariationalAutoencoder(DenseEncoder(32, (1, 8, 8)), decoder).eval()
        >>> net(torch.rand(5, 1, 8, 8)).mean.shape
        torch.Size([5, 16])
    """

    def __init__(
        self, encoder: nn.Module, decoder: nn.Module, *, likelihood: Loss = sum_cross_entropy
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.likelihood = likelihood

    def forward(self, x: Tensor) -> Posterior:
        """Data (B, ...) -> the posterior, with one draw decoded (in evaluation the mean)."""
        return draw(self.decoder, *self.posterior_of(self.encode(x)), noisy=self.training)

    def encode(self, x: Tensor) -> Tensor:
        """Means and log variances side by side, (B, 2 K)."""
        out: Tensor = self.encoder(x)
        return out

    def posterior_of(self, code: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance (B, K) of what `encode` gave."""
        mean, log_variance = code.chunk(2, -1)
        return mean, log_variance

    def bound(self, x: Tensor, *, draws: int = 1) -> Tensor:
        """Negative evidence lower bound of each example in nats, (B,), with drawn latents."""
        return estimate_bound(self, self.encode(x), x, draws)


def draw(
    decoder: nn.Module, mean: Tensor, log_variance: Tensor, *, noisy: bool = True
) -> Posterior:
    """Decode one draw of N(mean, exp(log_variance)), or the mean where it is not `noisy`."""
    z = mean + torch.randn_like(mean) * (0.5 * log_variance).exp() if noisy else mean
    return Posterior(decoder(z), mean, log_variance)


def estimate_bound(
    net: VariationalGON | VariationalAutoencoder, code: Tensor, x: Tensor, draws: int
) -> Tensor:
    """Mean of the negative bound (B,) over some draws of the posterior, in nats.

    Args:
        net: Its posterior, decoder and likelihood are used.
        code: What its `encode` gave for x.
        x: The data (B, ...).
        draws: How many.
    """
    if draws < 1:
        raise ValueError(f"draws must be at least 1, got {draws}")
    mean, log_variance = net.posterior_of(code)
    total = kl_to_standard(mean, log_variance)
    for _ in range(draws):
        drawn = draw(net.decoder, mean, log_variance)
        total = total + net.likelihood(drawn.reconstruction, x) / draws
    return total
