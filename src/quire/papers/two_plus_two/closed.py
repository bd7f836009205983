"""Witnesses that learn in one step: least squares, a Bayesian probe, the nearest neighbour.

Shapes: M members, N pairs, n shown, F features. They are fitted to a `Lesson` and then called as
the nets are; all is double precision.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from quire.papers.two_plus_two.nets import OneHot
from quire.papers.two_plus_two.table import Lesson

Features = Callable[[Tensor], Tensor]
"""Pairs (..., 2) to features (..., F), in double precision."""


def with_bias(pairs: Tensor) -> Tensor:
    """a, b and 1: pairs (..., 2) to (..., 3), in double precision.

    Example:
        >>> with_bias(torch.tensor([2, 3])).tolist()
        [2.0, 3.0, 1.0]
    """
    return torch.cat([pairs, torch.ones_like(pairs[..., :1])], -1).double()


def one_hot(pairs: Tensor) -> Tensor:
    """Two one-hot vectors of ten: pairs (..., 2) to (..., 20), in double precision.

    Example:
        >>> one_hot(torch.tensor([[2, 3]])).sum().item()
        2.0
    """
    return OneHot()(pairs).double()


class LeastSquares:
    """The weights of least norm among those of least squared error.

    features: `with_bias`, three weights, or `one_hot`, whose twenty are not determined by any
    table: the least norm makes the prediction of a cell the sum of a row's and a column's part.

    Example:
        >>> from quire.papers.two_plus_two import list_cells, make_lesson, only
        >>> pairs = list_cells()
        >>> line = LeastSquares(with_bias).fit(make_lesson(~only(2, 2)(pairs)[None], pairs))
        >>> round(line(torch.tensor([[2, 2]])).item(), 9)
        4.0
    """

    def __init__(self, features: Features) -> None:
        self.features = features
        self.weights = torch.empty(0)

    def fit(self, lesson: Lesson) -> "LeastSquares":
        """Find the weights (M, F)."""
        # With the roots of the weights on both sides this is the weighted sum of squares.
        root = lesson.weight.double().sqrt()[..., None]
        x, y = self.features(lesson.pairs) * root, lesson.sums.double()[..., None] * root
        self.weights = (torch.linalg.pinv(x) @ y)[..., 0]
        return self

    def __call__(self, pairs: Tensor) -> Tensor:
        """Pairs (N, 2) or (M, N, 2) to numbers (M, N)."""
        x = self.features(pairs)
        return (x.expand(len(self.weights), *x.shape[-2:]) @ self.weights[..., None])[..., 0]


class BayesianLinear:
    """A Bayesian linear probe: weights normal with precision alpha, noise with precision beta.

    Of a grid of both the pair with the greatest evidence is taken (MacKay 1992).

    Example:
        >>> from quire.papers.two_plus_two import list_cells, make_lesson, only
        >>> pairs = list_cells()
        >>> probe = BayesianLinear(one_hot).fit(make_lesson(~only(2, 2)(pairs)[None], pairs))
        >>> abs(probe(torch.tensor([[2, 2]])).item() - 4) < 0.01
        True
    """

    GRID = tuple(10.0**power for power in range(-4, 5))

    def __init__(self, features: Features) -> None:
        self.features = features
        self.mean = self.covariance = self.noise = torch.empty(0)

    def fit(self, lesson: Lesson) -> "BayesianLinear":
        """Find mean (M, F) and covariance (M, F, F) of the weights, and the noise's variance (M,).

        Raises ValueError where members are shown different numbers of cells: the repeated ones
        would count as data.
        """
        if bool((lesson.weight == 0).any()):
            raise ValueError("every member must be shown as many cells as the others")
        x, y = self.features(lesson.pairs), lesson.sums.double()
        found = [self._posterior(x, y, a, b) for a in self.GRID for b in self.GRID]
        best = torch.stack([each[0] for each in found]).argmax(0)
        member = torch.arange(len(x))
        self.mean, self.covariance, self.noise = (
            torch.stack([each[part] for each in found])[best, member] for part in (1, 2, 3)
        )
        return self

    @staticmethod
    def _posterior(x: Tensor, y: Tensor, alpha: float, beta: float) -> tuple[Tensor, ...]:
        """Logarithm of the evidence (M,), mean, covariance, variance of the noise."""
        rows, features = x.shape[-2:]
        precision = beta * x.mT @ x + alpha * torch.eye(features, dtype=x.dtype)
        covariance = torch.linalg.inv(precision)
        mean = beta * (covariance @ x.mT @ y[..., None])[..., 0]
        residual = (y - (x @ mean[..., None])[..., 0]).square().sum(-1)
        log = torch.tensor([alpha, beta, 2 * torch.pi], dtype=x.dtype).log()
        evidence = features * log[0] + rows * (log[1] - log[2]) - beta * residual
        evidence = evidence - alpha * mean.square().sum(-1) - torch.logdet(precision)
        return evidence / 2, mean, covariance, torch.full_like(residual, 1 / beta)

    def __call__(self, pairs: Tensor) -> Tensor:
        """Pairs (N, 2) or (M, N, 2) to the predictive mean (M, N)."""
        x = self._features(pairs)
        return (x @ self.mean[..., None])[..., 0]

    def deviation(self, pairs: Tensor) -> Tensor:
        """Pairs (N, 2) or (M, N, 2) to the predictive standard deviation (M, N), noise included."""
        x = self._features(pairs)
        return ((x @ self.covariance * x).sum(-1) + self.noise[:, None]).sqrt()

    def _features(self, pairs: Tensor) -> Tensor:
        x = self.features(pairs)
        return x.expand(len(self.mean), *x.shape[-2:])


class Lookup:
    """The nearest shown pair's sum; among pairs as near, one at random.

    A held-out 2 + 2 has four neighbours at distance 1, whose sums are 3, 3, 5 and 5.

    Example:
        >>> from quire.papers.two_plus_two import list_cells, make_lesson, only
        >>> pairs = list_cells()
        >>> clerk = Lookup().fit(make_lesson(~only(2, 2)(pairs)[None], pairs))
        >>> int(clerk(torch.tensor([[2, 2]]))) in (3, 5)
        True
    """

    def __init__(self, *, generator: torch.Generator | None = None) -> None:
        self.generator = generator
        self.lesson: Lesson | None = None

    def fit(self, lesson: Lesson) -> "Lookup":
        """Remember the lesson."""
        self.lesson = lesson
        return self

    def __call__(self, pairs: Tensor) -> Tensor:
        """Pairs (N, 2) or (M, N, 2) to numbers (M, N). Raises ValueError before `fit`."""
        if self.lesson is None:
            raise ValueError("call fit(lesson) first")
        pairs = pairs.expand(len(self.lesson.sums), *pairs.shape[-2:])
        apart = (pairs[:, :, None] - self.lesson.pairs[:, None]).square().sum(-1).double()
        # Squared distances of whole numbers differ by 1 at least: less than that breaks ties alone.
        apart = apart + 0.5 * torch.rand(apart.shape, generator=self.generator)
        return self.lesson.sums.gather(1, apart.argmin(-1)).double()
