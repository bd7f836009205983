"""Distributions over points whose modes are known: a ring, a grid, a line."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from quire.papers.gan.game import jensen_shannon
from quire.papers.gan.quality import cover_modes

EDGE, BINS = 4.0, 40
"""The line's histogram."""


@dataclass(frozen=True)
class Layout:
    """Equally probable normals around centres."""

    centres: tuple[tuple[float, ...], ...]
    """(K, D)."""
    deviation: float
    """Of each normal, in every direction."""

    @property
    def dim(self) -> int:
        """D."""
        return len(self.centres[0])

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Points (count, D)."""
        centres = torch.tensor(self.centres)
        chosen = torch.randint(len(centres), (count,), generator=generator)
        return centres[chosen] + self.deviation * torch.randn(count, self.dim, generator=generator)

    def measure(self, samples: Tensor) -> dict[str, float]:
        """Modes covered, share of samples near one, and the divergence of their histogram, nats.

        Near is within three standard deviations of a centre. In the plane the bins are the modes
        and what is near none; on the line they are 40 and what is beyond ±4, against the exact
        probabilities.
        """
        centres = torch.tensor(self.centres, device=samples.device)
        covered = cover_modes(samples, centres, 3 * self.deviation)
        found = {"modes": float(covered.modes), "near": covered.near}
        if self.dim > 1:
            return found | {"divergence": covered.divergence}
        return found | {"divergence": self.compare_histogram(samples.flatten().double().cpu())}

    def compare_histogram(self, samples: Tensor) -> float:
        """Jensen-Shannon divergence of samples (M,) on the line from the exact bins, nats."""
        edges = torch.linspace(-EDGE, EDGE, BINS + 1, dtype=torch.float64)
        counts = torch.bincount(torch.bucketize(samples, edges), minlength=BINS + 2)
        found = counts.double() / len(samples)
        centres = torch.tensor(self.centres, dtype=torch.float64)
        below = torch.special.ndtr((edges - centres) / self.deviation).mean(0)
        exact = torch.diff(below, prepend=below.new_zeros(1), append=below.new_ones(1))
        return float(jensen_shannon(found, exact))

    def grid(self) -> Tensor:
        """Places on the line to draw, (P, 1)."""
        return torch.linspace(-EDGE, EDGE, 161)[:, None]


RING = tuple((2 * math.cos(math.pi * k / 4), 2 * math.sin(math.pi * k / 4)) for k in range(8))
GRID = tuple((float(x), float(y)) for x in range(-4, 5, 2) for y in range(-4, 5, 2))
LAYOUTS = {
    "ring": Layout(RING, 0.05),
    "grid": Layout(GRID, 0.05),
    "line": Layout(((-1.5,), (1.5,)), 0.5),
}
