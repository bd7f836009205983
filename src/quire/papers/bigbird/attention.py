"""BigBird's attention: the blocks of keys that the pattern names are gathered, never a full matrix.

B batch, H heads, N tokens, K head width, V value width, b tokens a block, L blocks of keys a row.
"""

import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from quire.nn import devices
from quire.nn.attention import repeat_heads, softmax_attention
from quire.nn.masks import Causal, Mask, conjuncts, fit_mask
from quire.papers.bigbird.caching import bounded
from quire.papers.bigbird.flex import flex_bigbird
from quire.papers.bigbird.pattern import BigBirdPattern, check_pattern

CHUNK = 1 << 18
"""Attention weights that are in memory at a time on a CPU; elsewhere all of them are."""

FIELDS = tuple(field.name for field in fields(BigBirdPattern))


def bigbird_attention(
    q: Tensor, k: Tensor, v: Tensor, pattern: BigBirdPattern, mask: Mask | None = None
) -> Tensor:
    """Attention along `pattern`, O(N) in time and memory, forwards and backwards.

    Gives (B, H, N, V), equal to `softmax_attention` with `BigBirdMask(pattern, N, H)`, combined
    with `mask` by `&`: one softmax over the random, window and global keys of a query. A query that
    may attend nowhere gives zeros.

    Args:
        q: queries (B, H, N, K). N need not be a multiple of the block, and may be 0.
        k: keys (B, G, N, K); G divides H.
        v: values (B, G, N, V).
        pattern: the blocks that a query attends to.
        mask: hides keys, e.g. `Padding`; `Causal` in it makes the pattern causal.

    On a GPU by torch's flex_attention (compiled at first use), but for double precision and
    patterns that count a block twice; else by gathering blocks. The weights
    are computed again in the backward pass; they have no dropout. A second derivative is an error.
    Inside torch.compile and torch.export blocks are gathered, all at once, the random ones as a
    constant: a graph is for one length and, exported, for any batch.

    Without `Causal` a row with padding at its end is not what it is alone: the last block is a
    global one, also where it is padding, and the pattern is that of N tokens.

    Raises ValueError if q, k and v do not have the same B and N, G does not divide H, the
    pattern's `drawn` is for other sizes, or the mask does not fit; TypeError for a pattern or mask
    that is none.

    Example:
        >>> from quire.papers.bigbird import BigBirdPattern, bigbird_attention
        >>> q = k = v = torch.randn(1, 2, 150, 8)
        >>> bigbird_attention(q, k, v, BigBirdPattern(block=8, random=2)).shape
        torch.Size([1, 2, 150, 8])
    """
    check_pattern(pattern)
    alike = q.shape[:1] + q.shape[2:] == k.shape[:1] + k.shape[2:] if q.ndim == 4 else False
    if not alike or k.shape[:3] != v.shape[:3]:
        raise ValueError(
            "BigBird attends within one sequence: q (B, H, N, K), k (B, G, N, K), v (B, G, N, V); "
            f"got {tuple(q.shape)}, {tuple(k.shape)} and {tuple(v.shape)}; between two sequences "
            "use quire.nn.softmax_attention"
        )
    k, v = repeat_heads(q, k, v)
    pattern, rest = split_causal(pattern, fit_mask(mask, q, k))
    if pattern.is_full(q.shape[2]) or q.shape[2] == 0:
        return softmax_attention(q, k, v, rest)
    compiling = torch.compiler.is_compiling()
    double = q.dtype == torch.float64
    plain = not (compiling or double or pattern.repeats(q.shape[2], q.shape[1]))
    if q.is_cuda and plain:
        return flex_bigbird(q, k, v, pattern, rest)
    return gathered_bigbird(q, k, v, pattern, rest)


def split_causal(pattern: BigBirdPattern, mask: Mask | None) -> tuple[BigBirdPattern, Mask | None]:
    """The pattern, causal if the mask says so, and what else the mask says."""
    parts = conjuncts(mask)
    rest = [part for part in parts if not isinstance(part, Causal)]
    if len(rest) < len(parts):
        pattern = replace(pattern, causal=True)
    return pattern, reduce(operator.and_, rest) if rest else None


