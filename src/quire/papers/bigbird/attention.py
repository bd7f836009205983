"""BigBird's attention: the blocks of keys that the pattern names are gathered, never a full matrix.

B batch, H heads, N tokens, K head width, V value width, b tokens a block, L blocks of keys a row.
"""

import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache, reduce
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention

from quire.nn.attention import softmax_attention
from quire.nn.decoding import Cache, KeyValueCache
from quire.nn.masks import Causal, Mask, Padding, check_mask, conjuncts
from quire.papers.bigbird.pattern import BigBirdMask, BigBirdPattern, check_pattern

CHUNK = 1 << 18
"""Attention weights that are in memory at a time."""

FIELDS = tuple(field.name for field in fields(BigBirdPattern))


def bigbird_attention(
    q: Tensor, k: Tensor, v: Tensor, pattern: BigBirdPattern, mask: Mask | None = None
) -> Tensor:
    """Attention along `pattern`, O(N) in time and memory, forwards and backwards.

    Gives (B, H, N, V), equal to `softmax_attention` with `BigBirdMask(pattern, N, H)`, combined
    with `mask` by `&`: one softmax over the random, window and global keys of a query. A query that
    may attend nowhere gives zeros.

    Args:
        q: queries (B, H, N, K). N need not be a multiple of the block.
        k: keys (B, H, N, K).
        v: values (B, H, N, V).
        pattern: the blocks that a query attends to.
        mask: hides keys, e.g. `Padding`; `Causal` in it makes the pattern causal.

    On a GPU by torch's flex_attention (compiled at first use), else by gathering blocks. The
    weights are computed again in the backward pass; they have no dropout, and no second derivative.
    Inside torch.compile and torch.export blocks are gathered, all at once, the random ones as a
    constant: a graph is for one length and, exported, for any batch.

    Raises ValueError if q, k and v do not have the same B, H and N, the pattern does not fit N, or
    the mask does not fit B and N; TypeError for a pattern or mask that is none.

    Example:
        >>> from quire.papers.bigbird import BigBirdPattern, bigbird_attention
        >>> q = k = v = torch.randn(1, 2, 150, 8)
        >>> bigbird_attention(q, k, v, BigBirdPattern(block=8, random=2)).shape
        torch.Size([1, 2, 150, 8])
    """
    if q.ndim != 4 or q.shape != k.shape or k.shape[:3] != v.shape[:3]:
        raise ValueError(
            "BigBird attends within one sequence: q and k (B, H, N, K), v (B, H, N, V); got "
            f"{tuple(q.shape)}, {tuple(k.shape)} and {tuple(v.shape)}; between two sequences use "
            "quire.nn.softmax_attention"
        )
    check_pattern(pattern)
    pattern, rest = split_causal(pattern, mask, q.shape[0], q.shape[2])
    if pattern.is_full(q.shape[2]):
        return softmax_attention(q, k, v, rest)
    if q.is_cuda and q.dtype != torch.float64 and not torch.compiler.is_compiling():
        return flex_bigbird(q, k, v, pattern, rest)
    return gathered_bigbird(q, k, v, pattern, rest)


class Written(NamedTuple):
    """What `BigBirdAttention` keeps. extended: whether tokens came after the first ones."""

    cache: Cache
    extended: bool


