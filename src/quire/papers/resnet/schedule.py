"""The paper's two learning-rate rules that depend on what was measured, as factors of the rate.

They have `state_dict` and `load_state_dict`, so that a resumed run continues them; give them to
the training loop's state.
"""

import math

import torch


class WarmUp:
    """A tenth of the rate until the training error is below 80 %, then all of it (section 4.2).

    `factor` is the tenth and later, for good, 1. `update(error)` takes each minibatch's error rate
    in 0..1; the training error is their exponential mean over about `window` minibatches, corrected
    for its start. The paper's net needed about 400 iterations.

    Raises ValueError for a window below 1, for a factor or an error that is no fraction (per cent,
    or not a number), and for a `below` that is none.

    Example:
        >>> warm_up = WarmUp(window=1)
        >>> warm_up.update(0.9), warm_up.update(0.7), warm_up.update(0.9)
        (0.1, 1.0, 1.0)
    """

    def __init__(self, *, factor: float = 0.1, below: float = 0.8, window: int = 100) -> None:
        if window < 1:
            raise ValueError(f"window must be at least 1 minibatch; got {window}")
        _check_fraction("factor", factor)
        _check_fraction("below", below)
        self.low, self.below, self.decay = factor, below, 1 - 1 / window
        self.weight = 0.0
        self.total = 0.0
        self.done = False

    @property
    def factor(self) -> float:
        """What the learning rate is multiplied with now."""
        return 1.0 if self.done else self.low

    def update(self, error: float | torch.Tensor) -> float:
        """Takes a minibatch's error rate, gives the factor for the next one."""
        if not self.done:
            error = float(error)
            _check_fraction("error", error)
            self.total = self.decay * self.total + (1 - self.decay) * error
            self.weight = self.decay * self.weight + (1 - self.decay)
            # A single lucky minibatch is no training error: wait for half a window.
            ready = self.weight >= 0.4 or self.decay == 0
            self.done = ready and self.total / self.weight < self.below
        return self.factor

    def state_dict(self) -> dict[str, float | bool]:
        return {"weight": self.weight, "total": self.total, "done": self.done}

    def load_state_dict(self, state: dict[str, float | bool]) -> None:
        self.weight, self.total = float(state["weight"]), float(state["total"])
        self.done = bool(state["done"])


def _check_fraction(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must be a fraction in 0..1, not per cent; got {value}")


class DivideOnPlateau:
    """Divides the rate by 10 when the error stops falling (section 3.4).

    `update(error)` takes an error; means of several in a row are compared, and where they stop
    falling `factor` is divided. The paper names none of these numbers.

    Args:
        patience: So many means in a row may miss the best one; the next that does divides.
        margin: How far below the best a mean must come to count as a gain.
        window: Errors a mean.
        by: What `factor` is multiplied with.

    Raises ValueError for other than these, and for an error that is not finite.

    Example:
        >>> rule = DivideOnPlateau(patience=1)
        >>> [rule.update(error) for error in (0.5, 0.4, 0.4, 0.4, 0.3)]
        [1.0, 1.0, 1.0, 0.1, 0.1]
    """

    def __init__(
        self, *, patience: int = 5, margin: float = 0.0, window: int = 1, by: float = 0.1
    ) -> None:
        if patience < 0 or window < 1 or not 0 < by < 1 or not margin >= 0:
            raise ValueError(
                "patience must be >= 0, margin >= 0, window >= 1 and 0 < by < 1; "
                f"got {patience}, {margin}, {window} and {by}"
            )
        self.patience, self.margin, self.window, self.by = patience, margin, window, by
        self.best = float("inf")
        self.waited = 0
        self.factor = 1.0
        self.total, self.count = 0.0, 0

    def update(self, error: float | torch.Tensor) -> float:
        """Takes an error, gives the factor from now on."""
        error = float(error)
        # One that is not a number would count as no gain for ever after.
        if not math.isfinite(error):
            raise ValueError(f"error must be a finite number; got {error}")
        self.total, self.count = self.total + error, self.count + 1
        if self.count < self.window:
            return self.factor
        mean = self.total / self.count
        self.total, self.count = 0.0, 0
        if mean < self.best - self.margin:
            self.best, self.waited = mean, 0
        else:
            self.waited += 1
        if self.waited > self.patience:
            self.factor, self.waited = self.factor * self.by, 0
        return self.factor

    def state_dict(self) -> dict[str, float | int]:
        fields = ("best", "waited", "factor", "total", "count")
        return {field: getattr(self, field) for field in fields}

    def load_state_dict(self, state: dict[str, float | int]) -> None:
        self.best, self.factor = float(state["best"]), float(state["factor"])
        self.total = float(state["total"])
        self.waited, self.count = int(state["waited"]), int(state["count"])
