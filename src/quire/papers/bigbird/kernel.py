"""BigBird's attention as a kernel of `quire.nn.MultiHeadAttention`, with its memory for decoding.

B batch, H heads (G of keys and values, which divide H), T tokens, K head width, V value width, b
tokens a block, L blocks of keys a row.
"""

import operator
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention

from quire.nn.attention import softmax_attention
from quire.nn.decoding import Cache, Extent, KeyValueCache, is_closed
from quire.nn.masks import Mask, Padding, fit_mask
from quire.papers.bigbird.attention import FIELDS, bigbird_attention
from quire.papers.bigbird.pattern import BigBirdPattern, Rule, check_pattern


class Written(NamedTuple):
    """What `BigBirdAttention` keeps.

    Args:
        cache: keys and values, each at its place in its own row, so that padding at the end of a
            piece takes none; `length` is the most places that a row may have.
        places: (B,) int64, how many each row has; None where all rows have `cache.length`.
        extended: whether tokens came after the first ones.
    """

    cache: Cache
    places: Tensor | None
    extended: bool


class BigBirdAttention(nn.Module):
    """`bigbird_attention` as a kernel of `quire.nn.MultiHeadAttention`: a value to pass in.

    pattern: give each layer its own seed. It is in the state dict (buffers `fields` and `drawn`):
    weights bring the pattern that they were trained with, and it replaces the one given here;
    weights without one leave it. It may be set to another.

    Self-attention only: attention to another sequence stays full (`quire.nn.softmax_attention`),
    as in the paper. In causal decoding (`write` and `read`) all keys are kept and each new token
    reads those of its row of the causal pattern, O(1) a token; the blocks of a row are drawn when
    its first token comes. A row of the batch goes on at its own next place: padding at the end of
    a prompt takes none, padding before its last token keeps its places, as in `forward`. Keys of a
    remembered context, to which nothing was added, cannot be read: ValueError. TypeError for a
    pattern that is none.

    Example:
        >>> from quire.nn import MultiHeadAttention
        >>> from quire.papers.bigbird import BigBirdAttention, BigBirdPattern
        >>> kernel = BigBirdAttention(BigBirdPattern(block=4, random=1))
        >>> kernel(*torch.randn(3, 2, 4, 50, 8)).shape
        torch.Size([2, 4, 50, 8])
        >>> MultiHeadAttention(8, 2, kernel=kernel)(torch.randn(3, 50, 8)).shape
        torch.Size([3, 50, 8])
    """

    fields: Tensor
    drawn: Tensor

    def __init__(self, pattern: BigBirdPattern) -> None:
        super().__init__()
        self.pattern = pattern

    @property
    def pattern(self) -> BigBirdPattern:
        """Which keys a query attends to."""
        return self._pattern

    @pattern.setter
    def pattern(self, pattern: BigBirdPattern) -> None:
        check_pattern(pattern)
        device = self.fields.device if "fields" in self._buffers else None
        fields, drawn = _to_tensors(pattern)
        self._pattern = pattern
        self.register_buffer("fields", fields.to(device))
        self.register_buffer("drawn", drawn.to(device))

    def extra_repr(self) -> str:
        """The pattern."""
        return repr(self.pattern)

    def forward(self, q: Tensor, k: Tensor, v: Tensor, mask: Mask | None = None) -> Tensor:
        """As `bigbird_attention`."""
        return bigbird_attention(q, k, v, self.pattern, mask)

    def write(self, state: Written | None, k: Tensor, v: Tensor, mask: Padding | None) -> Written:
        """The keys and values so far, and those of k (B, G, T, K) and v (B, G, T, V).

        mask: which of them count. Raises ValueError where it does not fit.
        """
        counts = None
        if fit_mask(mask, k, k) is not None and mask is not None:
            counts = mask.counted(len(k), k.shape[2], k.device)
        if state is None:
            cache = Cache(k, v, k.shape[2], counts, Extent(k.shape[2]))
            return Written(cache, None if counts is None else _last(counts), False)
        if counts is None and state.places is None:
            memory = KeyValueCache(softmax_attention)
            return Written(memory.write(state.cache, k, v, None), None, True)
        return _write_each(state, k, v, counts)

    def read(self, state: Written, q: Tensor) -> Tensor:
        """What the latest token's query q (B, H, 1, K) attends to: (B, H, 1, V).

        Raises ValueError for several queries, or where no key was added after the first ones,
        unless these are one: a query of another sequence has no row in the pattern.
        """
        if q.shape[2] != 1 or (not state.extended and state.cache.length != 1):
            raise ValueError(
                f"BigBird attends within one sequence, got {q.shape[2]} queries to "
                f"{state.cache.length} remembered keys of another: give cross_attention "
                "quire.nn.softmax_attention"
            )
        cache, b, heads = state.cache, self.pattern.block, q.shape[1]
        # The new token stands in the last block; a causal row needs nothing that comes after it.
        if state.places is None:
            blocks = _row(self.pattern, (cache.length - 1) // b, heads).to(q.device)[None]
            places = torch.full((1, 1, 1), cache.length, device=q.device)
        else:
            rows = _rows_up_to(self.pattern, (cache.length - 1) // b, heads).to(q.device)
            blocks = rows[(state.places - 1).clamp(min=0) // b]
            places = state.places[:, None, None]
        # Blocks as tokens, (B or 1, H, L b). The last block may hold fewer than b keys so far, and
        # keys of padding do not count: both are read, at a place that exists, and then hidden.
        position = (blocks[..., None] * b + torch.arange(b, device=q.device)).flatten(2)
        allowed = (blocks >= 0).repeat_interleave(b, 2) & (position < places)
        position = position.clamp(min=0, max=cache.length - 1)
        row = torch.arange(len(q), device=q.device)[:, None, None]
        if cache.counts is not None:
            allowed = allowed & cache.counts[row, position]
        # Heads of queries that share keys read them at their own places.
        head = torch.arange(heads, device=q.device)[:, None] * cache.keys.shape[1] // heads
        keys, values = cache.keys[row, head, position], cache.values[row, head, position]
        # A softmax over nothing is NaN: such a query attends to everything and then gives zeros.
        somewhere = allowed.any(-1)[:, :, None, None]
        attended = scaled_dot_product_attention(
            q, keys, values, attn_mask=allowed[:, :, None] | ~somewhere
        )
        return attended.masked_fill(~somewhere, 0.0)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *rest: Any, **more: Any
    ) -> None:
        fields, drawn = state_dict.get(prefix + "fields"), state_dict.get(prefix + "drawn")
        if fields is None or drawn is None or fields.is_meta:
            return
        try:
            self.pattern = _to_pattern(fields, drawn)
        except (IndexError, TypeError, ValueError) as error:
            errors: list[str] = more.get("error_msgs", rest[-1] if rest else [])
            errors.append(f"{prefix}fields: no pattern: {error}")


def _to_tensors(pattern: BigBirdPattern) -> tuple[Tensor, Tensor]:
    """The fields of a pattern as whole numbers (10,) int64, and `drawn` (H, blocks, R), filled up
    with -1; of no size where there is none."""
    fields = [
        *(pattern.block, pattern.window, pattern.random, pattern.global_blocks, pattern.seed),
        -1 if pattern.random_tokens is None else pattern.random_tokens,
        *(int(pattern.shared), int(pattern.causal)),
        *(get_args(Rule).index(pattern.rule), pattern.positions),
    ]
    drawn = np.zeros((0, 0, 0), np.int64)
    if pattern.drawn is not None:
        rows = len(pattern.drawn[0]) if pattern.drawn else 0
        drawn = np.full((len(pattern.drawn), rows, pattern.random), -1, np.int64)
        for head, row in np.ndindex(drawn.shape[:2]):
            blocks = sorted(set(pattern.drawn[head][row]))
            drawn[head, row, : len(blocks)] = blocks
    return torch.tensor(fields), torch.from_numpy(drawn)


def _to_pattern(fields: Tensor, drawn: Tensor) -> BigBirdPattern:
    """`_to_tensors` undone."""
    block, window, random, global_blocks, seed = fields[:5].tolist()
    random_tokens, shared, causal, rule, positions = fields[5:].tolist()
    rows = [[[block for block in row if block >= 0] for row in head] for head in drawn.tolist()]
    return BigBirdPattern(
        block,
        window,
        random,
        global_blocks,
        seed,
        random_tokens=None if random_tokens < 0 else random_tokens,
        shared=bool(shared),
        causal=bool(causal),
        drawn=tuple(tuple(map(tuple, head)) for head in rows) if drawn.numel() else None,
        rule=get_args(Rule)[rule],
        positions=positions,
    )


def _last(counts: Tensor) -> Tensor:
    """Places up to the last token that counts, (B, T) bool -> (B,) int64; 0 where none does."""
    if counts.shape[1] == 0:
        return counts.sum(1)
    place = torch.arange(1, counts.shape[1] + 1, device=counts.device)
    return (place * counts).amax(1)


def _write_each(state: Written, k: Tensor, v: Tensor, counts: Tensor | None) -> Written:
    """The state after keys and values that each row takes up at its own next place.

    Args:
        state: what was written before.
        k: (B, G, T, K).
        v: (B, G, T, V).
        counts: (B, T) bool, which of them count; None for all.
    """
    cache, tokens = state.cache, k.shape[2]
    before = cache.counts
    if before is None:
        before = torch.ones(cache.keys.shape[:3:2], dtype=torch.bool, device=k.device)
    if counts is None:
        counts = before.new_ones(len(k), tokens)
    begin = state.places
    if begin is None:
        begin = torch.full((len(k),), cache.length, device=k.device)
    end = cache.length + tokens
    # One answer for all three: a state that shares none of them has an extent of its own.
    recorded = torch.is_grad_enabled() and any(
        t.requires_grad for t in (cache.keys, cache.values, k, v)
    )
    closed = is_closed(cache.keys)
    free = cache.extent.end == cache.length <= end <= cache.keys.shape[2] and not closed
    # What is padding at the end of the piece is written too, where the next piece writes over it.
    at = begin[:, None] + torch.arange(tokens, device=k.device)
    pairs = (
        (cache.keys, k),
        (cache.values, v),
        (before[:, None, :, None], counts[:, None, :, None]),
    )
    where = at[:, None, :, None]
    if recorded:
        # The backward pass reads the keys as they were at each step.
        more = max(0, end - cache.keys.shape[2])
        keys, values, seen = (
            pad(room, (0, 0, 0, more)).scatter(2, where.expand(new.shape), new)
            for room, new in pairs
        )
    else:
        keys, values, seen = (_put(room, new, where, end, free) for room, new in pairs)
    extent = cache.extent if free and not recorded else Extent(end)
    extent.end = end
    cache = Cache(keys, values, end, seen[:, 0, :, 0], extent)
    return Written(cache, begin + _last(counts), True)


def _put(room: Tensor, new: Tensor, where: Tensor, end: int, free: bool) -> Tensor:
    """`new` at its places of dimension 2: in place where that is free, else in a wider copy.

    Args:
        room: (B, G, C, K).
        new: (B, G, T, K).
        where: (B, 1, T, 1) int64, its places.
        end: places that are needed.
        free: whether there is room and nobody else has written in it.
    """
    if not free:
        # Twice what is needed: n tokens then cost about n copies in all, not n^2 / 2.
        wider = room.new_zeros(*room.shape[:2], max(room.shape[2], 2 * end), room.shape[3])
        wider[:, :, : room.shape[2]] = room
        room = wider
    return room.scatter_(2, where.expand(new.shape), new)


def _row(pattern: BigBirdPattern, row: int, heads: int) -> Tensor:
    """Blocks of keys of a row of the causal pattern: (H, L) int64, -1 where there are fewer."""
    values = tuple(getattr(pattern, name) for name in FIELDS)
    return _draw(values, operator.index(row), operator.index(heads))


def _rows_up_to(pattern: BigBirdPattern, row: int, heads: int) -> Tensor:
    """Blocks of keys of the rows 0 to `row` of the causal pattern: (row + 1, H, L) int64."""
    values = tuple(getattr(pattern, name) for name in FIELDS)
    return _draw_all(values, operator.index(row), operator.index(heads))


def _draw(values: tuple[Any, ...], row: int, heads: int) -> Tensor:
    return torch.from_numpy(_row_array(values, row, heads))


def _draw_all(values: tuple[Any, ...], row: int, heads: int) -> Tensor:
    return torch.from_numpy(_rows_array(values, row, heads))


# As in `attention`: NumPy's draws are a constant of a graph.
for _constant in (_draw, _draw_all):
    _constant._dynamo_marked_constant = True  # type: ignore[attr-defined]


@lru_cache(maxsize=1 << 14)
def _row_array(values: tuple[Any, ...], row: int, heads: int) -> NDArray[np.int64]:
    return replace(BigBirdPattern(*values), causal=True).causal_row(row, heads)


@lru_cache(maxsize=64)
def _rows_array(values: tuple[Any, ...], row: int, heads: int) -> NDArray[np.int64]:
    return np.stack([_row_array(values, before, heads) for before in range(row + 1)])