@dataclass(frozen=True)
class BigBirdAttention:
    """`bigbird_attention` as a kernel of `quire.nn.MultiHeadAttention`: a value to pass in.

    pattern: give each layer its own seed. Self-attention only: attention to another sequence stays
    full (`quire.nn.softmax_attention`), as in the paper. In causal decoding (`write` and `read`)
    all keys are kept and each new token reads those of its row of the causal pattern, O(1) a token;
    keys of a remembered context, to which nothing was added, cannot be read: ValueError. TypeError
    for a pattern that is none.

    Example:
        >>> from quire.nn import MultiHeadAttention
        >>> from quire.papers.bigbird import BigBirdAttention, BigBirdPattern
        >>> kernel = BigBirdAttention(BigBirdPattern(block=4, random=1))
        >>> MultiHeadAttention(8, 2, kernel=kernel)(torch.randn(3, 50, 8)).shape
        torch.Size([3, 50, 8])
    """

    pattern: BigBirdPattern

    def __post_init__(self) -> None:
        check_pattern(self.pattern)

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, mask: Mask | None = None) -> Tensor:
        """As `bigbird_attention`."""
        return bigbird_attention(q, k, v, self.pattern, mask)

    def write(self, state: Written | None, k: Tensor, v: Tensor, mask: Padding | None) -> Written:
        """The keys and values so far, and those of k (B, H, T, K) and v (B, H, T, V)."""
        before = None if state is None else state.cache
        cache = KeyValueCache(softmax_attention).write(before, k, v, mask)
        return Written(cache, state is not None)

    def read(self, state: Written, q: Tensor) -> Tensor:
        """What the latest token's query q (B, H, 1, K) attends to: (B, H, 1, V).

        Raises ValueError where no key was added after the first ones, unless these are one: a query
        of another sequence has no row in the pattern.
        """
        if not state.extended and state.cache.length > 1:
            raise ValueError(
                f"BigBird attends within one sequence, got a query to {state.cache.length} "
                "remembered keys of another: give cross_attention quire.nn.softmax_attention"
            )
        return self._read(state.cache, q)

    def _read(self, state: Cache, q: Tensor) -> Tensor:
        # The new token stands in the last block; a causal row needs nothing that comes after it.
        row = (state.length - 1) // self.pattern.block
        heads = q.shape[1]
        index, valid = _row(replace(self.pattern, causal=True), row, heads)
        b = self.pattern.block
        # Blocks as tokens, (H, L b). The last block may hold fewer than b keys so far, and keys of
        # padding do not count: both are read, at a place that exists, and then hidden.
        position = (index.to(q.device)[..., None] * b + torch.arange(b, device=q.device)).flatten(1)
        allowed = valid.to(q.device).repeat_interleave(b, 1) & (position < state.length)
        position = position.clamp(max=state.length - 1)
        if state.counts is not None:
            allowed = allowed & state.counts[:, position]
        else:
            allowed = allowed[None]
        each = torch.arange(heads, device=q.device)[:, None]
        keys, values = state.keys[:, each, position], state.values[:, each, position]
        # A softmax over nothing is NaN: such a query attends to everything and then gives zeros.
        somewhere = allowed.any(-1)[:, :, None, None]
        attended = scaled_dot_product_attention(
            q, keys, values, attn_mask=allowed[:, :, None] | ~somewhere
        )
        return attended.masked_fill(~somewhere, 0.0)


def split_causal(
    pattern: BigBirdPattern, mask: Mask | None, batch: int, length: int
) -> tuple[BigBirdPattern, Mask | None]:
    """The pattern, causal if the mask says so, and what else the mask says.

    Args:
        pattern: the one that was asked for.
        mask: what else hides keys.
        batch: B.
        length: N.

    Raises ValueError for a mask that does not fit (batch, length), TypeError for one that is none.
    """
    check_mask(mask)
    parts = conjuncts(mask)
    for part in parts:
        if isinstance(part, Padding) and part.keys.shape != (batch, length)[: part.keys.ndim]:
            raise ValueError(
                f"Padding must be ({batch},) lengths or ({batch}, {length}) bool here, "
                f"got {tuple(part.keys.shape)}"
            )
    rest = [part for part in parts if not isinstance(part, Causal)]
    if len(rest) < len(parts):
        pattern = replace(pattern, causal=True)
    return pattern, reduce(operator.and_, rest) if rest else None


class Rows(NamedTuple):
    """The blocks of keys of each block of queries that is not global.

    first: the first of those rows. blocks: (H, rows, L) int64, blocks of keys. valid: the same
    shape, bool: rows with fewer than L blocks end in places that do not count. full: H * rows
    bool, whether all places of a row count.
    """

    first: int
    blocks: Tensor
    valid: Tensor
    full: tuple[bool, ...]


def _rows(pattern: BigBirdPattern, length: int, heads: int) -> Rows:
    # Numbers alone go in: a pattern that is made during tracing does not exist yet, and a length
    # that torch.compile would rather leave open becomes a number.
    values = tuple(getattr(pattern, name) for name in FIELDS)
    return _plan(values, operator.index(length), operator.index(heads))


