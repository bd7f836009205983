"""Which task an example comes from (section 3.5.2).

Examples are mixed, not batches: every batch holds all tasks, each by its rate.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

UNSUPERVISED_SIZES = {
    "small": 710_000, "base": 2_620_000, "large": 8_660_000, "3b": 33_500_000, "11b": 133_000_000,
}  # fmt: skip
"""Examples that the unsupervised task counts as in the paper's final mixtures, by model."""

TEMPERATURE_LIMIT = 1 << 21
"""The limit that goes with temperatures in the paper."""


def mixing_rates(
    sizes: Mapping[str, float], *, limit: float | None = None, temperature: float = 1.0
) -> dict[str, float]:
    """Share of the examples that each task gives.

    Proportional to min(size, limit), then to the power 1 / temperature. A limit of 1 mixes equally,
    and so does a temperature without bound.

    Example:
        >>> mixing_rates({"large": 900, "small": 100}, limit=300)
        {'large': 0.75, 'small': 0.25}

    Args:
        sizes: Examples of each task.
        limit: What a size counts at most, K; None sets none.
        temperature: T; 1 keeps rates proportional.

    Raises ValueError for no task, or a size, limit or temperature that is not positive.
    """
    if not sizes:
        raise ValueError("mixing_rates needs the size of at least one task, got none")
    top = max(sizes.values()) if limit is None else limit
    given = [*((f"the size of {name}", size) for name, size in sizes.items()), ("limit", top)]
    for name, value in (*given, ("temperature", temperature)):
        if not 0 < value < float("inf"):
            raise ValueError(f"{name} must be positive and finite, got {value}")
    counted = [min(size, top) for size in sizes.values()]
    # Relative to the largest one: no power overflows.
    rates = (np.array(counted, float) / max(counted)) ** (1 / temperature)
    return dict(zip(sizes, (rates / rates.sum()).tolist(), strict=True))


class Mixture:
    """Which example of which task stands where in a batch.

    Each task's examples come in epochs, shuffled anew; tasks are drawn for each place of a batch by
    their rates. What a step holds follows from seed and step alone.

    Example:
        >>> mixture = Mixture({"a": 10, "b": 5}, {"a": 0.5, "b": 0.5}, seed=0)
        >>> mixture.batch(0, 4)  # doctest: +ELLIPSIS
        [(..., ...), ...]

    Args:
        sizes: Examples of each task.
        rates: Of the same tasks; they sum to 1. None takes `mixing_rates(sizes)`.
        seed: Of order and draws.

    Raises ValueError where rates and sizes name different tasks or rates do not sum to 1.
    """

    def __init__(
        self, sizes: Mapping[str, int], rates: Mapping[str, float] | None = None, *, seed: int = 0
    ) -> None:
        rates = mixing_rates(sizes) if rates is None else rates
        if set(rates) != set(sizes):
            raise ValueError(
                f"rates and sizes must name the same tasks, got {', '.join(sorted(rates))} and "
                f"{', '.join(sorted(sizes))}"
            )
        if abs(sum(rates.values()) - 1) > 1e-6 or min(rates.values()) < 0:
            raise ValueError(f"rates must be positive and sum to 1, got {dict(rates)}")
        self.names = list(sizes)
        self.sizes = np.array([sizes[name] for name in self.names], np.int64)
        shares = np.array([rates[name] for name in self.names])
        self.rates = shares / shares.sum()
        self.seed = seed
        self._state = (0, 0, np.zeros(len(self.names), np.int64))
        self._orders: dict[int, tuple[int, NDArray[np.int64]]] = {}

    def batch(self, step: int, size: int) -> list[tuple[str, int]]:
        """(task, example) for each place of a step's batch."""
        before = self._before(step, size)
        drawn = self._draw(step, size)
        places = []
        for task in drawn.tolist():
            epoch, number = divmod(int(before[task]), int(self.sizes[task]))
            places.append((self.names[task], int(self._order(task, epoch)[number])))
            before[task] += 1
        self._state = (step + 1, size, before)
        return places

    def _draw(self, step: int, size: int) -> NDArray[np.int64]:
        return np.random.default_rng([self.seed, step]).choice(len(self.names), size, p=self.rates)

    def _before(self, step: int, size: int) -> NDArray[np.int64]:
        """Examples of each task in the steps before; counted on where the last call ended."""
        at, last, counts = self._state
        if last != size or at > step:
            at, counts = 0, np.zeros(len(self.names), np.int64)
        counts = counts.copy()
        for earlier in range(at, step):
            counts += np.bincount(self._draw(earlier, size), minlength=len(self.names))
        return counts

    def _order(self, task: int, epoch: int) -> NDArray[np.int64]:
        known = self._orders.get(task)
        if known is None or known[0] != epoch:
            rng = np.random.default_rng([self.seed, epoch, task, 1])
            known = self._orders[task] = epoch, rng.permutation(self.sizes[task])
        return known[1]
