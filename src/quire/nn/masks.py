"""Which queries may attend to which keys. Masks combine with `&` and `|`.

B batch, H heads, Tq queries, Tk keys.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor


class Mask(ABC):
    """A rule that says whether a query may attend to a key.

    A new mask needs `allows` only. `dense` lists every pair; `mask_mod` is the form that torch's
    flex_attention takes: `create_block_mask(mask.mask_mod, ...)`. Tensors and masks that a mask has
    as attributes move with `to`.
    """

    @abstractmethod
    def allows(self, batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        """True where the query may attend to the key: bool, the arguments' broadcast shape.

        The arguments are integer tensors of indices that broadcast with one another.

        Args:
            batch: Row of the batch, 0..B-1.
            head: Head, 0..H-1.
            query: Position of the query, 0..Tq-1.
            key: Position of the key, 0..Tk-1.
        """

    def dense(
        self,
        queries: int,
        keys: int,
        batch: int = 1,
        heads: int = 1,
        device: torch.device | str | None = None,
    ) -> Tensor:
        """All pairs: bool (B or 1, H or 1, Tq, Tk), 1 where the rule does not look at that index.

        Args:
            queries: Tq.
            keys: Tk.
            batch: B.
            heads: H.
            device: Where the pairs are wanted; None means the CPU.

        Raises ValueError where the mask's own tensors are of another size: see `check`.
        """
        self.check(batch, queries, keys)
        device = torch.device("cpu" if device is None else device)
        if any(tensor.device != device for tensor in self._tensors()):
            return self.to(device).dense(queries, keys, batch, heads, device)
        # Each index has a dimension of its own, so that the rule itself broadcasts them.
        allowed = self.allows(
            torch.arange(batch, device=device)[:, None, None, None],
            torch.arange(heads, device=device)[:, None, None],
            torch.arange(queries, device=device)[:, None],
            torch.arange(keys, device=device),
        )
        # A rule that looks at keys alone gives (Tk,): leading ones, then a view of every pair,
        # while B and H stay 1 where they decide nothing.
        allowed = allowed[(None,) * (4 - allowed.ndim)]
        return allowed.expand(-1, -1, queries, keys)

    def check(self, batch: int, queries: int, keys: int) -> None:
        """Raises ValueError where the mask's own tensors do not fit B, Tq and Tk."""
        for part in vars(self).values():
            if isinstance(part, Mask):
                part.check(batch, queries, keys)

    def to(self, device: torch.device | str) -> "Mask":
        """The same mask with its tensors on `device`."""
        moved = copy.copy(self)
        for name, part in vars(self).items():
            if isinstance(part, Tensor | Mask):
                # Masks are frozen; this one is nobody's yet.
                object.__setattr__(moved, name, part.to(device))
        return moved

    def _tensors(self) -> Iterator[Tensor]:
        for part in vars(self).values():
            if isinstance(part, Tensor):
                yield part
            elif isinstance(part, Mask):
                yield from part._tensors()

    @property
    def mask_mod(self) -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]:
        """`allows` as a plain function: flex_attention counts arguments, `self` would be one."""
        return lambda batch, head, query, key: self.allows(batch, head, query, key)

    def __and__(self, other: "Mask") -> "Mask":
        return Both(self, other)

    def __or__(self, other: "Mask") -> "Mask":
        return Either(self, other)


