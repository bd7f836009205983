"""SIREN (Sitzmann et al. 2020, arXiv 2006.09661) as a decoder of images at any resolution.

Legend: B examples, K latent dimensions, P points, D coordinates of a point, C channels.

A coordinate and a latent enter the first layer side by side, W [c; z] + b = W_c c + (W_z z + b).
The first product is the same for every example and the second for every point, so neither is
computed more than once, and no tensor of B x P x (D + K) is made.
"""

from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Align = Literal["centres", "corners"]
"""Where pixels lie in [-1, 1]: `corners` puts the outer ones at the ends, `centres` half a pixel
inside them, so that images of every resolution cover the same square."""


def make_grid(height: int, width: int, *, align: Align = "centres") -> Tensor:
    """Coordinates (row, column) of all pixels in [-1, 1], row by row, (height * width, 2).

    >>> make_grid(1, 2).tolist()
    [[0.0, -0.5], [0.0, 0.5]]
    """
    if height < 1 or width < 1:
        raise ValueError(f"an image has at least one pixel, got {height} x {width}")
    if align not in ("centres", "corners"):
        raise ValueError(f"align must be 'centres' or 'corners', got {align!r}")
    lines = []
    for size in (height, width):
        edge = 1 - 1 / size if align == "centres" else 1.0
        lines.append(torch.linspace(-edge, edge, size) if size > 1 else torch.zeros(1))
    return torch.cartesian_prod(*lines)


class Siren(nn.Module):
    """sin(w0 (W x + b)) layer after layer and a linear one last: points and latents to channels.

    The weights of the first layer are uniform within 1 / (D + K), the others within
    sqrt(6 / hidden) / w0, so that what enters each sine has unit variance; biases are uniform
    within one over the root of a layer's inputs, which is PyTorch's default. Training images has
    `latent` 32, `hidden` 256 and `layers` 4 in the published code: 206,593 weights.

    Args:
        latent: K; 0 for a net of one image.
        hidden: Width of the sine layers.
        layers: Sine layers.
        channels: C.
        coordinates: D.
        frequency: w0, the same in every layer.

    Raises ValueError for a size below 1 (0 for the latent).

    Example:
        >>> import torch
        >>> from quire.papers.gon import Siren, make_grid
        >>> net = Siren(16, hidden=32, layers=3)
        >>> net(torch.randn(5, 16), make_grid(4, 4)).shape
        torch.Size([5, 16, 1])
    """

    def __init__(
        self,
        latent: int,
        *,
        hidden: int = 256,
        layers: int = 4,
        channels: int = 1,
        coordinates: int = 2,
        frequency: float = 30.0,
    ) -> None:
        super().__init__()
        if min(latent + 1, hidden, layers, channels, coordinates) < 1:
            raise ValueError(
                "hidden, layers, channels and coordinates must be at least 1 and latent 0, got "
                f"{(hidden, layers, channels, coordinates, latent)}"
            )
        self.latent = latent
        self.coordinates = coordinates
        self.frequency = frequency
        self.first = nn.Linear(coordinates + latent, hidden)
        self.middle = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(layers - 1))
        self.last = nn.Linear(hidden, channels)
        nn.init.uniform_(self.first.weight, -1 / (coordinates + latent), 1 / (coordinates + latent))
        bound = (6 / hidden) ** 0.5 / frequency
        for layer in (*self.middle, self.last):
            nn.init.uniform_(layer.weight, -bound, bound)

    def forward(self, z: Tensor, points: Tensor) -> Tensor:
        """Channels (B, P, C) of the images of latents (B, K) at points (P, D), the same for all."""
        check_inputs(z, points, self.latent, self.coordinates)
        weight = self.first.weight
        of_point = F.linear(points.to(weight.dtype), weight[:, : self.coordinates])
        of_latent = F.linear(z, weight[:, self.coordinates :], self.first.bias)
        h = torch.sin(self.frequency * (of_point + of_latent[:, None]))
        for layer in self.middle:
            h = torch.sin(self.frequency * layer(h))
        out: Tensor = self.last(h)
        return out


def check_inputs(z: Tensor, points: Tensor, latent: int, coordinates: int) -> None:
    """Raise ValueError where latents are not (B, latent) or points not (P, coordinates)."""
    if z.dim() != 2 or z.shape[1] != latent:
        raise ValueError(f"latents must be (B, {latent}), got {tuple(z.shape)}")
    if points.dim() != 2 or points.shape[1] != coordinates:
        raise ValueError(f"points must be (P, {coordinates}), got {tuple(points.shape)}")


class ImplicitDecoder(nn.Module):
    """A field read on the grid of an image: latents (B, K) -> images (B, C, H, W).

    `render(z, height, width)` reads the same latents on any other grid.

    Args:
        net: Latents (B, K) and points (P, 2) to channels (B, P, C), with attributes `latent` and
            `coordinates`: a `Siren`, `ShiftedSiren`, `FourierField` or one of your own.
        size: (H, W) of the images that it is trained on.
        align: Where pixels lie; see `make_grid`.

    Example:
        >>> import torch
        >>> from quire.papers.gon import ImplicitDecoder, Siren
        >>> decoder = ImplicitDecoder(Siren(16, hidden=32), (8, 8))
        >>> z = torch.randn(5, 16)
        >>> decoder(z).shape, decoder.render(z, 32, 32).shape
        (torch.Size([5, 1, 8, 8]), torch.Size([5, 1, 32, 32]))
    """

    points: Tensor
    alike = True
    """Every row is drawn alike and alone; see `origin`."""

    def __init__(self, net: nn.Module, size: tuple[int, int], *, align: Align = "centres") -> None:
        super().__init__()
        if net.coordinates != 2:
            raise ValueError(f"an image has 2 coordinates, the net takes {net.coordinates}")
        self.net = net
        self.size = size
        self.align: Align = align
        self.latent = cast("int", net.latent)
        self.register_buffer("points", make_grid(*size, align=align), persistent=False)

    def forward(self, z: Tensor) -> Tensor:
        """Images (B, C, H, W) at the trained size."""
        return self._shape(self.net(z, self.points), *self.size)

    def render(self, z: Tensor, height: int, width: int) -> Tensor:
        """Images (B, C, height, width)."""
        points = make_grid(height, width, align=self.align).to(z.device)
        return self._shape(self.net(z, points), height, width)

    @staticmethod
    def _shape(values: Tensor, height: int, width: int) -> Tensor:
        return values.transpose(1, 2).unflatten(2, (height, width))
