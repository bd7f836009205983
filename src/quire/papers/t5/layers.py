"""T5's layers: no biases, a norm without a mean, attention without 1 / sqrt(K) (section 2.1).

B batch, T tokens (Tq of queries, Tk of keys), D width, H heads, K head width. In float16 the
residual sum is kept in single precision and the feed-forward part's last product is scaled, since
both overflow in trained models.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from quire.papers.t5.positions import RelativeBias

HALF_SCALE = 64.0
"""What hidden elements are divided by before the last product in float16; the sum is multiplied."""


class RMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + 1e-6), times a learned scale; the mean in single precision or better.

    dim: D. The output has the scale's precision.

    Example:
        >>> import torch
        >>> from quire.papers.t5 import RMSNorm
        >>> RMSNorm(8)(torch.randn(2, 5, 8)).shape
        torch.Size([2, 5, 8])
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        """x (..., D) -> (..., D)."""
        wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        scaled = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + 1e-6)
        return self.weight * scaled.to(self.weight.dtype)


class Attention(nn.Module):
    """Heads whose scores q k^T are not divided by sqrt(K): the initial values make up for it.

    Args:
        dim: D.
        heads: H.
        head_dim: K.
        dropout: Probability for each weight.

    Example:
        >>> import torch
        >>> from quire.papers.t5 import Attention
        >>> attention = Attention(8, 2, head_dim=4)
        >>> attention(torch.randn(3, 5, 8), bias=torch.randn(2, 5, 5)).shape
        torch.Size([3, 5, 8])
    """

    def __init__(self, dim: int, heads: int, *, head_dim: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        inner = heads * head_dim
        self.query = nn.Linear(dim, inner, bias=False)
        self.key = nn.Linear(dim, inner, bias=False)
        self.value = nn.Linear(dim, inner, bias=False)
        self.output = nn.Linear(inner, dim, bias=False)
        with torch.no_grad():
            self.query.weight.normal_(std=(dim * head_dim) ** -0.5)
            self.key.weight.normal_(std=dim**-0.5)
            self.value.weight.normal_(std=dim**-0.5)
            self.output.weight.normal_(std=inner**-0.5)

    def forward(
        self, x: Tensor, context: Tensor | None = None, bias: Tensor | None = None
    ) -> Tensor:
        """x (B, Tq, D) attends to context (B, Tk, D), by default to itself: (B, Tq, D).

        bias: Added to the scores, any shape that broadcasts to (B, H, Tq, Tk); very negative where
        a query may not attend.
        """
        keys, values = self.project(x if context is None else context)
        return self.attend(x, keys, values, bias)

    def project(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of a context (B, Tk, D), (B, H, Tk, K) each."""
        return self._split(self.key(context)), self._split(self.value(context))

    def attend(self, x: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None) -> Tensor:
        """x (B, Tq, D) attends to what `project` gave: (B, Tq, D)."""
        q = self._split(self.query(x))
        attended = F.scaled_dot_product_attention(
            q, keys, values,
            attn_mask=None if bias is None else _expand(bias, q, keys),
            dropout_p=self.dropout if self.training else 0.0,
            scale=1.0,
        )  # fmt: skip
        return self.output(attended.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]

    def _split(self, x: Tensor) -> Tensor:
        # (B, T, H * K) -> (B, H, T, K)
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


def _expand(bias: Tensor, q: Tensor, keys: Tensor) -> Tensor:
    """The bias with q's type and, as a view, the shape that all kernels take: (B, H, Tq, Tk)."""
    if bias.dtype != q.dtype:
        # Under autocast: what hides a pair in single precision would be infinite in half.
        bias = bias.clamp(min=hidden(q.dtype)).to(q.dtype)
    return bias.expand(*q.shape[:3], keys.shape[2])


