"""What is done with latents (B, K): a Gaussian over them, and the way from one to another."""

from typing import NamedTuple, Self

import torch
from torch import Tensor


class LatentGaussian(NamedTuple):
    """A Gaussian with full covariance, fitted to latents: how a GON is sampled from (section 3)."""

    mean: Tensor
    """(K,)."""
    factor: Tensor
    """(K, K), whose product with its own transpose is the covariance."""

    @classmethod
    def fit(cls, z: Tensor) -> Self:
        """To latents (N, K), N at least 2; directions without variance get none.

        Raises ValueError for another shape.
        """
        if z.dim() != 2 or len(z) < 2:
            raise ValueError(f"latents must be (N, K) with N at least 2, got {tuple(z.shape)}")
        wide = z.detach().double()
        # A root by eigenvectors: Cholesky's needs a covariance of full rank.
        values, vectors = torch.linalg.eigh(torch.cov(wide.T).reshape(z.shape[1], z.shape[1]))
        factor = vectors * values.clamp(min=0).sqrt()
        return cls(wide.mean(0).to(z.dtype), factor.to(z.dtype))

    def sample(self, count: int, *, generator: torch.Generator | None = None) -> Tensor:
        """Latents (count, K). generator: on the CPU, so that every device draws the same."""
        noise = torch.randn(count, len(self.mean), generator=generator)
        return self.mean + noise.to(self.mean) @ self.factor.T


def slerp(a: Tensor, b: Tensor, share: float) -> Tensor:
    """Spherical interpolation of latents (..., K): `a` at share 0, `b` at share 1.

    Between unit vectors it keeps to the sphere. Where two are parallel, opposite or zero, the arc
    is not defined (or of no length), and the straight line is taken.
    """
    if a.shape != b.shape:
        raise ValueError(f"latents must have one shape, got {tuple(a.shape)} and {tuple(b.shape)}")
    tiny = torch.finfo(a.dtype).tiny
    norms = (a.norm(dim=-1, keepdim=True) * b.norm(dim=-1, keepdim=True)).clamp(min=tiny)
    cosine = ((a * b).sum(-1, keepdim=True) / norms).clamp(-1, 1)
    angle = torch.acos(cosine)
    sine = torch.sin(angle)
    straight = sine.abs() < 1e-4
    safe = torch.where(straight, torch.ones_like(sine), sine)
    left = torch.where(straight, 1 - share, torch.sin((1 - share) * angle) / safe)
    right = torch.where(straight, share, torch.sin(share * angle) / safe)
    return left * a + right * b
