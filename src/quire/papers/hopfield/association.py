"""Association: states mix values with weights that follow from their overlap with the patterns.

Dense, by torch's fused attention, or streamed over chunks of patterns with an online softmax; and
sparse separations in place of softmax. S states, N patterns, K width, V value width.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import dropout as drop
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint

Beta = float | Tensor
"""Inverse temperature: a number, or a tensor that broadcasts with (..., S, 1)."""

Separation = Callable[[Tensor], Tensor]
"""Scores (..., N) -> weights (..., N) that sum to 1; softmax is one."""

Read = Callable[..., tuple[Tensor, Tensor]]
"""Tensors of one chunk of patterns -> keys (..., n, K) and values (..., n, V)."""


def associate(
    state: Tensor,
    stored: Tensor,
    values: Tensor | None = None,
    *,
    beta: Beta,
    mask: Tensor | None = None,
    separation: Separation | None = None,
    dropout: float = 0.0,
    chunk: int | None = None,
) -> Tensor:
    """softmax(beta state stored^T) values: (..., S, V).

    state: (..., S, K). stored: (..., N, K). values: (..., N, V), by default the patterns. mask:
    broadcasts with (..., S, N); bool, True where a state may see a pattern, or numbers to add to
    the scores. A state that may see nothing gives zeros. separation: in place of softmax. dropout:
    probability for each weight. chunk: patterns at a time, for softmax without dropout; memory is
    then O(S chunk), forward and backward. Raises ValueError for a chunk with either.
    """
    values = stored if values is None else values
    if chunk is not None:
        if separation is not None or dropout:
            raise ValueError("chunk is for softmax without dropout: their weights need every score")
        if chunk < 1:
            raise ValueError(f"chunk must be at least 1, got {chunk}")
        masks = [None] if mask is None else mask.split(min(chunk, mask.shape[-1]), -1)
        pieces = list(zip(stored.split(chunk, -2), values.split(chunk, -2), strict=True))
        if len(masks) != len(pieces):
            masks = [masks[0]] * len(pieces)
        return stream(state, pieces, lambda k, v: (k, v), beta=beta, masks=masks)
    if separation is None and not dropout:
        return fused(state, stored, values, beta, mask)
    weights = association_weights(state, stored, beta=beta, mask=mask, separation=separation)
    return drop(weights, dropout) @ values


def association_weights(
    state: Tensor,
    stored: Tensor,
    *,
    beta: Beta,
    mask: Tensor | None = None,
    separation: Separation | None = None,
) -> Tensor:
    """The weights themselves: (..., S, N), rows of nothing where a state may see nothing."""
    scores = beta * (state @ stored.transpose(-1, -2))
    separate = separation or (lambda scores: scores.softmax(-1))
    if mask is None:
        return separate(scores)
    if mask.dtype == torch.bool:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min / 4)
        return separate(scores) * mask
    return separate((scores + mask).clamp_min(torch.finfo(scores.dtype).min / 4))


def fused(state: Tensor, stored: Tensor, values: Tensor, beta: Beta, mask: Tensor | None) -> Tensor:
    """By torch's scaled_dot_product_attention, with the scale on the state."""
    state = state * beta
    if mask is None or mask.dtype != torch.bool:
        mask = None if mask is None else mask.to(state.dtype)
        return scaled_dot_product_attention(state, stored, values, attn_mask=mask, scale=1.0)
    # Kernels differ in what a row of nothing gives: let it see everything, then drop it.
    somewhere = mask.any(-1, keepdim=True)
    mixed = scaled_dot_product_attention(
        state, stored, values, attn_mask=mask | ~somewhere, scale=1.0
    )
    return mixed.masked_fill(~somewhere, 0.0)


