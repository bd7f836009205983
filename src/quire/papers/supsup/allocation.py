"""Nobody says that the task has changed: when is a new mask due? (section 3.4, scenario NNs)

Legend: k masks in use, C columns that are compared, at least five of them; n weights.

Data of a task that a mask knows have one steepest direction; those of a new task have none, and the
softmax over directions is flat. A softmax over a single mask is 1 whatever the data are, and the
rule would always allocate a second one. So at least five columns take part, as in the published
code: masks that nobody has trained yet fill them up. Masks are never merged and never freed.
"""

from typing import NamedTuple

import torch
from torch import Tensor

COLUMNS = 5
"""Masks that are compared at the least."""


class Choice(NamedTuple):
    """Which mask a minibatch is for."""

    mask: Tensor
    """Its number, (): `known` where it is new."""
    is_new: Tensor
    """Whether a mask is allocated, () bool."""
    peak: Tensor
    """C max(nu), (): 1 where no direction is better than another, C where one is all."""


def choose_mask(slopes: Tensor, known: int, *, margin: float = 0.125) -> Choice:
    """Train a known mask, or allocate one: new where C max(softmax(-slopes)) < 1 + margin.

    Args:
        slopes: dH/dalpha of the C masks that take part, (C,), at the uniform mixture of them; those
            from `known` on are not trained yet. See `find_slopes`.
        known: k, the masks in use, at least 1.
        margin: The paper's epsilon, 2^-3.

    A steepest direction towards an untrained mask is a new task as well. Nothing is read back.

    Raises ValueError for no known mask, fewer columns than masks, or a margin that is not positive.

    Example:
        >>> import torch
        >>> from quire.papers.supsup import choose_mask
        >>> sure = choose_mask(torch.tensor([-2.0, 0, 0, 0, 0]), 2)
        >>> int(sure.mask), bool(sure.is_new)
        (0, False)
        >>> int(choose_mask(torch.zeros(5), 2).mask)
        2
    """
    if slopes.dim() != 1 or not 1 <= known <= len(slopes):
        raise ValueError(
            f"slopes must be (C,) with C at least known = {known} and that at least 1, got "
            f"{tuple(slopes.shape)}"
        )
    if not margin > 0:
        raise ValueError(f"margin must be positive, got {margin}")
    share, steepest = (-slopes.float()).softmax(0).max(0)
    peak = share * len(slopes)
    is_new = (peak < 1 + margin) | (steepest >= known)
    return Choice(torch.where(is_new, known, steepest), is_new, peak)


def count_columns(known: int, *, least: int = COLUMNS) -> int:
    """C: how many masks take part where `known` are in use.

    >>> count_columns(1), count_columns(7)
    (5, 7)
    """
    return max(known, least)
