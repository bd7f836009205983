"""What states may see: masks of `quire.nn` or tensors, and padding, as one mask of scores.

B bags, S states, N stored patterns, H heads.
"""

import torch
from torch import Tensor

from quire.nn import Mask, Padding
from quire.nn.masks import fit_mask
from quire.papers.hopfield.association import check_tensor, spread_mask


def join_masks(
    counts: Tensor | Padding | None,
    mask: Tensor | Mask | None,
    state: Tensor,
    stored: Tensor,
    heads: int,
) -> Tensor | None:
    """Both masks of `Hopfield` as one tensor that broadcasts with (B, H, S, N).

    Args:
        counts: Which patterns count, (B, N) bool or `Padding`.
        mask: A mask of `quire.nn`, or (S, N), (B, S, N) or (B, H, S, N), bool or numbers to add.
        state: (B, S, ...).
        stored: (B, N, ...).
        heads: H.

    Raises ValueError for a mask of another size or of integers, TypeError for what is no mask.
    """
    size = (stored.shape[0], heads, state.shape[1], stored.shape[1])
    if isinstance(mask, Mask):
        fitted = fit_mask(mask, state[:, None], stored[:, None])
        assert fitted is not None
        mask = fitted.dense(size[2], size[3], size[0], size[1], state.device)
    check_tensor("mask", mask, "that broadcasts with (bags, heads, states, patterns), a Mask of "
                 "quire.nn")  # fmt: skip
    if mask is not None:
        if not 1 <= mask.ndim <= 4:
            raise ValueError(f"mask must be (states, patterns), (bags, states, patterns) or (bags, "
                             f"heads, states, patterns), got {tuple(mask.shape)}")  # fmt: skip
        mask = mask[(None,) * (4 - mask.ndim)] if mask.ndim != 3 else mask[:, None]
        # In a graph sizes are symbols, and torch says what does not broadcast.
        if not torch.compiler.is_compiling() and any(
            given not in (1, wanted) for given, wanted in zip(mask.shape, size, strict=True)
        ):
            raise ValueError(f"mask must broadcast with (bags, heads, states, patterns) {size}, "
                             f"got {tuple(mask.shape)}")  # fmt: skip
        mask = spread_mask(mask, size[3])
    if counts is None:
        return mask
    inside = read_counts(counts, stored)[:, None, None]
    if mask is None:
        return inside
    return inside & mask if mask.dtype == torch.bool else mask.masked_fill(~inside, -torch.inf)


def read_counts(counts: Tensor | Padding, stored: Tensor) -> Tensor:
    """Which patterns of stored (B, N, ...) count: (B, N) bool.

    Raises ValueError for another size or dtype, TypeError for what is neither tensor nor `Padding`.
    """
    bags, patterns = stored.shape[:2]
    if isinstance(counts, Padding):
        return counts.counted(bags, patterns, stored.device)
    check_tensor("counts", counts, "of bool, (bags, patterns), a Padding of quire.nn")
    if counts.dtype != torch.bool or counts.shape != (bags, patterns):
        raise ValueError(f"counts must be bool {(bags, patterns)}, got {counts.dtype} "
                         f"{tuple(counts.shape)}")  # fmt: skip
    return counts


def add_zero(k: Tensor, v: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """A pattern and a value of zeros at the end, which every state may see.

    k: (..., N, K). v: (..., N, V). Gives both with N + 1 rows, and the mask that belongs to them.
    """
    k, v = (torch.cat((x, torch.zeros_like(x[..., :1, :])), -2) for x in (k, v))
    if mask is None:
        return k, v, None
    # Neither a hidden pattern's -inf nor the sum with it: ones of bool, zeros of numbers.
    seen = torch.full_like(mask[..., :1], mask.dtype == torch.bool)
    return k, v, torch.cat((mask, seen), -1)
