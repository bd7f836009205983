"""The nearest bags by hand, and the choice among candidates."""

import numpy as np

from quire.papers.hopfield.experiments import mil
from quire.papers.hopfield.experiments.mil import Mil, fit_best, make_nearest_bags


def test_the_nearest_bag_is_that_of_the_closest_instances():
    bags = [np.array([[0.0], [9.0]]), np.array([[5.0]]), np.array([[20.0]])]
    score = make_nearest_bags(1)(bags, np.array([1, 0, 0]))
    assert (score([np.array([[8.5], [30.0]]), np.array([[5.5]])]) > 0.5).tolist() == [True, False]


def test_the_candidate_that_is_best_on_held_out_bags_is_fitted_to_all(monkeypatch):
    bags, label = [np.full((1, 1), float(at % 2)) for at in range(20)], np.arange(20) % 2
    fitted = []

    def make(sign):
        def fit(bags, label):
            fitted.append((sign, len(bags)))
            return lambda asked: np.array([sign * float(bag[0, 0]) for bag in asked])

        return fit

    monkeypatch.setattr(mil, "list_candidates", lambda config, seed: [make(-1), make(1)])
    score = fit_best(Mil(), bags, label, seed=0)
    assert fitted == [(-1, 16), (1, 16), (1, 20)]
    assert score(bags[:2]).tolist() == [0.0, 1.0]
