"""Association: states mix values with weights that follow from their overlap with the patterns.

Dense, by torch's fused attention, or streamed over chunks of patterns with an online softmax; and
sparse weights in place of softmax. S states, N patterns, K width, V value width.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import dropout as drop
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint

Beta = float | Tensor
"""Inverse temperature: a number, or a tensor that broadcasts with (..., S, 1)."""

SimplexMap = Callable[[Tensor], Tensor]
"""Scores (..., N) -> weights (..., N), at least 0, that sum to 1; softmax is one."""

Read = Callable[..., tuple[Tensor, Tensor]]
"""Tensors of one chunk of patterns -> keys (..., n, K) and values (..., n, V)."""


def associate(
    state: Tensor,
    stored: Tensor,
    values: Tensor | None = None,
    *,
    beta: Beta,
    mask: Tensor | None = None,
    weighting: SimplexMap | None = None,
    dropout: float = 0.0,
    chunk: int | None = None,
) -> Tensor:
    """softmax(beta state stored^T) values: (..., S, V).

    Args:
        state: (..., S, K).
        stored: (..., N, K).
        values: (..., N, V), by default the patterns.
        beta: Inverse temperature, a number or a tensor that broadcasts with (..., S, 1).
        mask: Broadcasts with (..., S, N); bool, True where a state may see a pattern, or numbers
            to add to the scores. A state that may see nothing gives zeros.
        weighting: What makes weights of the scores in place of softmax.
        dropout: Probability for each weight.
        chunk: Patterns at a time; memory is then O(S chunk), forward and backward.

    Raises ValueError for a chunk below 1, or with a weighting or dropout, TypeError for a mask that
    is no tensor or a weighting that is no function.
    """
    check_tensor("mask", mask, "that broadcasts with (states, patterns)")
    check_weighting(weighting)
    values = stored if values is None else values
    if chunk is not None:
        if weighting is not None or dropout:
            raise ValueError("chunk is for softmax without dropout: their weights need every score")
        if chunk < 1:
            raise ValueError(f"chunk must be at least 1, got {chunk}")
        masks = [None] if mask is None else mask.split(min(chunk, mask.shape[-1]), -1)
        pieces = list(zip(stored.split(chunk, -2), values.split(chunk, -2), strict=True))
        if len(masks) != len(pieces):
            masks = [masks[0]] * len(pieces)
        return stream(state, pieces, lambda k, v: (k, v), beta=beta, masks=masks)
    if weighting is None and not dropout:
        return _associate_fused(state, stored, values, beta, mask)
    weights = association_weights(state, stored, beta=beta, mask=mask, weighting=weighting)
    return drop(weights, dropout) @ values


def association_weights(
    state: Tensor,
    stored: Tensor,
    *,
    beta: Beta,
    mask: Tensor | None = None,
    weighting: SimplexMap | None = None,
) -> Tensor:
    """The weights themselves: (..., S, N), rows of zeros where a state may see nothing.

    Args:
        state: (..., S, K).
        stored: (..., N, K).
        beta: As in `associate`.
        mask: As in `associate`.
        weighting: As in `associate`.

    Raises TypeError as `associate`.
    """
    check_tensor("mask", mask, "that broadcasts with (states, patterns)")
    check_weighting(weighting)
    scores = beta * (state @ stored.transpose(-1, -2))
    weigh = weighting or (lambda scores: scores.softmax(-1))
    if mask is None:
        return weigh(scores)
    if mask.dtype == torch.bool:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min / 4)
        return weigh(scores) * mask
    return weigh((scores + mask).clamp_min(torch.finfo(scores.dtype).min / 4))


def _associate_fused(
    state: Tensor, stored: Tensor, values: Tensor, beta: Beta, mask: Tensor | None
) -> Tensor:
    """By torch's scaled_dot_product_attention, arguments as in `associate`: (..., S, V)."""
    # The scale goes into the state because kernels take one number only, and beta may be a tensor.
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

    Args:
        state: (..., S, K).
        pieces: The tensors of each chunk.
        read: Makes keys and values of a chunk's tensors, again in the backward pass: whatever it
            computes (normalisation, projections) needs memory for one chunk only.
        beta: As in `associate`.
        masks: Of each chunk, or [None].
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
        # A state that has seen nothing yet has no maximum: -inf - -inf would be NaN.
        anchor = torch.where(new == -torch.inf, 0.0, new)
        weights, shrink = (scores - anchor).exp(), (top - anchor).exp()
        total = total * shrink + weights.sum(-1, keepdim=True)
        return new, total, mixed * shrink + (weights.to(v.dtype) @ v).to(mixed.dtype)

    # Sums over many chunks lose digits in half precision.
    exact = torch.promote_types(state.dtype, torch.float32)
    top = torch.full((), -torch.inf, dtype=exact, device=state.device)
    total = mixed = torch.zeros((), dtype=exact, device=state.device)
    for piece, mask in zip(pieces, masks, strict=True):
        top, total, mixed = checkpoint(
            absorb, top, total, mixed, mask, *piece, use_reentrant=False, preserve_rng_state=False
        )
    return torch.where(total > 0, mixed / total.clamp_min(1e-38), 0.0).to(state.dtype)


