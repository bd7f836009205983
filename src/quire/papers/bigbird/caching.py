"""A cache of what is computed from a pattern, bounded by the memory that it takes."""

import functools
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Bounded(Generic[T]):
    """A function of hashable arguments that keeps its latest results, as many as `limit` holds.

    A result that is larger than `limit` by itself is given and not kept.

    Args:
        function: Computes a result.
        size: Bytes of a result.
        limit: Bytes that are kept at most.
    """

    def __init__(self, function: Callable[..., T], size: Callable[[Any], int], limit: int) -> None:
        functools.update_wrapper(self, function)
        self.limit = limit
        self.bytes = 0
        self._function, self._size = function, size
        self._kept: OrderedDict[Hashable, T] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, *key: Hashable) -> T:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        result = self._function(*key)
        with self._lock:
            if key not in self._kept and self._size(result) <= self.limit:
                self._kept[key] = result
                self.bytes += self._size(result)
            while self.bytes > self.limit:
                _, dropped = self._kept.popitem(last=False)
                self.bytes -= self._size(dropped)
        return result

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._kept.clear()
            self.bytes = 0


def bounded(
    size: Callable[[Any], int], limit: int = 1 << 26
) -> Callable[[Callable[..., T]], Bounded[T]]:
    """Make a function a `Bounded` one.

    size: bytes of a result. limit: bytes that are kept at most.

    Example:
        >>> @bounded(len, limit=5)
        ... def spell(letter: str, times: int) -> str:
        ...     return letter * times
        >>> spell("a", 3), spell("b", 3), spell.bytes
        ('aaa', 'bbb', 3)
    """
    return lambda function: Bounded(function, size, limit)
