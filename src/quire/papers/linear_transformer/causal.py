"""Causal linear attention by chunks: O(N) time and memory, forward and backward, in plain matmuls.

R rows (batch times heads), N tokens, C features of queries and keys, M width of the values.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn.functional import pad

from quire.nn import devices
from quire.nn.devices import without_autocast


def causal_attention(
    q: Tensor, k: Tensor, v: Tensor, *, eps: float = 1e-6, chunk: int = 64
) -> Tensor:
    """sum_{j<=i} (q_i . k_j) v_j / (sum_{j<=i} q_i . k_j + eps) (eqs. 8 to 12).

    Gives (R, N, M) in v's dtype; sums are float32 at least, inside autocast too. Derivatives of any
    order, `torch.func` and forward mode are right; only the first in reverse is O(N) in memory.

    Args:
        q: (R, N, C), the feature map applied.
        k: (R, N, C), the feature map applied.
        v: (R, N, M).
        eps: Added to the normaliser.
        chunk: Tokens whose pairs are formed at once; N gives the parallel form, 1 the recurrent.

    Raises ValueError if chunk < 1.
    """
    if chunk < 1:
        raise ValueError(f"chunk must be at least 1, got {chunk}")
    with without_autocast(q):
        return _attend(widen(q), widen(k), widen(v), eps, chunk).to(v.dtype)


def _attend(q: Tensor, k: Tensor, v: Tensor, eps: float, chunk: int) -> Tensor:
    if q.shape[1] <= chunk or not len(q):  # nothing comes before the only chunk
        pairs = torch.bmm(q, k.mT).tril()
        return torch.bmm(pairs, v) / (pairs.sum(-1, keepdim=True) + eps)
    if forward_ad._current_level >= 0:  # torch takes a function's forward derivative only once
        numerator = causal_product(q, k, pad(v, (0, 1), value=1.0), chunk)
        return numerator[..., :-1] / (numerator[..., -1:] + eps)
    attended: Tensor = ChunkedCausal.apply(q, k, v, eps, chunk)[0]
    return attended


def causal_product(q: Tensor, k: Tensor, v: Tensor, chunk: int) -> Tensor:
    """sum_{j<=i} (q_i . k_j) v_j in operations that torch differentiates: (R, N, M).

    One batch of products for all chunks, so a state a chunk is in memory.

    Args:
        q: (R, N, C).
        k: (R, N, C).
        v: (R, N, M).
        chunk: Tokens whose pairs are formed at once.
    """
    length = q.shape[1]
    q, k, v = (
        pad(x, (0, 0, 0, -length % chunk)).unflatten(1, (-(-length // chunk), chunk))
        for x in (q, k, v)
    )
    sums = (k.mT @ v).cumsum(1)
    before = pad(sums[:, :-1], (0, 0, 0, 0, 1, 0))
    return ((q @ k.mT).tril() @ v + q @ before).flatten(1, 2)[:, :length]


class ChunkedCausal(torch.autograd.Function):
    """`causal_attention` with a gradient that keeps no state of any token (eqs. 13 to 15).

    A column of ones beside the values makes the normaliser one more column of the numerator, so
    one product (and one gradient) gives both. Per chunk, with S the state before it:

        numerator = tril(Q K^T) V + Q S            S += K^T V

    and with D the numerator's gradient and T the sum of Q^T D over all later chunks:

        dQ = tril(D V^T) K + D S^T      dK = tril(D V^T)^T Q + V T^T      dV = tril(Q K^T)^T D + K T
    """

    @staticmethod
    def forward(q: Tensor, k: Tensor, v: Tensor, eps: float, chunk: int) -> tuple[Tensor, Tensor]:
        """See `causal_attention`; beside it the normaliser (R, N, 1)."""
        out = torch.empty_like(v, memory_format=torch.contiguous_format)
        scale = v.new_empty(*v.shape[:2], 1)
        state = v.new_zeros(len(q), q.shape[-1], v.shape[-1] + 1)
        for block in split_blocks(q, v, chunk):
            queries, keys = (cut_chunks(x, block, chunk) for x in (q, k))
            values = cut_chunks(v, block, chunk, ones=True)
            # Earlier chunks count by their sum, the chunk itself pair by pair.
            before, state = scan_sums(state, keys, values)
            pairs = torch.bmm(queries, keys.mT).tril_()
            numerator = join(torch.bmm(pairs, values).baddbmm_(queries, before), block, len(q))
            # The last column is the normaliser, from the ones beside the values.
            denominator = numerator[..., -1:] + eps
            torch.div(numerator[..., :-1], denominator, out=out[:, block])
            scale[:, block] = denominator
        return out, scale

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        """No state is kept: the backward pass sums anew."""
        q, k, v, ctx.eps, ctx.chunk = inputs
        ctx.save_for_backward(q, k, v, *output)
        ctx.mark_non_differentiable(output[1])

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
        """Gradients of q, k and v, in two sweeps."""
        q, k, v, out, scale = ctx.saved_tensors
        with without_autocast(grad):
            if torch.is_grad_enabled():  # asked for further derivatives
                return *derive_gradients(grad, ctx.chunk, q, k, v, eps=ctx.eps), None, None
            return *compute_gradients(grad, ctx.chunk, q, k, v, out, scale), None, None

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], *inputs: Any
    ) -> tuple[tuple[Tensor, Tensor], tuple[int, int]]:
        """One more axis of q, k and v is more rows."""
        size = info.batch_size
        q, k, v = (
            (x.expand(size, *x.shape) if dim is None else x.movedim(dim, 0)).flatten(0, 1)
            for x, dim in zip(inputs[:3], in_dims, strict=False)
        )
        out, scale = ChunkedCausal.apply(q, k, v, *inputs[3:])
        return (out.unflatten(0, (size, -1)), scale.unflatten(0, (size, -1))), (0, 0)


def derive_gradients(
    grad: Tensor, chunk: int, q: Tensor, k: Tensor, v: Tensor, *, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """`compute_gradients` in operations that torch differentiates again.

    Args:
        grad: Of the output (R, N, M).
        chunk: Tokens whose pairs are formed at once.
        q: (R, N, C).
        k: (R, N, C).
        v: (R, N, M).
        eps: Added to the normaliser.
    """
    values = pad(v, (0, 1), value=1.0)
    numerator = causal_product(q, k, values, chunk)
    scale = numerator[..., -1:] + eps
    out = numerator[..., :-1] / scale
    d = torch.cat((grad, -(out * grad).sum(-1, keepdim=True)), -1) / scale
    # Each gradient is the same product of other tensors; those of keys and values sum backwards.
    dq = causal_product(d, values, k, chunk)
    later_d, later_q, later_k, later_v = (x.flip(1) for x in (d, q, k, values))
    dk = causal_product(later_v, later_d, later_q, chunk).flip(1)
    dv = causal_product(later_k, later_q, later_d, chunk).flip(1)
    return dq, dk, dv[..., :-1]


def compute_gradients(
    grad: Tensor, chunk: int, q: Tensor, k: Tensor, v: Tensor, out: Tensor, scale: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """A sweep forwards with the state S for dQ, then one backwards with T for dK and dV.

    Args:
        grad: Of out (R, N, M).
        chunk: Tokens whose pairs are formed at once.
        q: (R, N, C).
        k: (R, N, C).
        v: (R, N, M).
        out: What forward gave, (R, N, M).
        scale: The normaliser, (R, N, 1).
    """
    rows = len(q)
    dq, dk, dv = (torch.empty_like(x, memory_format=torch.contiguous_format) for x in (q, k, v))
    later = state = v.new_zeros(rows, q.shape[-1], v.shape[-1] + 1)

    def chunks(block: slice) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The numerator's gradient D, queries, keys and values; tril(D V^T) follows from them."""
        # out = numerator / normaliser: the normaliser's gradient is -(out . grad) / normaliser.
        dot = (out[:, block] * grad[:, block]).sum(-1, keepdim=True)
        d = torch.cat((grad[:, block], -dot), -1).div_(scale[:, block])
        values = cut_chunks(v, block, chunk, ones=True)
        queries, keys = (cut_chunks(x, block, chunk) for x in (q, k))
        return cut_chunks(d, slice(None), chunk), queries, keys, values

    # dQ of a token asks for the keys and values before it ...
    every = list(split_blocks(q, v, chunk))
    for block in every:
        d, queries, keys, values = chunks(block)
        before, state = scan_sums(state, keys, values)
        pairs = torch.bmm(d, values.mT).tril_()
        dq[:, block] = join(torch.bmm(pairs, keys).baddbmm_(d, before.mT), block, rows)
    # ... dK and dV for the queries after it, so this sweep runs backwards.
    for block in reversed(every):
        d, queries, keys, values = chunks(block)
        after, later = scan_sums(later, queries, d, backwards=True)
        pairs = torch.bmm(d, values.mT).tril_().mT
        dk[:, block] = join(torch.bmm(pairs, queries).baddbmm_(values, after.mT), block, rows)
        pairs = torch.bmm(queries, keys.mT).tril_().mT
        # The column of ones is no part of v: its gradient is dropped.
        product = torch.bmm(pairs, d).baddbmm_(keys, after)
        dv[:, block] = join(product, block, rows)[..., :-1]
    return dq, dk, dv