def stream(
    state: Tensor,
    pieces: Sequence[tuple[Tensor, ...]],
    read: Read,
    *,
    beta: Beta,
    masks: Sequence[Tensor | None],
) -> Tensor:
    """`associate` over chunks of patterns by an online softmax: (..., S, V).

    pieces: the tensors of each chunk, of which `read` makes keys and values, again in the backward
    pass. So whatever `read` computes (normalisation, projections) needs memory for one chunk only.
    masks: of each chunk, or [None].
    """
    masks = [None] * len(pieces) if len(masks) == 1 and masks[0] is None else masks
    state = state * beta

    def absorb(
        top: Tensor, total: Tensor, mixed: Tensor, mask: Tensor | None, *piece: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        k, v = read(*piece)
        scores = (state @ k.transpose(-1, -2)).to(total.dtype)
        if mask is not None:
            hidden = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else None
            scores = scores + mask if hidden is None else hidden
        # The maximum only guards against overflow: its gradient cancels.
        new = torch.maximum(top, scores.detach().amax(-1, keepdim=True))
        anchor = torch.where(new == -torch.inf, 0.0, new)
        weights, shrink = (scores - anchor).exp(), (top - anchor).exp()
        total = total * shrink + weights.sum(-1, keepdim=True)
        return new, total, mixed * shrink + (weights.to(v.dtype) @ v).to(mixed.dtype)

    exact = torch.promote_types(state.dtype, torch.float32)
    top = torch.full((), -torch.inf, dtype=exact, device=state.device)
    total = mixed = torch.zeros((), dtype=exact, device=state.device)
    for piece, mask in zip(pieces, masks, strict=True):
        top, total, mixed = checkpoint(
            absorb, top, total, mixed, mask, *piece, use_reentrant=False, preserve_rng_state=False
        )
    return torch.where(total > 0, mixed / total.clamp_min(1e-38), 0.0).to(state.dtype)


def sparsemax(scores: Tensor) -> Tensor:
    """The projection of scores (..., N) onto the simplex (Martins & Astudillo 2016): exact zeros.

    As a separation it gives the sparse Hopfield network of Hu et al. (2023).

    Example:
        >>> import torch
        >>> from quire.papers.hopfield import sparsemax
        >>> sparsemax(torch.tensor([1.0, 0.8, -1.0]))
        tensor([0.6000, 0.4000, 0.0000])
    """
    ordered = scores.sort(-1, descending=True).values
    count = torch.arange(1, scores.shape[-1] + 1, device=scores.device, dtype=scores.dtype)
    excess = ordered.cumsum(-1) - 1
    size = (count * ordered > excess).sum(-1, keepdim=True).clamp_min(1)
    threshold = excess.gather(-1, size - 1) / size
    return (scores - threshold).clamp_min(0)


def entmax15(scores: Tensor) -> Tensor:
    """Entmax with alpha 1.5 (Peters et al. 2019): between softmax and sparsemax.

    p = max(0, scores / 2 - tau)^2 with the tau that makes it sum to 1, found by sorting.

    Example:
        >>> import torch
        >>> from quire.papers.hopfield import entmax15
        >>> entmax15(torch.tensor([2.0, 2.0, -2.0]))
        tensor([0.5000, 0.5000, 0.0000])
    """
    scores = (scores - scores.detach().amax(-1, keepdim=True)) / 2
    ordered = scores.sort(-1, descending=True).values
    count = torch.arange(1, scores.shape[-1] + 1, device=scores.device, dtype=scores.dtype)
    mean = ordered.cumsum(-1) / count
    variance = (ordered.square().cumsum(-1) / count - mean.square()).clamp_min(0)
    room = 1 / count - variance
    # Where there is no room the candidate is not taken; the inner clamp keeps its gradient finite.
    tau = mean - torch.where(room > 0, room.clamp_min(1e-12), 1e-12).sqrt()
    size = ((room > 0) & (tau <= ordered)).sum(-1, keepdim=True).clamp_min(1)
    return (scores - tau.gather(-1, size - 1)).clamp_min(0).square()
