"""Scores that several experiments share: ranking, neighbours, and the best epoch so far."""

import torch
import torch.nn.functional as F
from torch import Tensor

NEAREST = 10
"""Neighbours whose class is compared."""


def measure_auc(score: Tensor, label: Tensor) -> Tensor:
    """The share of pairs of a positive and a negative that scores (N,) put in order, ties half.

    label: (N,), 1 or 0; NaN where all are alike.
    """
    order, place = score.double().unique(return_inverse=True)
    counts = torch.bincount(place, minlength=len(order)).double()
    ranks = counts.cumsum(0) - (counts - 1) / 2
    positives = (label == 1).double()
    count = positives.sum()
    below = (ranks[place] * positives).sum() - count * (count + 1) / 2
    return below / (count * (len(label) - count))


def measure_precision(score: Tensor, label: Tensor) -> Tensor:
    """Average precision of a ranking by scores (N,). label: (N,), 1 or 0."""
    right = (label[score.argsort(descending=True, stable=True)] == 1).double()
    found = right.cumsum(0)
    return (right * found / torch.arange(1, len(right) + 1, device=right.device)).sum() / found[-1]


def measure_neighbours(embedded: Tensor, label: Tensor) -> Tensor:
    """How many of the ten nearest (by cosine) have the same class as a row, %.

    embedded: (N, D). label: (N,).
    """
    unit = F.normalize(embedded.float(), dim=1)
    likeness = unit @ unit.T
    likeness.fill_diagonal_(-torch.inf)
    nearest = likeness.topk(min(NEAREST, len(unit) - 1), dim=1).indices
    return 100 * (label[nearest] == label[:, None]).double().mean()


class Best:
    """What was measured when the first number was highest so far: give it to `run.steps`.

    names: of what is kept, that of the compared number first. device: where the numbers stay, so
    that no step waits for them.
    """

    def __init__(self, *names: str, device: torch.device) -> None:
        self.names = names
        self.values = torch.full((len(names),), -torch.inf, device=device).double()

    def see(self, **measured: Tensor) -> None:
        """Keep these numbers where the first one is higher than ever before."""
        new = torch.stack([measured[name].double() for name in self.names])
        self.values = torch.where(new[0] > self.values[0], new, self.values)

    def read(self) -> dict[str, float]:
        """The kept values by name."""
        return dict(zip(self.names, self.values.tolist(), strict=True))

    def state_dict(self) -> dict[str, Tensor]:
        """The kept values."""
        return {"values": self.values}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Put them back."""
        self.values = state["values"].to(self.values.device)
