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
        """The state after keys k (B, H, T, K) and values v (B, H, T, V).

        state: None for the first ones. mask: which of these keys count. The old state is not used
        again and may be written over, unless gradients are recorded.
        """
        ...

    def read(self, state: State, q: Tensor) -> Tensor:
        """What one query q (B, H, 1, K) attends to in all that was written: (B, H, 1, V)."""
        ...


class Cache(NamedTuple):
    """Keys (B, H, C, K) and values (B, H, C, V), of which the first `length` of C are in use.

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
            counts = mask.dense(1, k.shape[-2], len(k), device=k.device)[:, 0, 0]
        if state is None:
            return Cache(k, v, k.shape[-2], counts)
        length, needed = state.length, state.length + k.shape[-2]
        if counts is None and state.counts is not None:
            counts = state.counts.new_ones(len(k), k.shape[-2])
        before = state.counts
        if counts is not None and before is None:
            before = counts.new_ones(len(k), state.keys.shape[-2])
        return Cache(
            _put(state.keys, k, length, needed, -2),
            _put(state.values, v, length, needed, -2),
            needed,
            None if counts is None or before is None else _put(before, counts, length, needed, -1),
        )

    def read(self, state: Cache, q: Tensor) -> Tensor:
        """As in `Memory`."""
        keys, values = (t[..., : state.length, :] for t in (state.keys, state.values))
        mask = None if state.counts is None else Padding(state.counts[:, : state.length])
        attended: Tensor = self.kernel(q, keys, values, mask)
        return attended


def _put(room: Tensor, new: Tensor, begin: int, end: int, dim: int) -> Tensor:
    """`new` written at begin..end of dimension `dim`, in place where there is room and no graph."""
    recorded = torch.is_grad_enabled() and (room.requires_grad or new.requires_grad)
    if recorded:
        return torch.cat((room.narrow(dim, 0, begin), new), dim)
    if end > room.shape[dim]:
        shape = list(room.shape)
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
        return state[rows] if state.ndim else state
    if isinstance(state, tuple):
        parts = [select(part, rows) for part in state]
        return type(state)(*parts) if hasattr(state, "_fields") else type(state)(parts)
    return state


def padding(mask: Mask | None) -> Padding | None:
    """The mask itself if it is `Padding` or None. Raises ValueError for another one."""
    if mask is None or isinstance(mask, Padding):
        return mask
    raise ValueError(f"decoding takes no mask but Padding, got {type(mask).__name__}")
