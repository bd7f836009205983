"""Multiple-instance learning: nested selection over bags, equal for every method."""

import itertools
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import PositiveFloat, PositiveInt
from scipy.spatial.distance import cdist

from quire import data
from quire.data.bags import Bags
from quire.lab import Config, Metrics, Run
from quire.lab.training import Kept
from quire.papers.hopfield.experiments.evaluation import assign_folds, auc, check_sets
from quire.papers.hopfield.experiments.figures import draw_bars

Numbers = NDArray[Any]

Score = Callable[[list[Numbers]], Numbers]
"""Bags (instances, features) -> a number for each, higher for the second class."""

Fit = Callable[[list[Numbers], Numbers], Score]
"""Bags and their labels -> a fitted scorer."""


class Mil(Config):
    """Cross-validation over bags; hyperparameters are chosen on a fifth of the training bags."""

    method: Literal["hopfield", "mean", "max", "svm", "nearest"] = "hopfield"
    """Pooling of a small network; an SVM on each bag's mean, minimum and maximum; or the nearest
    bags by their closest pair of instances."""
    sets: tuple[str, ...] = ("musk1", "musk2", "elephant", "fox", "tiger")
    """Data sets."""
    folds: PositiveInt = 5
    """Folds of the cross-validation."""
    epochs: PositiveInt = 25
    """Networks: passes over the training bags."""
    learning_rates: tuple[PositiveFloat, ...] = (1e-3,)
    """Networks: learning rates to choose from."""
    dropouts: tuple[float, ...] = (0.1,)
    """Networks: dropout of the bag, to choose from."""
    betas: tuple[PositiveFloat, ...] = (1.0,)
    """hopfield: inverse temperatures to choose from."""


def mil(config: Mil, run: Run) -> Metrics:
    """Area under the ROC curve of each set, mean over held-out folds, %."""
    loaded = data.mil(run.data)
    names, kept = check_sets(config.sets, loaded), Kept()
    for step in run.steps(len(names) * config.folds, state=(kept,)):
        name, fold = names[step // config.folds], step % config.folds
        area = evaluate_fold(config, run, loaded[name], fold)
        kept.add(name, area)
        run.log(auc=area)
    areas = {name: float(np.mean(values)) for name, values in kept.series.items()}
    run.figure("auc", draw_bars(list(areas), list(areas.values()), "area under the ROC curve, %"))
    return {f"{name}_auc": area for name, area in areas.items()} | {
        "auc": float(np.mean(list(areas.values())))
    }


def evaluate_fold(config: Mil, run: Run, bags: Bags, k: int) -> float:
    """Area under the ROC curve on one fold by a model of the others, %.

    Args:
        config: Names the method.
        run: The run.
        bags: All bags of the set.
        k: The fold, from 0.
    """
    parts = np.split(bags.instance, bags.size.cumsum()[:-1])
    fold = assign_folds(bags.label, config.folds, run.rng("folds"))
    train, test = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
    # Scaled by the training bags alone, so that nothing of the test is known.
    known = np.concatenate([parts[row] for row in train])
    mean, scale = known.mean(0), known.std(0) + 1e-6
    scaled = [(part - mean) / scale for part in parts]
    training = [scaled[row] for row in train]
    score = fit_best(config, training, bags.label[train], seed=1000 * run.seed + k)
    return auc(bags.label[test], score([scaled[row] for row in test]))


def fit_best(config: Mil, bags: list[Numbers], label: Numbers, *, seed: int) -> Score:
    """The candidate that is best on held-out training bags, fitted to all training bags.

    Args:
        config: Names the method and its candidates.
        bags: Training bags (instances, features).
        label: (bags,) of 0 and 1.
        seed: What the held-out fifth and the networks follow from.
    """
    generator = np.random.default_rng(seed)
    held = np.zeros(len(bags), bool)
    for kind in (0, 1):
        rows = np.flatnonzero(label == kind)
        held[generator.choice(rows, max(1, len(rows) // 5), replace=False)] = True
    candidates = list_candidates(config, seed)
    best = candidates[0]
    if len(candidates) > 1:
        fitting = [bag for bag, out in zip(bags, held, strict=True) if not out]
        judging = [bag for bag, out in zip(bags, held, strict=True) if out]
        results = [auc(label[held], fit(fitting, label[~held])(judging)) for fit in candidates]
        best = candidates[int(np.argmax(results))]
    return best(bags, label)


def list_candidates(config: Mil, seed: int) -> list[Fit]:
    """What there is to choose from: fitters of bags and labels that give a scorer."""
    if config.method == "svm":
        return [make_statistics_svm(c) for c in (0.3, 1.0, 3.0, 10.0)]
    if config.method == "nearest":
        return [make_nearest_bags(k) for k in (1, 3, 7, 15)]
    from quire.papers.hopfield.estimators import BagClassifier

    pooling = config.method

    def network(rate: float, dropout: float, beta: float | None) -> Fit:
        def fit(bags: list[Numbers], label: Numbers) -> Score:
            model = BagClassifier(
                pooling=pooling,
                beta=beta,
                epochs=config.epochs,
                learning_rate=rate,
                dropout=dropout,
                seed=seed,
            )
            return model.fit(bags, label).decision_function

        return fit

    betas = config.betas if pooling == "hopfield" else (None,)
    return [
        network(rate, dropout, beta)
        for rate, dropout, beta in itertools.product(config.learning_rates, config.dropouts, betas)
    ]


def make_statistics_svm(c: float) -> Fit:
    """An SVM with a Gaussian kernel on mean, minimum and maximum of each feature."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    def summary(bags: list[Numbers]) -> Numbers:
        return np.stack([np.concatenate((b.mean(0), b.min(0), b.max(0))) for b in bags])

    def fit(bags: list[Numbers], label: Numbers) -> Score:
        model = make_pipeline(StandardScaler(), SVC(C=c)).fit(summary(bags), label)
        return lambda asked: model.decision_function(summary(asked))

    return fit


def make_nearest_bags(k: int) -> Fit:
    """Share of positive bags among the k nearest by the closest pair of instances."""

    def fit(bags: list[Numbers], label: Numbers) -> Score:
        every = np.concatenate(bags)
        begin = np.cumsum([0, *(len(bag) for bag in bags[:-1])])

        def score(asked: list[Numbers]) -> Numbers:
            closest = np.stack(
                [np.minimum.reduceat(cdist(bag, every).min(0), begin) for bag in asked]
            )
            order = closest.argsort(1)[:, :k]
            # Ties of shares are broken by the distance to the nearest positive bag.
            far = closest[:, label == 1].min(1) / (closest.max() + 1e-9)
            return np.asarray(label[order].mean(1) - 1e-3 * far)

        return score

    return fit
