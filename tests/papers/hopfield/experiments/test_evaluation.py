"""Splits that keep the classes."""

import numpy as np
import pytest
import torch

from quire.papers.hopfield.experiments.evaluation import assign_folds, check_sets, draw_stratified


def test_folds_and_splits_keep_the_classes():
    label = np.array([0] * 20 + [1] * 10)
    fold = assign_folds(label, 5, torch.Generator().manual_seed(0))
    assert all((label[fold == k] == 1).sum() == 2 for k in range(5))
    held = draw_stratified(label, 0.2, np.random.default_rng(0))
    assert (held & (label == 0)).sum() == 4
    assert (held & (label == 1)).sum() == 2


def test_an_unknown_set_is_one_line():
    with pytest.raises(ValueError, match="sets are fox, tiger, got 'cat'"):
        check_sets(("fox", "cat"), ["fox", "tiger"])
