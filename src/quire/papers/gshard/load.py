"""How even a routing is: what to watch while a mixture trains.

G groups, S tokens of a group, K choices, E experts.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from quire.papers.gshard.routing import Routing


class Load(NamedTuple):
    """How tokens were spread, each a scalar.

    first, second: share of the counted tokens whose first or second expert took them. dropped:
    share that no expert took. imbalance: the largest load over the mean one. entropy: of the
    loads' shares, divided by log E: 1 where they are even, 0 where one expert has all. balance:
    l_aux times E^2. gate: the mean normalised gate of first choices that were kept.
    """

    first: Tensor
    second: Tensor
    dropped: Tensor
    imbalance: Tensor
    entropy: Tensor
    balance: Tensor
    gate: Tensor


def measure_load(routing: Routing) -> Load:
    """The loads of a routing.

    Example:
        >>> import torch
        >>> from quire.papers.gshard import measure_load, top2_gate
        >>> load = measure_load(top2_gate(torch.zeros(2, 8, 4), capacity=4))
        >>> [round(float(part), 2) for part in load[:4]]  # all want experts 0 and 1
        [0.5, 0.5, 0.5, 2.0]
    """
    number = routing.counted.sum().clamp(min=1)
    kept = routing.kept.sum((0, 1)) / number
    first = routing.kept[..., 0]
    gate = (routing.weight[..., 0] * first).sum() / first.sum().clamp(min=1)
    second = kept[1] if kept.numel() > 1 else torch.zeros_like(kept[0])
    imbalance, entropy = spread(routing.load)
    return Load(kept[0], second, routing.dropped, imbalance, entropy, routing.balance, gate)


def spread(load: Tensor) -> tuple[Tensor, Tensor]:
    """The largest of loads (..., E) over their mean, and their entropy over log E, each (...)."""
    total = load.sum(-1).clamp(min=1)
    share = load / total[..., None]
    entropy = -(share * share.clamp(min=1e-12).log()).sum(-1)
    scale = (
        torch.tensor(load.shape[-1], dtype=load.dtype, device=load.device).log().clamp(min=1e-12)
    )
    return share.amax(-1) * load.shape[-1], entropy / scale
