"""Linear attention in its three forms: over whole sequences, by chunks where causal, and as an RNN.

B batch, H heads (G of keys and values, which divide H), T tokens (Tq of queries, Tk of keys), K
width of queries and keys, C features of a feature map, M width of the values. All sums are float32
at least, whatever the inputs are.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from quire.nn import Causal, Mask, Padding, conjuncts, fit_mask, repeat_heads
from quire.nn.devices import without_autocast
from quire.papers.linear_transformer import fused
from quire.papers.linear_transformer.causal import (
    causal_attention,
    causal_product,
    widen,
)
from quire.papers.linear_transformer.features import elu_plus_one
from quire.papers.linear_transformer.fused import fused_causal_attention
from quire.papers.linear_transformer.state import (
    FeatureMap,
    Sums,
    add_states,
    attend_by_exponents,
    has_exponents,
    map_exponents,
    map_keys,
    read_state,
    sum_keys,
)


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
        k: (B, G, Tk, K).
        v: (B, G, Tk, M).
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
    check_shapes(q, k, v)
    causal, paddings = _read(fit_mask(mask, q, k), causal)
    is_fused = causal and not has_exponents(feature_map) and fused.serves(q, k, v)
    dtype = v.dtype
    if not is_fused:  # whose kernels sum in float32 by themselves
        q, k, v = widen(q), widen(k), widen(v)
    with without_autocast(q):
        if not causal:
            state = sum_keys(feature_map, k, v, paddings)
            return read_state(state, feature_map, q, eps).to(dtype)
        keys, values = map_keys(feature_map, k, paddings), v
        keys, values = repeat_heads(q, keys, values)
        # The causal form has a key for each query: those beyond the last query go unseen, and
        # keys that are missing are zeros, which weigh nothing.
        if q.shape[-2] != k.shape[-2]:  # negative padding cuts
            more = (0, 0, 0, q.shape[-2] - k.shape[-2])
            keys = pad(keys, more, value=-torch.inf if has_exponents(feature_map) else 0.0)
            values = pad(values, more)
        if has_exponents(feature_map):
            exponents = map_exponents(feature_map, q)
            return attend_by_exponents(exponents, keys, values, None, eps=eps)[0].to(dtype)
        # Batch and heads are alike to the sums: one batch of matmuls for both.
        rows = (x.flatten(0, 1) for x in (feature_map(q), keys, values))
        attend = fused_causal_attention if is_fused else causal_attention
        attended = attend(*rows, eps=eps, chunk=chunk)
    return attended.unflatten(0, q.shape[:2]).to(dtype)


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
        k: (B, G, Tk, K).
        v: (B, G, Tk, M).
        mask: Any.
        feature_map: phi.
        eps: Added to the normaliser.

    Example:
        >>> q, k, v = torch.randn(3, 2, 4, 10, 8)
        >>> naive_linear_attention(q, k, v).shape
        torch.Size([2, 4, 10, 8])
    """
    check_shapes(q, k, v)
    mask = fit_mask(mask, q, k)
    with without_autocast(q):
        keys, values = repeat_heads(q, feature_map(widen(k)), widen(v))
        weights = feature_map(widen(q)) @ keys.mT
        if mask is not None:
            batch, heads, queries, count = weights.shape
            weights = weights * mask.dense(queries, count, batch, heads, q.device)
        return (weights @ values / (weights.sum(-1, keepdim=True) + eps)).to(v.dtype)


