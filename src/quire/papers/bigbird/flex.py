"""BigBird's attention by torch's flex_attention, which GPUs take.

B batch, H heads, N tokens, K head width, V value width.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from quire.nn.masks import Mask
from quire.papers.bigbird.caching import bounded
from quire.papers.bigbird.pattern import BigBirdMask, BigBirdPattern

TILE = 128
"""Tokens of a block of flex_attention."""

NARROWEST = 16
"""Columns that flex_attention's kernels need."""


def flex_bigbird(
    q: Tensor, k: Tensor, v: Tensor, pattern: BigBirdPattern, mask: Mask | None = None
) -> Tensor:
    """As `bigbird_attention`, by torch's flex_attention: compiled on a GPU, on a CPU a slow
    reference without a backward pass."""
    length, heads, width, values = q.shape[2], q.shape[1], q.shape[3], v.shape[3]
    blocks = block_mask(pattern, length, heads, str(q.device))
    # Columns of zeros make narrow heads as wide as the narrowest kernel: no score changes.
    q, k = (pad(x, (0, max(0, NARROWEST - width))) for x in (q, k))
    v = pad(v, (0, max(0, NARROWEST - values)))
    score_mod = None
    if mask is not None:
        rule = mask.mask_mod

        def score_mod(score: Tensor, batch: Tensor, head: Tensor, i: Tensor, j: Tensor) -> Tensor:
            return torch.where(rule(batch, head, i, j), score, -float("inf"))

    attend = _compiled_flex() if q.is_cuda else _flex()
    out = attend(q, k, v, score_mod=score_mod, block_mask=blocks, scale=width**-0.5)
    return out[..., :values]


def _size(blocks: Any) -> int:
    """Bytes of a block mask's lists; the table that its rule looks into is a quarter of them."""
    listed = (blocks.kv_num_blocks, blocks.kv_indices, blocks.full_kv_indices)
    # The transposed lists, for the backward pass, are as large.
    return 2 * sum(x.numel() * x.element_size() for x in listed if x is not None)


@bounded(_size, 1 << 28)
def block_mask(pattern: BigBirdPattern, length: int, heads: int, device: str) -> Any:
    """flex_attention's form of the pattern, from its table of blocks: no (N, N) tensor is made."""
    from torch.nn.attention.flex_attention import BlockMask

    # Where heads share their blocks, so do they the lists.
    listed = 1 if pattern.shared or pattern.random == 0 else heads
    some, all_ = _tile(pattern, length, listed)
    partial, whole = (_list_tiles(tiles, device) for tiles in (some & ~all_, all_))
    mask = BigBirdMask(pattern, length, heads).to(device)
    return BlockMask.from_kv_blocks(
        *partial,
        *whole,
        BLOCK_SIZE=TILE,
        mask_mod=mask.mask_mod,
        seq_lengths=(length, length),
    )


def _list_tiles(tiles: NDArray[np.bool_], device: str) -> tuple[Tensor, Tensor]:
    """How many tiles each row of tiles reads and which, (1, H, tiles) and (1, H, tiles, tiles)."""
    # Those that are attended to come first, in order; the others are never read.
    order = np.argsort(~tiles, axis=-1, kind="stable").astype(np.int32)
    number = torch.from_numpy(tiles.sum(-1, dtype=np.int32))
    return number[None].to(device), torch.from_numpy(order)[None].to(device)


def _tile(
    pattern: BigBirdPattern, length: int, heads: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Of tiles of 128 tokens, which hold a pair that is attended to, and which hold no other pair:
    (H, tiles, tiles) each."""
    table, b = pattern.table(length, heads), pattern.block
    tiles = -(-length // TILE)
    ranges = [
        slice(tile * TILE // b, (min(length, (tile + 1) * TILE) - 1) // b + 1)
        for tile in range(tiles)
    ]
    found = []
    for join in (np.any, np.all):
        rows = np.stack([join(table[:, some], 1) for some in ranges], 1)
        found.append(np.stack([join(rows[:, :, some], 2) for some in ranges], 2))
    some, all_ = found
    # A tile that the end of the text or the causal rule cuts is asked pair by pair.
    all_[:, :, tiles - 1] &= length % TILE == 0
    all_[:, tiles - 1] &= length % TILE == 0
    if pattern.causal:
        some &= np.tri(tiles, dtype=bool)
        all_ &= np.tri(tiles, k=-1, dtype=bool)
    return some, all_


def _flex() -> Callable[..., Tensor]:
    from torch.nn.attention.flex_attention import flex_attention

    return flex_attention


@lru_cache(maxsize=1)
def _compiled_flex() -> Callable[..., Tensor]:
    return torch.compile(_flex())
