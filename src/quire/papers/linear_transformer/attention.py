"""Linear attention in its three forms: over whole sequences, by chunks where causal, and as an RNN.

B batch, H heads, T tokens (Tq of queries, Tk of keys), K width of queries and keys, C features of a
feature map, M width of the values. All sums are float32 at least, whatever the inputs are.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from quire.nn import Causal, Mask, Padding, conjuncts
from quire.papers.linear_transformer.causal import causal_attention, without_autocast
from quire.papers.linear_transformer.features import elu_plus_one

FeatureMap = Callable[[Tensor], Tensor]
"""(..., K) -> (..., C); see `quire.papers.linear_transformer.features`."""


class LinearState(NamedTuple):
    """All that is kept of the keys and values that went by (eqs. 16 to 19).

    S: (B, H, C, M), the sum of phi(k) v^T. z: (B, H, C), the sum of phi(k).
    """

    S: Tensor
    z: Tensor


def linear_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Mask | None = None,
    *,
    causal: bool = False,
    feature_map: FeatureMap = elu_plus_one,
    chunk: int = 64,
    eps: float = 1e-6,
) -> Tensor:
    """Attention with weights phi(q) . phi(k), normalised, in O(T) time and memory (eqs. 4 to 12).

    Gives (B, H, Tq, M) in v's dtype. Causal, query i attends to keys 0..i: where Tk > Tq later keys
    go unseen, where Tk < Tq later queries see all keys. A query that may attend nowhere gives
    zeros.

    Args:
        q: (B, H, Tq, K).
        k: (B, H, Tk, K).
        v: (B, H, Tk, M).
        mask: `Causal`, `Padding` or both, joined by &.
        causal: The same as the mask `Causal`.
        feature_map: phi, not negative.
        chunk: Tokens whose pairs are formed at once in the causal form.
        eps: Added to the normaliser in every form.

    Raises ValueError for another mask, since no other keeps the cost linear, and for shapes that do
    not fit.

    Example:
        >>> q, k, v = torch.randn(3, 2, 4, 100, 8)
        >>> linear_attention(q, k, v, causal=True).shape
        torch.Size([2, 4, 100, 8])
    """
    _check(q, k, v)
    causal, paddings = _read(mask, causal)
    with without_autocast(q):
        phi_q, phi_k, values = feature_map(_wide(q)), feature_map(_wide(k)), _wide(v)
        phi_k = _hide(phi_k, paddings)
        if not causal:
            return _read_out(_sums(phi_k, values), phi_q, eps).to(v.dtype)
        queries, keys = q.shape[-2], k.shape[-2]
        # The causal form has a key for each query: those beyond the last query go unseen, and
        # keys that are missing are zeros, which weigh nothing.
        if queries != keys:  # negative padding cuts
            phi_k, values = (pad(x, (0, 0, 0, queries - keys)) for x in (phi_k, values))
        # Batch and heads are alike to the sums: one batch of matmuls for both.
        rows = (x.flatten(0, 1) for x in (phi_q, phi_k, values))
        attended = causal_attention(*rows, eps=eps, chunk=chunk)
    return attended.unflatten(0, q.shape[:2]).to(v.dtype)


def naive_linear_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Mask | None = None,
    *,
    feature_map: FeatureMap = elu_plus_one,
    eps: float = 1e-6,
) -> Tensor:
    """The slow twin of `linear_attention`: every weight in memory, so any mask will do.

    Args:
        q: (B, H, Tq, K).
        k: (B, H, Tk, K).
        v: (B, H, Tk, M).
        mask: Any.
        feature_map: phi.
        eps: Added to the normaliser.

    Example:
        >>> q, k, v = torch.randn(3, 2, 4, 10, 8)
        >>> naive_linear_attention(q, k, v).shape
        torch.Size([2, 4, 10, 8])
    """
    weights = feature_map(q) @ feature_map(k).mT
    if mask is not None:
        batch, heads, queries, keys = weights.shape
        weights = weights * mask.dense(queries, keys, batch, heads, q.device)
    return weights @ v / (weights.sum(-1, keepdim=True) + eps)


def recurrent_step(
    state: LinearState | None,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    feature_map: FeatureMap = elu_plus_one,
    eps: float = 1e-6,
) -> tuple[Tensor, LinearState]:
    """One token of causal linear attention as an RNN: what q attends to, and the new state.

    Equations 18 to 20: S += phi(k) v^T, z += phi(k), output phi(q)^T S / (phi(q)^T z + eps). q, k
    and v may all have a token axis of length 1 before the last; the output has v's shape and dtype.
    The old state is left as it was.

    Args:
        state: None begins.
        q: (B, H, K).
        k: (B, H, K).
        v: (B, H, M).
        feature_map: phi, not negative.
        eps: Added to the normaliser.

    Raises ValueError for another number of dimensions or tokens.

    Example:
        >>> q, k, v = torch.randn(3, 2, 4, 8)
        >>> out, state = recurrent_step(None, q, k, v)
        >>> bool((out - v).abs().max() < 1e-4), state.S.shape
        (True, torch.Size([2, 4, 8, 8]))
    """
    if v.ndim not in (3, 4) or (v.ndim == 4 and v.shape[-2] != 1):
        raise ValueError(f"a step takes v (B, H, M) or (B, H, 1, M), got {tuple(v.shape)}")
    shape, dtype = v.shape, v.dtype
    if v.ndim == 3:
        q, k, v = q[..., None, :], k[..., None, :], v[..., None, :]
    with without_autocast(q):
        new = _sums(feature_map(_wide(k)), _wide(v))
        if state is not None:
            new = LinearState(state.S + new.S, state.z + new.z)
        attended = _read_out(new, feature_map(_wide(q)), eps)
    return attended.to(dtype).view(shape), new


class LinearAttention(nn.Module):
    """`linear_attention` as the kernel of a `MultiHeadAttention`, with its memory for decoding.

    feature_map: phi, a function or a module. chunk, eps: as in `linear_attention`.

    Example:
        >>> kernel = LinearAttention()
        >>> kernel(*torch.randn(3, 2, 4, 100, 8), Causal()).shape
        torch.Size([2, 4, 100, 8])
    """

    def __init__(
        self, feature_map: FeatureMap = elu_plus_one, *, chunk: int = 64, eps: float = 1e-6
    ) -> None:
        super().__init__()
        if chunk < 1:
            raise ValueError(f"chunk must be at least 1, got {chunk}")
        self.feature_map = feature_map
        self.chunk = chunk
        self.eps = eps

    def forward(self, q: Tensor, k: Tensor, v: Tensor, mask: Mask | None = None) -> Tensor:
        """q (B, H, Tq, K), k (B, H, Tk, K), v (B, H, Tk, M) -> (B, H, Tq, M)."""
        return linear_attention(
            q, k, v, mask, feature_map=self.feature_map, chunk=self.chunk, eps=self.eps
        )

    def write(
        self, state: LinearState | None, k: Tensor, v: Tensor, mask: Padding | None = None
    ) -> LinearState:
        """The state after keys k (B, H, T, K) and values v (B, H, T, M): see `quire.nn.Memory`.

        The old state is written over, unless gradients are recorded.
        """
        with without_autocast(k):
            phi_k, values = self.feature_map(_wide(k)), _wide(v)
            new = _sums(_hide(phi_k, [] if mask is None else [mask]), values)
        if state is None:
            return new
        if torch.is_grad_enabled() and any(x.requires_grad for x in (*state, *new)):
            return LinearState(state.S + new.S, state.z + new.z)
        return LinearState(state.S.add_(new.S), state.z.add_(new.z))

    def read(self, state: LinearState, q: Tensor) -> Tensor:
        """What queries q (B, H, T, K) attend to in all that was written: (B, H, T, M)."""
        with without_autocast(q):
            return _read_out(state, self.feature_map(_wide(q)), self.eps).to(q.dtype)


def _sums(phi_k: Tensor, v: Tensor) -> LinearState:
    return LinearState(phi_k.mT @ v, phi_k.sum(-2))


def _read_out(state: LinearState, phi_q: Tensor, eps: float) -> Tensor:
    """Two matmuls and a division: (B, H, T, M)."""
    return phi_q @ state.S / (phi_q @ state.z[..., None] + eps)


def _wide(x: Tensor) -> Tensor:
    """x in float32 at least: half precision cannot sum over thousands of tokens."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _hide(phi_k: Tensor, paddings: list[Padding]) -> Tensor:
    """Zero features where a key does not count: it then adds nothing to any sum."""
    batch, _, keys, _ = phi_k.shape
    for padding in paddings:
        counts = padding.dense(1, keys, batch, device=phi_k.device)
        phi_k = phi_k.masked_fill(~counts.mT, 0.0)
    return phi_k


def _read(mask: Mask | None, causal: bool) -> tuple[bool, list[Padding]]:
    """Whether the mask is causal, and its paddings."""
    paddings = []
    for part in conjuncts(mask):
        if isinstance(part, Padding):
            paddings.append(part)
        elif isinstance(part, Causal):
            causal = True
        else:
            raise ValueError(
                f"linear attention takes Causal, Padding or both, got {type(part).__name__}"
            )
    return causal, paddings


def _check(q: Tensor, k: Tensor, v: Tensor) -> None:
    shapes = [tuple(x.shape) for x in (q, k, v)]
    fit = all(len(shape) == 4 for shape in shapes)
    fit = fit and shapes[0][:2] == shapes[1][:2] == shapes[2][:2]
    if not fit or shapes[0][3] != shapes[1][3] or shapes[1][2] != shapes[2][2]:
        raise ValueError(
            "q, k, v must be (B, H, Tq, K), (B, H, Tk, K), (B, H, Tk, M), got "
            + ", ".join(map(str, shapes))
        )
