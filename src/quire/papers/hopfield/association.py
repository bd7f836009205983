"""Association: states mix values with weights that follow from their overlap with the patterns.

Dense, by torch's fused attention, or streamed over chunks of patterns with an online softmax. S
states, N patterns, K width, V value width.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import dropout as drop
from torch.nn.functional import pad, scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint

from quire.nn import devices
from quire.papers.hopfield.weightings import SimplexMap, check_weighting

Beta = float | Tensor
"""Inverse temperature: a number, or a tensor that broadcasts with (..., S, 1)."""

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
            to add to the scores, of which -inf and the lowest one of their dtype hide a pattern. A
            state that may see nothing gives zeros.
        weighting: What makes weights of the scores in place of softmax.
        dropout: Probability for each weight.
        chunk: Patterns at a time; memory is then O(S chunk), forward and backward. An accelerator
            takes an eighth of them at a time where their scores are few enough.

    Raises ValueError for a chunk below 1, or with a weighting or dropout, a beta that is not
    positive, a mask of integers or of another size, TypeError for a mask that is no tensor or a
    weighting that is no function.
    """
    check_beta(beta)
    check_weighting(weighting)
    values = stored if values is None else values
    mask = spread_mask(mask, stored.shape[-2])
    if chunk is not None:
        if weighting is not None or dropout:
            raise ValueError("chunk is for softmax without dropout: their weights need every score")
        if chunk < 1:
            raise ValueError(f"chunk must be at least 1, got {chunk}")
    if stored.shape[-2] == 0:
        # One pattern that no state may see stands for none: the result is zeros either way.
        stored, values = pad(stored, (0, 0, 0, 1)), pad(values, (0, 0, 0, 1))
        mask = torch.zeros(1, dtype=torch.bool, device=state.device)
    if chunk is not None:
        chunk = devices.piece_size(stored, chunk, stored.shape[-2], state[..., 0].numel())
        pieces = list(zip(stored.split(chunk, -2), values.split(chunk, -2), strict=True))
        masks = [None] if mask is None else mask.split(chunk, -1)
        return stream(state, pieces, lambda k, v: (k, v), beta=beta, masks=masks)
    if weighting is None and not dropout and not _is_flat(state, stored):
        return _associate_fused(state, stored, values, beta, mask)
    weights = association_weights(state, stored, beta=beta, mask=mask, weighting=weighting)
    return drop(weights, dropout) @ values


def _is_flat(state: Tensor, stored: Tensor) -> bool:
    """Whether there are so few states, on an accelerator, that scores are no larger than patterns.

    Fused kernels there share out states, not patterns: one state goes through all of them alone.
    """
    return devices.is_accelerator(state) and state.shape[-2] <= stored.shape[-1]


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

    Raises TypeError and ValueError as `associate`.
    """
    check_beta(beta)
    check_weighting(weighting)
    mask = spread_mask(mask, stored.shape[-2])
    scores = state @ stored.transpose(-1, -2)
    # A tensor of another precision must not decide that of the weights.
    scores = (beta * scores).to(scores.dtype)
    if stored.shape[-2] == 0:
        return scores
    weigh = weighting or (lambda scores: scores.softmax(-1))
    if mask is None:
        return weigh(scores)
    allowed, added = read_mask(mask, scores.dtype)
    scores = scores if added is None else scores + added
    # Hidden scores lie so far below the others that no weighting gives them any, and not at the
    # dtype's lowest number, of which a weighting that sums scores would make infinities.
    top = scores.detach().masked_fill(~allowed, -torch.inf).amax(-1, keepdim=True)
    low = torch.where(top == -torch.inf, 0.0, top - 1e4)
    return weigh(torch.where(allowed, scores, low)) * allowed


def _associate_fused(
    state: Tensor, stored: Tensor, values: Tensor, beta: Beta, mask: Tensor | None
) -> Tensor:
    """By torch's scaled_dot_product_attention, arguments as in `associate`: (..., S, V)."""
    # The scale goes into the state because kernels take one number only, and beta may be a tensor.
    state = (state * beta).to(state.dtype)
    if mask is None:
        return scaled_dot_product_attention(state, stored, values, scale=1.0)
    allowed, added = read_mask(mask, state.dtype)
    # Kernels differ in what a row of nothing gives: let it see everything, then drop it.
    somewhere = allowed.any(-1, keepdim=True)
    mask = allowed | ~somewhere
    if added is not None:
        mask = added.masked_fill(~mask, -torch.inf)
    mixed = scaled_dot_product_attention(state, stored, values, attn_mask=mask, scale=1.0)
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
    state = (state * beta).to(state.dtype)

    def absorb(
        top: Tensor, total: Tensor, mixed: Tensor, mask: Tensor | None, *piece: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        k, v = read(*piece)
        scores = (state @ k.transpose(-1, -2)).to(total.dtype)
        if mask is not None:
            allowed, added = read_mask(mask, scores.dtype)
            scores = scores if added is None else scores + added
            scores = scores.masked_fill(~allowed, -torch.inf)
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


def read_mask(mask: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
    """Which patterns a mask lets a state see, bool, and what it adds to scores of that dtype.

    The second is None for a mask of bool, and 0 where a pattern is hidden.
    """
    if mask.dtype == torch.bool:
        return mask, None
    # Both -inf and the lowest number of a dtype are in use for "hidden".
    allowed = mask > torch.finfo(mask.dtype).min
    return allowed, mask.masked_fill(~allowed, 0.0).to(dtype)


def spread_mask(mask: Tensor | None, patterns: int) -> Tensor | None:
    """The mask with as many columns as there are patterns.

    Raises TypeError for what is no tensor, ValueError for integers, which could mean either kind of
    mask, and for another number of columns.
    """
    check_tensor("mask", mask, "that broadcasts with (states, patterns)")
    if mask is None:
        return None
    if mask.dtype != torch.bool and not mask.is_floating_point():
        raise ValueError(
            "mask must be bool, True where a state may see a pattern, or floating-point numbers to "
            f"add to the scores; got {mask.dtype}"
        )
    if mask.ndim == 0 or mask.shape[-1] not in (1, patterns):
        raise ValueError(f"mask must have {patterns} columns, one a pattern; got "
                         f"{tuple(mask.shape)}")  # fmt: skip
    return mask.expand(*mask.shape[:-1], patterns)


def check_beta(beta: Beta) -> None:
    """Raises ValueError where beta, or a number in it, is not positive and finite.

    Of a tensor only what is on the CPU is read, outside graphs and vmap.
    """
    if not isinstance(beta, Tensor):
        if not 0 < beta < math.inf:
            raise ValueError(f"beta must be positive and finite, got {beta}")
        return
    if torch.compiler.is_compiling() or devices.is_accelerator(beta):
        return
    fine = (beta > 0) & beta.isfinite()
    try:
        every = bool(fine.all())
    except RuntimeError:  # vmap lets nobody read a number
        return
    if not every:
        raise ValueError(f"beta must be positive and finite, got {float(beta[~fine][0])} in it")


def check_tensor(name: str, value: object, shape: str) -> None:
    """Raises TypeError where a value is neither a tensor, of a shape in words, nor None."""
    if value is not None and not isinstance(value, Tensor):
        raise TypeError(f"{name} must be a tensor {shape}, or None; got {type(value).__name__}")
