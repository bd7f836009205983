"""Neural radiance fields: the paper's section 3.1.

R rays, S samples along a ray, W width. A field gives (red, green, blue, density) of a point that
is seen from a direction; a picture is an integral over rays (Mildenhall et al. 2020).
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def encode(x: Tensor, frequencies: int) -> Tensor:
    """x itself, and sines and cosines of it at doubling frequencies: (..., 3) -> (..., 3 + 6 L).

    frequencies: L.
    """
    turned = (
        x[..., None, :] * 2.0 ** torch.arange(frequencies, device=x.device, dtype=x.dtype)[:, None]
    )
    waves = torch.cat([turned.sin(), turned.cos()], -1).flatten(-2)
    return torch.cat([x, waves], -1)


class Field(nn.Module):
    """The dense net of a scene: points and directions -> raw colour and density (..., 4).

    Layers over the point with the input again in their middle, a density, then a feature layer and
    one half as wide that sees the direction, and a colour. Marks go behind every module of
    `activations`; the error is taken at all four numbers of each sample.

    Args:
        dim: W.
        layers: Over the point; the input comes again into layer number `skip` + 1.
        skip: After how many of them; 0 is nowhere.
        frequencies: Of points and of directions.

    Example:
        >>> import torch
        >>> from quire.papers.dfa import Field
        >>> field = Field(16, layers=4, skip=2)
        >>> field(torch.rand(5, 7, 3), torch.rand(5, 7, 3)).shape
        torch.Size([5, 7, 4])
    """

    def __init__(
        self,
        dim: int = 256,
        *,
        layers: int = 8,
        skip: int = 4,
        frequencies: tuple[int, int] = (10, 4),
    ) -> None:
        super().__init__()
        if layers < 1 or not 0 <= skip < layers:
            raise ValueError(f"skip must be in 0..{layers - 1}, got {skip} of {layers} layers")
        self.frequencies, self.skip = frequencies, skip
        point, direction = (3 + 6 * count for count in frequencies)
        inputs = [point, *[dim] * (layers - 1)]
        if skip:
            inputs[skip] += point
        self.stack = nn.ModuleList(nn.Linear(width, dim) for width in inputs)
        self.density = nn.Linear(dim, 1)
        self.feature = nn.Linear(dim, dim)
        self.turned = nn.Linear(dim + direction, dim // 2)
        self.colour = nn.Linear(dim // 2, 3)
        self.activations = nn.ModuleList(nn.ReLU() for _ in range(layers + 2))

    def forward(self, point: Tensor, direction: Tensor) -> Tensor:
        """Points and unit directions (..., 3) -> raw colours and density (..., 4)."""
        entry = encode(point, self.frequencies[0])
        h = entry
        for place, layer in enumerate(self.stack):
            if self.skip and place == self.skip:
                h = torch.cat([h, entry], -1)
            h = self.activations[place](layer(h))
        density = self.density(h)
        feature = self.activations[-2](self.feature(h))
        seen = torch.cat([feature, encode(direction, self.frequencies[1])], -1)
        colour = self.colour(self.activations[-1](self.turned(seen)))
        return torch.cat([colour, density], -1)


class Rays(NamedTuple):
    """Rays of a camera: where they begin (R, 3), and how they go (R, 3), a unit of depth long."""

    origin: Tensor
    direction: Tensor


class Rendered(NamedTuple):
    """What rays show: colours (R, 3), and the share of each sample in them (R, S)."""

    colour: Tensor
    share: Tensor


def cast_rays(pose: Tensor, height: int, width: int, focal: float) -> Rays:
    """The rays through the pixels of a picture, row by row.

    Args:
        pose: Camera to world, (4, 4); the camera looks along -z.
        height: Of the picture in pixels.
        width: Of the picture in pixels.
        focal: Focal length in pixels.
    """
    rows, columns = torch.meshgrid(
        torch.arange(height, device=pose.device, dtype=pose.dtype),
        torch.arange(width, device=pose.device, dtype=pose.dtype),
        indexing="ij",
    )
    seen = torch.stack(
        [(columns - width / 2) / focal, (height / 2 - rows) / focal, -torch.ones_like(rows)], -1
    )
    direction = seen.flatten(0, 1) @ pose[:3, :3].T
    return Rays(pose[:3, 3].expand_as(direction), direction)


def to_device_coordinates(rays: Rays, height: int, width: int, focal: float) -> Rays:
    """Rays of a camera that looks forward, in a cube where depth 1 is infinity (appendix C there).

    Args:
        rays: In the camera's world, looking along -z.
        height: Of the picture in pixels.
        width: Of the picture in pixels.
        focal: Focal length in pixels.
    """
    origin, direction = rays
    # From the plane z = -1 on, in front of which nothing is.
    origin = origin + (-(1 + origin[:, 2:]) / direction[:, 2:]) * direction
    scale = origin.new_tensor([-2 * focal / width, -2 * focal / height])
    near = scale * origin[:, :2] / origin[:, 2:]
    slope = scale * (direction[:, :2] / direction[:, 2:] - origin[:, :2] / origin[:, 2:])
    inverse = 2 / origin[:, 2:]
    return Rays(torch.cat([near, 1 + inverse], 1), torch.cat([slope, -inverse], 1))


def sample_depths(
    rays: Rays, near: float, far: float, samples: int, *, generator: torch.Generator | None = None
) -> Tensor:
    """Depths (R, S), one in each of S equal pieces of each ray.

    Args:
        rays: R of them.
        near: Where the pieces begin.
        far: Where they end.
        samples: S.
        generator: Where in its piece each one is; None is the middle.
    """
    count, device = len(rays.origin), rays.origin.device
    place = torch.full((count, samples), 0.5, device=device)
    if generator is not None:
        place = torch.rand(count, samples, generator=generator, device=generator.device).to(device)
    pieces = torch.arange(samples, device=device) + place
    return near + (far - near) * pieces / samples


def sample_again(
    depth: Tensor, share: Tensor, samples: int, *, generator: torch.Generator | None = None
) -> Tensor:
    """More depths where a coarse field showed something, with the old ones, in order: (R, S + S').

    Args:
        depth: Where the coarse samples were, (R, S), in order.
        share: Of each in its ray's colour, (R, S).
        samples: S'.
        generator: Where in its piece of the distribution each one is; None is the middle.
    """
    middle = (depth[:, 1:] + depth[:, :-1]) / 2
    density = share[:, 1:-1].detach() + 1e-5
    total = F.pad((density / density.sum(1, keepdim=True)).cumsum(1), (1, 0))
    place = torch.full((len(depth), samples), 0.5, device=depth.device)
    if generator is not None:
        drawn = torch.rand(place.shape, generator=generator, device=generator.device)
        place = drawn.to(depth.device)
    wanted = ((torch.arange(samples, device=depth.device) + place) / samples).to(total.dtype)
    right = torch.searchsorted(total, wanted.contiguous(), right=True)
    right = right.clamp(1, total.shape[1] - 1)
    left = right - 1
    low, high = total.gather(1, left), total.gather(1, right)
    between = ((wanted - low) / (high - low).clamp(min=1e-5)).clamp(0, 1)
    found = middle.gather(1, left) + between * (middle.gather(1, right) - middle.gather(1, left))
    return torch.cat([depth, found], 1).sort(1).values


def render(
    field: Callable[[Tensor, Tensor], Tensor],
    rays: Rays,
    depth: Tensor,
    *,
    white: bool = True,
    noise: float = 0.0,
    generator: torch.Generator | None = None,
) -> Rendered:
    """Colours of rays from samples along them (eq. 3 of the NeRF paper).

    Args:
        field: From points and unit directions (R, S, 3) to raw colour and density (R, S, 4).
        rays: R of them.
        depth: (R, S), in order.
        white: Whether what is behind everything is white, else black.
        noise: Standard deviation of what is added to raw densities.
        generator: Where that noise comes from.
    """
    origin, direction = rays
    point = origin[:, None] + depth[..., None] * direction[:, None]
    view = F.normalize(direction, dim=1)[:, None].expand_as(point)
    raw = field(point, view)
    density = raw[..., 3]
    if noise > 0:
        home = None if generator is None else generator.device
        drawn = torch.randn(density.shape, generator=generator, device=home)
        density = density + noise * drawn.to(density)
    # The last sample stands for all that is behind it.
    length = F.pad(depth.diff(dim=1), (0, 1), value=1e10) * direction.norm(dim=1, keepdim=True)
    opaque = 1 - (-density.relu() * length).exp()
    clear = F.pad((1 - opaque + 1e-10).cumprod(1)[:, :-1], (1, 0), value=1.0)
    share = opaque * clear
    colour = (share[..., None] * raw[..., :3].sigmoid()).sum(1)
    if white:
        colour = colour + 1 - share.sum(1, keepdim=True)
    return Rendered(colour, share)


def to_decibels(error: Tensor) -> Tensor:
    """The peak signal-to-noise ratio of a mean squared error of pixels in [0, 1], dB."""
    return -10 * error.clamp(min=1e-12).log10()
