"""How much a model keeps of what it has read."""

from typing import Any

from torch import Tensor


def count_numbers(state: Any) -> int:
    """Floating-point numbers in a state: a tensor, or tuples of them."""
    if isinstance(state, Tensor):
        return state.numel() if state.is_floating_point() else 0
    return sum(count_numbers(part) for part in state) if isinstance(state, tuple) else 0
