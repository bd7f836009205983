"""BigBird's pattern: which blocks of keys each block of queries attends to.

A sequence of N tokens is cut into blocks of b; the last one may be partial. H heads, R random
blocks. The pattern is a function of its fields alone: the same in training and evaluation, on every
device and after loading a checkpoint, and no random generator outside it is read or moved.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from quire.nn.masks import Mask


@dataclass(frozen=True)
class BigBirdPattern:
    """Random, window and global blocks (section 2, "BigBird-ITC").

    With `window + global_blocks + 2 * random` blocks or fewer a pattern that is not causal is full
    attention, the original's rule. A causal pattern's window reaches back over as many blocks, its
    random blocks come from earlier ones, and of the global blocks those at the front are left, as
    keys; a row of it does not depend on what comes after.

    Args:
        block: tokens of a block, b.
        window: blocks around the query's own, odd, which it counts; 0 for none.
        random: blocks drawn for each block of queries and each head, without replacement, from
            those that are neither in its window nor global.
        global_blocks: blocks that attend to everything and that everything attends to: by turns
            the first and the last, so 2 are one at each end.
        seed: of the random blocks; give each layer its own.
        random_tokens: draw from the first so many tokens only (the original does so at 1,024 to
            4,096 tokens, with 1,024); None draws from everywhere.
        shared: all heads have the same random blocks.
        causal: a query attends to keys at its own and earlier positions only.
        drawn: random blocks from elsewhere, [head][block of queries], e.g. those of another
            library's checkpoint.

    Raises ValueError for sizes that make no pattern, TypeError for those that are no whole numbers.

    Example:
        >>> from quire.papers.bigbird import BigBirdPattern
        >>> pattern = BigBirdPattern(block=64, random=3)
        >>> pattern.table(4096, 12).shape, int(pattern.table(4096, 12)[0].sum())
        ((12, 64, 64), 622)
    """

    block: int = 64
    window: int = 3
    random: int = 3
    global_blocks: int = 2
    seed: int = 0
    random_tokens: int | None = None
    shared: bool = False
    causal: bool = False
    drawn: tuple[tuple[tuple[int, ...], ...], ...] | None = None

    def __post_init__(self) -> None:
        for name in ("block", "window", "random", "global_blocks", "seed"):
            value = getattr(self, name)
            if not isinstance(value, int | np.integer):
                raise TypeError(f"{name} must be a whole number, got {value!r}")
        if self.block < 1 or min(self.random, self.global_blocks, self.seed) < 0:
            raise ValueError(
                "block must be at least 1; random, global_blocks and seed at least 0; got "
                f"{self.block}, {self.random}, {self.global_blocks} and {self.seed}"
            )
        if self.window < 0 or (self.window > 0 and self.window % 2 == 0):
            raise ValueError(f"window must be odd or 0 blocks, got {self.window}")
        if self.window + self.random + self.global_blocks == 0:
            raise ValueError("a pattern needs a window, random or global blocks, got none")

    @property
    def front(self) -> int:
        """Global blocks at the front."""
        return (self.global_blocks + 1) // 2

    @property
    def back(self) -> int:
        """Global blocks at the end: none in a causal pattern."""
        return 0 if self.causal else self.global_blocks // 2

    def blocks(self, length: int) -> int:
        """Blocks of `length` tokens.

        Raises ValueError, unless the pattern is causal, for a length below one block or with fewer
        blocks than are drawn.
        """
        count = -(-length // self.block)
        if not self.causal and self.block > length:
            raise ValueError(f"block must be at most the length, got {self.block} for {length}")
        if not self.causal and self.random > count:
            raise ValueError(
                f"random must be at most the number of blocks, got {self.random} for {count} "
                f"({length} tokens in blocks of {self.block})"
            )
        return count

    def is_full(self, length: int) -> bool:
        """Whether the pattern is full attention at this length."""
        least = self.window + self.global_blocks + 2 * self.random
        return not self.causal and self.blocks(length) <= least

    def plan(self, length: int, heads: int = 1) -> NDArray[np.int64]:
        """The random blocks: (H, blocks, R) in ascending order, -1 at the end where fewer are left.

        Global rows, which attend to everything, have none. Row i is drawn by a generator of its own
        from (seed, i).
        """
        count = self.blocks(length)
        plan = np.full((heads, count, self.random), -1, np.int64)
        for row in range(self.front if not self.causal else 0, count - self.back):
            if self.drawn is not None:
                for head in range(heads):
                    given = sorted(set(self.drawn[head][row]))
                    plan[head, row, : len(given)] = given
                continue
            free = self._free(row, count)
            draws = 1 if self.shared else heads
            # The i-th number of a head does not depend on how many blocks follow.
            keys = np.random.default_rng((self.seed, row)).random((count, draws))[free]
            chosen = np.sort(free[np.argsort(keys, axis=0, kind="stable")[: self.random]], axis=0)
            plan[:, row, : len(chosen)] = chosen.T
        return plan

    def table(self, length: int, heads: int = 1) -> NDArray[np.bool_]:
        """Which blocks attend to which: (H, blocks, blocks) bool. Do not write to it."""
        return _table(self, length, heads)

    def _free(self, row: int, count: int) -> NDArray[np.int64]:
        """Blocks that may be drawn for a row."""
        block = np.arange(count)
        free = (block >= self.front) & (block < count - self.back) & ~self._near(row, block)
        if self.random_tokens is not None:
            free &= block < self.random_tokens // self.block
        if self.causal:
            free &= block < row
        return np.flatnonzero(free)

    def _near(self, row: int, block: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which blocks are in the window of a row. The window does not wrap around."""
        if self.window == 0:
            return np.zeros(len(block), bool)
        before = self.window - 1 if self.causal else self.window // 2
        after = 0 if self.causal else self.window // 2
        return (block >= row - before) & (block <= row + after)


