"""How good samples are, beside a likelihood: coverage, precision, recall, distances, a test.

N examples of data, M samples, D numbers or features in each, K modes. Nothing here trains: give
features in place of pixels where pixels say little.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from quire.papers.gan.game import jensen_shannon
from quire.papers.gan.parzen import check_rows, squared_distances

BLOCK = 2048
"""Rows of a block of distances."""


@dataclass(frozen=True)
class Coverage:
    """How samples are spread over known modes."""

    modes: int
    """Modes with at least the asked share of their due."""
    near: float
    """Share of the samples within `reach` of a mode."""
    divergence: float
    """Jensen-Shannon divergence of the counts, nats: the modes and "none", against equal parts."""


def cover_modes(samples: Tensor, modes: Tensor, reach: float, *, share: float = 0.1) -> Coverage:
    """Which of the modes the samples come near.

    Args:
        samples: (M, D).
        modes: Centres, (K, D), all as probable.
        reach: Largest distance at which a sample belongs to its nearest mode.
        share: A mode is covered with this part of M / K samples or more.

    Raises ValueError for no samples or other shapes.
    """
    samples, modes = check_rows(samples, modes)
    squared, nearest = squared_distances(samples, modes).min(1)
    near = squared <= reach**2
    counts = torch.bincount(nearest[near], minlength=len(modes)).double()
    found = torch.cat([counts, (~near).sum().double()[None]]) / len(samples)
    due = torch.full_like(found, 1 / len(modes))
    due[-1] = 0
    covered = counts >= share * len(samples) / len(modes)
    return Coverage(
        int(covered.sum()), float(near.double().mean()), float(jensen_shannon(found, due))
    )


def nearest_distances(x: Tensor, among: Tensor, *, rank: int = 1) -> Tensor:
    """Distance of each row (M, ...) to its nearest of the rows (N, ...), (M,).

    x: what is asked for; among: what is searched; rank: 2 takes the second nearest, which leaves
    out the row itself. Raises ValueError for other shapes or fewer than `rank` rows to search.
    """
    among, x = check_rows(among, x)
    if not 1 <= rank <= len(among):
        raise ValueError(f"rank must be in 1..{len(among)}, the rows to search, got {rank}")
    found = [squared_distances(part, among).kthvalue(rank, 1).values for part in x.split(BLOCK)]
    return torch.cat(found).sqrt() if found else x.new_empty(0)


def precision_recall(real: Tensor, fake: Tensor, *, neighbours: int = 3) -> tuple[float, float]:
    """Precision and recall by balls to the k-th neighbour (Kynkäänniemi et al. 2019).

    Precision is the share of samples that lie in a ball of some example of the data, whose radius
    is the distance to its k-th neighbour among the data; recall is the same with the sides
    changed. Take as many of both, since balls shrink with the number.

    real: (N, ...); fake: (M, ...); neighbours: k. Raises ValueError for other shapes, or k or
    fewer rows on a side.
    """
    sides = check_rows(real, fake)
    if min(map(len, sides)) <= neighbours or neighbours < 1:
        raise ValueError(
            f"both sides need more than neighbours = {neighbours} >= 1 rows, "
            f"got {len(real)} and {len(fake)}"
        )
    radii = [nearest_distances(x, x, rank=neighbours + 1) for x in sides]
    return (
        share_within(sides[1], sides[0], radii[0]),
        share_within(sides[0], sides[1], radii[1]),
    )


def share_within(x: Tensor, centres: Tensor, radii: Tensor) -> float:
    """Share of the rows x (M, D) in at least one ball around centres (N, D) with radii (N,)."""
    inside = [
        (squared_distances(part, centres) <= radii.square()).any(1) for part in x.split(BLOCK)
    ]
    return float(torch.cat(inside).double().mean())


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """The squared Fréchet distance of two normal distributions fitted to rows (N, D) and (M, D).

    The squared distance of the means + tr(A + B - 2 (A B)^(1/2)), in float64 (Heusel et al. 2017).
    On features of a network that you trained it compares models, and with nothing published.
    Raises ValueError for other shapes or fewer than two rows on a side.
    """
    a, b = check_rows(a, b)
    if min(len(a), len(b)) < 2:
        raise ValueError(f"a covariance needs two rows or more, got {len(a)} and {len(b)}")
    first, second = (torch.atleast_2d(torch.cov(x.T)) for x in (a, b))
    # The root of A B has the eigenvalues of the root of sqrt(A) B sqrt(A), which is symmetric.
    values, vectors = torch.linalg.eigh(first)
    root = (vectors * values.clamp_min(0).sqrt()) @ vectors.T
    cross = torch.linalg.eigvalsh(root @ second @ root).clamp_min(0).sqrt().sum()
    apart = (a.mean(0) - b.mean(0)).square().sum()
    return float((apart + first.trace() + second.trace() - 2 * cross).clamp_min(0))


def kernel_distance(a: Tensor, b: Tensor, *, degree: int = 3) -> float:
    """The squared kernel distance of rows (N, D) and (M, D), KID (Bińkowski et al. 2018).

    It is the squared maximum mean discrepancy under the kernel (x y / D + 1)^degree, estimated
    without bias, in float64: pairs of a row with itself are left out. So it does not fall as rows
    become more, as the Fréchet distance does, and may be a little below 0. On features of a
    network that you trained it compares models, and with nothing published.

    a, b: rows (N, ...) and (M, ...); degree: of the polynomial. Raises ValueError for other shapes,
    fewer than two rows on a side, or a degree below 1.
    """
    a, b = check_rows(a, b)
    if min(len(a), len(b)) < 2 or degree < 1:
        raise ValueError(
            "a kernel distance takes two rows or more on a side and a degree of at least 1, "
            f"got {len(a)}, {len(b)} and {degree}"
        )

    def total(x: Tensor, y: Tensor) -> Tensor:
        parts = [(part @ y.T / y.shape[1] + 1).pow(degree).sum() for part in x.split(BLOCK)]
        return torch.stack(parts).sum()

    within = [
        (total(x, x) - (x.square().mean(1) + 1).pow(degree).sum()) / (len(x) * (len(x) - 1))
        for x in (a, b)
    ]
    return float(within[0] + within[1] - 2 * total(a, b) / (len(a) * len(b)))


@dataclass(frozen=True)
class TwoSampleTest:
    """Whether a classifier tells samples from data."""

    accuracy: float
    """Share of held-out rows of both kinds that it puts right; 1/2 where nobody can tell."""
    p_value: float
    """How probable so high an accuracy would be if both were of one distribution."""


def two_sample_test(real: Tensor, fake: Tensor, generator: torch.Generator) -> TwoSampleTest:
    """A classifier two-sample test by nearest neighbours (Lopez-Paz and Oquab 2017, section 3).

    Half of the rows of each kind are known, the other half is put to the kind of most of its
    neighbours among them, which are as many as the root of the number of known rows. Under the
    hypothesis of one distribution the accuracy is nearly normal around 1/2 with a variance of 1 / 4
    of the number of rows asked for.

    Args:
        real: Data, (N, ...).
        fake: As many samples.
        generator: Draws the halves; on the CPU.

    Raises ValueError for other shapes, another number of samples than of data, or less than two.
    """
    count = len(real)
    if len(fake) != count or count < 2:
        raise ValueError(
            f"the test takes as many samples as data, two or more, got {count} and {len(fake)}"
        )
    known, asked = [], []
    for rows in check_rows(real, fake):
        order = torch.randperm(count, generator=generator).to(rows.device)
        known.append(rows[order[: count // 2]])
        asked.append(rows[order[count // 2 :]])
    among = torch.cat(known)
    is_real = torch.arange(len(among), device=among.device) < len(known[0])
    neighbours = math.isqrt(len(among))
    right = []
    for truth, rows in zip((True, False), asked, strict=True):
        for part in rows.split(BLOCK):
            near = squared_distances(part, among).topk(neighbours, largest=False).indices
            said = 2 * is_real[near].sum(1) > neighbours
            right.append(said == truth)
    accuracy = float(torch.cat(right).double().mean())
    deviation = 0.5 / math.sqrt(2 * len(asked[0]))
    return TwoSampleTest(accuracy, math.erfc((accuracy - 0.5) / deviation / math.sqrt(2)) / 2)


def measure_spread(x: Tensor) -> Tensor:
    """Root of the mean squared distance of rows (N, ...) to their mean, ()."""
    return (x - x.mean(0)).flatten(1).square().sum(1).mean().sqrt()
