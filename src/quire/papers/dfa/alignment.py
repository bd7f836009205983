"""How well feedback is aligned: the cosine between its signals and the true gradients.

Learning by a random projection descends because the forward weights turn towards it: the angle
between what a layer gets and what back-propagation would give it falls below 90 degrees (Nøkland
2016, section 3; Launay et al. 2020, appendix A).
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from quire.papers.dfa.direct import DirectFeedback, places_of


def alignment(model: DirectFeedback, loss: Callable[[], Tensor]) -> dict[str, Tensor]:
    """The mean cosine of the two signals at each layer, by name: scalars in [-1, 1].

    Both are measured at the same weights, batch and dropout masks, in the mode that the model is
    in; no gradient is kept. Rows that are zero in either signal are left out (the published code
    counts them as 1), and a layer without any other row is NaN. A layer that runs several times is
    the mean over all its rows; one whose weights are fixed is left out.

    model: its rule does not matter. loss: calls the model once and gives a scalar.

    Raises ValueError where `loss` does not call the model, or twice.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from quire.papers.dfa import DirectFeedback, alignment
        >>> net = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 4))
        >>> model, x = DirectFeedback(net, ["1"]), torch.randn(5, 8)
        >>> list(alignment(model, lambda: model(x).square().sum()))
        ['1']
    """
    with torch.enable_grad(), model.recorded() as seen:
        value = loss()
    if seen.output is None:
        raise ValueError("loss() does not call the model, or not its source")
    taps = [tap for tap in seen.taps if tap.hidden.requires_grad]
    model.fit(seen.output, seen.taps)
    error, *true = torch.autograd.grad(
        value,
        [seen.output, *(tap.hidden for tap in taps)],
        allow_unused=True,
        materialize_grads=True,
    )
    with torch.no_grad():
        sent = model.project(error, places_of(taps))
        rows: dict[str, list[tuple[Tensor, Tensor]]] = {}
        for tap, a, b in zip(taps, sent, true, strict=True):
            lead = model.rows_of(error) + model.repeat_dims
            flat = (a.flatten(0, lead - 1).flatten(1), b.flatten(0, lead - 1).flatten(1))
            rows.setdefault(model.layers[tap.layer], []).append(flat)
        return {
            name: mean_cosine(*(torch.cat(part) for part in zip(*pairs, strict=True)))
            for name, pairs in rows.items()
        }


def mean_cosine(a: Tensor, b: Tensor) -> Tensor:
    """The mean cosine of rows (R, D) and (R, D), (), over those that are zero in neither.

    NaN where there is no such row.
    """
    if a.dtype != torch.float64:
        a, b = a.float(), b.float()
    known = (a.abs().amax(1) > 0) & (b.abs().amax(1) > 0)
    # Each row is divided by its largest number first: squares of small ones would be zero.
    tiny = torch.finfo(a.dtype).tiny
    a, b = (part / part.abs().amax(1, keepdim=True).clamp(min=tiny) for part in (a, b))
    each = cosine_similarity(a, b, dim=1)
    return torch.where(known, each, 0).sum() / known.sum()