def check_pattern(pattern: object) -> None:
    """Raises TypeError, in one line, where `pattern` is none."""
    if not isinstance(pattern, BigBirdPattern):
        raise TypeError(
            "pattern must be a BigBirdPattern, such as BigBirdPattern(block=64, random=3); "
            f"got {pattern!r}"
        )


@lru_cache(maxsize=64)
def _table(pattern: BigBirdPattern, length: int, heads: int) -> NDArray[np.bool_]:
    count = pattern.blocks(length)
    if pattern.is_full(length):
        return np.ones((heads, count, count), bool)
    block = np.arange(count)
    table = np.zeros((heads, count, count), bool)
    for row in range(count):
        table[:, row] = pattern._near(row, block)
    # Places of the plan that hold -1 name no block.
    plan = pattern.plan(length, heads)
    head, query, _ = np.nonzero(plan >= 0)
    table[head, query, plan[plan >= 0]] = True
    # Global blocks are columns that all rows have, and rows that have all columns; in a causal
    # pattern the rows stay cut off at their own block.
    ends = (block < pattern.front) | (block >= count - pattern.back)
    table[:, :, ends] = True
    if pattern.causal:
        table &= block <= block[:, None]
    else:
        table[:, ends] = True
    return table


@dataclass(frozen=True, eq=False)
class BigBirdMask(Mask):
    """The pattern as a mask: the dense twin of `bigbird_attention`, and what figures show.

    length: tokens N. heads: H. Combines with `&` and `|` like any mask, and
    `softmax_attention(q, k, v, BigBirdMask(pattern, N, H))` gives what `bigbird_attention` gives.

    Raises ValueError where the pattern does not fit the length, TypeError where it is none.

    Example:
        >>> from quire.nn import Padding
        >>> from quire.papers.bigbird import BigBirdMask, BigBirdPattern
        >>> mask = BigBirdMask(BigBirdPattern(block=4, random=1), 50) & Padding(torch.tensor([47]))
        >>> mask.dense(50, 50).shape
        torch.Size([1, 1, 50, 50])
    """

    pattern: BigBirdPattern
    length: int
    heads: int = 1

    def __post_init__(self) -> None:
        check_pattern(self.pattern)
        table = torch.from_numpy(self.pattern.table(self.length, self.heads).copy())
        object.__setattr__(self, "_table", table)

    def to(self, device: torch.device | str) -> "BigBirdMask":
        """The same mask with its table on `device`."""
        object.__setattr__(self, "_table", self._blocks.to(device))
        return self

    @property
    def _blocks(self) -> Tensor:
        table: Tensor = self._table  # type: ignore[attr-defined]
        return table

    def allows(self, batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        b = self.pattern.block
        table = self._blocks.to(query.device)
        allowed = table[head if self.heads > 1 else head * 0, query // b, key // b]
        return allowed & (key <= query) if self.pattern.causal else allowed
