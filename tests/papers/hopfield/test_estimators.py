"""The parts as scikit-learn estimators."""

import numpy as np
import pytest
import torch

sklearn = pytest.importorskip("sklearn")

from sklearn.base import clone  # noqa: E402
from sklearn.datasets import load_iris  # noqa: E402
from sklearn.exceptions import NotFittedError  # noqa: E402
from sklearn.model_selection import GridSearchCV, cross_val_score  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402
from sklearn.utils.estimator_checks import check_estimator  # noqa: E402

from quire.papers.hopfield.estimators import BagClassifier, HopfieldClassifier  # noqa: E402


def test_a_pipeline_learns_iris_and_touches_no_global_generator():
    x, y = load_iris(return_X_y=True)
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    model = make_pipeline(StandardScaler(), HopfieldClassifier(epochs=40))
    assert cross_val_score(model, x, names, cv=3).mean() > 0.9
    assert torch.equal(torch.rand(1), expected)
    fitted = clone(model).fit(x, names)
    again = clone(model).fit(x, names)
    np.testing.assert_array_equal(fitted.predict_proba(x), again.predict_proba(x))
    np.testing.assert_allclose(fitted.predict_proba(x).sum(1), 1, rtol=1e-5)


def test_a_grid_over_stored_patterns():
    x, y = load_iris(return_X_y=True)
    grid = GridSearchCV(HopfieldClassifier(epochs=2), {"stored": [0, 4]}, cv=2).fit(x, y)
    assert set(grid.best_params_) == {"stored"}
    with pytest.raises(ValueError, match="Expected 2D array, got 1D array"):
        HopfieldClassifier().fit(x[:, 0], y)


@pytest.mark.parametrize("pooling", ["hopfield", "mean", "max"])
def test_bags_with_a_witness(pooling):
    """One instance in a positive bag has a large first feature."""
    rng = np.random.default_rng(0)
    bags = [rng.normal(size=(rng.integers(2, 7), 5)) for _ in range(80)]
    label = np.arange(80) % 2
    for bag, positive in zip(bags, label, strict=True):
        bag[0, 0] += 6 * positive
    model = BagClassifier(pooling=pooling, units=16, heads=2, epochs=30, learning_rate=1e-2)
    assert (model.fit(bags[:60], label[:60]).predict(bags[60:]) == label[60:]).mean() >= 0.9
    with pytest.raises(ValueError, match="two classes and a label for each of 2 bags"):
        model.fit(bags[:2], [0, 0])


@pytest.mark.parametrize("pooling", ["hopfield", "mean", "max"])
def test_an_empty_bag_gets_a_score_and_changes_no_other(pooling):
    rng = np.random.default_rng(0)
    bags = [rng.normal(size=(size, 3)) for size in (2, 0, 4, 1)]
    model = BagClassifier(pooling=pooling, units=8, heads=2, epochs=2)
    scores = model.fit(bags, ["no", "yes", "no", "yes"]).decision_function(bags)
    assert np.isfinite(scores).all()
    alone = [float(model.decision_function([bag])[0]) for bag in bags]
    np.testing.assert_allclose(scores, alone, rtol=1e-5)
    assert model.decision_function([]).shape == (0,)
    proba = model.predict_proba(bags)
    assert (proba.sum(1) == 1).all()
    assert ((proba[:, 1] > 0.5) == (model.predict(bags) == "yes")).all()


def test_cells_that_are_no_numbers_are_refused():
    x, y = np.random.default_rng(0).normal(size=(8, 3)), np.arange(8) % 2
    bad = x.copy()
    bad[3, 1] = np.nan
    table = HopfieldClassifier(epochs=1).fit(x, y)
    bags = BagClassifier(epochs=1, units=4, heads=1).fit([x[:4], x[4:]], [0, 1])
    for call in (lambda: table.predict_proba(bad), lambda: table.fit(bad, y)):
        with pytest.raises(ValueError, match="contains NaN"):
            call()
    for call in (lambda: bags.predict([x, bad]), lambda: bags.fit([x, bad], y[:2])):
        with pytest.raises(ValueError, match="bag 1 holds NaN or an infinity"):
            call()
    with pytest.raises(ValueError, match=r"bag 1 must be \(instances, 3\), got \(8, 2\)"):
        bags.predict([x, x[:, :2]])
    for model, given in ((HopfieldClassifier(), x), (BagClassifier(), [x])):
        with pytest.raises(NotFittedError):
            model.predict(given)


def test_scikit_learns_own_checks():
    """All that need no accuracy after one pass, and no pandas."""
    results = check_estimator(
        HopfieldClassifier(epochs=1, layers=1, units=4, heads=1), on_fail=None, on_skip=None
    )
    learning = {"check_classifiers_train", "check_classifiers_classes", "check_fit2d_1sample"}
    failed = [row for row in results if row["status"] == "failed"]
    assert {row["check_name"] for row in failed} <= learning, failed
