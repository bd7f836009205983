"""Decoding token by token: what a kernel keeps of the keys and values that went by.

A kernel that keeps something of its own (a matrix, a window) has the two methods of `Memory`. For
any other kernel keys and values are kept as they are (`KeyValueCache`). B batch, H heads, T tokens,
K head width, V value width.
"""

from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from quire.nn.masks import Mask, Padding

State = Any
"""Tensors whose first dimension is the batch, in tuples of any depth; other leaves are shared."""


@runtime_checkable
class Memory(Protocol):
    """The part of a kernel that decodes."""

    def write(self, state: State | None, k: Tensor, v: Tensor, mask: Padding | None) -> State:
        """The state after some more keys and values.

        The old state is not used again and may be written over, unless gradients are recorded.

        Args:
            state: What the last call gave, None for the first keys.
            k: Keys (B, H, T, K).
            v: Values (B, H, T, V).
            mask: Which of these keys count; None counts all.
        """
        ...

    def read(self, state: State, q: Tensor) -> Tensor:
        """What one query q (B, H, 1, K) attends to in all that was written: (B, H, 1, V)."""
        ...


class Cache(NamedTuple):
    """Keys (B, H, C, K) and values (B, H, C, V), of which the first `length` of C are in use.

    Args:
        keys: (B, H, C, K), all heads' keys; what is not in use holds zeros.
        values: (B, H, C, V).
        length: How many are in use.
        counts: (B, C) bool, which keys count, or None where all do.
    """

    keys: Tensor
    values: Tensor
    length: int
    counts: Tensor | None


class KeyValueCache:
    """The memory of a kernel that needs every key and value, e.g. `softmax_attention`.

    kernel: called with the query, all keys and values, and no mask but `Padding`; so it must be one
    that attends to every key it is given. Room is doubled when it runs out: writing costs O(1) a
    token on average.
    """

    def __init__(self, kernel: Any) -> None:
        self.kernel = kernel

    def write(self, state: Cache | None, k: Tensor, v: Tensor, mask: Padding | None) -> Cache:
        """As in `Memory`."""
        counts = None
        if mask is not None:
            # One query and one head stand for all, since padding looks at the key alone:
            # (B, 1, 1, T) -> (B, T).
            counts = mask.dense(1, k.shape[-2], len(k), device=k.device)[:, 0, 0]
        if state is None:
            return Cache(k, v, k.shape[-2], counts)
        length, needed = state.length, state.length + k.shape[-2]
        # Once one key does not count, every key needs an entry, before and after; those that came
        # without a mask count.
        if counts is None and state.counts is not None:
            counts = state.counts.new_ones(len(k), k.shape[-2])
        before = state.counts
        if counts is not None and before is None:
            # As long as the room and not as `length`, so that all three grow at the same call.
            before = counts.new_ones(len(k), state.keys.shape[-2])
        return Cache(
            _put(state.keys, k, length, needed, -2),
            _put(state.values, v, length, needed, -2),
            needed,
            None if counts is None or before is None else _put(before, counts, length, needed, -1),
        )

    def read(self, state: Cache, q: Tensor) -> Tensor:
        """As in `Memory`."""
        # Views without the free room: its zeros would get weight in a softmax.
        keys, values = (t[..., : state.length, :] for t in (state.keys, state.values))
        mask = None if state.counts is None else Padding(state.counts[:, : state.length])
        attended: Tensor = self.kernel(q, keys, values, mask)
        return attended


def _put(room: Tensor, new: Tensor, begin: int, end: int, dim: int) -> Tensor:
    """`new` written at begin..end of dimension `dim`, in place where there is room and no graph."""
    recorded = torch.is_grad_enabled() and (room.requires_grad or new.requires_grad)
    if recorded:
        # The backward pass reads the keys as they were at each step: they may not be written over.
        return torch.cat((room.narrow(dim, 0, begin), new), dim)
    if end > room.shape[dim]:
        shape = list(room.shape)
        # Twice what is in use: n tokens then cost about n copies in all, not n^2 / 2.
        shape[dim] = max(end, 2 * begin)
        wider = room.new_zeros(shape)
        wider.narrow(dim, 0, begin).copy_(room.narrow(dim, 0, begin))
        room = wider
    room.narrow(dim, begin, end - begin).copy_(new)
    return room


def memory_of(kernel: Any) -> Memory:
    """The kernel itself where it has a memory of its own, else its `KeyValueCache`."""
    return kernel if isinstance(kernel, Memory) else KeyValueCache(kernel)


def select(state: Any, rows: Tensor) -> Any:
    """The state of some rows of the batch, in that order: beam search keeps and repeats rows.

    rows: (B',) int64.
    """
    if isinstance(state, Tensor):
        # A tensor without dimensions, such as a count, is shared by all rows.
        return state[rows] if state.ndim else state
    if isinstance(state, tuple):
        parts = [select(part, rows) for part in state]
        # A NamedTuple takes its fields one by one, a tuple takes one iterable.
        return type(state)(*parts) if hasattr(state, "_fields") else type(state)(parts)
    return state


def padding(mask: Mask | None) -> Padding | None:
    """The mask itself if it is `Padding` or None. Raises ValueError for another one."""
    if mask is None or isinstance(mask, Padding):
        return mask
    raise ValueError(f"decoding takes no mask but Padding, got {type(mask).__name__}")
