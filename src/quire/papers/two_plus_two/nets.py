"""A net that testifies: how it reads a pair, what it computes, and how it answers.

Shapes: M members, N pairs, I inputs, C classes. Readings, bodies and heads are values that are
put together; six of them are the grid of input and head.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quire.papers.two_plus_two.stacked import multiply

Reading = Callable[[Tensor], Tensor]
"""Pairs (N, 2) or (M, N, 2) to inputs (N, I) or (M, N, I)."""


@dataclass(frozen=True)
class Scalar:
    """Reads numbers as numbers: x / scale. Also of one number, or of numbers that are not whole."""

    scale: float = 10.0

    def __call__(self, pairs: Tensor) -> Tensor:
        """(..., I) to (..., I)."""
        return pairs / self.scale


@dataclass(frozen=True)
class OneHot:
    """Reads each number as a token: two one-hot vectors, one after the other.

    A number of `size` or above is an IndexError, as of an embedding.
    """

    size: int = 10

    def __call__(self, pairs: Tensor) -> Tensor:
        """(..., 2) to (..., 2 size)."""
        return F.embedding(pairs, torch.eye(self.size, device=pairs.device)).flatten(-2)


class SharedEmbedding(nn.Module):
    """One table of vectors for both numbers: E[a] + E[b], which knows no order.

    Args:
        members: M.
        size: Rows of the table.
        dim: I, the width of a vector.
        generator: Of the first vectors, which are standard normal.

    Example:
        >>> SharedEmbedding(3, 10, dim=8)(torch.tensor([[2, 2], [0, 4]])).shape
        torch.Size([3, 2, 8])
    """

    def __init__(
        self, members: int, size: int = 10, *, dim: int = 32,
        generator: torch.Generator | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.weight = nn.Parameter(torch.randn(members, size, dim, generator=generator))

    def forward(self, pairs: Tensor) -> Tensor:
        """(N, 2) or (M, N, 2), whole numbers, to (M, N, I)."""
        size = self.weight.shape[1]
        # How often each number stands in the pair, times the table: the same in either order.
        counts = F.embedding(pairs, torch.eye(size, device=pairs.device)).sum(-2)
        return multiply(counts, self.weight)


class Head(Protocol):
    """How the body's output (M, N, O) becomes an answer, and what an answer costs."""

    def __call__(self, output: Tensor) -> Tensor: ...

    def losses(self, answer: Tensor, sums: Tensor) -> Tensor:
        """(M, N)."""
        ...


@dataclass(frozen=True)
class Number:
    """Answers with a number, `scale` times the one output; squared error in units of `scale`."""

    scale: float = 10.0

    def __call__(self, output: Tensor) -> Tensor:
        """(M, N, 1) to (M, N)."""
        return self.scale * output[..., 0]

    def losses(self, answer: Tensor, sums: Tensor) -> Tensor:
        """answer (M, N), sums (N,) or (M, N) to (M, N)."""
        return ((answer - sums) / self.scale).square()


@dataclass(frozen=True)
class Classes:
    """Answers with logits of the sums 0 to C - 1; cross-entropy."""

    def __call__(self, output: Tensor) -> Tensor:
        """(M, N, C), as it is."""
        return output

    def losses(self, answer: Tensor, sums: Tensor) -> Tensor:
        """answer (M, N, C), sums (N,) or (M, N) to (M, N)."""
        log = answer.log_softmax(-1)
        return -log.gather(-1, sums.expand(answer.shape[:-1])[..., None])[..., 0]


class Net(nn.Module):
    """M nets: reading, body, head.

    Args:
        reading: Of pairs (N, 2) or (M, N, 2).
        body: Inputs to outputs (M, N, O).
        head: `Number` or `Classes`.

    Example:
        >>> from quire.papers.two_plus_two import stack_mlp
        >>> net = Net(Scalar(), stack_mlp(3, [2, 8, 1]), Number())
        >>> net(torch.tensor([[2, 2], [0, 4]])).shape
        torch.Size([3, 2])
    """

    def __init__(self, reading: Reading, body: nn.Module, head: Head) -> None:
        super().__init__()
        self.reading: Reading = reading
        self.body: nn.Module = body
        self.head: Head = head

    def forward(self, pairs: Tensor) -> Tensor:
        """Pairs (N, 2) or (M, N, 2) to numbers (M, N) or logits (M, N, C)."""
        answer: Tensor = self.head(self.body(self.reading(pairs)))
        return answer

    def losses(self, pairs: Tensor, sums: Tensor) -> Tensor:
        """What each pair costs each member, (M, N)."""
        return self.head.losses(self(pairs), sums)

    def penalty(self) -> Tensor:
        """What the weights cost each member, (M,) or 0: the sum over units that say so."""
        units = (getattr(part, "penalty", None) for part in self.body.modules())
        found = [penalty() for penalty in units if callable(penalty)]
        return torch.stack(found).sum(0) if found else torch.zeros(())