def _plan(values: tuple[Any, ...], length: int, heads: int) -> Rows:
    first, blocks, valid, full = _arrays(BigBirdPattern(*values), length, heads)
    return Rows(first, torch.from_numpy(blocks), torch.from_numpy(valid), full)


# NumPy draws the pattern, which torch.compile cannot trace: it takes the result as a constant. This
# is all that torch.compiler.assume_constant_result does, but that imports the compiler, seconds.
_plan._dynamo_marked_constant = True  # type: ignore[attr-defined]


@lru_cache(maxsize=64)
def _arrays(
    pattern: BigBirdPattern, length: int, heads: int
) -> tuple[int, NDArray[np.int64], NDArray[np.bool_], tuple[bool, ...]]:
    # Arrays are kept, not tensors: one that is made while a model is exported is no real one.
    table = pattern.table(length, heads)
    # Global rows attend to everything: they are left to dense attention.
    first = 0 if pattern.causal else pattern.front
    table = table[:, first : table.shape[1] - pattern.back]
    most = int(table.sum(-1).max())
    # The first `most` of a stable sort by "is not attended to" are the blocks that are, ascending,
    # filled up with blocks that are not.
    blocks = np.argsort(~table, axis=-1, kind="stable")[..., :most].copy()
    valid = np.take_along_axis(table, blocks, -1)
    return first, blocks, valid, tuple(valid.all(-1).flatten().tolist())


def _row(pattern: BigBirdPattern, row: int, heads: int) -> tuple[Tensor, Tensor]:
    """`blocks` and `valid` of the last row of a causal pattern of row + 1 blocks: (H, L) each."""
    rows = _rows(pattern, (row + 1) * pattern.block, heads)
    return rows.blocks[:, -1], rows.valid[:, -1]


