"""What the contract tests do not see of the experiments."""

import numpy as np
import pytest
import torch

from quire.papers.hopfield.experiments import Regimes, crossing, different, slope
from quire.papers.hopfield.experiments_bags import nearest_bags, stratified
from quire.papers.hopfield.experiments_repertoires import Receptors, binders, folds


class Run:
    """What the helpers take of a run."""

    device, seed = torch.device("cpu"), 10

    def __init__(self, data=None):
        self.data = data

    def rng(self, *names):
        return torch.Generator().manual_seed(hash(names) % 1000)


def test_where_a_curve_crosses():
    assert crossing([2, 4, 8], [100.0, 100.0, 100.0]) == 8
    assert crossing([2, 4, 8], [90.0, 80.0, 70.0]) == 1
    assert crossing([2, 8], [100.0, 90.0]) == pytest.approx(4)
    assert slope([1, 2, 3], [2.0, 4.0, 6.0]) == pytest.approx(2)


def test_different_states_are_counted():
    state = torch.tensor([[0.0, 0.0], [0.0, 0.001], [1.0, 0.0]])
    assert different(state) == 2
    assert Regimes().clusters == 3


def test_folds_and_splits_keep_the_classes():
    label = np.array([0] * 20 + [1] * 10)
    fold = folds(label, 5, Run())
    assert all((label[fold == k] == 1).sum() == 2 for k in range(5))
    held = stratified(label, 0.2, np.random.default_rng(0))
    assert (held & (label == 0)).sum() == 4
    assert (held & (label == 1)).sum() == 2


def test_the_nearest_bag_is_that_of_the_closest_instances():
    bags = [np.array([[0.0], [9.0]]), np.array([[5.0]]), np.array([[20.0]])]
    score = nearest_bags(1)(bags, np.array([1, 0, 0]))
    assert (score([np.array([[8.5], [30.0]]), np.array([[5.5]])]) > 0.5).tolist() == [True, False]


def test_bags_of_receptors_share_none(data_root):
    try:
        train, test = binders(Receptors(bags=6, test_bags=4, sequences=100), Run(data_root))
    except FileNotFoundError as error:
        pytest.skip(str(error))
    rows = [{row.tobytes() for row in part.codes} for part in (train, test)]
    assert not rows[0] & rows[1]
    assert train.witness.reshape(6, 100).sum(1).tolist() == [0, 3, 0, 3, 0, 3]
    with pytest.raises(ValueError, match="no receptor of VDJdb binds XYZ"):
        binders(Receptors(epitope="XYZ"), Run(data_root))
