"""What the paper proves, as functions: separation, energy bounds, capacity, retrieval error.

N patterns, K dimension (the paper's d), M the largest norm of a pattern. `stored` is (N, K).
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor


def pattern_separation(stored: Tensor) -> Tensor:
    """Delta_i = min over j != i of x_i.x_i - x_i.x_j: (N,) (definition 2). Needs two patterns.

    Example:
        >>> import torch
        >>> from quire.papers.hopfield import pattern_separation
        >>> pattern_separation(torch.tensor([[2.0, 0.0], [0.0, 1.0]]))
        tensor([4., 1.])
    """
    if len(stored) < 2:
        raise ValueError(f"separation needs at least two patterns, got {len(stored)}")
    overlap = stored @ stored.T
    own = overlap.diagonal().clone()
    overlap.fill_diagonal_(-torch.inf)
    return own - overlap.amax(1)


class CapacityBound(NamedTuple):
    """The lower bound of theorem 3.

    base: c, of which the capacity is sqrt(p) c^((d - 1) / 4). patterns: that number. Both are
    infinite where floating point ends. valid: whether the theorem's condition
    c >= (2 / sqrt(p))^(4 / (d - 1)) is met.
    """

    base: float
    patterns: float
    valid: bool


def capacity_bound(
    dim: int, *, beta: float = 1.0, radius: float = 1.0, p: float = 1e-3
) -> CapacityBound:
    """Patterns that are stored with probability 1 - p (theorem 3).

    They are drawn uniformly on the sphere of radius M = K sqrt(d - 1). c = b / W0(exp(a + ln b)),
    a = 2 / (d - 1) (1 + ln(2 beta K^2 p (d - 1))), b = 2 K^2 beta / 5, W0 Lambert's function.

    Args:
        dim: d, at least 2.
        beta: Inverse temperature.
        radius: K.
        p: Probability that the patterns are not stored.

    Raises ValueError for numbers outside these ranges.

    Example:
        >>> from quire.papers.hopfield import capacity_bound
        >>> round(capacity_bound(20, radius=3.0).base, 4), round(capacity_bound(75).base, 4)
        (3.1546, 1.3719)
    """
    if dim < 2 or not (beta > 0 and radius > 0 and 0 < p < 1):
        raise ValueError(
            "dim > 1, beta > 0, radius > 0 and 0 < p < 1 expected, "
            f"got {dim}, {beta}, {radius} and {p}"
        )
    if not 0 < beta * radius * radius * p < math.inf:
        raise ValueError(f"beta radius^2 p leaves floating point, got {beta}, {radius} and {p}")
    from scipy.special import lambertw  # 0.15 s, and only this needs it

    a = 2 / (dim - 1) * (1 + math.log(2 * beta * radius**2 * p * (dim - 1)))
    b = 2 * radius**2 * beta / 5
    needed = (2 / math.sqrt(p)) ** (4 / (dim - 1))
    exponent = a + math.log(b)
    try:
        base = b / float(lambertw(math.exp(exponent)).real)
    except ZeroDivisionError:  # exp(a + ln b) is 0 in floating point, and W(x) is x for small x
        base = math.exp(-a) if a > -700 else math.inf
    except OverflowError:  # and here infinite: W solves W + ln W = a + ln b
        root = exponent
        for _ in range(5):
            root = exponent - math.log(root)
        base = b / root
    try:
        patterns = math.sqrt(p) * base ** ((dim - 1) / 4)
    except OverflowError:
        patterns = math.inf
    return CapacityBound(base, patterns, base >= needed)


def energy_bounds(stored: Tensor, *, beta: float) -> tuple[float, float]:
    """Upper bounds of the energy in the convex hull (lemma A1).

    They are 2 M^2 and ln(N) / beta + M^2 / 2. Raises ValueError for no pattern or a beta that is
    not positive.
    """
    check_stored(stored, beta)
    square = float(stored.square().sum(-1).max())
    return 2 * square, math.log(len(stored)) / beta + square / 2


class RetrievalBounds(NamedTuple):
    """Bounds for each pattern, (N,), from theorems 4 and 5; they may be far above what they bound.

    jacobian: of ||J||_2 between state and fixed point. error: of ||f(xi) - x_i|| after one update.
    fixed_point: of ||x_i - x_i*||, where both distances are at most 1 / (2 beta N M).
    """

    jacobian: Tensor
    error: Tensor
    fixed_point: Tensor


def retrieval_bounds(stored: Tensor, *, beta: float, distance: Tensor) -> RetrievalBounds:
    """Theorems 4 and 5 for states at a distance (N,) from their pattern.

    distance: the larger of ||xi - x_i|| and ||x_i* - x_i||, with x_i* the fixed point. Raises
    ValueError for fewer than two patterns or a beta that is not positive.
    """
    check_stored(stored, beta)
    n, largest = len(stored), float(stored.norm(dim=-1).max())
    gap = pattern_separation(stored)
    decay = (-beta * (gap - 2 * distance * largest)).exp()
    return RetrievalBounds(
        jacobian=2 * beta * n * largest**2 * (n - 1) * decay,
        error=2 * (n - 1) * largest * decay,
        fixed_point=2 * math.e * (n - 1) * largest * (-beta * gap).exp(),
    )


def check_stored(stored: Tensor, beta: float) -> None:
    """Raises ValueError unless stored is (N, K) with a pattern, and beta positive."""
    if stored.ndim != 2 or not len(stored):
        raise ValueError(f"stored must be (patterns, dim), got {tuple(stored.shape)}")
    if not 0 < beta < math.inf:
        raise ValueError(f"beta must be positive and finite, got {beta}")
