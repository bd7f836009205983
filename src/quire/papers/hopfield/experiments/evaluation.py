"""Splits that keep the classes, and the area under the ROC curve."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray


def auc(label: NDArray[Any], score: NDArray[np.float64]) -> float:
    """Area under the ROC curve, %."""
    from sklearn.metrics import roc_auc_score

    return 100 * float(roc_auc_score(label, score))


def assign_folds(
    label: NDArray[np.int64], count: int, generator: torch.Generator
) -> NDArray[np.int64]:
    """The fold of each bag, 0 to `count` - 1, with the classes spread evenly."""
    order = torch.randperm(len(label), generator=generator).numpy()
    fold = np.zeros(len(label), np.int64)
    for kind in np.unique(label):
        rows = order[label[order] == kind]
        fold[rows] = np.arange(len(rows)) % count
    return fold


def draw_stratified(
    label: NDArray[Any], share: float, generator: np.random.Generator
) -> NDArray[np.bool_]:
    """A share of each class, at least one of each that has two."""
    chosen = np.zeros(len(label), bool)
    for kind in np.unique(label):
        rows = generator.permutation(np.flatnonzero(label == kind))
        count = max(1, round(share * len(rows))) if len(rows) > 1 else 0
        chosen[rows[:count]] = True
    return chosen


def check_sets(names: tuple[str, ...], loaded: Iterable[str]) -> tuple[str, ...]:
    """The names of data sets. Raises ValueError if one is not among those that are loaded."""
    known = list(loaded)
    for name in names:
        if name not in known:
            raise ValueError(f"sets are {', '.join(known)}, got '{name}'")
    return names
