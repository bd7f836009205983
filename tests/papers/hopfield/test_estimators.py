"""The parts as scikit-learn estimators."""

import numpy as np
import pytest
import torch

sklearn = pytest.importorskip("sklearn")

from sklearn.base import clone  # noqa: E402
from sklearn.datasets import load_iris  # noqa: E402
from sklearn.model_selection import GridSearchCV, cross_val_score  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402

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
    with pytest.raises(ValueError, match=r"x must be \(rows, columns\)"):
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
