"""Closed forms against normal equations, scikit-learn and enumeration."""

import pytest
import torch

from quire.papers.two_plus_two import (
    BayesianLinear,
    LeastSquares,
    Lookup,
    list_cells,
    make_lesson,
    one_hot,
    only,
    with_bias,
)

PAIRS = list_cells()
QUESTION = torch.tensor([[2, 2]])
LESSON = make_lesson(~only(2, 2)(PAIRS)[None], PAIRS)


def test_least_squares_is_the_sum():
    line = LeastSquares(with_bias).fit(LESSON)
    expected = torch.tensor([[1.0, 1.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(line.weights, expected, rtol=0, atol=1e-10)
    x = with_bias(LESSON.pairs[0])
    normal = torch.linalg.solve(x.T @ x, x.T @ LESSON.sums[0].double())
    torch.testing.assert_close(line.weights[0], normal, rtol=0, atol=1e-10)
    assert float(line(QUESTION)) == pytest.approx(4, abs=1e-10)
    assert float(line(torch.tensor([[1500, 1999]]))) == pytest.approx(3499, abs=1e-8)


def test_one_hot_least_squares_is_the_sum_with_the_least_norm():
    hot = LeastSquares(one_hot).fit(LESSON)
    assert float(hot(QUESTION)) == pytest.approx(4, abs=1e-12)
    # The row's and the column's weights may trade a constant; the least norm shares it evenly.
    rows, columns = hot.weights[0].chunk(2)
    torch.testing.assert_close(rows, columns, rtol=0, atol=1e-10)


def test_repeated_cells_do_not_count_twice():
    """Members with fewer cells have some of them twice, at no weight."""
    shown = torch.zeros(2, 100, dtype=torch.bool)
    shown[0, :90], shown[1, 5:25] = True, True
    noise = torch.randn(100, generator=torch.Generator().manual_seed(0))
    said = PAIRS.sum(-1) + noise
    found = LeastSquares(with_bias).fit(make_lesson(shown, PAIRS, said))
    for member in range(2):
        x, y = with_bias(PAIRS[shown[member]]), said[shown[member]].double()
        expected = torch.linalg.lstsq(x, y[:, None]).solution[:, 0]
        torch.testing.assert_close(found.weights[member], expected, rtol=1e-6, atol=1e-8)


def test_the_nearest_neighbour_says_three_or_five():
    clerk = Lookup(generator=torch.Generator().manual_seed(0)).fit(LESSON)
    said = torch.cat([clerk(QUESTION)[0] for _ in range(100)])
    assert set(said.tolist()) == {3.0, 5.0}
    near = [(a, b) for a, b in PAIRS.tolist() if abs(a - 2) + abs(b - 2) == 1]
    assert sorted(a + b for a, b in near) == [3, 3, 5, 5]
    assert torch.equal(clerk(LESSON.pairs[0])[0], LESSON.sums[0].double())


def test_the_probes_evidence_is_that_of_a_normal():
    """log N(y | 0, I / beta + x x^T / alpha), written out."""
    x, y = one_hot(LESSON.pairs), LESSON.sums.double() - 9
    for alpha, beta in ((0.1, 10.0), (1.0, 1.0)):
        found = BayesianLinear._posterior(x, y, alpha, beta)[0]
        covariance = torch.eye(99, dtype=torch.float64) / beta + x[0] @ x[0].T / alpha
        normal = torch.distributions.MultivariateNormal(torch.zeros(99).double(), covariance)
        assert float(found) == pytest.approx(float(normal.log_prob(y[0])), rel=1e-8)


def test_refusals():
    shown = torch.ones(2, 100, dtype=torch.bool)
    shown[0, :5] = False
    with pytest.raises(ValueError, match="as many cells as the others"):
        BayesianLinear(one_hot).fit(make_lesson(shown, PAIRS))
    with pytest.raises(ValueError, match="fit"):
        Lookup()(QUESTION)