def join_masks(counts: Tensor | None, mask: Tensor | None, stored: Tensor) -> Tensor | None:
    """Both masks of `Hopfield` as one that broadcasts with (B, H, S, N).

    stored (B, N, ...) is what they are for. Raises ValueError for a bag without a pattern,
    TypeError for masks that are no tensors.
    """
    check_tensor("counts", counts, "of bool, (bags, patterns)")
    check_tensor("mask", mask, "that broadcasts with (bags, heads, states, patterns)")
    if stored.shape[1] == 0:
        raise ValueError("a bag needs at least one stored pattern, got none")
    if mask is not None:
        mask = mask[(None,) * (4 - mask.ndim)] if mask.ndim != 3 else mask[:, None]
    if counts is None:
        return mask
    if counts.dtype != torch.bool or counts.shape != stored.shape[:2]:
        raise ValueError(f"counts must be bool {tuple(stored.shape[:2])}, got {counts.dtype} "
                         f"{tuple(counts.shape)}")  # fmt: skip
    filled = counts.any(-1)
    if torch.compiler.is_compiling():
        # A graph cannot branch on it: it stops with a RuntimeError where it runs.
        torch._assert_async(filled.all(), "a bag has no pattern that counts")
    elif not filled.all():
        raise ValueError(f"bag {int((~filled).nonzero()[0, 0])} has no pattern that counts")
    counts = counts[:, None, None]
    if mask is None:
        return counts
    return counts & mask if mask.dtype == torch.bool else mask.masked_fill(~counts, -torch.inf)


def check_tensor(name: str, value: object, shape: str) -> None:
    """Raises TypeError where a value is neither a tensor, of a shape in words, nor None."""
    if value is not None and not isinstance(value, Tensor):
        raise TypeError(f"{name} must be a tensor {shape}, or None; got {type(value).__name__}")


def check_weighting(weighting: object) -> None:
    """Raises TypeError where a weighting is neither a function nor None."""
    if weighting is not None and not callable(weighting):
        raise TypeError(
            "weighting must be a function of scores, such as sparsemax or entmax15 of "
            f"quire.papers.hopfield, or None for softmax; got {weighting!r}"
        )


def add_zero(k: Tensor, v: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """A pattern and a value of zeros at the end, which every state may see.

    k: (..., N, K). v: (..., N, V). Gives both with N + 1 rows, and the mask that belongs to them.
    """
    k, v = (torch.cat((x, torch.zeros_like(x[..., :1, :])), -2) for x in (k, v))
    if mask is None:
        return k, v, None
    seen = torch.ones_like(mask[..., :1]) if mask.dtype == torch.bool else mask[..., :1] * 0
    return k, v, torch.cat((mask, seen), -1)


def sparsemax(scores: Tensor) -> Tensor:
    """The projection of scores (..., N) onto the simplex (Martins & Astudillo 2016): exact zeros.

    As the weighting it gives the sparse Hopfield network of Hu et al. (2023).

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
