"""Attention: a kernel, which may be any function of one signature, and the heads around it.

B batch, T tokens (Tq of queries, Tk of keys), D width, H heads, K head width, V value width.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from quire.nn.decoding import State, memory_of, padding
from quire.nn.masks import Causal, Mask, Padding

AttentionKernel = Callable[[Tensor, Tensor, Tensor, Mask | None], Tensor]
"""(q (B, H, Tq, K), k (B, H, Tk, K), v (B, H, Tk, V), mask) -> (B, H, Tq, V)."""


def softmax_attention(q: Tensor, k: Tensor, v: Tensor, mask: Mask | None = None) -> Tensor:
    """softmax(q k^T / sqrt(K)) v by torch's fused kernels ("Attention is all you need", eq. 1).

    q: (B, H, Tq, K), k: (B, H, Tk, K), v: (B, H, Tk, V); gives (B, H, Tq, V). A query that may
    attend nowhere gives zeros.
    """
    if mask is None or isinstance(mask, Causal):
        return scaled_dot_product_attention(q, k, v, is_causal=mask is not None)
    allowed = mask.dense(q.shape[-2], k.shape[-2], q.shape[0], q.shape[1], q.device)
    # Kernels differ in what a row of nothing gives: let it attend everywhere, then drop it.
    somewhere = allowed.any(-1, keepdim=True)
    attended = scaled_dot_product_attention(q, k, v, attn_mask=allowed | ~somewhere)
    return attended.masked_fill(~somewhere, 0.0)


def naive_softmax_attention(q: Tensor, k: Tensor, v: Tensor, mask: Mask | None = None) -> Tensor:
    """The slow twin of `softmax_attention`: the formula, with every weight in memory."""
    scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    if mask is None:
        return scores.softmax(-1) @ v
    allowed = mask.dense(q.shape[-2], k.shape[-2], q.shape[0], q.shape[1], q.device)
    scores = scores.masked_fill(~allowed, torch.finfo(scores.dtype).min)
    return (scores.softmax(-1) * allowed) @ v


class MultiHeadAttention(nn.Module):
    """Several attentions side by side, each on its own projection of the input.

    dim: width D, of x and of the context. heads: H. kernel: how the heads attend. positions: called
    with (q, k), in decoding (q, k, start), returns both with positions mixed in, e.g.
    `Rotary(head_dim)`. bias: whether the four projections have one. head_dim: K, by default D / H.
    dropout: probability for each element of the output.

    `extend` is causal self-attention whose input comes in pieces, `remember` and `recall` attention
    to a context that is read once.

    Raises ValueError if head_dim is not given and dim is not a multiple of heads.

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
    ) -> None:
        super().__init__()
        if head_dim is None and dim % heads:
            raise ValueError(
                f"dim must be a multiple of heads unless head_dim is given, got {dim} and {heads}"
            )
        inner = heads * (head_dim or dim // heads)
        self.heads = heads
        self.kernel = kernel
        self.positions = positions
        self.query = nn.Linear(dim, inner, bias=bias)
        self.key = nn.Linear(dim, inner, bias=bias)
        self.value = nn.Linear(dim, inner, bias=bias)
        self.output = nn.Linear(inner, dim, bias=bias)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, context: Tensor | None = None, mask: Mask | None = None) -> Tensor:
        """x (B, Tq, D) attends to context (B, Tk, D), by default to itself; gives (B, Tq, D)."""
        context = x if context is None else context
        q_BHTK = self._split(self.query(x))
        k_BHTK = self._split(self.key(context))
        v_BHTK = self._split(self.value(context))
        if self.positions is not None:
            q_BHTK, k_BHTK = self.positions(q_BHTK, k_BHTK)
        return self._join(self.kernel(q_BHTK, k_BHTK, v_BHTK, mask))

    def extend(
        self,
        x: Tensor,
        state: State | None = None,
        *,
        start: int | Tensor = 0,
        mask: Padding | None = None,
    ) -> tuple[Tensor, State]:
        """Causal self-attention of x (B, T, D) after the tokens of `state`: (B, T, D), new state.

        state: None for a prompt of any length, which `mask` may pad; then what the last call gave,
        with one token a call. start: position of the first token of x, a number or (B,).
        """
        q, k, v = (self._split(part(x)) for part in (self.query, self.key, self.value))
        if self.positions is not None:
            q, k = self.positions(q, k, start)
        memory = memory_of(self.kernel)
        if state is None:
            allowed = Causal() if mask is None else Causal() & mask
            return self._join(self.kernel(q, k, v, allowed)), memory.write(None, k, v, mask)
        if x.shape[1] != 1:
            raise ValueError(f"after the prompt comes one token a call, got {x.shape[1]}")
        state = memory.write(state, k, v, mask)
        return self._join(memory.read(state, q)), state

    def remember(self, context: Tensor, mask: Mask | None = None) -> State:
        """The state of a context (B, Tk, D), of which `mask` may hide padding, for `recall`."""
        k, v = self._split(self.key(context)), self._split(self.value(context))
        if self.positions is not None:
            k = self.positions(k, k)[1]
        return memory_of(self.kernel).write(None, k, v, padding(mask))

    def recall(self, x: Tensor, state: State, *, start: int | Tensor = 0) -> Tensor:
        """One token x (B, 1, D) at position `start` attends to a remembered context: (B, 1, D)."""
        q = self._split(self.query(x))
        if self.positions is not None:
            q = self.positions(q, q, start)[0]
        return self._join(memory_of(self.kernel).read(state, q))

    def _join(self, attended_BHTK: Tensor) -> Tensor:
        return self.dropout(self.output(attended_BHTK.transpose(1, 2).flatten(2)))

    def _split(self, x: Tensor) -> Tensor:
        """(B, T, H * K) -> (B, H, T, K)."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)
