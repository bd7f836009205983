"""Attention: a kernel, which may be any function of one signature, and the heads around it.

B batch, T tokens (Tq of queries, Tk of keys), D width, H heads (G of keys and values, which divide
H), K head width, V value width.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from quire.nn.decoding import State, extend_memory, memory_of, padding
from quire.nn.masks import Causal, Mask, Padding, check_mask, fit_mask

AttentionKernel = Callable[[Tensor, Tensor, Tensor, Mask | None], Tensor]
"""(q (B, H, Tq, K), k (B, G, Tk, K), v (B, G, Tk, V), mask) -> (B, H, Tq, V).

Query head h reads head h // (H / G) of the keys and values ("GQA", section 2.2). A query that may
attend nowhere gives zeros.
"""


def softmax_attention(q: Tensor, k: Tensor, v: Tensor, mask: Mask | None = None) -> Tensor:
    """softmax(q k^T / sqrt(K)) v by torch's fused kernels ("Attention is all you need", eq. 1).

    Gives (B, H, Tq, V). A query that may attend nowhere gives zeros.

    Args:
        q: Queries (B, H, Tq, K).
        k: Keys (B, G, Tk, K).
        v: Values (B, G, Tk, V).
        mask: Which queries may attend to which keys; None allows every pair.

    Raises ValueError where G does not divide H or a mask's size does not fit.
    """
    mask = fit_mask(mask, q, k)
    shared = _check_heads(q, k, v)
    if mask is None or isinstance(mask, Causal):
        # Without a (Tq, Tk) tensor torch takes its fastest kernels. Its causal rule counts from the
        # first key, as `Causal` does, also where Tq and Tk differ.
        return scaled_dot_product_attention(q, k, v, is_causal=mask is not None, enable_gqa=shared)
    allowed = mask.dense(q.shape[-2], k.shape[-2], q.shape[0], q.shape[1], q.device)
    # Kernels differ in what a row of nothing gives: let it attend everywhere, then drop it.
    somewhere = allowed.any(-1, keepdim=True)
    attended = scaled_dot_product_attention(
        q, k, v, attn_mask=allowed | ~somewhere, enable_gqa=shared
    )
    return attended.masked_fill(~somewhere, 0.0)


def naive_softmax_attention(q: Tensor, k: Tensor, v: Tensor, mask: Mask | None = None) -> Tensor:
    """The slow twin of `softmax_attention`: the formula, with every weight in memory.

    Args:
        q: Queries (B, H, Tq, K).
        k: Keys (B, G, Tk, K).
        v: Values (B, G, Tk, V).
        mask: Which queries may attend to which keys; None allows every pair.

    Raises ValueError where G does not divide H or a mask's size does not fit.
    """
    mask = fit_mask(mask, q, k)
    k, v = repeat_heads(q, k, v)
    scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    if mask is None:
        return scores.softmax(-1) @ v
    allowed = mask.dense(q.shape[-2], k.shape[-2], q.shape[0], q.shape[1], q.device)
    # Not -inf: a row of -inf alone has a softmax of NaN. This way it is even, and the product with
    # `allowed` makes it zeros; in any other row the hidden weights are zeros already.
    scores = scores.masked_fill(~allowed, torch.finfo(scores.dtype).min)
    return (scores.softmax(-1) * allowed) @ v


def repeat_heads(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Keys and values with a head for each head of the queries, as they are where G is H.

    q: (B, H, Tq, K). k, v: (B, G, Tk, ...) -> (B, H, Tk, ...). Raises ValueError where G does not
    divide H.
    """
    if not _check_heads(q, k, v):
        return k, v
    times = q.shape[1] // k.shape[1]
    return k.repeat_interleave(times, 1), v.repeat_interleave(times, 1)


def _check_heads(q: Tensor, k: Tensor, v: Tensor) -> bool:
    """Whether heads of queries share keys and values; ValueError where they do not fit."""
    heads, groups, values = q.shape[1], k.shape[1], v.shape[1]
    if groups != values or not groups or heads % groups:
        raise ValueError(
            f"{heads} heads of queries do not fit {groups} of keys and {values} of values: these "
            "two are equal and divide the first"
        )
    return heads != groups


