"""What an accelerator wants: few large operations, and nobody who waits for a value.

On a CPU small pieces that stay in a cache are faster, and a value is read at no cost: parts that
can do either ask `is_accelerator`. `meta` tensors, which hold no numbers, go as on an accelerator.
"""

from torch import Tensor

STRIDE = 4
"""Steps of a loop between two looks at whether it may end: each look waits for the device."""

PIECES = 8
"""Pieces that a long sum is cut into at most."""


def is_accelerator(x: Tensor) -> bool:
    """Whether x is anywhere but on a CPU."""
    return x.device.type != "cpu"


def piece_size(x: Tensor, chunk: int, length: int) -> int:
    """How many of `length` rows at a time: `chunk` on a CPU, elsewhere all in `PIECES` at most."""
    return max(chunk, -(-length // PIECES)) if is_accelerator(x) else chunk
