"""Decoding in pieces: what a kernel keeps of the keys and values that went by.

A kernel that keeps something of its own (a matrix, a window) has the methods of `Memory`. For any
other kernel keys and values are kept as they are (`KeyValueCache`). B batch, H heads (G of keys and
values), T tokens, K head width, V value width.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from quire.nn.masks import Mask, Padding

State = Any
"""Tensors whose first dimension is the batch, in tuples of any depth; other leaves are shared.

A state is a value: what is made from it leaves it as it was, so that it can be continued twice.
"""


@runtime_checkable
class Memory(Protocol):
    """The part of a kernel that decodes.

    A kernel may also have `extend(state, q, k, v, mask) -> (attended, state)`, the form of
    `extend_memory` for several tokens at once; without it they go one by one.
    """

    def write(self, state: State | None, k: Tensor, v: Tensor, mask: Padding | None) -> State:
        """The state after some more keys and values; the old state stays as it was.

        Args:
            state: What a call gave, None for the first keys.
            k: Keys (B, G, T, K).
            v: Values (B, G, T, V).
            mask: Which of these keys count; None counts all.
        """
        ...

    def read(self, state: State, q: Tensor) -> Tensor:
        """What queries q (B, H, T, K) attend to, each in all that was written: (B, H, T, V).

        In self-attention there is one, the last token's own.
        """
        ...


@dataclass
class Extent:
    """How far the room of a `Cache` is written, by any of the states that share it."""

    end: int


class Cache(NamedTuple):
    """Keys (B, G, C, K) and values (B, G, C, V), of which the first `length` of C are in use.

    Args:
        keys: (B, G, C, K), all heads' keys.
        values: (B, G, C, V).
        length: How many are this state's.
        counts: (B, C) bool, which keys count, or None where all do.
        extent: Beyond `length` another state may have written.
    """

    keys: Tensor
    values: Tensor
    length: int
    counts: Tensor | None
    extent: Extent


@dataclass(frozen=True, eq=False)
class _CausalFrom(Mask):
    """Causal, where the first query stands at the place `first` among the keys."""

    first: int

    def allows(self, batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return key <= query + self.first


class KeyValueCache:
    """The memory of a kernel that needs every key and value, e.g. `softmax_attention`.

    kernel: called with the query, all keys and values, and no mask but `Padding`; so it must be one
    that attends to every key it is given. Room is doubled when it runs out: writing costs O(1) a
    token on average. A second continuation of one state gets room of its own.
    """

    def __init__(self, kernel: Any) -> None:
        self.kernel = kernel

    def write(self, state: Cache | None, k: Tensor, v: Tensor, mask: Padding | None) -> Cache:
        """As in `Memory`."""
        counts = None
        if mask is not None:
            counts = mask.counted(len(k), k.shape[-2], k.device)
        if state is None:
            return Cache(k, v, k.shape[-2], counts, Extent(k.shape[-2]))
        length, needed = state.length, state.length + k.shape[-2]
        # Once one key does not count, every key needs an entry, before and after; those that came
        # without a mask count.
        if counts is None and state.counts is not None:
            counts = state.counts.new_ones(len(k), k.shape[-2])
        before = state.counts
        if counts is not None and before is None:
            # As long as the room and not as `length`, so that all three grow at the same call.
            before = counts.new_ones(len(k), state.keys.shape[-2])
        # One answer for all rooms, since they share one extent: a backward pass reads the keys as
        # they were at each step, what another state wrote from here on is not ours to write over,
        # and a tensor of inference mode can't be written outside of it.
        graph = torch.is_grad_enabled() and any(x.requires_grad for x in (*state[:2], k, v))
        closed = is_closed(state.keys)
        fits = needed <= state.keys.shape[-2] and state.extent.end == length
        how = "cat" if graph else "copy" if closed or not fits else "in place"
        keys = _put(state.keys, k, length, -2, how)
        values = _put(state.values, v, length, -2, how)
        if counts is not None and before is not None:
            counts = _put(before, counts, length, -1, how)
        if how != "in place":
            return Cache(keys, values, needed, counts, Extent(needed))
        state.extent.end = needed
        return Cache(keys, values, needed, counts, state.extent)

    def read(self, state: Cache, q: Tensor) -> Tensor:
        """As in `Memory`."""
        return self._attend(state, q, None)

    def extend(
        self, state: Cache, q: Tensor, k: Tensor, v: Tensor, mask: Padding | None
    ) -> tuple[Tensor, Cache]:
        """As `extend_memory`. Raises ValueError for a kernel that does not take any mask."""
        first = state.length
        state = self.write(state, k, v, mask)
        return self._attend(state, q, _CausalFrom(first)), state

    def _attend(self, state: Cache, q: Tensor, mask: Mask | None) -> Tensor:
        # Views without the free room: its zeros would get weight in a softmax.
        keys, values = (t[..., : state.length, :] for t in (state.keys, state.values))
        if state.counts is not None:
            counts = Padding(state.counts[:, : state.length])
            mask = counts if mask is None else mask & counts
        attended: Tensor = self.kernel(q, keys, values, mask)
        return attended


def is_closed(tensor: Tensor) -> bool:
    """Whether the tensor is of inference mode and may not be written here, outside of it."""
    # Compiled code cannot ask, and whoever compiles a step runs all of them in one mode.
    if torch.compiler.is_compiling():
        return False
    return tensor.is_inference() and not torch.is_inference_mode_enabled()


def _put(room: Tensor, new: Tensor, begin: int, dim: int, how: str) -> Tensor:
    """`new` behind the first `begin` of dimension `dim`: "in place", in a "copy", or by "cat"."""
    end = begin + new.shape[dim]
    if how == "cat":
        return torch.cat((room.narrow(dim, 0, begin), new), dim)
    if how == "copy":
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


def extend_memory(
    memory: Memory, state: State, q: Tensor, k: Tensor, v: Tensor, mask: Padding | None
) -> tuple[Tensor, State]:
    """What each of T tokens attends to, in all before it and itself: (B, H, T, V), and the state.

    Args:
        memory: Has `write` and `read`, and may have an `extend` of its own.
        state: What was written before.
        q: Queries (B, H, T, K).
        k: Keys (B, G, T, K).
        v: Values (B, G, T, V).
        mask: Which of these keys count; None counts all.
    """
    extend = getattr(memory, "extend", None)
    tokens = q.shape[-2]
    if extend is not None and tokens != 1:
        try:
            attended, after = extend(state, q, k, v, mask)
        except ValueError:
            # A cached kernel that knows some masks only, and not this one: token by token.
            if not isinstance(memory, KeyValueCache):
                raise
        else:
            return attended, after
    outputs = []
    for token in range(tokens):
        # Written before it is read, since a token attends to itself as well. Everything written is
        # the past of this one query: no causal mask is needed.
        one = slice(token, token + 1)
        state = memory.write(state, k[:, :, one], v[:, :, one], _token(mask, k, token))
        outputs.append(memory.read(state, q[:, :, one]))
    return torch.cat(outputs, 2) if outputs else q.new_zeros(*q.shape[:-1], v.shape[-1]), state


def _token(mask: Padding | None, k: Tensor, token: int) -> Padding | None:
    """The mask of one of the keys k (B, G, T, K)."""
    if mask is None or k.shape[-2] == 1:
        return mask
    counts = mask.counted(len(k), k.shape[-2], k.device)
    return Padding(counts[:, token : token + 1])


def select(state: Any, rows: Tensor) -> Any:
    """The state of some rows of the batch, in that order: beam search keeps and repeats rows.

    rows: (B',) int64.
    """
    # A tensor without dimensions, such as a count, is shared by all rows.
    return _map(state, lambda tensor: tensor[rows] if tensor.ndim else tensor)


def clone(state: Any) -> Any:
    """The state with tensors of its own, to keep or to write over."""
    return _map(state, torch.clone)


def _map(state: Any, apply: Any) -> Any:
    if isinstance(state, Tensor):
        return apply(state)
    if isinstance(state, tuple):
        parts = [_map(part, apply) for part in state]
        # A NamedTuple takes its fields one by one, a tuple takes one iterable.
        return type(state)(*parts) if hasattr(state, "_fields") else type(state)(parts)
    return state


def padding(mask: Mask | None) -> Padding | None:
    """The mask itself if it is `Padding` or None. Raises ValueError for another one."""
    if mask is None or isinstance(mask, Padding):
        return mask
    raise ValueError(f"decoding takes no mask but Padding, got {type(mask).__name__}")
