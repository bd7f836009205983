"""The sums that linear attention keeps, and how queries read them.

B batch, H heads (G of keys and values, which divide H), T tokens, K width of queries and keys, C
features, M width of the values.

A feature map whose features are exponentials, such as `Favor`, also has a method `exponents`, their
logarithms. Its sums are kept relative to the largest exponent so far, feature by feature: the most
weight that a query finds is then at least 1, where the features themselves would all round to 0.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from quire.nn import Padding

FeatureMap = Callable[[Tensor], Tensor]
"""(..., K) -> (..., C); see `quire.papers.linear_transformer.features`."""


class LinearState(NamedTuple):
    """All that is kept of the keys and values that went by (eqs. 16 to 19).

    S: (B, G, C, M), the sum of phi(k) v^T. z: (B, G, C), the sum of phi(k).
    """

    S: Tensor
    z: Tensor


class ScaledState(NamedTuple):
    """The same for a map with exponents.

    S, z: as in `LinearState`, each feature divided by its largest so far. top: (B, G, C), the
    exponents of those.
    """

    S: Tensor
    z: Tensor
    top: Tensor


Sums = LinearState | ScaledState
"""The state of either kind of map."""


def sum_keys(
    feature_map: FeatureMap, k: Tensor, v: Tensor, paddings: list[Padding] | None = None
) -> Sums:
    """The state of keys and values alone.

    Args:
        feature_map: phi.
        k: (B, G, T, K).
        v: (B, G, T, M), of the same dtype.
        paddings: Hide keys.
    """
    phi_k = map_keys(feature_map, k, paddings)
    if not has_exponents(feature_map):
        return LinearState(phi_k.mT @ v, phi_k.sum(-2))
    top = largest(phi_k)
    phi_k = (phi_k - top[..., None, :]).exp()
    return ScaledState(phi_k.mT @ v, phi_k.sum(-2), top)


def map_keys(feature_map: FeatureMap, k: Tensor, paddings: list[Padding] | None = None) -> Tensor:
    """Features of keys (B, G, T, C), or their exponents; a hidden key adds nothing to any sum.

    Args:
        feature_map: phi.
        k: (B, G, T, K).
        paddings: Hide keys.
    """
    grows = has_exponents(feature_map)
    mapped = map_exponents(feature_map, k) if grows else feature_map(k)
    for padding in paddings or []:
        counts = padding.counted(len(k), k.shape[-2], k.device)[:, None, :, None]
        mapped = mapped.masked_fill(~counts, -torch.inf if grows else 0.0)
    return mapped


def add_states(one: Sums, other: Sums) -> Sums:
    """The state of the keys of both, which are of one kind."""
    if not isinstance(one, ScaledState) or not isinstance(other, ScaledState):
        return LinearState(one.S + other.S, one.z + other.z)
    top = torch.maximum(one.top, other.top)
    left, right = (one.top - top).exp(), (other.top - top).exp()
    S = one.S * left[..., None] + other.S * right[..., None]
    return ScaledState(S, one.z * left + other.z * right, top)


def read_state(state: Sums, feature_map: FeatureMap, q: Tensor, eps: float) -> Tensor:
    """What queries attend to: two matmuls and a division, (B, H, T, M).

    Args:
        state: Of the keys.
        feature_map: phi.
        q: (B, H, T, K).
        eps: Added to the normaliser.
    """
    if isinstance(state, ScaledState):
        exponents = share_heads(map_exponents(feature_map, q), state.z.shape[1])
        exponents = exponents + state.top[..., None, :]
        # A query's factor cancels in the average.
        phi_q = (exponents - exponents.detach().amax(-1, keepdim=True)).exp()
    else:
        phi_q = share_heads(feature_map(q), state.z.shape[1])
    attended = phi_q @ state.S / (phi_q @ state.z[..., None] + eps)
    return attended.reshape(*q.shape[:3], attended.shape[-1])


def share_heads(x: Tensor, groups: int) -> Tensor:
    """Queries (B, H, T, C) as the tokens of the heads that they read, (B, G, H / G * T, C)."""
    batch, heads, tokens, width = x.shape
    return x.reshape(batch, groups, heads // groups * tokens, width)


def has_exponents(feature_map: FeatureMap) -> bool:
    """Whether the features are exponentials whose logarithms the map gives."""
    return hasattr(feature_map, "exponents")


def map_exponents(feature_map: FeatureMap, x: Tensor) -> Tensor:
    """The logarithms of the features of x (..., K): (..., C)."""
    exponents: Tensor = feature_map.exponents(x)  # type: ignore[attr-defined]
    return exponents


def largest(exponents: Tensor) -> Tensor:
    """Each feature's largest exponent over the tokens: (..., T, C) -> (..., C), never -inf."""
    # A number more, where there is no token or none that counts.
    return pad(exponents.detach(), (0, 0, 1, 0), value=lowest(exponents)).amax(-2)


