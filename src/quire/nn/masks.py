"""Which queries may attend to which keys. Masks combine with `&` and `|`.

B batch, H heads, Tq queries, Tk keys.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


class Mask(ABC):
    """A rule that says whether a query may attend to a key.

    A new mask needs `allows` only. `dense` lists every pair; `mask_mod` is the form that torch's
    flex_attention takes: `create_block_mask(mask.mask_mod, ...)`.
    """

    @abstractmethod
    def allows(self, batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        """True where the query may attend to the key: bool, the arguments' broadcast shape.

        The arguments are integer tensors of indices that broadcast with one another.
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

        device: where the mask's own tensors are; None means the CPU.
        """
        allowed = self.allows(
            torch.arange(batch, device=device)[:, None, None, None],
            torch.arange(heads, device=device)[:, None, None],
            torch.arange(queries, device=device)[:, None],
            torch.arange(keys, device=device),
        )
        allowed = allowed[(None,) * (4 - allowed.ndim)]
        return allowed.expand(-1, -1, queries, keys)

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


@dataclass(frozen=True, eq=False)
class Padding(Mask):
    """Hides padding keys.

    keys: lengths (B,) of integers, the number of keys at the front that count; or (B, Tk) bool,
    True where a key counts. Raises ValueError for another dtype or number of dimensions.
    """

    keys: Tensor

    def __post_init__(self) -> None:
        lengths = self.keys.ndim == 1 and self.keys.dtype in (torch.int32, torch.int64)
        if not lengths and not (self.keys.ndim == 2 and self.keys.dtype == torch.bool):
            raise ValueError(
                "Padding takes integer lengths (batch,) or bool (batch, keys), "
                f"got {self.keys.dtype} {tuple(self.keys.shape)}"
            )

    def allows(self, batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        if self.keys.ndim == 1:
            return key < self.keys[batch]
        return self.keys[batch, key]


def conjuncts(mask: Mask | None) -> list[Mask]:
    """The masks that `&` joined, in order: a kernel that knows some masks looks for those."""
    if mask is None:
        return []
    if isinstance(mask, Both):
        return conjuncts(mask.left) + conjuncts(mask.right)
    return [mask]
