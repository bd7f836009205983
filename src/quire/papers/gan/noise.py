"""Noise, and ways between two points of it (figure 3)."""

import math

import torch
from torch import Tensor


def draw_uniform(count: int, width: int, generator: torch.Generator) -> Tensor:
    """Noise (count, width) uniform in ±sqrt(3), which has variance 1: the paper's on MNIST."""
    return (torch.rand(count, width, generator=generator) * 2 - 1) * math.sqrt(3)


def draw_normal(count: int, width: int, generator: torch.Generator) -> Tensor:
    """Standard normal noise, (count, width)."""
    return torch.randn(count, width, generator=generator)


def interpolate(start: Tensor, end: Tensor, steps: int) -> Tensor:
    """`steps` points on the straight lines from start to end, (..., Z) to (steps, ..., Z).

    Both ends are among them. Raises ValueError for other shapes, or less than two steps.

    >>> interpolate(torch.zeros(1), torch.ones(1), 3).flatten()
    tensor([0.0000, 0.5000, 1.0000])
    """
    share = shares(start, end, steps)
    return torch.lerp(start, end, share)


def interpolate_on_sphere(start: Tensor, end: Tensor, steps: int) -> Tensor:
    """`steps` points on the great circles from start to end, (..., Z) to (steps, ..., Z).

    Norms go along a line from one end's to the other's, so that normal noise keeps the norm that
    it usually has. From the origin, and between parallel or opposite points, there is no one
    circle: it is the straight line. Raises ValueError for other shapes, or less than two steps.
    """
    share = shares(start, end, steps)
    lengths = [x.norm(dim=-1, keepdim=True) for x in (start, end)]
    units = [x / length.clamp_min(1e-12) for x, length in zip((start, end), lengths, strict=True)]
    cosine = (units[0] * units[1]).sum(-1, keepdim=True)
    angle = cosine.clamp(-1, 1).acos()
    sine = angle.sin()
    plain = (sine.abs() < 1e-3) | (lengths[0] == 0) | (lengths[1] == 0)
    safe = torch.where(plain, 1, sine)
    circle = (
        ((1 - share) * angle).sin() / safe * units[0] + (share * angle).sin() / safe * units[1]
    ) * torch.lerp(lengths[0], lengths[1], share)
    return torch.where(plain, torch.lerp(start, end, share), circle)


def shares(start: Tensor, end: Tensor, steps: int) -> Tensor:
    """How far along each point is, (steps, 1, ...). Raises ValueError as its callers say."""
    if start.shape != end.shape or not start.ndim or steps < 2:
        raise ValueError(
            "interpolation takes two points (..., Z) of one shape and at least 2 steps, "
            f"got {tuple(start.shape)}, {tuple(end.shape)} and {steps}"
        )
    share = torch.linspace(0, 1, steps, dtype=start.dtype, device=start.device)
    return share.view(-1, *[1] * start.ndim)
