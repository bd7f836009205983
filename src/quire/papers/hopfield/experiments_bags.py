"""Multiple-instance learning and small tables: nested selection, equal for every method."""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import PositiveInt

from quire import data
from quire.data.bags import Bags
from quire.data.tables import Table
from quire.lab import Config, Metrics, Run
from quire.papers.hopfield.experiments_repertoires import auc, folds
from quire.papers.hopfield.figures import bars

Numbers = NDArray[Any]


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
    rates: tuple[float, ...] = (1e-3, 4e-3)
    """Networks: learning rates to choose from."""
    dropouts: tuple[float, ...] = (0.1,)
    """Networks: dropout of the bag, to choose from."""


class Results:
    """Numbers by name, saved with the run."""

    def __init__(self) -> None:
        self.values: dict[str, list[float]] = {}

    def add(self, name: str, value: float) -> None:
        """One more."""
        self.values.setdefault(name, []).append(value)

    def state_dict(self) -> dict[str, Any]:
        """All of them."""
        return {"values": self.values}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put them back."""
        self.values = state["values"]


def mil(config: Mil, run: Run) -> Metrics:
    """Area under the ROC curve of each set, mean over held-out folds, %."""
    loaded = data.mil(run.data)
    names, results = known(config.sets, loaded), Results()
    for step in run.steps(len(names) * config.folds, state=(results,)):
        name, fold = names[step // config.folds], step % config.folds
        area = held_out(config, run, loaded[name], fold)
        results.add(name, area)
        run.log(auc=area)
    areas = {name: float(np.mean(values)) for name, values in results.values.items()}
    run.figure("auc", bars(list(areas), list(areas.values()), "area under the ROC curve, %"))
    return {f"{name}_auc": area for name, area in areas.items()} | {
        "auc": float(np.mean(list(areas.values())))
    }


def known(names: tuple[str, ...], loaded: dict[str, Any]) -> tuple[str, ...]:
    """The names, all of which must be there."""
    for name in names:
        if name not in loaded:
            raise ValueError(f"sets are {', '.join(loaded)}, got '{name}'")
    return names


def held_out(config: Mil, run: Run, bags: Bags, k: int) -> float:
    """Area under the curve of one fold."""
    parts = np.split(bags.instance, bags.size.cumsum()[:-1])
    fold = folds(bags.label, config.folds, run)
    train, test = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
    inner = np.concatenate([parts[row] for row in train])
    mean, scale = inner.mean(0), inner.std(0) + 1e-6
    scaled = [(part - mean) / scale for part in parts]
    score = selected(config, scaled, bags.label, train, seed=1000 * run.seed + k)
    return auc(bags.label[test], score([scaled[row] for row in test]))


def selected(
    config: Mil, bags: list[Numbers], label: Numbers, train: Numbers, *, seed: int
) -> Callable[[list[Numbers]], Numbers]:
    """The best candidate on held-out training bags, fitted to all of them."""
    rng = np.random.default_rng(seed)
    held = np.zeros(len(train), bool)
    for kind in (0, 1):
        rows = np.flatnonzero(label[train] == kind)
        held[rng.choice(rows, max(1, len(rows) // 5), replace=False)] = True
    makers = candidates(config, seed)
    best = makers[0]
    if len(makers) > 1:
        results = []
        for make in makers:
            score = make([bags[row] for row in train[~held]], label[train[~held]])
            results.append(auc(label[train[held]], score([bags[row] for row in train[held]])))
        best = makers[int(np.argmax(results))]
    return best([bags[row] for row in train], label[train])


Make = Callable[[list[Numbers], Numbers], Callable[[list[Numbers]], Numbers]]


def candidates(config: Mil, seed: int) -> list[Make]:
    """What there is to choose from: fitters of bags and labels that give a scorer."""
    if config.method == "svm":
        return [statistics_svm(c) for c in (0.3, 1.0, 3.0, 10.0)]
    if config.method == "nearest":
        return [nearest_bags(k) for k in (1, 3, 7)]
    from quire.papers.hopfield.estimators import BagClassifier

    pooling = config.method

    def network(lr: float, dropout: float) -> Make:
        def fit(bags: list[Numbers], label: Numbers) -> Callable[[list[Numbers]], Numbers]:
            model = BagClassifier(
                pooling=pooling, epochs=config.epochs, lr=lr, dropout=dropout, seed=seed
            )
            return model.fit(bags, label).decision_function

        return fit

    return [network(lr, dropout) for lr in config.rates for dropout in config.dropouts]


def statistics_svm(c: float) -> Make:
    """An SVM with a Gaussian kernel on mean, minimum and maximum of each feature."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    def summary(bags: list[Numbers]) -> Numbers:
        return np.stack([np.concatenate((b.mean(0), b.min(0), b.max(0))) for b in bags])

    def fit(bags: list[Numbers], label: Numbers) -> Callable[[list[Numbers]], Numbers]:
        model = make_pipeline(StandardScaler(), SVC(C=c)).fit(summary(bags), label)
        return lambda asked: model.decision_function(summary(asked))

    return fit