@dataclass(frozen=True, eq=False)
class Both(Mask):
    """Allows what both masks allow: `left & right`."""

    left: Mask
    right: Mask

    def allows(self, batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        left = self.left.allows(batch, head, query, key)
        return left & self.right.allows(batch, head, query, key)


@dataclass(frozen=True, eq=False)
class Either(Mask):
    """Allows what one of the masks allows: `left | right`."""

    left: Mask
    right: Mask

    def allows(self, batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        left = self.left.allows(batch, head, query, key)
        return left | self.right.allows(batch, head, query, key)


@dataclass(frozen=True, eq=False)
class Causal(Mask):
    """A query attends to keys at its own and at earlier positions."""

    def allows(self, batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return key <= query


@dataclass(frozen=True, eq=False)
class Window(Mask):
    """A query attends to keys at most `radius` positions away. Raises ValueError if negative."""

    radius: int

    def __post_init__(self) -> None:
        if self.radius < 0:
            raise ValueError(f"radius must be at least 0, got {self.radius}")

    def allows(self, batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (query - key).abs() <= self.radius


@dataclass(frozen=True, eq=False)
class Global(Mask):
    """The first `tokens` positions attend to every key, and every query attends to them.

    Raises ValueError if tokens is negative.
    """

    tokens: int

    def __post_init__(self) -> None:
        if self.tokens < 0:
            raise ValueError(f"tokens must be at least 0, got {self.tokens}")

    def allows(self, batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (query < self.tokens) | (key < self.tokens)


_INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


@dataclass(frozen=True, eq=False)
class Padding(Mask):
    """Hides padding keys.

    keys: lengths (B,) of integers, the number of keys at the front that count; or (B, Tk) bool,
    True where a key counts. Raises ValueError for another dtype or number of dimensions, TypeError
    for what is no tensor.
    """

    keys: Tensor

    def __post_init__(self) -> None:
        takes = "Padding takes integer lengths (batch,) or bool (batch, keys)"
        if not isinstance(self.keys, Tensor):
            raise TypeError(f"{takes}, a tensor, got {type(self.keys).__name__}")
        lengths = self.keys.ndim == 1 and self.keys.dtype in _INTEGERS
        if not lengths and not (self.keys.ndim == 2 and self.keys.dtype == torch.bool):
            raise ValueError(f"{takes}, got {self.keys.dtype} {tuple(self.keys.shape)}")

    def check(self, batch: int, queries: int, keys: int) -> None:
        """Raises ValueError where it has other rows than B, or bool keys that are not Tk."""
        if len(self.keys) != batch:
            raise ValueError(f"Padding of {len(self.keys)} rows does not fit a batch of {batch}")
        if self.keys.ndim == 2 and self.keys.shape[1] != keys:
            raise ValueError(f"Padding of {self.keys.shape[1]} keys does not fit {keys} keys")

    def allows(self, batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        if self.keys.ndim == 1:
            return key < self.keys[batch]
        return self.keys[batch, key]

    def counted(self, batch: int, keys: int, device: torch.device | str | None = None) -> Tensor:
        """Which keys count: (B, Tk) bool. Raises ValueError for other sizes, as `dense` does."""
        # It looks at the key alone: one query and one head stand for all.
        return self.dense(1, keys, batch, device=device)[:, 0, 0]


def check_mask(mask: object) -> None:
    """Raises TypeError, in one line, where `mask` is neither a mask nor None."""
    if mask is not None and not isinstance(mask, Mask):
        raise TypeError(
            f"mask must be a quire.nn.Mask, such as Causal() or Padding(lengths), or None; "
            f"got {type(mask).__name__}"
        )


def fit_mask(mask: Mask | None, q: Tensor, k: Tensor) -> Mask | None:
    """The mask, on q's device: what every kernel does first with the mask that it is given.

    q: (B, H, Tq, K). k: (B, H, Tk, K). Raises TypeError for what is no mask, ValueError for one
    whose tensors are of another size than the batch and the keys.
    """
    check_mask(mask)
    if mask is None:
        return None
    mask.check(q.shape[0], q.shape[-2], k.shape[-2])
    if any(tensor.device != q.device for tensor in mask._tensors()):
        return mask.to(q.device)
    return mask


def conjuncts(mask: Mask | None) -> list[Mask]:
    """The masks that `&` joined, in order: a kernel that knows some masks looks for those."""
    if mask is None:
        return []
    if isinstance(mask, Both):
        return conjuncts(mask.left) + conjuncts(mask.right)
    return [mask]
