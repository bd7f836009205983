"""What an accelerator wants: few large operations, and nobody who waits for a value.

On a CPU small pieces that stay in a cache are faster, and a value is read at no cost: parts that
can do either ask `is_accelerator`. `meta` tensors, which hold no numbers, go as on an accelerator.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

STRIDE = 4
"""Steps of a loop between two looks at whether it may end: each look waits for the device."""

PIECES = 8
"""Pieces that a long sum is cut into on an accelerator, where their numbers fit in `ROOM`."""

ROOM = 1 << 27
"""Numbers of a piece's largest tensor on an accelerator: 512 MB in single precision."""


def is_accelerator(x: Tensor) -> bool:
    """Whether x is anywhere but on a CPU."""
    return x.device.type != "cpu"


def read(flags: Sequence[Tensor]) -> list[bool]:
    """The values of scalars of bool, for which a device is waited for once."""
    if len(flags) == 1:
        return [bool(flags[0])]
    values: list[bool] = torch.stack(list(flags)).tolist()
    return values


def piece_size(x: Tensor, chunk: int, length: int, each: int) -> int:
    """How many of `length` rows at a time: `chunk` on a CPU, on an accelerator more.

    Args:
        x: On the device.
        chunk: Rows that the caller asks for.
        length: Rows there are.
        each: Numbers that a row stands for in the largest tensor of a piece.
    """
    if not is_accelerator(x):
        return chunk
    return max(chunk, min(-(-length // PIECES), ROOM // max(1, each)))


def without_autocast(x: Tensor) -> AbstractContextManager[object]:
    """Keep the dtypes that the code gives, inside autocast too, on the device of x."""
    kind = x.device.type
    # A device without autocast, such as meta, refuses even to switch it off.
    available = torch.amp.is_autocast_available(kind)
    return torch.autocast(kind, enabled=False) if available else nullcontext()