class Rows(NamedTuple):
    """The blocks of keys of each block of queries that is not global.

    first: the first of those rows. blocks: (H, rows, L) int64, blocks of keys. valid: the same
    shape, bool: rows with fewer than L blocks have places that do not count. full: H * rows bool,
    whether all places of a row count.
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


Arrays = tuple[int, NDArray[np.int64], NDArray[np.bool_], tuple[bool, ...]]


@bounded(lambda arrays: int(arrays[1].nbytes + arrays[2].nbytes) + 8 * len(arrays[3]))
def _arrays(pattern: BigBirdPattern, length: int, heads: int) -> Arrays:
    # Arrays are kept, not tensors: one that is made while a model is exported is no real one.
    some = replace(pattern, random=0, rule="even") if pattern.counts_again else pattern
    table = some.table(length, heads)
    # Global rows attend to everything: they are left to dense attention.
    first = 0 if pattern.causal else pattern.front
    rows = slice(first, table.shape[1] - pattern.back)
    table = table[:, rows]
    # One block at least, though nobody attends to it, where no row has any.
    most = max(1, int(table.sum(-1).max(initial=0)))
    # The first `most` of a stable sort by "is not attended to" are the blocks that are, ascending,
    # filled up with blocks that are not.
    blocks = np.argsort(~table, axis=-1, kind="stable")[..., :most].copy()
    valid = np.take_along_axis(table, blocks, -1)
    if pattern.counts_again:
        # What is drawn stands beside the others, whether or not it is one of them.
        plan = pattern.plan(length, heads)[:, rows]
        blocks, valid = (
            np.concatenate((blocks, plan), -1),
            np.pad(valid, ((0, 0), (0, 0), (0, plan.shape[-1])), constant_values=True),
        )
    return first, blocks, valid, tuple(valid.all(-1).flatten().tolist())


@dataclass(frozen=True, eq=False)
class _At(Mask):
    """A mask for some of the queries: query i stands at position `positions[i]`."""

    mask: Mask
    positions: Tensor

    def check(self, batch: int, queries: int, keys: int) -> None:
        """The mask has been fitted to all queries."""

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
        ctx.save_for_backward(q, k, v, out)
        ctx.job = job
        return _tokens(out, (*q.shape[:-1], v.shape[-1]))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        *inputs, out = ctx.saved_tensors
        with torch.no_grad():
            grads = _Gathered._differentiate(ctx.job, inputs, out, grad)
        if torch.is_grad_enabled() and not torch.compiler.is_compiling():
            # What is computed above has no graph: whoever wants to go through it must hear of it.
            grads = [_Once.apply(g, grad, *inputs) for g in grads]
        return grads[0], grads[1], grads[2], None

    @staticmethod
    def _differentiate(
        job: _Job, inputs: Sequence[Tensor], out: Tensor, grad: Tensor
    ) -> list[Tensor]:
        """Gradients of q, k and v.

        Args:
            job: what `forward` had.
            inputs: q, k and v.
            out: the blocks that came out.
            grad: of the output, (B, H, R b, V).
        """
        shapes = [t.shape for t in inputs]
        q, k, v = (_blocks(t, job.block) for t in inputs)
        grads = [torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)]
        scale = q.shape[-1] ** -0.5
        grad = _blocks(grad, job.block)
        for chunk in _chunks(shapes[0][:2], shapes[1][2], job, q.device):
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
        return [_tokens(g, shape) for g, shape in zip(grads, shapes, strict=True)]


class _Once(torch.autograd.Function):
    """A gradient as it is; to differentiate it raises RuntimeError. What it depends on is named, so
    that no way through it is missed."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, *origins: Tensor) -> Tensor:
        return gradient.view_as(gradient)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        raise RuntimeError(
            "bigbird_attention has no second derivative: use softmax_attention with BigBirdMask"
        )


def _blocks(tokens: Tensor, b: int) -> Tensor:
    """(B, H, N, K) -> (B H ceil(N / b), b, K), zeros at the end of a partial block."""
    batch, heads, length, width = tokens.shape
    count = -(-length // b)
    tokens = pad(tokens, (0, 0, 0, count * b - length)) if length % b else tokens
    return tokens.reshape(batch * heads * count, b, width)


def _tokens(blocks: Tensor, shape: Sequence[int]) -> Tensor:
    """`_blocks` undone: (B, H, N, K), of the given shape."""
    tokens = -(-shape[2] // blocks.shape[1]) * blocks.shape[1]
    return blocks.view(*shape[:2], tokens, shape[-1])[:, :, : shape[2]]


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
        # one asks first, except where a graph is traced, which cannot branch on the answer, or
        # where the answer must be waited for.
        nowhere = ~allowed.any(-1, keepdim=True)
        if torch.compiler.is_compiling() or devices.is_accelerator(q) or nowhere.any():
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
    index, valid = (t.to(device).repeat(batch, 1, 1).flatten(0, 1) for t in job.rows[1:3])
    count, blocks = job.rows.blocks.shape[1], -(-length // b)
    number = torch.arange(index.shape[0], device=device)
    # Blocks of keys of all lanes stand in one list too, `blocks` of them a lane.
    keys = (number // count * blocks)[:, None] + index
    # Most rows of a long text need no mask at all, and a softmax without one is faster.
    plain = length == blocks * b and job.mask is None and not job.causal
    full = job.rows.full if plain else (False,) * (heads * count)
    inner = torch.arange(b, device=device)
    # A graph would hold every slice once more, and could not serve batches of any size.
    whole = torch.compiler.is_compiling() or devices.is_accelerator(inner)
    for some, every in _slices(
        batch, full, max(1, CHUNK // (b * b * index.shape[-1])), whole=whole
    ):
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


def _slices(
    batch: int, full: tuple[bool, ...], size: int, *, whole: bool
) -> Iterator[tuple[slice, bool]]:
    """Slices of the rows of all examples, and whether every place of the rows in it counts.

    Args:
        batch: B.
        full: of each row of one example, whether every place counts.
        size: rows of a slice.
        whole: whether there is one slice.
    """
    if whole:
        yield slice(None), all(full)
        return
    full = full * batch
    for begin in range(0, len(full), size):
        some = slice(begin, begin + size)
        yield some, all(full[some])
