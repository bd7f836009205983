"""Scores by brute force."""

import numpy as np
import pytest
import torch

from quire.papers.dfa.experiments.scores import (
    Best,
    measure_auc,
    measure_neighbours,
    measure_precision,
)


def test_area_under_the_curve_counts_pairs() -> None:
    rng = np.random.default_rng(0)
    score, label = rng.integers(6, size=40).astype(float), rng.integers(2, size=40)
    pairs = [(p > n) + 0.5 * (p == n) for p in score[label == 1] for n in score[label == 0]]
    found = measure_auc(torch.tensor(score), torch.tensor(label))
    assert found == pytest.approx(np.mean(pairs))
    assert measure_auc(torch.ones(4), torch.ones(4)).isnan()


def test_average_precision_is_the_mean_at_every_hit() -> None:
    score = torch.tensor([0.9, 0.8, 0.7, 0.6, 0.5])
    label = torch.tensor([1, 0, 1, 1, 0])
    assert measure_precision(score, label) == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)


def test_neighbours_of_two_bundles() -> None:
    torch.manual_seed(0)
    label = torch.arange(30) % 2
    axis = torch.stack([1.0 - label, label.float()], 1)
    assert measure_neighbours(axis + 0.1 * torch.rand(30, 2), label) == 100
    mixed = measure_neighbours(torch.randn(30, 2), label)
    assert 20 < mixed < 80


def test_the_best_epoch_is_kept_and_comes_back() -> None:
    best = Best("validation", "test", device=torch.device("cpu"))
    for validation, test in ((0.5, 1.0), (0.7, 2.0), (0.6, 3.0), (0.7, 4.0)):
        best.see(validation=torch.tensor(validation), test=torch.tensor(test))
    other = Best("validation", "test", device=torch.device("cpu"))
    other.load_state_dict(best.state_dict())
    assert other.read() == {"validation": pytest.approx(0.7), "test": 2.0}