class FeedForward(nn.Module):
    """Two products with an activation between: ReLU in v1.0, a gate with GELU (GEGLU) in v1.1.

    Args:
        dim: D.
        hidden: Width between.
        gated: Whether a second product gates the hidden elements.
        dropout: Probability for each hidden element.

    Example:
        >>> import torch
        >>> from quire.papers.t5 import FeedForward
        >>> FeedForward(8, 32, gated=True)(torch.randn(2, 5, 8)).shape
        torch.Size([2, 5, 8])
    """

    def __init__(self, dim: int, hidden: int, *, gated: bool = False, dropout: float = 0.0) -> None:
        super().__init__()
        self.inner = nn.Linear(dim, hidden, bias=False)
        self.value = nn.Linear(dim, hidden, bias=False) if gated else None
        self.output = nn.Linear(hidden, dim, bias=False)
        self.dropout = nn.Dropout(dropout)
        with torch.no_grad():
            self.inner.weight.normal_(std=dim**-0.5)
            if self.value is not None:
                self.value.weight.normal_(std=dim**-0.5)
            self.output.weight.normal_(std=hidden**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        """x (..., D) -> (..., D), in single precision where the hidden elements are float16."""
        h = self.inner(x)
        half = h.dtype == torch.float16
        # A product of two float16 numbers overflows before it can be scaled.
        h = h.float() if half else h
        h = F.relu(h) if self.value is None else F.gelu(h, approximate="tanh") * self.value(x)
        if not half:
            return self.output(self.dropout(h))  # type: ignore[no-any-return]
        y = self.output(self.dropout((h / HALF_SCALE).half()))
        return HALF_SCALE * y.float()  # type: ignore[no-any-return]


class Layer(nn.Module):
    """Self-attention, attention to a memory if it has one, feed-forward; each a residual sum.

    Its parts may be another layer's, which then share their weights.

    Args:
        attention: Of the tokens among themselves.
        feed_forward: (B, T, D) -> (B, T, D).
        norms: Of these two parts.
        cross: Attention to the memory, and its norm; None for an encoder or a language model.
        dropout: Probability for each element of a part's output.

    Example:
        >>> import torch
        >>> from quire.papers.t5 import Attention, FeedForward, Layer, RMSNorm
        >>> norms = RMSNorm(8), RMSNorm(8)
        >>> layer = Layer(Attention(8, 2, head_dim=4), FeedForward(8, 32), norms=norms)
        >>> layer(torch.randn(2, 5, 8), torch.zeros(1, 2, 5, 5)).shape
        torch.Size([2, 5, 8])
    """

    def __init__(
        self,
        attention: Attention,
        feed_forward: nn.Module,
        *,
        norms: tuple[nn.Module, nn.Module],
        cross: tuple[Attention, nn.Module] | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.attention = attention
        self.attention_norm, self.feed_forward_norm = norms
        self.cross = None if cross is None else cross[0]
        self.cross_norm = None if cross is None else cross[1]
        self.feed_forward = feed_forward
        # A bottleneck with a residual sum of its own: see `add_adapters`.
        self.adapter: nn.Module | None = None
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Tensor,
        bias: Tensor,
        memory: Tensor | None = None,
        memory_bias: Tensor | None = None,
        kept: list[tuple[Tensor, Tensor]] | None = None,
    ) -> Tensor:
        """x (B, T, D) -> (B, T, D).

        Args:
            x: Tokens.
            bias: Positions and mask, broadcast to (B, H, T, T).
            memory: (B, S, D), for a layer with `cross`.
            memory_bias: Its mask, broadcast to (B, H, T, S).
            kept: A list that gets the tokens' keys and values.
        """
        normed = self.attention_norm(x)
        keys, values = self.attention.project(normed)
        if kept is not None:
            kept.append((keys, values))
        x = x + self.dropout(self.attention.attend(normed, keys, values, bias))
        if self.cross is not None and self.cross_norm is not None:
            x = x + self.dropout(self.cross(self.cross_norm(x), memory, memory_bias))
        return self.transform(x)

    def transform(self, x: Tensor) -> Tensor:
        """The layer's last part, which looks at each token alone: x (..., D) -> (..., D)."""
        x = x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))
        return x if self.adapter is None else self.adapter(x)  # type: ignore[no-any-return]


class Stack(nn.Module):
    """Layers with one table of relative positions, and a norm at the end.

    Args:
        layers: In order.
        bias: Of the positions.
        dim: D.
        dropout: Probability for each element of the input and of the output.

    Example:
        >>> import torch
        >>> from quire.papers.t5 import Attention, FeedForward, Layer, RelativeBias, RMSNorm, Stack
        >>> norms = RMSNorm(8), RMSNorm(8)
        >>> layer = Layer(Attention(8, 2, head_dim=4), FeedForward(8, 32), norms=norms)
        >>> Stack([layer], RelativeBias(2), dim=8)(torch.randn(3, 5, 8)).shape
        torch.Size([3, 5, 8])
    """

    def __init__(
        self, layers: Sequence[Layer], bias: RelativeBias, *, dim: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.bias = bias
        self.norm = RMSNorm(dim)
        self.dropout = nn.Dropout(dropout)
        with torch.no_grad():
            bias.weight.normal_(std=dim**-0.5)

    def forward(
        self,
        x: Tensor,
        allowed: Tensor | None = None,
        *,
        positions: Tensor | None = None,
        memory: Tensor | None = None,
        memory_allowed: Tensor | None = None,
        kept: list[tuple[Tensor, Tensor]] | None = None,
    ) -> Tensor:
        """x (B, T, D) -> (B, T, D).

        Args:
            x: Embedded tokens.
            allowed: Which tokens may attend to which, bool, broadcast to (B, 1, T, T).
            positions: (B, T), by default 0, 1, … in every row.
            memory: (B, S, D) for layers that attend to one.
            memory_allowed: Which of it they may attend to, broadcast to (B, 1, T, S).
            kept: A list that gets every layer's keys and values.
        """
        length = x.shape[1]
        # Added once and read by every layer.
        if positions is None:
            bias = self.bias.square(length, length)
        else:
            bias = self.bias(positions, positions)
        if allowed is not None:
            bias = bias.masked_fill(~allowed, hidden(bias.dtype))
        elsewhere = None if memory_allowed is None else mask_bias(memory_allowed, bias.dtype)
        x = self.dropout(x)
        for layer in self.layers:
            x = layer(x, bias, memory, elsewhere, kept)
        return self.dropout(self.norm(x))  # type: ignore[no-any-return]


def hidden(dtype: torch.dtype) -> float:
    """The score of a pair that is not allowed.

    Half the smallest number, since scores are added to it: a query that may attend nowhere then
    attends evenly and gives no NaN.
    """
    return torch.finfo(dtype).min / 2


def mask_bias(allowed: Tensor, dtype: torch.dtype) -> Tensor:
    """0 where a pair is allowed, else very negative: the shape of `allowed`."""
    zeros = torch.zeros(allowed.shape, dtype=dtype, device=allowed.device)
    return zeros.masked_fill(~allowed, hidden(dtype))
