"""Weights with exact zeros, in place of softmax: `Association(weighting=sparsemax)`.

N patterns. Scores of any size are fine, -inf and the lowest number of a dtype among them.
"""

from collections.abc import Callable

import torch
from torch import Tensor

SimplexMap = Callable[[Tensor], Tensor]
"""Scores (..., N) -> weights (..., N), at least 0, that sum to 1; softmax is one."""


def sparsemax(scores: Tensor) -> Tensor:
    """The projection of scores (..., N) onto the simplex (Martins & Astudillo 2016): exact zeros.

    As the weighting it gives the sparse Hopfield network of Hu et al. (2023).

    Example:
        >>> import torch
        >>> from quire.papers.hopfield import sparsemax
        >>> sparsemax(torch.tensor([1.0, 0.8, -1.0]))
        tensor([0.6000, 0.4000, 0.0000])
    """
    centred = _centre(scores)
    ordered, count = _order(centred)
    excess = ordered.cumsum(-1) - 1
    size = (count * ordered > excess).sum(-1, keepdim=True).clamp_min(1)
    threshold = excess.gather(-1, size - 1) / size
    return _restore((centred - threshold).clamp_min(0), scores)


def entmax15(scores: Tensor) -> Tensor:
    """Entmax with alpha 1.5 (Peters et al. 2019): between softmax and sparsemax.

    p = max(0, scores / 2 - tau)^2 with the tau that makes it sum to 1, found by sorting.

    Example:
        >>> import torch
        >>> from quire.papers.hopfield import entmax15
        >>> entmax15(torch.tensor([2.0, 2.0, -2.0]))
        tensor([0.5000, 0.5000, 0.0000])
    """
    centred = _centre(scores) / 2
    ordered, count = _order(centred)
    mean = ordered.cumsum(-1) / count
    variance = (ordered.square().cumsum(-1) / count - mean.square()).clamp_min(0)
    room = 1 / count - variance
    # Where there is no room the candidate is not taken; the inner clamp keeps its gradient finite.
    tau = mean - torch.where(room > 0, room.clamp_min(1e-12), 1e-12).sqrt()
    size = ((room > 0) & (tau <= ordered)).sum(-1, keepdim=True).clamp_min(1)
    return _restore((centred - tau.gather(-1, size - 1)).clamp_min(0).square(), scores)


def check_weighting(weighting: object) -> None:
    """Raises TypeError where a weighting is neither a function nor None."""
    if weighting is not None and not callable(weighting):
        raise TypeError(
            "weighting must be a function of scores, such as sparsemax or entmax15 of "
            f"quire.papers.hopfield, or None for softmax; got {weighting!r}"
        )


def _centre(scores: Tensor) -> Tensor:
    """Scores less the largest of their row, at least in float32."""
    exact = scores.to(torch.promote_types(scores.dtype, torch.float32))
    top = exact.detach().amax(-1, keepdim=True)
    # A row of -inf alone would become NaN.
    top = torch.where(top == -torch.inf, 0.0, top)
    # What is 2 below the largest score has no weight in either map. Cut off there, sums over very
    # low scores, of hidden patterns say, stay finite: 0 times an infinity would be a NaN gradient.
    return (exact - top).clamp_min(-4.0)


def _order(centred: Tensor) -> tuple[Tensor, Tensor]:
    """The scores (..., N) from the largest on, and 1 to N."""
    count = torch.arange(1, centred.shape[-1] + 1, device=centred.device, dtype=centred.dtype)
    return centred.sort(-1, descending=True).values, count


def _restore(weights: Tensor, scores: Tensor) -> Tensor:
    """Weights in the dtype of the scores, where that has fractions."""
    return weights.to(scores.dtype) if scores.is_floating_point() else weights