@dataclass(frozen=True, eq=False)
class _At(Mask):
    """A mask for some of the queries: query i stands at position `positions[i]`."""

    mask: Mask
    positions: Tensor

    def allows(self, batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return self.mask.allows(batch, head, self.positions[query], key)


def gathered_bigbird(
    q: Tensor, k: Tensor, v: Tensor, pattern: BigBirdPattern, mask: Mask | None = None
) -> Tensor:
    """As `bigbird_attention`, by gathering blocks; works on any device."""
    length = q.shape[2]
    rows = _rows(pattern, length, q.shape[1])
    # Queries of global blocks, at the two ends, see every key: a few dense rows, O(N). Those in the
    # middle see at most L blocks each, which makes one batched product of gathered keys.
    begin = rows.first * pattern.block
    end = min(length, begin + rows.blocks.shape[1] * pattern.block)
    first, middle, last = q.split((begin, end - begin, length - end), 2)
    job = _Job(rows, pattern.block, mask, pattern.causal)
    out = _Gathered.apply(middle, k, v, job)
    if end - begin == length:
        return out
    if mask is not None:
        # The queries of both ends are put side by side, but a mask asks where each one stands.
        position = torch.arange(length, device=q.device)
        mask = _At(mask, torch.cat((position[:begin], position[end:])))
    ends = softmax_attention(torch.cat((first, last), 2), k, v, mask)
    return torch.cat((ends[:, :, :begin], out, ends[:, :, begin:]), 2)


class _Job(NamedTuple):
    """What `_Gathered` needs besides tensors with gradients."""

    rows: Rows
    block: int
    mask: Mask | None
    causal: bool


class _Chunk(NamedTuple):
    """Some blocks of queries: their slice, and with C of them, (C, L) blocks of keys, and which
    keys count, (C, b or 1, L b) bool, or None for all."""

    queries: slice
    keys: Tensor
    allowed: Tensor | None


class _Gathered(torch.autograd.Function):
    """Softmax attention of queries (B, H, R b, K), the last block of which may be partial, to the
    blocks of keys of their rows, from k (B, H, N, K) and v (B, H, N, V).

    Nothing of size R b L b is kept: chunk by chunk the weights are computed, and computed again in
    the backward pass.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, job: _Job) -> Tensor:
        # Batch and heads are folded into the number of the block: one list of blocks, from which
        # `index_select` takes what a row names.
        blocks = [_blocks(t, job.block) for t in (q, k, v)]
        out = blocks[2].new_empty(*blocks[0].shape[:2], v.shape[-1])
        for chunk in _chunks(q.shape[:2], k.shape[2], job, q.device):
            # Queries are scaled, not scores: there are fewer of them.
            queries = blocks[0][chunk.queries] * q.shape[-1] ** -0.5
            # Random, window and global keys stand side by side, so the softmax is one.
            keys, values = (_take(t, chunk.keys) for t in blocks[1:])
            out[chunk.queries] = _weights(queries, keys, chunk.allowed) @ values
        # Neither weights nor gathered keys are kept: they are many times as large as this.
        ctx.save_for_backward(*blocks, out)
        ctx.job, ctx.shapes = job, tuple(t.shape for t in (q, k, v))
        return _tokens(out, (*q.shape[:-1], v.shape[-1]))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        q, k, v, out = ctx.saved_tensors
        grads = [torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)]
        scale = q.shape[-1] ** -0.5
        grad = _blocks(grad, ctx.job.block)
        for chunk in _chunks(ctx.shapes[0][:2], ctx.shapes[1][2], ctx.job, q.device):
            queries, g = q[chunk.queries] * scale, grad[chunk.queries]
            keys, values = _take(k, chunk.keys), _take(v, chunk.keys)
            weights = _weights(queries, keys, chunk.allowed)
            # A block of keys is named by many rows: what each row sends back is added up.
            into = chunk.keys.flatten()
            grads[2].index_add_(0, into, (weights.mT @ g).view(-1, *v.shape[1:]))
            # Through the softmax: d scores = weights * (d weights - sum(weights * d weights)), and
            # that sum over all keys is (g * out) summed over the width. No large matrix more.
            change = (g @ values.mT).sub_((g * out[chunk.queries]).sum(-1, keepdim=True))
            change = change.mul_(weights)
            # Each row of queries is in one chunk only, so it is written. Its gradient needs the
            # scale; that of the keys has it from `queries`.
            grads[0][chunk.queries] = (change @ keys).mul_(scale)
            grads[1].index_add_(0, into, (change.mT @ queries).view(-1, *k.shape[1:]))
        dq, dk, dv = (_tokens(g, shape) for g, shape in zip(grads, ctx.shapes, strict=True))
        return dq, dk, dv, None


def _blocks(tokens: Tensor, b: int) -> Tensor:
    """(B, H, N, K) -> (B H ceil(N / b), b, K), zeros at the end of a partial block."""
    short = -tokens.shape[2] % b
    tokens = pad(tokens, (0, 0, 0, short)) if short else tokens
    return tokens.reshape(-1, b, tokens.shape[-1])


def _tokens(blocks: Tensor, shape: Sequence[int]) -> Tensor:
    """`_blocks` undone: (B, H, N, K), of the given shape."""
    return blocks.view(*shape[:2], -1, shape[-1])[:, :, : shape[2]]


def _take(blocks: Tensor, index: Tensor) -> Tensor:
    """blocks (M, b, K), index (C, L) -> (C, L b, K)."""
    return blocks.index_select(0, index.flatten()).view(index.shape[0], -1, blocks.shape[-1])


def _weights(q: Tensor, k: Tensor, allowed: Tensor | None) -> Tensor:
    """softmax(q k^T): (C, b, L b), zero where not allowed; half precision is normalised in full."""
    scores = q @ k.mT
    if allowed is not None:
        # The least finite number, not minus infinity: a row without any key must not become NaN.
        scores.masked_fill_(~allowed, torch.finfo(scores.dtype).min)
    weights = scores.softmax(-1, torch.promote_types(scores.dtype, torch.float32)).to(scores.dtype)
    if allowed is not None:
        # Such a row is uniform by now; it gives zeros, forwards and backwards. It is rare, so that
        # one asks first, except where a graph is traced, which cannot branch on the answer.
        nowhere = ~allowed.any(-1, keepdim=True)
        if torch.compiler.is_compiling() or nowhere.any():
            weights = weights.masked_fill_(nowhere, 0.0)
    return weights


def _chunks(lanes: Sequence[int], length: int, job: _Job, device: torch.device) -> Iterator[_Chunk]:
    """The blocks of queries of all lanes, `CHUNK` weights at a time.

    Args:
        lanes: B and H.
        length: N, of the keys of each lane.
        job: rows, block and mask.
        device: of the tensors that are made.
    """
    (batch, heads), b = lanes, job.block
    # One row for each block of queries of each lane, a pair of example and head; examples have the
    # same rows.
    index, valid = (t.repeat(batch, 1, 1).flatten(0, 1).to(device) for t in job.rows[1:3])
    count, blocks = job.rows.blocks.shape[1], -(-length // b)
    number = torch.arange(index.shape[0], device=device)
    # Blocks of keys of all lanes stand in one list too, `blocks` of them a lane.
    keys = (number // count * blocks)[:, None] + index
    # Most rows of a long text need no mask at all, and a softmax without one is faster.
    plain = length == blocks * b and job.mask is None and not job.causal
    full = job.rows.full if plain else (False,) * (heads * count)
    inner = torch.arange(b, device=device)
    for some, every in _slices(batch, full, max(1, CHUNK // (b * b * index.shape[-1]))):
        allowed = None
        if not every:
            # Positions of keys and queries within their text, as masks want them. A place that only
            # fills up a row or the last block is not allowed, whatever its position then says.
            key = (index[some, :, None] * b + inner).flatten(1)[:, None]
            allowed = valid[some].repeat_interleave(b, 1)[:, None] & (key < length)
            key = key.clamp(max=length - 1)
            lane, row = number[some] // count, number[some] % count
            query = ((row + job.rows.first)[:, None] * b + inner)[..., None].clamp(max=length - 1)
            if job.causal:
                allowed = allowed & (key <= query)
            if job.mask is not None:
                each = (lane // heads)[:, None, None], (lane % heads)[:, None, None]
                allowed = allowed & job.mask.allows(*each, query, key)
        yield _Chunk(some, keys[some], allowed)


def _slices(batch: int, full: tuple[bool, ...], size: int) -> Iterator[tuple[slice, bool]]:
    """Slices of the rows of all examples, and whether every place of the rows in it counts.

    batch: B. full: of each row of one example, whether every place counts. size: rows of a slice.
    """
    if torch.compiler.is_compiling():
        # A graph would hold every slice once more, and could not serve batches of any size.
        yield slice(None), all(full)
        return
    full = full * batch
    for begin in range(0, len(full), size):
        some = slice(begin, begin + size)
        yield some, all(full[some])


def flex_bigbird(
    q: Tensor, k: Tensor, v: Tensor, pattern: BigBirdPattern, mask: Mask | None = None
) -> Tensor:
    """As `bigbird_attention`, by torch's flex_attention: compiled on a GPU, on a CPU a slow
    reference without a backward pass."""
    length, heads = q.shape[2], q.shape[1]
    blocks = _block_mask(pattern, length, heads, str(q.device))
    score_mod = None
    if mask is not None:
        rule = mask.mask_mod

        def score_mod(score: Tensor, batch: Tensor, head: Tensor, i: Tensor, j: Tensor) -> Tensor:
            return torch.where(rule(batch, head, i, j), score, -float("inf"))

    attend = _compiled_flex() if q.is_cuda else _flex()
    return attend(q, k, v, score_mod=score_mod, block_mask=blocks)


@lru_cache(maxsize=64)
def _block_mask(pattern: BigBirdPattern, length: int, heads: int, device: str) -> Any:
    from torch.nn.attention.flex_attention import create_block_mask

    mask = BigBirdMask(pattern, length, heads).to(device)
    return create_block_mask(mask.mask_mod, None, heads, length, length, device=device)


def _flex() -> Callable[..., Tensor]:
    from torch.nn.attention.flex_attention import flex_attention

    return flex_attention


@lru_cache(maxsize=1)
def _compiled_flex() -> Callable[..., Tensor]:
    return torch.compile(_flex())
