"""The Gradient Origin Network: a decoder that is its own encoder (section 3).

Legend: B examples, K latent dimensions.
"""

from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from quire.papers.gon.latents import LatentGaussian, slerp
from quire.papers.gon.origin import Loss, begin, origin, sum_squares


class GONOutput(NamedTuple):
    """What one pass through the net gives."""

    reconstruction: Tensor
    """(B, ...), as the data."""
    latent: Tensor
    """(B, K)."""


@runtime_checkable
class Renderer(Protocol):
    """A decoder that draws at any size, such as `ImplicitDecoder`."""

    def render(self, z: Tensor, height: int, width: int) -> Tensor:
        """Latents (B, K) -> images (B, C, height, width)."""
        ...


class GON(nn.Module):
    """Reconstruct through the origin gradient; train with `gon.measure_loss(x).mean().backward()`.

    z = -d loss(F(0), x) / d 0 and the outer loss is loss(F(z), x): its gradient passes through z,
    so the weights learn to encode as well as to decode, and there is no encoder. One pass is two
    of the decoder, one gradient of it, and in training the derivative of all three.

    Args:
        decoder: F, a module from latents (B, K) to reconstructions (B, ...).
        latent: K; None asks `decoder.latent`.
        loss: One number an example, for both passes; `sum_squares` or any other.
        steps: Inner gradient steps.
        scale: Length of an inner step; see `find_mean_scale` for losses that are means.
        second_order: Whether the outer loss reaches the weights through the latent. Without it the
            net is trained on latents that it does not learn to make (the paper's `detached`).
        noise: Standard deviation of a start that is drawn anew in each training pass; the paper's
            is 0, the origin. In evaluation it is always the origin.
        learned_start: Whether the start is learned, from zero on.
        learned_scale: Whether the length of a step is learned, one for each dimension (Meta-SGD;
            Li et al. 2017), from `scale` on.

    Raises ValueError for steps below 1, noise below 0, a width that is not known, and for what is
    to be learned without second order, which carries its gradient.

    Example:
        >>> import torch
        >>> from quire.papers.gon import GON, DenseDecoder
        >>> gon = GON(DenseDecoder(16, (1, 8, 8)), latent=16)
        >>> output = gon(torch.rand(5, 1, 8, 8))
        >>> output.reconstruction.shape, output.latent.shape
        (torch.Size([5, 1, 8, 8]), torch.Size([5, 16]))
    """

    def __init__(
        self,
        decoder: nn.Module,
        *,
        latent: int | None = None,
        loss: Loss = sum_squares,
        steps: int = 1,
        scale: float = 1.0,
        second_order: bool = True,
        noise: float = 0.0,
        learned_start: bool = False,
        learned_scale: bool = False,
    ) -> None:
        super().__init__()
        width = getattr(decoder, "latent", None) if latent is None else latent
        if not isinstance(width, int) or width < 1:
            raise ValueError(f"latent must be a number of dimensions, at least 1, got {width!r}")
        if steps < 1 or noise < 0:
            raise ValueError(
                f"steps must be at least 1 and noise at least 0, got {steps} and {noise}"
            )
        if (learned_start or learned_scale) and not second_order:
            raise ValueError("a learned start or scale needs second_order: its gradient comes "
                             "through the latent")  # fmt: skip
        self.decoder = decoder
        self.latent = width
        self.loss = loss
        self.steps = steps
        lengths = nn.Parameter(torch.full((width,), float(scale))) if learned_scale else None
        self.scale: float | Tensor = scale if lengths is None else lengths
        self.second_order = second_order
        self.noise = noise
        self.start = nn.Parameter(torch.zeros(width)) if learned_start else None

    def forward(self, x: Tensor) -> GONOutput:
        """Data (B, ...) -> reconstructions and latents."""
        z = self.encode(x)
        return GONOutput(self.decode(z), z)

    def measure_loss(self, x: Tensor) -> Tensor:
        """The outer loss of each example, (B,)."""
        reconstruction, _ = self(x)
        return self.loss(reconstruction, x)

    def encode(self, x: Tensor, *, steps: int | None = None) -> Tensor:
        """The latents (B, K); steps: other than the net's own, which a net rarely bears."""
        start: Tensor | None = self.start
        if self.training and self.noise > 0:
            zero = begin(self.decoder, x, self.latent, start)
            start = zero + self.noise * torch.randn_like(zero)
        return origin(
            self.decoder,
            x,
            self.loss,
            latent=self.latent,
            start=start,
            steps=self.steps if steps is None else steps,
            scale=self.scale,
            second_order=self.second_order,
        )

    def decode(self, z: Tensor) -> Tensor:
        """Latents (B, K) -> reconstructions (B, ...)."""
        out: Tensor = self.decoder(z)
        return out

    def super_resolve(self, x: Tensor, height: int, width: int) -> Tensor:
        """Images (B, C, H, W), encoded as they are and drawn at height x width.

        Raises TypeError where the decoder cannot `render`.
        """
        if not isinstance(self.decoder, Renderer):
            raise TypeError(
                f"{type(self.decoder).__name__} draws at one size only: give a decoder with "
                "render(z, height, width), such as ImplicitDecoder"
            )
        return self.decoder.render(self.encode(x), height, width)

    def interpolate(self, first: Tensor, second: Tensor, points: int = 8) -> Tensor:
        """What decodes the arc between two batches (B, ...), ends included: (points, B, ...)."""
        a, b = self.encode(first), self.encode(second)
        shares = torch.linspace(0, 1, points).tolist()
        return torch.stack([self.decode(slerp(a, b, share)) for share in shares])

    def sample(
        self, count: int, latents: LatentGaussian, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """New data (count, ...) from a Gaussian that was fitted to latents of training data."""
        return self.decode(latents.sample(count, generator=generator))