def lowest(x: Tensor) -> float:
    """Below every exponent, and far enough from the end of the dtype to add to."""
    return torch.finfo(x.dtype).min / 4


def attend_by_exponents(
    a: Tensor, b: Tensor, v: Tensor, state: Sums | None, *, eps: float, block: int = 16
) -> tuple[Tensor, ScaledState]:
    """Causal attention by the exponents of the features: (B, H, T, M) and the state after it.

    The pairs of a block are compared feature by feature, so that it takes `block` times the memory
    of the features; earlier blocks count by their sums.

    Args:
        a: Exponents of the queries, (B, H, T, C).
        b: Of the keys, (B, H, T, C); -inf hides a key.
        v: (B, H, T, M).
        state: Of the keys before, with H heads; None begins.
        eps: Added to the normaliser.
        block: Tokens of a block.
    """
    length = a.shape[-2]
    # A column of ones beside the values: the normaliser is one more column.
    v = pad(v, (0, 1), value=1.0)
    if isinstance(state, ScaledState):
        before, first = torch.cat((state.S, state.z[..., None]), -1), state.top
    else:
        before = v.new_zeros(*b.shape[:2], b.shape[-1], v.shape[-1])
        first = b.new_full((*b.shape[:2], b.shape[-1]), lowest(b))
    blocks = -(-length // block)
    end = (0, 0, 0, blocks * block - length)
    a, b, v = (
        pad(x, end, value=fill).unflatten(2, (blocks, block))
        for x, fill in ((a, 0.0), (b, -torch.inf), (v, 0.0))
    )  # (B, H, N, L, C)
    # The largest exponent up to each token; constants, since they cancel in the average.
    running = b.detach().flatten(2, 3).cummax(2).values.unflatten(2, (blocks, block))
    running = torch.maximum(running, first[:, :, None, None])
    tops = torch.cat((first[:, :, None], running[..., -1, :]), 2)  # (B, H, N + 1, C)
    highest = (a.detach() + running).amax(-1, keepdim=True)
    own = (b - tops[:, :, 1:, None]).exp().mT @ v
    sums = scan_blocks(torch.cat((before[:, :, None], own), 2), tops)
    exponents = (a - highest)[..., :, None, :] + b[..., None, :, :]
    later = torch.ones(block, block, dtype=torch.bool, device=a.device).triu(1)
    pairs = exponents.masked_fill(later[..., None], -torch.inf).exp().sum(-1)
    earlier = (a - highest + tops[:, :, :-1, None]).exp()
    total = (pairs @ v + earlier @ sums[:, :, :-1]).flatten(2, 3)[:, :, :length]
    last = sums[:, :, -1]
    after = ScaledState(last[..., :-1], last[..., -1], tops[:, :, -1])
    return total[..., :-1] / (total[..., -1:] + eps), after


def scan_blocks(sums: Tensor, tops: Tensor) -> Tensor:
    """Sums up to and with each block, relative to that block's largest exponents.

    Twice as many blocks a step: the number of steps is the logarithm of the number of blocks.

    sums: (B, H, N, C, M), each block's own. tops: (B, H, N, C), which never fall.
    """
    step = 1
    while step < sums.shape[2]:
        factor = (tops[:, :, :-step] - tops[:, :, step:]).exp()[..., None]
        sums = torch.cat((sums[:, :, :step], sums[:, :, step:] + factor * sums[:, :, :-step]), 2)
        step *= 2
    return sums
