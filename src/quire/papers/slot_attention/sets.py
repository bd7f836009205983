"""Set prediction: slots to object properties, the loss, and average precision (section 2.3).

B batch, K predictions, O objects, F features of an object: place, one-hot kinds, and whether there
is an object at all.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import huber_loss, one_hot, pad

from quire.papers.slot_attention.matching import match


@dataclass(frozen=True)
class Properties:
    """How an object is laid out as features: place, then a one-hot block a kind, then the flag.

    places: coordinates, each in [0, 1]. kinds: the number of values of each kind. The default is
    the paper's layout of CLEVR, 19 features.

    Example:
        >>> from quire.papers.slot_attention import Properties
        >>> Properties().features
        19
    """

    places: int = 3
    kinds: tuple[int, ...] = (2, 2, 3, 8)

    @property
    def features(self) -> int:
        """F."""
        return self.places + sum(self.kinds) + 1

    def encode(self, position: Tensor, kinds: Tensor, real: Tensor) -> Tensor:
        """(B, O, places), (B, O, kinds) int64 and (B, O) bool -> targets (B, O, F).

        Where there is no object all features are zero. Raises ValueError for another number of
        places or kinds.
        """
        if position.shape[-1] != self.places or kinds.shape[-1] != len(self.kinds):
            raise ValueError(
                f"{self.places} places and {len(self.kinds)} kinds are needed, "
                f"got {position.shape[-1]} and {kinds.shape[-1]}"
            )
        blocks = [one_hot(kinds[..., i], n) for i, n in enumerate(self.kinds)]
        whole = torch.cat([position, *(b.to(position.dtype) for b in blocks)], -1)
        return torch.cat([whole, torch.ones_like(whole[..., :1])], -1) * real[..., None]

    def split(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(..., F) -> places (..., places), the likeliest kinds (..., kinds), flag (...)."""
        blocks = features[..., self.places : -1].split(self.kinds, -1)
        kinds = torch.stack([block.argmax(-1) for block in blocks], -1)
        return features[..., : self.places], kinds, features[..., -1]


def pair_costs(predicted: Tensor, target: Tensor) -> Tensor:
    """The Huber loss of every pair, the mean over features: (B, K, F), (B, O, F) -> (B, K, O)."""
    one, other = torch.broadcast_tensors(predicted[:, :, None], target[:, None])
    return huber_loss(one, other, reduction="none").mean(-1)


def set_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """The matched pairs' Huber losses, summed over the set, the mean over the batch: a scalar.

    predicted: (B, K, F). target: (B, O, F), filled up with rows of zeros to K. Raises ValueError
    for more objects than predictions.
    """
    if target.shape[1] < predicted.shape[1]:
        target = pad(target, (0, 0, 0, predicted.shape[1] - target.shape[1]))
    costs = pair_costs(predicted, target)
    return costs.gather(1, match(costs)[:, None]).sum((1, 2)).mean()


class SetPredictor(nn.Module):
    """Image (B, 3, S, S) -> a set of properties (B, K, F), each feature in [0, 1].

    Args:
        encoder: (B, 3, S, S) -> inputs (B, N, C).
        slots: Inputs -> slots (B, K, D) and attention: `SlotAttention`, or a baseline.
        dim: D.
        features: F.
        hidden: Hidden units of the head.

    Example:
        >>> import torch
        >>> from quire.papers.slot_attention import ImageEncoder, SetPredictor, SlotAttention
        >>> encoder = ImageEncoder(16, layers=2, kernel=3)
        >>> predictor = SetPredictor(encoder, SlotAttention(4, 16), dim=16, features=19)
        >>> predictor(torch.randn(2, 3, 8, 8)).shape
        torch.Size([2, 4, 19])
    """

    def __init__(
        self,
        encoder: nn.Module,
        slots: nn.Module,
        *,
        dim: int = 64,
        features: int = 19,
        hidden: int = 64,
    ) -> None:
        super().__init__()
        self.encoder, self.slots = encoder, slots
        self.head = nn.Sequential(
            nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, features), nn.Sigmoid()
        )

    def forward(self, image: Tensor, slots: int | None = None, **options: object) -> Tensor:
        """Images -> `slots` rows of properties; options go to the slots' module."""
        found, _ = self.slots(self.encoder(image), slots, **options)
        properties: Tensor = self.head(found)
        return properties


def average_precision(
    predicted: Tensor,
    target: Tensor,
    properties: Properties,
    *,
    distances: Sequence[float],
    scale: float = 6.0,
) -> list[float]:
    """Average precision at each distance, in [0, 1] (section 4.2).

    Predictions of all images are taken from the surest flag down. One is a hit where an object of
    its image has all its kinds and lies nearer than the distance; the nearest such object counts,
    and where that one is taken already the prediction is a miss. Precision is the largest at any
    recall from here on.

    Args:
        predicted: (B, K, F).
        target: (B, O, F), rows of zeros where there is no object.
        properties: How features are laid out.
        distances: Largest distances; infinity asks for kinds alone.
        scale: What places are multiplied with before distances are taken.

    It is 0 where there is no object at all.
    """
    place, kinds, flag = properties.split(predicted.detach().double().cpu())
    where, true_kinds, real = properties.split(target.detach().double().cpu())
    apart = scale * torch.cdist(place, where)
    same = (kinds[:, :, None] == true_kinds[:, None]).all(-1) & (real > 0.5)[:, None]
    # From the surest down; among equals the earlier one first.
    order = flag.flatten().argsort(descending=True, stable=True)
    image, number = (order // flag.shape[1]).numpy(), int((real > 0.5).sum())
    apart_rows, same_rows = apart.flatten(0, 1)[order], same.flatten(0, 1)[order]
    found = []
    for distance in distances:
        near = torch.where(same_rows & (apart_rows < distance), apart_rows, torch.inf)
        if near.shape[1] == 0:
            found.append(0.0)
            continue
        nearest = near.min(1)
        index = nearest.indices.numpy()
        hits = _claim(image * near.shape[1] + index, nearest.values.isfinite().numpy())
        found.append(_area(hits, number))
    return found


def _claim(objects: np.ndarray, matched: np.ndarray) -> np.ndarray:
    """Which matched predictions are the first to name their object."""
    hits = np.zeros(len(objects), dtype=bool)
    rows = np.flatnonzero(matched)
    _, first = np.unique(objects[rows], return_index=True)
    hits[rows[first]] = True
    return hits


def _area(hits: np.ndarray, number: int) -> float:
    """Area under the largest precision at each recall or a higher one."""
    if number == 0:
        return 0.0
    precision = hits.cumsum() / np.arange(1, len(hits) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(envelope[hits].sum() / number)
