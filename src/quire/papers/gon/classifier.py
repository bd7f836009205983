"""A GON whose outer loss is another than its inner one: here a classifier (section 3).

The inner loss needs the image alone, so that the latent can be made at test; the outer one needs
the label. Legend: B examples, K latent dimensions, N classes, T trunk width.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from quire.papers.gon.origin import Loss, origin, sum_squares


class OriginClassifier(nn.Module):
    """Logits (B, N) of images (B, ...): one trunk, one head that draws and one that names.

    The latent is the origin gradient of drawing, -d loss(draw(trunk(0)), x) / d 0; the logits are
    name(trunk(latent)). Nothing of it is trained to draw unless the caller adds that loss, which
    `measure_loss` does by its weight.

    Args:
        trunk: (B, K) -> (B, T).
        draw: (B, T) -> (B, ...), as the data.
        name: (B, T) -> (B, N).
        latent: K.
        loss: The inner one, one number an example.
        scale: Length of the inner step.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from quire.papers.gon import OriginClassifier
        >>> trunk = nn.Sequential(nn.Linear(16, 32), nn.SiLU())
        >>> net = OriginClassifier(trunk, nn.Linear(32, 64), nn.Linear(32, 10), latent=16)
        >>> net(torch.rand(5, 64)).shape
        torch.Size([5, 10])
    """

    def __init__(
        self,
        trunk: nn.Module,
        draw: nn.Module,
        name: nn.Module,
        *,
        latent: int,
        loss: Loss = sum_squares,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        if latent < 1:
            raise ValueError(f"latent must be at least 1, got {latent}")
        self.trunk = trunk
        self.draw = draw
        self.name = name
        self.latent = latent
        self.loss = loss
        self.scale = scale

    def encode(self, x: Tensor) -> Tensor:
        """(B, ...) -> (B, K)."""
        return origin(self.decode, x, self.loss, latent=self.latent, scale=self.scale)

    def decode(self, z: Tensor) -> Tensor:
        """(B, K) -> (B, ...)."""
        out: Tensor = self.draw(self.trunk(z))
        return out

    def forward(self, x: Tensor) -> Tensor:
        """(B, ...) -> logits (B, N)."""
        out: Tensor = self.name(self.trunk(self.encode(x)))
        return out

    def measure_loss(self, x: Tensor, label: Tensor, *, weight: float = 0.0) -> Tensor:
        """Cross-entropy of each example in nats, (B,), plus `weight` times its drawing loss."""
        hidden = self.trunk(self.encode(x))
        loss = F.cross_entropy(self.name(hidden), label, reduction="none")
        return loss + weight * self.loss(self.draw(hidden), x) if weight else loss
