"""What a call dispatches: how many operators, which of them wait for a device, how many bytes."""

import weakref

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

WAITS = {"aten::_local_scalar_dense", "aten::nonzero", "aten::equal", "aten::masked_select"}
"""Operators that give a number, or a shape that follows from numbers: a device is waited for."""


class Operators(TorchDispatchMode):
    """Watches what is dispatched inside `with`.

    number: operators. waits: those that read a value back. peak: bytes of what they made, at most
    at a time; a view makes nothing.
    """

    def __init__(self) -> None:
        super().__init__()
        self.number = self.waits = self.peak = 0
        self._bytes = 0
        self._live: set[int] = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.number += 1
        self.waits += function._schema.name in WAITS
        out = function(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self._count(leaf.untyped_storage())
        return out

    def _count(self, storage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._live:
            return
        self._live.add(key)
        self._bytes += size
        self.peak = max(self.peak, self._bytes)

        def forget() -> None:
            self._live.discard(key)
            self._bytes -= size

        weakref.finalize(storage, forget)
