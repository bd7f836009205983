"""Drawn images whose class is a shape, so that recognition and detection run without a download.

Legend: B images, S side in pixels, O objects an image, 8 classes.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

SHAPES = ("disc", "square", "diamond", "ring", "cross", "frame", "saltire", "hourglass")


class Scenes(NamedTuple):
    """image (B, 3, S, S), about -2..2; label (B, O) in 0..7; box (B, O, 4) as x1, y1, x2, y2."""

    image: Tensor
    label: Tensor
    box: Tensor


def draw(count: int, size: int, generator: torch.Generator, *, objects: int = 1) -> Scenes:
    """Draws shapes of random colour and place on a cloudy background.

    Args:
        count: Images.
        size: Side of an image, pixels.
        generator: Where all randomness comes from.
        objects: Shapes an image; more than one stand in a quarter each.

    Raises ValueError for more than four objects.
    """
    if not 1 <= objects <= 4:
        raise ValueError(f"objects must be in 1..4; got {objects}")

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    label = torch.randint(len(SHAPES), (count, objects), generator=generator)
    room = size if objects == 1 else size / 2
    radius = room * (0.2 + 0.25 * uniform(count, objects, 1))
    centre = radius + (room - 2 * radius) * uniform(count, objects, 2)
    # A quarter each, so that objects never hide one another and every box is a whole shape.
    if objects > 1:
        quarter = uniform(count, 4).argsort(1)[:, :objects]
        centre = centre + torch.stack([quarter % 2, quarter // 2], -1) * room
    # A background that varies slowly, and noise on top: no pixel alone gives an object away.
    clouds = torch.randn(count, 3, 4, 4, generator=generator)
    image = F.interpolate(clouds, (size, size), mode="bilinear", align_corners=False) * 0.5
    image = image + 0.2 * torch.randn(count, 3, size, size, generator=generator)
    colour = (1 + uniform(count, objects, 3)) * (uniform(count, objects, 3) - 0.5).sign()
    pixel = torch.arange(size) + 0.5
    for index in range(objects):
        # Coordinates in which the object fills -1..1, so that all shapes are tested at once.
        x = (pixel[None, None, :] - centre[:, index, 0, None, None]) / radius[:, index, :, None]
        y = (pixel[None, :, None] - centre[:, index, 1, None, None]) / radius[:, index, :, None]
        inside = _lie_inside(*torch.broadcast_tensors(x, y))
        mask = inside.gather(0, label[:, index].view(1, -1, 1, 1).expand(1, -1, size, size))
        image = torch.where(mask[0][:, None], image + colour[:, index, :, None, None], image)
    return Scenes(image, label, torch.cat([centre - radius, centre + radius], -1))


def _lie_inside(x: Tensor, y: Tensor) -> Tensor:
    """(8, B, S, S): whether each point lies in each shape of half width 1 around the origin."""
    x, y = x.abs(), y.abs()
    distance, larger, smaller = (x**2 + y**2).sqrt(), torch.maximum(x, y), torch.minimum(x, y)
    return torch.stack([
        distance < 1,
        larger < 1,
        x + y < 1,
        (distance < 1) & (distance > 0.6),
        (larger < 1) & (smaller < 0.3),
        (larger < 1) & (larger > 0.65),
        (larger < 1) & ((x - y).abs() < 0.35),
        (larger < 1) & (x < y),
    ])  # fmt: skip
