"""BigBird's pattern: which blocks of keys each block of queries attends to.

A sequence of N tokens is cut into blocks of b; the last one may be partial. H heads, R random
blocks. The pattern is a function of its fields alone: the same in training and evaluation, on every
device and after loading a checkpoint, and no random generator outside it is read or moved.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from quire.nn.masks import Mask
from quire.papers.bigbird.caching import bounded
from quire.papers.bigbird.plans import draw_transformers

Rule = Literal["even", "original", "transformers", "transformers_evaluation"]
"""How random blocks are drawn: see `BigBirdPattern`."""

Drawn = tuple[tuple[tuple[int, ...], ...], ...]
"""Random blocks, [head][block of queries]."""


@dataclass(frozen=True)
class BigBirdPattern:
    """Random, window and global blocks (section 2, "BigBird-ITC").

    With `window + global_blocks + 2 * random` blocks or fewer a pattern that is not causal is full
    attention, the original's rule; so it is for a text shorter than a block. A causal pattern's
    window reaches back over as many blocks, its random blocks come from earlier ones, and of the
    global blocks those at the front are left, as keys; a row of it does not depend on what comes
    after.

    The rules other than "even" are those of weights that were trained elsewhere: "original" is
    google-research/bigbird's in training and evaluation, "transformers" Hugging Face's in training,
    "transformers_evaluation" what that library does in evaluation (every random block is block 0).
    `seed` is then the number of the layer. There a random block may also be in the window, be
    global or be drawn twice, and its keys then count again in the softmax: `counts_again`.

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
        drawn: random blocks from elsewhere, [head][block of queries], for one length; each counts
            once, whatever else is in its row.
        rule: how random blocks are drawn; all but "even" need a window of 3 and 2 global blocks.
        positions: the most tokens of the model that the plan is of, on which "transformers"
            depends.

    Raises ValueError for sizes that make no pattern or no such plan, TypeError for those that are
    no whole numbers.

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
    drawn: Drawn | None = None
    rule: Rule = "even"
    positions: int = 4096

    def __post_init__(self) -> None:
        for name in ("block", "window", "random", "global_blocks", "seed", "positions"):
            _check_whole(name, getattr(self, name))
        if self.random_tokens is not None:
            _check_whole("random_tokens", self.random_tokens)
        if self.block < 1 or min(self.random, self.global_blocks, self.seed) < 0:
            raise ValueError(
                "block must be at least 1; random, global_blocks and seed at least 0; got "
                f"{self.block}, {self.random}, {self.global_blocks} and {self.seed}"
            )
        if self.window < 0 or (self.window > 0 and self.window % 2 == 0):
            raise ValueError(f"window must be odd or 0 blocks, got {self.window}")
        if self.window + self.random + self.global_blocks == 0:
            raise ValueError("a pattern needs a window, random or global blocks, got none")
        if self.random_tokens is not None and self.random_tokens < self.block:
            raise ValueError(
                f"random_tokens must be at least a block of {self.block}, got {self.random_tokens}"
            )
        if self.drawn is not None:
            # Lists and arrays as well: a pattern is a key of caches, so it holds tuples.
            object.__setattr__(self, "drawn", _read_drawn(self.drawn, self.random))
        self._check_rule()

    def _check_rule(self) -> None:
        if self.rule not in get_args(Rule):
            raise ValueError(f"rule must be one of {', '.join(get_args(Rule))}, got {self.rule!r}")
        if self.rule == "even":
            return
        if (self.window, self.global_blocks) != (3, 2):
            raise ValueError(
                f'the rule "{self.rule}" needs window 3 and global_blocks 2, '
                f"got {self.window} and {self.global_blocks}"
            )
        if self.causal or self.shared or self.drawn is not None or self.random_tokens is not None:
            raise ValueError(
                f'the rule "{self.rule}" draws by itself, for each head and both directions: '
                "without causal, shared, drawn and random_tokens"
            )

    @property
    def counts_again(self) -> bool:
        """Whether keys of a block that stands twice in a row count twice."""
        return self.rule != "even"

    def repeats(self, length: int, heads: int = 1) -> bool:
        """Whether a row has a block whose keys count twice, which no mask can say."""
        return self.counts_again and not self.is_full(length) and _repeats(self, length, heads)

    @property
    def front(self) -> int:
        """Global blocks at the front."""
        return (self.global_blocks + 1) // 2

    @property
    def back(self) -> int:
        """Global blocks at the end: none in a causal pattern."""
        return 0 if self.causal else self.global_blocks // 2

    def blocks(self, length: int) -> int:
        """Blocks of `length` tokens, the last of which may be partial."""
        return -(-length // self.block)

    def is_full(self, length: int) -> bool:
        """Whether the pattern is full attention at this length."""
        least = self.window + self.global_blocks + 2 * self.random
        return not self.causal and self.blocks(length) <= least

    def plan(self, length: int, heads: int = 1) -> NDArray[np.int64]:
        """The random blocks: (H, blocks, R), in ascending order where the rule is "even".

        -1 stands at the end where fewer are left, and in global rows, which attend to everything.
        Row i of the even rule is drawn from (seed, i). Raises ValueError where `drawn` is for
        another number of heads or blocks.
        """
        count = self.blocks(length)
        plan = np.full((heads, count, self.random), -1, np.int64)
        if self.drawn is not None:
            self._check_drawn(count, heads)
        elif self.counts_again:
            if count > 2:
                plan[:, 1:-1] = self._draw_elsewhere(count, heads)
            return plan
        for row in range(self.front if not self.causal else 0, count - self.back):
            if self.drawn is not None:
                for head in range(heads):
                    given = sorted(set(self.drawn[head][row]))
                    plan[head, row, : len(given)] = given
            else:
                chosen = self._draw_row(row, count, heads)
                plan[:, row, : chosen.shape[1]] = chosen
        return plan

    def _draw_row(self, row: int, count: int, heads: int) -> NDArray[np.int64]:
        """Random blocks of a row, (H, at most R), of `count` blocks."""
        free = self._free(row, count)
        draws = 1 if self.shared else heads
        # The i-th number of a head does not depend on how many blocks follow. NumPy keeps the raw
        # stream of a bit generator for ever, that of `Generator` it may change: these are the
        # numbers that `Generator.random` gave when this was written.
        raw = np.random.PCG64((self.seed, row)).random_raw(count * draws)
        keys = ((raw >> np.uint64(11)) * 2.0**-53).reshape(count, draws)[free]
        chosen = np.sort(free[np.argsort(keys, axis=0, kind="stable")[: self.random]], axis=0)
        return np.broadcast_to(chosen.T, (heads, len(chosen)))

    def _draw_elsewhere(self, count: int, heads: int) -> NDArray[np.int64]:
        """The plan of another library for the rows between the first and the last block."""
        if self.rule == "transformers_evaluation":
            return np.zeros((heads, count - 2, self.random), np.int64)
        known = (1024, 2048, 3072, 4096) if self.rule == "original" else (1024, 3072, 4096)
        length = count * self.block  # both fill up the last block
        most = 4096 if self.rule == "original" else self.positions
        return draw_transformers(
            self.seed, self.block, self.random, count, heads, most if length in known else None
        )

    def _check_drawn(self, count: int, heads: int) -> None:
        assert self.drawn is not None
        found = len(self.drawn), len(self.drawn[0]) if self.drawn else 0
        if found != (heads, count):
            raise ValueError(
                f"drawn has random blocks for {found[0]} heads and {found[1]} blocks of queries, "
                f"needed are {heads} and {count}"
            )
        largest = max((block for head in self.drawn for row in head for block in row), default=0)
        if largest >= count:
            raise ValueError(f"drawn names block {largest}, but there are {count} blocks")

    def causal_row(self, row: int, heads: int = 1) -> NDArray[np.int64]:
        """The blocks of keys of one row of a causal pattern: (H, L), ascending, -1 at the end.

        L is window + random + the global blocks at the front. The same as in a `table`, without
        the rows before it. Raises ValueError where the pattern is not causal or `drawn` lacks it.
        """
        if not self.causal:
            raise ValueError("a row stands by itself in a causal pattern only: causal=True")
        most = self.window + self.random + self.front
        before = max(0, row + 1 - self.window)
        fixed = {*range(before if self.window else row + 1, row + 1)}
        fixed |= {*range(min(self.front, row + 1))}
        if self.drawn is None:
            drawn = self._draw_row(row, row + 1, heads).tolist()
        else:
            if len(self.drawn) != heads or row >= len(self.drawn[0]):
                self._check_drawn(row + 1, heads)
            drawn = [
                [block for block in self.drawn[head][row] if block <= row] for head in range(heads)
            ]
        blocks = [sorted(fixed | set(chosen)) for chosen in drawn]
        return np.array([some + [-1] * (most - len(some)) for some in blocks], np.int64)

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


def _check_whole(name: str, value: object) -> None:
    if not isinstance(value, int | np.integer):
        raise TypeError(f"{name} must be a whole number, got {value!r}")


def _read_drawn(drawn: Sequence[Sequence[Sequence[Any]]], most: int) -> Drawn:
    """As tuples of whole numbers, at least 0, at most `most` a row, as many rows a head."""
    try:
        read = tuple(tuple(tuple(block for block in row) for row in head) for head in drawn)
    except TypeError:
        raise TypeError(
            f"drawn must hold a row of blocks for each head and block of queries, got {drawn!r:.60}"
        ) from None
    for head in read:
        if len(head) != len(read[0]):
            raise ValueError(
                f"drawn must have as many rows for every head, got {len(read[0])} and {len(head)}"
            )
        for row in head:
            for block in row:
                _check_whole("a block of drawn", block)
            if len(set(row)) > most or min(row, default=0) < 0:
                raise ValueError(
                    f"a row of drawn must hold at most {most} (random) different blocks, "
                    f"at least 0 each; got {row}"
                )
    return tuple(tuple(tuple(int(block) for block in row) for row in head) for head in read)


def check_pattern(pattern: object) -> None:
    """Raises TypeError, in one line, where `pattern` is none."""
    if not isinstance(pattern, BigBirdPattern):
        raise TypeError(
            "pattern must be a BigBirdPattern, such as BigBirdPattern(block=64, random=3); "
            f"got {pattern!r}"
        )


@lru_cache(maxsize=64)
def _repeats(pattern: BigBirdPattern, length: int, heads: int) -> bool:
    fixed = replace(pattern, random=0, rule="even").table(length, heads)
    plan = np.sort(pattern.plan(length, heads)[:, 1:-1], -1)
    twice = bool((plan[..., 1:] == plan[..., :-1]).any())
    return twice or bool(np.take_along_axis(fixed[:, 1:-1], plan, -1).any())


@bounded(lambda table: int(table.nbytes))
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

    Raises ValueError for queries or keys that are not N, a `drawn` plan for another length or
    number of heads, and a pattern that counts a block twice; TypeError for a
    pattern that is none.

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
        if self.pattern.repeats(self.length, self.heads):
            raise ValueError(
                f'the rule "{self.pattern.rule}" counts a block twice at {self.length} tokens, '
                "which no mask can: use bigbird_attention"
            )
        table = torch.from_numpy(self.pattern.table(self.length, self.heads).copy())
        object.__setattr__(self, "_table", table)

    def check(self, batch: int, queries: int, keys: int) -> None:
        """Raises ValueError unless Tq and Tk are `length`."""
        if (queries, keys) != (self.length, self.length):
            raise ValueError(
                f"BigBirdMask of {self.length} tokens does not fit {queries} queries and {keys} "
                "keys"
            )

    def allows(self, batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        b = self.pattern.block
        table: Tensor = self._table  # type: ignore[attr-defined]
        table = table.to(query.device)
        allowed = table[head if self.heads > 1 else head * 0, query // b, key // b]
        return allowed & (key <= query) if self.pattern.causal else allowed
