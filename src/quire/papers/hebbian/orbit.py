"""What weights do in a life: their way in few dimensions, whether lives meet, when they recover.

T steps, B lives, S weights. A trail is what `roll_out(keep=True)` gives, (T, B, S) or of one life.
"""

from typing import NamedTuple, Self

import torch
from torch import Tensor


class Orbit(NamedTuple):
    """The directions in which one life's weights vary most (figure of the paper: three of them)."""

    mean: Tensor
    """(S,)."""
    axes: Tensor
    """(S, K), orthonormal, the largest variance first."""
    share: float
    """Of that life's variance which lies in them."""

    @classmethod
    def fit(cls, trail: Tensor, dims: int = 3) -> Self:
        """To the trail (T, S) of one life.

        Raises ValueError for another shape, and for fewer steps than dimensions.
        """
        if trail.dim() != 2 or len(trail) <= dims:
            raise ValueError(f"a trail of one life is (T, S) with T above {dims}, got "
                             f"{tuple(trail.shape)}")  # fmt: skip
        wide = trail.double()
        mean = wide.mean(0)
        _, spread, axes = torch.linalg.svd(wide - mean, full_matrices=False)
        variance = spread.square()
        whole = float(variance.sum())
        share = float(variance[:dims].sum()) / whole if whole > 0 else 1.0
        return cls(mean, axes[:dims].T.contiguous(), share)

    def project(self, trail: Tensor) -> Tensor:
        """Weights (..., S) in these directions, (..., K)."""
        return (trail.double() - self.mean) @ self.axes

    def captured(self, trail: Tensor) -> float:
        """Share of the variance of another life's trail (T, S), about its own mean, in them."""
        centred = trail.double() - trail.double().mean(0)
        whole = float(centred.square().sum())
        return float((centred @ self.axes).square().sum()) / whole if whole > 0 else 1.0


def spread(weights: Tensor) -> float:
    """Mean distance of two of B lives' weights (B, S), over the root mean square of their lengths.

    Weights that are drawn apart have the square root of 2. Raises ValueError for less than two.
    """
    if weights.dim() != 2 or len(weights) < 2:
        raise ValueError(f"weights of two lives or more are (B, S), got {tuple(weights.shape)}")
    wide = weights.double()
    length = float(wide.square().sum(-1).mean().sqrt())
    return float(torch.pdist(wide).mean()) / length if length > 0 else 0.0


def contrast(weights: Tensor) -> float:
    """How far weights of other bodies are, over how far those of the same body are: 1 is alike.

    weights: (B, E, S), B lives in each of E bodies, at least two of both.
    """
    lives, bodies, _ = weights.shape
    apart = torch.cdist(weights.double().flatten(0, 1), weights.double().flatten(0, 1))
    body = torch.arange(bodies).repeat(lives)
    same = body[:, None] == body
    own = same & ~torch.eye(lives * bodies, dtype=torch.bool)
    return float(apart.cpu()[~same].mean() / apart.cpu()[own].mean().clamp(min=1e-12))


def speed(rewards: Tensor, window: int = 20) -> Tensor:
    """Mean reward of the `window` steps from each step on, over all lives, (T - window + 1,).

    rewards: (T, ...). Raises ValueError for fewer steps than a window has.
    """
    if not 0 < window <= len(rewards):
        raise ValueError(f"a window of {window} steps does not fit into {len(rewards)}")
    return rewards.double().flatten(1).mean(1).unfold(0, window, 1).mean(-1)


def onset(rewards: Tensor, *, share: float = 0.5, window: int = 20) -> int:
    """The first step from which on a window's speed is `share` of that of the last quarter.

    T where there is none, and where the last quarter goes backwards. rewards: (T, ...).
    """
    late = float(rewards[-(len(rewards) // 4) :].double().mean())
    fast = speed(rewards, window) >= share * late
    return int(fast.double().argmax()) if late > 0 and bool(fast.any()) else len(rewards)


class Recovery(NamedTuple):
    """How lives go on after a blow at half of their time."""

    share: float
    """Speed in the last quarter over that in the quarter before the blow; 0 where that was not
    above 0."""
    steps: int
    """Until a window's speed is half of that before the blow; what is left of the life where it
    never is."""


def recover(rewards: Tensor, *, window: int = 20) -> Recovery:
    """From rewards (T, ...) of lives that were hit before step T / 2."""
    hit, quarter = len(rewards) // 2, len(rewards) // 4
    before = float(rewards[hit - quarter : hit].double().mean())
    after = float(rewards[-quarter:].double().mean())
    if before <= 0:
        return Recovery(0.0, len(rewards) - hit)
    fast = speed(rewards[hit:], min(window, len(rewards) - hit)) >= before / 2
    steps = int(fast.double().argmax()) if bool(fast.any()) else len(rewards) - hit
    return Recovery(after / before, steps)
