"""Three kinds of fixed points: over all patterns, over a cluster, at a single pattern."""

import math

import torch
from pydantic import PositiveInt
from torch import Tensor
from torch.nn.functional import normalize

from quire.lab import Config, Metrics, Run
from quire.papers.hopfield.energy import retrieve
from quire.papers.hopfield.experiments.figures import draw_energy
from quire.papers.hopfield.heads import patterns_needed

CLUSTERS, MEMBERS, DIM = 3, 10, 32
"""Clusters, patterns in each, and the dimension of a pattern."""
RADIUS = 4
"""Norm of all patterns."""
SPREAD = 0.3
"""Standard deviation of a member's coordinates around the centre, before it is scaled."""


class Regimes(Config):
    """Three clusters of patterns, and what states that begin at a pattern converge to."""

    betas: PositiveInt = 31
    """Inverse temperatures from 0.01 to 10, evenly on the logarithmic scale."""


def regimes(config: Regimes, run: Run) -> Metrics:
    """Entropy of the association and number of different fixed points over beta (section 2)."""
    stored = draw_clusters(run.rng("patterns")).to(run.device)
    betas = torch.logspace(-2, 1, config.betas, dtype=torch.float64).tolist()
    entropies, points, needed = [], [], []
    for beta in betas:
        state = retrieve(stored, stored, beta=beta).state
        p = (beta * state @ stored.T).softmax(-1)
        entropies.append(float(torch.special.entr(p).sum(-1).mean()))
        points.append(float(count_different(state)))
        needed.append(float(patterns_needed(p).double().mean()))
    run.series("entropy", betas, entropies, x_label="beta", y_label="entropy, nats")
    run.series("fixed_points", betas, points, x_label="beta", y_label="number")
    run.series("needed", betas, needed, x_label="beta", y_label="patterns for 0.90 of the mass")
    # Six patterns on a circle, in pairs 24 degrees apart.
    angle = torch.deg2rad(torch.tensor([-12.0, 12.0, 108.0, 132.0, 228.0, 252.0]))
    circle = 1.2 * torch.stack((angle.cos(), angle.sin()), 1)
    run.figure("landscape", draw_energy(circle, (0.5, 4.0, 60.0)))
    middle = min(range(len(betas)), key=lambda at: abs(entropies[at] - math.log(MEMBERS)))
    return {
        "entropy_low": entropies[0],
        "entropy_middle": entropies[middle],
        "entropy_high": entropies[-1],
        "points_low": points[0],
        "points_middle": points[middle],
        "points_high": points[-1],
        "needed_low": needed[0],
        "needed_middle": needed[middle],
        "needed_high": needed[-1],
        "beta_middle": betas[middle],
    }


def draw_clusters(generator: torch.Generator) -> Tensor:
    """The patterns (30, 32) in float64, cluster after cluster."""
    centre = torch.randn(CLUSTERS, 1, DIM, generator=generator, dtype=torch.float64)
    centre = RADIUS * centre / centre.norm(dim=-1, keepdim=True)
    around = torch.randn(CLUSTERS, MEMBERS, DIM, generator=generator, dtype=torch.float64)
    # Patterns of one norm are all separated: none is hidden by a longer one of its cluster.
    return (RADIUS * normalize(centre + SPREAD * around, dim=-1)).flatten(0, 1)


def count_different(state: Tensor, tolerance: float = 0.01) -> int:
    """How many of the states (S, K) are apart by more than the tolerance."""
    kept: list[Tensor] = []
    for row in state:
        if all((row - other).norm() > tolerance for other in kept):
            kept.append(row)
    return len(kept)
