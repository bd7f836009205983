"""Small tables: a network with stored patterns against the usual classifiers."""

import itertools
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

    def networks(*shapes: dict[str, Any]) -> list[Any]:
        options: dict[str, Any] = {"epochs": config.epochs, "seed": seed}
        return [
            pipeline(HopfieldClassifier(learning_rate=rate, **shape, **options))
            for rate, shape in itertools.product((0.01, 0.05), shapes)
        ]

    # Six candidates of each; of the networks a corner of the paper's grid, which has hundreds.
    return {
        "hopfield": networks(
            {"units": 32},
            {"units": 128, "heads": 8, "beta": 0.1},
            {"units": 32, "heads": 1, "beta": 0.1, "stored": 1},
        ),
        "selu": networks(
            {"units": 32, "stored": 0},
            {"units": 128, "stored": 0},
            {"units": 32, "layers": 3, "stored": 0},
        ),
        "svm": [pipeline(SVC(C=c)) for c in (0.1, 0.3, 1.0, 3.0, 10.0, 100.0)],
        "forest": [
            pipeline(
                RandomForestClassifier(
                    100, max_features=features, min_samples_leaf=leaf, random_state=seed
                )
            )
            for features, leaf in itertools.product(("sqrt", 0.5, 1.0), (1, 3))
        ],
        "logistic": [
            pipeline(LogisticRegression(C=c, max_iter=500))
            for c in (0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)
        ],
        "neighbours": [pipeline(KNeighborsClassifier(k)) for k in (1, 3, 5, 7, 11, 19)],
    }
