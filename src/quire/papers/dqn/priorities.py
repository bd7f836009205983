"""Prioritised replay (Schaul et al. 2016): draws in proportion to the last TD error."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray


class Proportional:
    """Draws a place with probability p^alpha / sum p^alpha, with p its last TD error.

    New rows get the largest priority so far. Losses are weighted by (M P)^-beta, over the largest
    of the minibatch, for M rows. All sums stand in a binary tree, so that a draw and a change cost
    a logarithm of the size, for the whole minibatch at once.

    Args:
        alpha: 0 draws uniformly.
        beta: 1 corrects the bias of the draws in full.

    Raises ValueError for a negative alpha or beta.
    """

    def __init__(self, alpha: float = 0.6, beta: float = 0.4) -> None:
        if alpha < 0 or beta < 0:
            raise ValueError(f"alpha and beta must be at least 0, got {alpha} and {beta}")
        self.alpha, self.beta = alpha, beta
        self._leaves = 1
        self._tree = np.zeros(2)
        self._largest, self._count = 1.0, 0

    def begin(self, size: int) -> None:
        """Start with `size` places, none of which can be drawn."""
        self._leaves = 1 << (size - 1).bit_length()
        self._tree = np.zeros(2 * self._leaves)
        self._largest, self._count = 1.0, 0

    def admit(self, places: NDArray[np.int64]) -> None:
        """These different places can be drawn from now on."""
        self._count += len(places)
        self._put(places, np.full(len(places), self._largest))

    def remove(self, places: NDArray[np.int64]) -> None:
        """These different places cannot be drawn any more, if they could."""
        self._count -= int((self._tree[self._leaves + places] > 0).sum())
        self._put(places, np.zeros(len(places)))

    def update(self, places: NDArray[np.int64], errors: NDArray[Any]) -> None:
        """The newest TD errors of places; both (B,). Places that cannot be drawn stay so."""
        priorities = (np.abs(errors).astype(np.float64) + 1e-6) ** self.alpha
        self._largest = max(self._largest, float(priorities.max()))
        is_here = self._tree[self._leaves + places] > 0
        self._put(places[is_here], priorities[is_here])

    def draw(
        self, count: int, generator: torch.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """`count` places and the weights of their losses, one draw from each equal part of the sum.

        Raises ValueError where no place can be drawn.
        """
        if not self._count:
            raise ValueError("there is no whole transition to draw yet")
        tree, total = self._tree, self._tree[1]
        parts = np.arange(count) + torch.rand(count, generator=generator).numpy()
        left_over = parts * (total / count)
        node = np.ones(count, np.int64)
        while node[0] < self._leaves:
            left = tree[2 * node]
            # What rounding puts beyond the last place falls back to it.
            right = (left_over >= left) & (tree[2 * node + 1] > 0)
            left_over -= left * right
            node = 2 * node + right
        weights = (self._count * tree[node] / total) ** -self.beta
        return node - self._leaves, weights / weights.max()

    def state_dict(self) -> dict[str, Any]:
        """The priorities."""
        leaves = torch.from_numpy(self._tree[self._leaves :].copy())
        return {"leaves": leaves, "largest": self._largest, "count": self._count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put them back. Raises ValueError for another size."""
        if len(state["leaves"]) != self._leaves:
            raise ValueError(f"saved were {len(state['leaves'])} places, here are {self._leaves}")
        self._largest, self._count = float(state["largest"]), int(state["count"])
        self._put(np.arange(self._leaves), state["leaves"].numpy())

    def _put(self, places: NDArray[np.int64], values: NDArray[np.float64]) -> None:
        node = self._leaves + places
        self._tree[node] = values
        while len(node) and node[0] > 1:
            node = node // 2
            self._tree[node] = self._tree[2 * node] + self._tree[2 * node + 1]