def nearest_bags(k: int) -> Make:
    """Share of positive bags among the k nearest by the closest pair of instances."""
    from scipy.spatial.distance import cdist

    def fit(bags: list[Numbers], label: Numbers) -> Callable[[list[Numbers]], Numbers]:
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


class Tables(Config):
    """Small tables: one stratified split a seed, hyperparameters chosen on training rows."""

    sets: tuple[str, ...] = ()
    """Data sets; none means all 24."""
    most: PositiveInt = 800
    """Training rows at most."""
    test: PositiveInt = 4
    """One row in this many is for the test."""
    epochs: PositiveInt = 40
    """Networks: passes over the training rows."""


def tables(config: Tables, run: Run) -> Metrics:
    """Accuracy and rank of each method, mean over the sets."""
    loaded = data.uci(run.data)
    names, results = known(config.sets or tuple(loaded), loaded), Results()
    for step in run.steps(len(names), state=(results,)):
        for method, value in compared(config, run, names[step], loaded[names[step]]).items():
            results.add(method, value)
        run.log(hopfield=results.values["hopfield"][-1])
    accuracy = results.values
    from scipy.stats import rankdata

    methods = list(accuracy)
    values = np.array([accuracy[method] for method in methods])
    ranks = np.stack([rankdata(-column) for column in values.T], 1).mean(1)
    for method, row in zip(methods, values, strict=True):
        run.series(method, list(range(len(names))), row, x_label="set", y_label="accuracy, %")
    run.figure("ranks", bars(methods, ranks.tolist(), "mean rank, 1 is best"))
    return {f"{m}_accuracy": float(v.mean()) for m, v in zip(methods, values, strict=True)} | {
        f"{m}_rank": float(rank) for m, rank in zip(methods, ranks, strict=True)
    }


def compared(config: Tables, run: Run, name: str, table: Table) -> dict[str, float]:
    """Test accuracy of each method on one set, %."""
    from sklearn.base import clone

    seed = int(torch.randint(2**31, (1,), generator=run.rng(name)))
    rng = np.random.default_rng(seed)
    test = stratified(table.label, 1 / config.test, rng)
    train = np.flatnonzero(~test)
    train = np.sort(rng.permutation(train)[: config.most])
    held = np.zeros(len(train), bool)
    held[stratified(table.label[train], 0.2, rng)] = True
    x, y = table.feature, table.label
    accuracy = {}
    for method, makers in contestants(config, table, seed % 2**31).items():
        results = []
        for maker in makers if len(makers) > 1 else []:
            fitted = clone(maker).fit(x[train[~held]], y[train[~held]])
            results.append(float((fitted.predict(x[train[held]]) == y[train[held]]).mean()))
        best = makers[int(np.argmax(results))] if results else makers[0]
        fitted = clone(best).fit(x[train], y[train])
        accuracy[method] = 100 * float((fitted.predict(x[test]) == y[test]).mean())
    return accuracy


def stratified(label: Numbers, share: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """A share of each class, at least one of each that has two."""
    chosen = np.zeros(len(label), bool)
    for kind in np.unique(label):
        rows = rng.permutation(np.flatnonzero(label == kind))
        count = max(1, round(share * len(rows))) if len(rows) > 1 else 0
        chosen[rows[:count]] = True
    return chosen


def contestants(config: Tables, table: Table, seed: int) -> dict[str, list[Any]]:
    """Candidates of each method, as pipelines on raw tables."""
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler
    from sklearn.svm import SVC

    from quire.papers.hopfield.estimators import HopfieldClassifier

    numbers = np.flatnonzero(~table.categorical)
    kinds = np.flatnonzero(table.categorical)

    def pipeline(model: Any) -> Any:
        scale = make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler())
        code = make_pipeline(
            SimpleImputer(strategy="most_frequent", keep_empty_features=True),
            OneHotEncoder(handle_unknown="ignore", sparse_output=False),
        )
        return make_pipeline(ColumnTransformer([("n", scale, numbers), ("c", code, kinds)]), model)

    def networks(stored: int) -> list[Any]:
        return [
            pipeline(HopfieldClassifier(stored=stored, lr=lr, epochs=config.epochs, seed=seed))
            for lr in (0.01, 0.05)
        ]

    return {
        "hopfield": networks(8),
        "selu": networks(0),
        "svm": [pipeline(SVC(C=c)) for c in (1.0, 10.0)],
        "forest": [pipeline(RandomForestClassifier(100, random_state=seed))],
        "logistic": [pipeline(LogisticRegression(C=c, max_iter=500)) for c in (0.1, 1.0)],
        "neighbours": [pipeline(KNeighborsClassifier(k)) for k in (1, 7)],
    }
