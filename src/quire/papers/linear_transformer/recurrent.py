"""A transformer with linear attention as the RNN that it is, made ready to generate quickly.

B batch, D width, H heads, K head width, C features, M value width.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from quire.nn import Encoder, FeedForward
from quire.nn.transformer import Decoded
from quire.papers.linear_transformer.attention import LinearAttention, LinearState

Apply = Callable[[Tensor], Tensor]


class Recurrent:
    """An `Encoder` of linear attention that takes one token a call, with less to do for it.

    Queries, keys and values are one product, states are updated in place, and on a CPU the weights
    are laid out once for the number of rows. It holds copies of the weights: make a new one after
    training. No gradients.

    encoder: its layers' attention has the kernel `LinearAttention` and no positions of its own.
    dtype: of the matrices, by default theirs; bfloat16 halves what a token reads at batch 1. Sums,
    norms and states are float32 in any case. batch: rows that it is made for; others work too.

    Raises ValueError for other attention.

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

        state: None begins; then what the last call gave, or `Encoder.extend` of a prompt. Its
        tensors are written over. Raises ValueError for more than one token.
        """
        if x.shape[1] != 1:
            raise ValueError(f"one token a call, got {x.shape[1]}; a prompt is the encoder's")
        # Sums begin at zero, which needs a first token for their shapes and dtype.
        if state is None:
            state = Decoded(tuple(layer.begin(x) for layer in self.layers), 0)
        for step, (layer, sums) in enumerate(zip(self.layers, state.layers, strict=True)):
            if self.positions is not None:
                x = self.positions(x, step, state.length)
            x = layer(x, sums)
        if self.final_norm is not None:
            x = self.final_norm(x)
        return x, Decoded(state.layers, state.length + 1)


class _Layer:
    """One `EncoderLayer` for one token."""

    def __init__(self, layer: Any, dtype: torch.dtype | None, batch: int) -> None:
        attention = layer.attention
        if not isinstance(attention.kernel, LinearAttention) or attention.positions is not None:
            raise ValueError("Recurrent takes LinearAttention without positions in the heads")
        self.kernel, self.heads = attention.kernel, attention.heads
        parts = (attention.query, attention.key, attention.value)
        # One product in place of three: a token reads its weights once, in one sweep.
        weight = torch.cat([part.weight for part in parts])
        bias = None if parts[0].bias is None else torch.cat([part.bias for part in parts])
        self.project = lay_out(weight, bias, dtype, batch)
        self.output = lay_out(attention.output.weight, attention.output.bias, dtype, batch)
        self.residuals = layer.attention_residual, layer.feed_forward_residual
        self.feed_forward = lay_out_feed_forward(layer.feed_forward, dtype, batch)

    def begin(self, x: Tensor) -> LinearState:
        """Zeros for the rows of x."""
        qkv = self.project(x[:, 0]).float().view(len(x), 3, self.heads, 1, -1)
        phi, v = self.kernel.feature_map(qkv[:, :1])[:, 0], qkv[:, 2]
        return LinearState(
            v.new_zeros(*v.shape[:2], phi.shape[-1], v.shape[-1]), torch.zeros_like(phi[:, :, 0])
        )

    def __call__(self, x: Tensor, state: LinearState) -> Tensor:
        """x (B, 1, D) -> (B, 1, D); the state is written over."""
        for residual, branch in zip(
            self.residuals, (lambda x: self.attend(x, state), self.feed_forward), strict=True
        ):
            if residual.first:
                x = x + branch(residual.norm(x))
            else:
                x = residual.norm(x + branch(x))
        return x

    def attend(self, x: Tensor, state: LinearState) -> Tensor:
        """Equations 18 to 20, in place."""
        batch, (S, z) = len(x), state
        qkv = self.project(x).to(z.dtype).view(batch, 3, self.heads, 1, -1)
        phi_q, phi_k = self.kernel.feature_map(qkv[:, :2]).unbind(1)
        # S += phi(k) v^T and z += phi(k), without a temporary of S's size.
        S.addcmul_(phi_k.mT, qkv[:, 2])
        z.add_(phi_k[:, :, 0])
        numerator = torch.bmm(phi_q.flatten(0, 1), S.view(-1, *S.shape[2:])).view(batch, 1, -1)
        denominator = (phi_q[:, :, 0] * z).sum(-1).add_(self.kernel.eps)
        attended = numerator.view(batch, 1, self.heads, -1).div_(denominator[:, None, :, None])
        return self.output(attended.flatten(2)).to(x.dtype)


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