def recurrent_step(
    state: Sums | None,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    feature_map: FeatureMap = elu_plus_one,
    eps: float = 1e-6,
) -> tuple[Tensor, Sums]:
    """One token of causal linear attention as an RNN: what q attends to, and the new state.

    Equations 18 to 20: S += phi(k) v^T, z += phi(k), output phi(q)^T S / (phi(q)^T z + eps). q, k
    and v may all have a token axis of length 1 before the last; the output has their shape with
    q's heads, and v's dtype. The old state is left as it was.

    Args:
        state: None begins.
        q: (B, H, K).
        k: (B, G, K).
        v: (B, G, M).
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
    flat = v.ndim == 3
    if flat:
        q, k, v = q[..., None, :], k[..., None, :], v[..., None, :]
    check_shapes(q, k, v)
    with without_autocast(q):
        new = sum_keys(feature_map, widen(k), widen(v))
        if state is not None:
            new = add_states(state, new)
        attended = read_state(new, feature_map, widen(q), eps).to(v.dtype)
    return (attended[..., 0, :] if flat else attended), new


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
        """q (B, H, Tq, K), k (B, G, Tk, K), v (B, G, Tk, M) -> (B, H, Tq, M)."""
        return linear_attention(
            q, k, v, mask, feature_map=self.feature_map, chunk=self.chunk, eps=self.eps
        )

    def write(self, state: Sums | None, k: Tensor, v: Tensor, mask: Padding | None = None) -> Sums:
        """The state after keys k (B, G, T, K) and values v (B, G, T, M): see `quire.nn.Memory`."""
        _, paddings = _read(fit_mask(mask, k, k), False)
        with without_autocast(k):
            new = sum_keys(self.feature_map, widen(k), widen(v), paddings)
            return new if state is None else add_states(state, new)

    def read(self, state: Sums, q: Tensor) -> Tensor:
        """What queries q (B, H, T, K) attend to in all that was written: (B, H, T, M)."""
        with without_autocast(q):
            return read_state(state, self.feature_map, widen(q), self.eps).to(q.dtype)

    def extend(
        self, state: Sums, q: Tensor, k: Tensor, v: Tensor, mask: Padding | None = None
    ) -> tuple[Tensor, Sums]:
        """What each of T more tokens attends to, in all before it and itself, and the state.

        Args:
            state: Of the keys before.
            q: (B, H, T, K).
            k: (B, G, T, K).
            v: (B, G, T, M).
            mask: Which of these keys count; None counts all.
        """
        check_shapes(q, k, v)
        _, paddings = _read(fit_mask(mask, q, k), False)
        with without_autocast(q):
            after, shared = self.write(state, k, v, mask), state
            keys = map_keys(self.feature_map, widen(k), paddings)
            keys, values = repeat_heads(q, keys, widen(v))
            if q.shape[1] != k.shape[1]:
                times = q.shape[1] // k.shape[1]
                repeated = (x.repeat_interleave(times, 1) for x in state)
                shared = type(state)(*repeated)
            attended = self._attend_after(shared, widen(q), keys, values)
        return attended.to(v.dtype), after

    def _attend_after(self, state: Sums, q: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """The causal form begun with a state, all with H heads; keys are mapped."""
        if has_exponents(self.feature_map):
            exponents = map_exponents(self.feature_map, q)
            return attend_by_exponents(exponents, keys, values, state, eps=self.eps)[0]
        phi_q = self.feature_map(q)
        values = pad(values, (0, 1), value=1.0)
        rows = [x.flatten(0, 1) for x in (phi_q, keys, values)]
        total = causal_product(rows[0], rows[1], rows[2], self.chunk).unflatten(0, q.shape[:2])
        # What came before is one more product, its normaliser the last column.
        total = total + phi_q @ torch.cat((state.S, state.z[..., None]), -1)
        return total[..., :-1] / (total[..., -1:] + self.eps)


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


def check_shapes(q: Tensor, k: Tensor, v: Tensor) -> None:
    """Raises ValueError where queries, keys and values do not fit one another."""
    shapes = [tuple(x.shape) for x in (q, k, v)]
    fit = all(len(shape) == 4 for shape in shapes) and shapes[1][1] > 0
    fit = fit and shapes[0][0] == shapes[1][0] and shapes[1][:3] == shapes[2][:3]
    if not fit or shapes[0][3] != shapes[1][3] or shapes[0][1] % shapes[1][1]:
        raise ValueError(
            "q, k, v must be (B, H, Tq, K), (B, G, Tk, K), (B, G, Tk, M) with G a divisor of H, "
            "got " + ", ".join(map(str, shapes))
        )
