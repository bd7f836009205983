"""The addition table, what is held out of it, and lessons that never contain it.

Shapes: M members, N cells, n cells shown.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Holdout = Callable[[Tensor], Tensor]
"""Pairs (N, 2) to whether each one is held out, bool (N,)."""


def list_cells(size: int = 10) -> Tensor:
    """All pairs (a, b) below `size`, row by row: (size ** 2, 2), whole numbers."""
    numbers = torch.arange(size)
    return torch.cartesian_prod(numbers, numbers)


def only(a: int, b: int) -> Holdout:
    """Hold out the one cell a + b; b + a stays.

    Example:
        >>> int(only(2, 2)(list_cells()).sum())
        1
    """
    return lambda pairs: (pairs == torch.tensor([a, b], device=pairs.device)).all(-1)


def with_sum(total: int) -> Holdout:
    """Hold out every pair whose sum is `total`.

    Example:
        >>> int(with_sum(4)(list_cells()).sum())
        5
    """
    return lambda pairs: pairs.sum(-1) == total


def containing(number: int) -> Holdout:
    """Hold out every pair that contains `number`.

    Example:
        >>> int(containing(2)(list_cells()).sum())
        19
    """
    return lambda pairs: (pairs == number).any(-1)


def random_cells(
    count: int, *, generator: torch.Generator | None = None, never: Holdout | None = None
) -> Holdout:
    """Hold out `count` cells at random, none of those that `never` holds out.

    The function that comes back draws anew at each call. It raises ValueError where fewer than
    `count` cells are left to draw from.

    Example:
        >>> int(random_cells(30, never=only(2, 2))(list_cells()).sum())
        30
    """

    def hold_out(pairs: Tensor) -> Tensor:
        free = torch.ones(len(pairs), dtype=torch.bool) if never is None else ~never(pairs)
        if not 0 <= count <= int(free.sum()):
            raise ValueError(f"count must be 0 to {int(free.sum())}, the cells there, got {count}")
        # What may not be drawn comes last, however small its number is.
        order = (torch.rand(len(pairs), generator=generator) + 2 * ~free).argsort()
        held = torch.zeros(len(pairs), dtype=torch.bool)
        held[order[:count]] = True
        return held

    return hold_out


@dataclass(frozen=True)
class Lesson:
    """What each member of a panel is shown."""

    pairs: Tensor
    """(M, n, 2), whole numbers. A member with fewer cells than another has some of them twice."""
    sums: Tensor
    """What each pair is said to be, (M, n)."""
    weight: Tensor
    """(M, n): one over a member's number of cells, 0 at what it has twice."""

    def to(self, device: torch.device) -> "Lesson":
        """The same on a device."""
        return Lesson(*(x.to(device) for x in (self.pairs, self.sums, self.weight)))


def make_lesson(shown: Tensor, pairs: Tensor, sums: Tensor | None = None) -> Lesson:
    """The cells that `shown` shows each member, and no other.

    Args:
        shown: Bool (M, N).
        pairs: (N, 2).
        sums: What they are said to be, (N,) or (M, N); a + b where None.

    Raises ValueError where a member is shown nothing, or where the shapes do not fit.

    Example:
        >>> pairs = list_cells()
        >>> lesson = make_lesson(~only(2, 2)(pairs)[None], pairs)
        >>> lesson.pairs.shape
        torch.Size([1, 99, 2])
    """
    if shown.ndim != 2 or shown.shape[1] != len(pairs):
        raise ValueError(f"shown must be (members, {len(pairs)}), got {tuple(shown.shape)}")
    count = shown.sum(1)
    if not len(shown) or int(count.min()) == 0:
        raise ValueError("every member must be shown at least one cell")
    said = (pairs.sum(-1) if sums is None else sums).expand(shown.shape)
    place = torch.arange(int(count.max()))
    # Shown cells first, in their order; then from the first one again where a row is too short.
    order = (~shown).to(torch.uint8).argsort(dim=1, stable=True)
    index = order.gather(1, place % count[:, None])
    weight = (place < count[:, None]) / count[:, None]
    return Lesson(pairs[index], said.gather(1, index), weight)


def check_leak(lesson: Lesson, held: Holdout) -> None:
    """Raise ValueError with the first pair of `lesson` that `held` holds out, if there is one."""
    leaked = held(lesson.pairs.flatten(0, 1))
    if bool(leaked.any()):
        a, b = lesson.pairs.flatten(0, 1)[leaked][0].tolist()
        raise ValueError(f"the lesson contains {a} + {b}, which is held out")