def widen(x: Tensor) -> Tensor:
    """x in float32 at least: half precision cannot sum over thousands of tokens."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def split_blocks(q: Tensor, v: Tensor, chunk: int) -> list[slice]:
    """Stretches of whole chunks that are computed together: as many as fit a processor's cache.

    On an accelerator all of them: few large products, and a state a chunk is no more than keys and
    values are.
    """
    length = q.shape[1]
    if devices.is_accelerator(q):
        return [slice(0, length)]
    room = 2**18  # in numbers
    each = max(1, len(q) * max(chunk * chunk, q.shape[-1] * (v.shape[-1] + 1)))
    width = chunk * max(1, room // each)
    return [slice(start, min(start + width, length)) for start in range(0, length, width)]


def cut_chunks(x: Tensor, block: slice, chunk: int, *, ones: bool = False) -> Tensor:
    """The chunks of a block of x (R, N, C): (R * chunks, chunk, C), zeros after the last token.

    Zeros for a key add nothing to any sum.

    Args:
        x: (R, N, C).
        block: Which of the tokens.
        chunk: Tokens of a chunk.
        ones: Whether a column of ones is added.
    """
    part = x[:, block]
    if ones:
        part = pad(part, (0, 1), value=1.0)
    if part.shape[1] % chunk:
        part = pad(part, (0, 0, 0, -part.shape[1] % chunk))
    return part.reshape(len(x) * (part.shape[1] // chunk), chunk, part.shape[-1])


def join(x: Tensor, block: slice, rows: int) -> Tensor:
    """The opposite of `cut_chunks`: (R * chunks, chunk, C) to (R, tokens of the block, C)."""
    return x.view(rows, len(x) // rows * x.shape[1], x.shape[-1])[:, : block.stop - block.start]


def scan_sums(
    state: Tensor, left: Tensor, right: Tensor, *, backwards: bool = False
) -> tuple[Tensor, Tensor]:
    """Sums of left^T right over all chunks before each chunk, and over all of them.

    Gives (R * chunks, C, M) and (R, C, M).

    Args:
        state: The sum before the first chunk, (R, C, M).
        left: (R * chunks, chunk, C).
        right: (R * chunks, chunk, M).
        backwards: Whether the last chunk comes first.
    """
    products = torch.bmm(left.mT, right).view(len(state), -1, *state.shape[1:])
    if devices.is_accelerator(products):
        # One sum over the chunks. Within a cache, on a CPU, a loop over them is faster.
        if backwards:
            products = products.flip(1)
        sums = torch.cat((state[:, None], products), 1).cumsum(1)
        before, state = sums[:, :-1], sums[:, -1]
        if backwards:
            before = before.flip(1)
        return before.flatten(0, 1), state
    before = torch.empty_like(products)
    order = range(products.shape[1])
    for chunk in reversed(order) if backwards else order:
        before[:, chunk] = state
        state = state + products[:, chunk]
    return before.flatten(0, 1), state
