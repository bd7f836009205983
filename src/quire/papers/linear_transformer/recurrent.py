"""A transformer as the RNN that it is, made ready to generate quickly.

B batch, D width, H heads (G of keys and values, which divide H), K head width, C features, M value
width.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from quire.nn import Encoder, FeedForward, memory_of
from quire.nn.devices import without_autocast
from quire.nn.transformer import Decoded
from quire.papers.linear_transformer.attention import LinearAttention
from quire.papers.linear_transformer.causal import widen
from quire.papers.linear_transformer.state import LinearState, has_exponents, share_heads

Apply = Callable[[Tensor], Tensor]


class Recurrent:
    """An `Encoder` that takes one token a call, with less to do for it.

    Queries, keys and values are one product, and on a CPU the weights are laid out once for the
    number of rows. The kernels may be any that decode: `LinearAttention` carries its sums, others
    what `quire.nn.memory_of` keeps, such as all keys and values. It holds copies of the weights:
    make a new one after training. No gradients, no dropout.

    encoder: its layers' attention has no positions of its own. dtype: of the matrices, by default
    theirs; bfloat16 halves what a token reads at batch 1. Sums, norms and states are float32 at
    least. batch: rows that it is made for; others work too.

    Raises ValueError for attention with positions in the heads.

    Example:
        >>> from quire.nn import Causal, EncoderLayer, MultiHeadAttention
        >>> attention = MultiHeadAttention(8, 2, kernel=LinearAttention())
        >>> layer = EncoderLayer(8, attention, feed_forward=FeedForward(8, 32))
        >>> encoder, x = Encoder(layer), torch.randn(3, 6, 8)
        >>> recurrent = Recurrent(encoder)
        >>> prompt, state = encoder.extend(x[:, :4])
        >>> token, state = recurrent.extend(x[:, 4:5], state)
        >>> token, state = recurrent.extend(x[:, 5:6], state)
        >>> whole = encoder(x, Causal())
        >>> bool((token - whole[:, 5:6]).abs().max() < 1e-5)
        True
    """

    def __init__(
        self, encoder: Encoder, *, dtype: torch.dtype | None = None, batch: int = 1
    ) -> None:
        with torch.no_grad():
            layers = [_Layer(layer, dtype, batch) for layer in encoder.layers]
        self.layers = [layers[step % len(layers)] for step in range(encoder.depth)]
        self.positions = encoder.positions
        self.final_norm = encoder.final_norm

    @torch.no_grad()
    def extend(self, x: Tensor, state: Decoded | None = None) -> tuple[Tensor, Decoded]:
        """One token x (B, 1, D): (B, 1, D) and the new state, as `Encoder.extend` gives it.

        state: None begins; then what a call gave, or `Encoder.extend` of a prompt. It stays as it
        was. Raises ValueError for more than one token.
        """
        if x.shape[1] != 1:
            raise ValueError(f"one token a call, got {x.shape[1]}; a prompt is the encoder's")
        if state is None:
            state = Decoded((None,) * len(self.layers), 0)
        kept = []
        with without_autocast(x):
            for step, (layer, past) in enumerate(zip(self.layers, state.layers, strict=True)):
                if self.positions is not None:
                    x = self.positions(x, step, state.length)
                x, new = layer(x, past)
                kept.append(new)
            if self.final_norm is not None:
                x = self.final_norm(x)
        return x, Decoded(tuple(kept), state.length + 1)


class _Layer:
    """One `EncoderLayer` for one token."""

    def __init__(self, layer: Any, dtype: torch.dtype | None, batch: int) -> None:
        attention = layer.attention
        if attention.positions is not None:
            raise ValueError("Recurrent takes attention without positions in the heads")
        self.heads, self.groups = attention.heads, attention.key_heads
        kernel = attention.kernel
        self.sums = (
            kernel
            if isinstance(kernel, LinearAttention) and not has_exponents(kernel.feature_map)
            else None
        )
        self.memory = memory_of(kernel)
        parts = (attention.query, attention.key, attention.value)
        # One product in place of three: a token reads its weights once, in one sweep.
        weight = torch.cat([part.weight for part in parts])
        bias = None if parts[0].bias is None else torch.cat([part.bias for part in parts])
        self.project = lay_out(weight, bias, dtype, batch)
        self.output = lay_out(attention.output.weight, attention.output.bias, dtype, batch)
        self.residuals = layer.attention_residual, layer.feed_forward_residual
        self.feed_forward = lay_out_feed_forward(layer.feed_forward, dtype, batch)

    def __call__(self, x: Tensor, past: Any) -> tuple[Tensor, Any]:
        """x (B, 1, D) -> (B, 1, D), and the new state."""
        kept = []

        def attend(x: Tensor) -> Tensor:
            attended, new = self.attend(x, past)
            kept.append(new)
            return attended

        for residual, branch in zip(self.residuals, (attend, self.feed_forward), strict=True):
            if residual.first:
                x = x + branch(residual.norm(x))
            else:
                x = residual.norm(x + branch(x))
        return x, kept[0]

    def attend(self, x: Tensor, past: Any) -> tuple[Tensor, Any]:
        """One token's attention to all before it and to itself."""
        projected = widen(self.project(x[:, 0])).view(len(x), self.heads + 2 * self.groups, 1, -1)
        q, k, v = projected.split([self.heads, self.groups, self.groups], 1)
        if self.sums is not None:
            attended, state = self.add(q, k, v, past)
        else:
            state = self.memory.write(past, k, v, None)
            attended = self.memory.read(state, q)
        return self.output(attended.flatten(1)[:, None]).to(x.dtype), state

    def add(
        self, q: Tensor, k: Tensor, v: Tensor, past: LinearState | None
    ) -> tuple[Tensor, LinearState]:
        """Equations 18 to 20 of q (B, H, 1, K), k (B, G, 1, K) and v (B, G, 1, M)."""
        assert self.sums is not None
        phi_q, phi_k = self.sums.feature_map(q), self.sums.feature_map(k)
        if past is None:
            S, z = phi_k.mT * v, phi_k[:, :, 0]
        else:
            # S + phi(k) v^T without a temporary of S's size.
            S, z = torch.addcmul(past.S, phi_k.mT, v), past.z + phi_k[:, :, 0]
        phi_q = share_heads(phi_q, z.shape[1])
        numerator = torch.bmm(phi_q.flatten(0, 1), S.flatten(0, 1)).view(*phi_q.shape[:3], -1)
        denominator = (phi_q * z[:, :, None]).sum(-1, keepdim=True).add_(self.sums.eps)
        return numerator.div_(denominator), LinearState(S, z)


