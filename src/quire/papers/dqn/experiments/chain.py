"""A chain of states whose values are known."""

import numpy as np
from numpy.typing import NDArray

from quire.papers.dqn.games import Moment


class Chain:
    """`length` states in a row, as vectors with a single one: a step left or right, and a reward of
    1 for the step right from the last one, which ends the episode.

    Who stands in state s is worth gamma^(length - 1 - s). Episodes begin at a random state and are
    cut after `longest` steps.
    """

    def __init__(self, length: int, longest: int) -> None:
        self.length, self.longest = length, longest
        self.name, self.actions, self.repeat = "chain", 2, 1
        self.shape, self.high = (length,), None
        self.place = self.step = 0

    def reset(self, seed: int) -> NDArray[np.float32]:
        """Somewhere on the chain."""
        self.place = int(np.random.default_rng(seed).integers(self.length))
        self.step = 0
        return self._see()

    def send(self, action: int) -> None:
        """0 left, 1 right."""
        self.place = max(0, self.place + (1 if action else -1))
        self.step += 1

    def receive(self) -> Moment:
        """The end, or a state; a cut episode ends without being terminal."""
        arrived = self.place == self.length
        over = arrived or self.step >= self.longest
        return Moment(self._see(), float(arrived), arrived, over)

    def _see(self) -> NDArray[np.float32]:
        seen = np.zeros(self.length, np.float32)
        seen[min(self.place, self.length - 1)] = 1
        return seen


def optimal_values(length: int, gamma: float) -> NDArray[np.float64]:
    """Q* of the chain by value iteration, (length, 2)."""
    q = np.zeros((length, 2))
    for _ in range(10 * length):
        best = q.max(1)
        left = gamma * best[np.maximum(np.arange(length) - 1, 0)]
        right = np.append(gamma * best[1:], 1.0)
        q = np.stack([left, right], 1)
    return q
