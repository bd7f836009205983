"""Small tables: a network with stored patterns against the usual classifiers."""

from typing import Any

import numpy as np
import torch
from pydantic import PositiveInt
from scipy.stats import rankdata

from quire import data
from quire.data.tables import Table
from quire.lab import Config, Metrics, Run
from quire.lab.training import Kept
from quire.papers.hopfield.experiments.evaluation import check_sets, draw_stratified
from quire.papers.hopfield.experiments.figures import draw_bars

TEST_SHARE = 1 / 4
"""Share of the rows that is for the test."""


class Tables(Config):
    """Small tables: one stratified split a seed, hyperparameters chosen on training rows."""

    sets: tuple[str, ...] = ()
    """Data sets; none means all 24."""
    most: PositiveInt = 800
    """Training rows at most."""
    epochs: PositiveInt = 40
    """Networks: passes over the training rows."""


def tables(config: Tables, run: Run) -> Metrics:
    """Accuracy and rank of each method, mean over the sets."""
    loaded = data.uci(run.data)
    names, kept = check_sets(config.sets or tuple(loaded), loaded), Kept()
    for step in run.steps(len(names), state=(kept,)):
        seed = int(torch.randint(2**31, (1,), generator=run.rng(names[step])))
        for method, value in compare_methods(config, loaded[names[step]], seed).items():
            kept.add(method, value)
        run.log(hopfield=kept.series["hopfield"][-1])
    methods = list(kept.series)
    values = np.array([kept.series[method] for method in methods])
    ranks = np.stack([rankdata(-column) for column in values.T], 1).mean(1)
    for method, row in zip(methods, values, strict=True):
        run.series(method, list(range(len(names))), row, x_label="set", y_label="accuracy, %")
    run.figure("ranks", draw_bars(methods, ranks.tolist(), "mean rank, 1 is best"))
    return {f"{m}_accuracy": float(v.mean()) for m, v in zip(methods, values, strict=True)} | {
        f"{m}_rank": float(rank) for m, rank in zip(methods, ranks, strict=True)
    }


def compare_methods(config: Tables, table: Table, seed: int) -> dict[str, float]:
    """Test accuracy of each method on one set, %."""
    from sklearn.base import clone

    generator = np.random.default_rng(seed)
    test = draw_stratified(table.label, TEST_SHARE, generator)
    train = np.flatnonzero(~test)
    train = np.sort(generator.permutation(train)[: config.most])
    held = np.zeros(len(train), bool)
    held[draw_stratified(table.label[train], 0.2, generator)] = True
    x, y = table.feature, table.label
    accuracy = {}
    for method, makers in list_contestants(config, table, seed % 2**31).items():
        results = []
        for maker in makers if len(makers) > 1 else []:
            fitted = clone(maker).fit(x[train[~held]], y[train[~held]])
            results.append(float((fitted.predict(x[train[held]]) == y[train[held]]).mean()))
        best = makers[int(np.argmax(results))] if results else makers[0]
        fitted = clone(best).fit(x[train], y[train])
        accuracy[method] = 100 * float((fitted.predict(x[test]) == y[test]).mean())
    return accuracy


def list_contestants(config: Tables, table: Table, seed: int) -> dict[str, list[Any]]:
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
        options = {"stored": stored, "epochs": config.epochs, "seed": seed}
        rates = (0.01, 0.05)
        return [pipeline(HopfieldClassifier(learning_rate=rate, **options)) for rate in rates]

    return {
        "hopfield": networks(8),
        "selu": networks(0),
        "svm": [pipeline(SVC(C=c)) for c in (1.0, 10.0)],
        "forest": [pipeline(RandomForestClassifier(100, random_state=seed))],
        "logistic": [pipeline(LogisticRegression(C=c, max_iter=500)) for c in (0.1, 1.0)],
        "neighbours": [pipeline(KNeighborsClassifier(k)) for k in (1, 7)],
    }