class MultiHeadAttention(nn.Module):
    """Several attentions side by side, each on its own projection of the input.

    `extend` is causal self-attention whose input comes in pieces, `remember` and `recall` attention
    to a context that is read once.

    Args:
        dim: Width D, of x and of the context.
        heads: H.
        kernel: How the heads attend.
        positions: Called with (q, k), in decoding (q, k, start); returns both with positions mixed
            in, e.g. `Rotary(head_dim)`.
        bias: Whether the four projections have one.
        head_dim: K, by default D / H.
        dropout: Probability for each element of the output.
        key_heads: G, heads of keys and values that groups of query heads share ("GQA"), 1 for
            multi-query attention; by default H.

    Raises ValueError if head_dim is not given and dim is not a multiple of heads or heads none of
    key_heads, TypeError for a kernel that cannot be called or a mask that is none.

    Example:
        >>> import torch
        >>> from quire.nn import MultiHeadAttention
        >>> attention = MultiHeadAttention(8, 2)
        >>> attention(torch.randn(3, 5, 8)).shape
        torch.Size([3, 5, 8])
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        *,
        kernel: AttentionKernel = softmax_attention,
        positions: Callable[..., tuple[Tensor, Tensor]] | None = None,
        bias: bool = False,
        head_dim: int | None = None,
        dropout: float = 0.0,
        key_heads: int | None = None,
    ) -> None:
        super().__init__()
        key_heads = heads if key_heads is None else key_heads
        if key_heads < 1 or heads % key_heads:
            raise ValueError(f"heads must be a multiple of key_heads, got {heads} and {key_heads}")
        if head_dim is None and dim % heads:
            raise ValueError(
                f"dim must be a multiple of heads unless head_dim is given, got {dim} and {heads}"
            )
        if not callable(kernel):
            raise TypeError(
                "kernel must be a function of (q, k, v, mask), such as softmax_attention of "
                f"quire.nn; got {kernel!r}"
            )
        head_dim = head_dim or dim // heads
        inner = heads * head_dim  # H * K, not D where head_dim is given
        self.heads = heads
        self.key_heads = key_heads
        self.kernel = kernel
        self.positions = positions
        # Three maps and not one of width 3 * H * K: keys and values may come from a context.
        self.query = nn.Linear(dim, inner, bias=bias)
        self.key = nn.Linear(dim, key_heads * head_dim, bias=bias)
        self.value = nn.Linear(dim, key_heads * head_dim, bias=bias)
        self.output = nn.Linear(inner, dim, bias=bias)
        self.dropout = nn.Dropout(dropout)

    def __setattr__(self, name: str, value: Any) -> None:
        """As in any module, but a kernel that is one may give way to a plain function."""
        if name == "kernel" and not isinstance(value, nn.Module):
            self._modules.pop("kernel", None)
        super().__setattr__(name, value)

    def forward(self, x: Tensor, context: Tensor | None = None, mask: Mask | None = None) -> Tensor:
        """x (B, Tq, D) attends to context (B, Tk, D), by default to itself; gives (B, Tq, D)."""
        check_mask(mask)
        context = x if context is None else context
        q_BHTK = self._split(self.query(x), self.heads)
        k_BGTK = self._split(self.key(context), self.key_heads)
        v_BGTK = self._split(self.value(context), self.key_heads)
        # After the split, since angles belong to the columns of one head. Values get no position:
        # it decides where to attend, not what is read there.
        if self.positions is not None:
            q_BHTK, k_BGTK = self.positions(q_BHTK, k_BGTK)
        return self._join(self.kernel(q_BHTK, k_BGTK, v_BGTK, mask))

    def extend(
        self,
        x: Tensor,
        state: State | None = None,
        *,
        start: int | Tensor = 0,
        mask: Padding | None = None,
    ) -> tuple[Tensor, State]:
        """Causal self-attention of x after the tokens of `state`: (B, T, D) and the new state.

        Args:
            x: (B, T, D), a prompt or any number of tokens after it.
            state: None for the prompt, then what a call gave, which may be continued again.
            start: Position of the first token of x, a number or (B,).
            mask: Which tokens of x count.
        """
        q = self._split(self.query(x), self.heads)
        k = self._split(self.key(x), self.key_heads)
        v = self._split(self.value(x), self.key_heads)
        if self.positions is not None:
            q, k = self.positions(q, k, start)
        memory = memory_of(self.kernel)
        if state is None:
            # All queries of a prompt at once, in the same kernel as in training.
            allowed = Causal() if mask is None else Causal() & mask
            return self._join(self.kernel(q, k, v, allowed)), memory.write(None, k, v, mask)
        attended, state = extend_memory(memory, state, q, k, v, mask)
        return self._join(attended), state

    def remember(self, context: Tensor, mask: Mask | None = None) -> State:
        """The state of a context (B, Tk, D), of which `mask` may hide padding, for `recall`."""
        k = self._split(self.key(context), self.key_heads)
        v = self._split(self.value(context), self.key_heads)
        if self.positions is not None:
            # Positions come in pairs (q, k); there is no query yet, so the keys stand in for it.
            k = self.positions(k, k)[1]
        return memory_of(self.kernel).write(None, k, v, padding(mask))

    def recall(self, x: Tensor, state: State, *, start: int | Tensor = 0) -> Tensor:
        """Tokens x (B, T, D) from position `start` on attend to a remembered context: (B, T, D).

        start: A number or (B,).
        """
        q = self._split(self.query(x), self.heads)
        if self.positions is not None:
            # `remember` has turned the keys; turned again they would be at twice their position.
            q = self.positions(q, q, start)[0]
        return self._join(memory_of(self.kernel).read(state, q))

    def _join(self, attended_BHTK: Tensor) -> Tensor:
        # (B, H, T, K) -> (B, T, H * K): the heads of one token side by side, as `_split` took them.
        return self.dropout(self.output(attended_BHTK.transpose(1, 2).flatten(2)))

    def _split(self, x: Tensor, heads: int) -> Tensor:
        """(B, T, H * K) -> (B, H, T, K)."""
        return x.unflatten(-1, (heads, -1)).transpose(1, 2)