def lay_out_feed_forward(part: nn.Module, dtype: torch.dtype | None, batch: int) -> Apply:
    """The same function, by `lay_out` where the part is a `FeedForward`."""
    if not isinstance(part, FeedForward):
        return part
    first, activation, _, last = part
    assert isinstance(first, nn.Linear)
    assert isinstance(last, nn.Linear)
    up = lay_out(first.weight, first.bias, dtype, batch)
    down = lay_out(last.weight, last.bias, dtype, batch)
    return lambda x: down(activation(up(x))).to(x.dtype)


def lay_out(
    weight: Tensor, bias: Tensor | None, dtype: torch.dtype | None = None, batch: int = 1
) -> Apply:
    """x -> x weight^T + bias with a copy of the weight in `dtype`, laid out for `batch` rows.

    oneDNN's layout wins on a CPU for bfloat16, and for float32 where there is more than one row.

    Args:
        weight: (outputs, inputs), which is copied.
        bias: (outputs,), or None.
        dtype: Of the copy, by default the weight's.
        batch: Rows that the layout is made for.
    """
    dtype = dtype or weight.dtype
    weight = weight.detach().to(dtype, copy=True)
    bias = None if bias is None else bias.detach().to(dtype, copy=True)
    packs = weight.device.type == "cpu" and torch.backends.mkldnn.is_available()
    if not packs or dtype not in (torch.float32, torch.bfloat16) or (
        dtype == torch.float32 and batch == 1
    ):  # fmt: skip
        return lambda x: linear(x.to(dtype), weight, bias)
    laid_out = torch.ops.mkldnn._reorder_linear_weight(weight, batch)
    apply = torch.ops.mkldnn._linear_pointwise
    return lambda x: apply(x.to(dtype), laid_out, bias, "none", [], "")
