"""Binary masks from real scores, and which weights they keep (section 3.1).

Legend: n weights of a net, all layers side by side; T tasks whose masks are trained together.
Scores and masks are flat, (n,) or (T, n), in the order of `shapes`.

A mask is 1 where a weight is kept. `keep` is the share that is kept: bigger is denser.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Shapes = Sequence[torch.Size]
"""Shapes of the masked weights, (outputs, inputs, ...), in their order."""
Sparsity = Callable[[Tensor, Shapes], Tensor]
"""From scores (..., n) and shapes to masks (..., n): `Threshold`, `TopFraction`, `ErdosRenyi`."""


class _StraightThrough(torch.autograd.Function):
    """The mask forward; backward its gradient goes to the scores as it is."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, mask: Tensor) -> Tensor:
        return mask.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _Once.apply(gradient), None


class _Once(torch.autograd.Function):
    """What it is given; to differentiate it is an error.

    A mask is a step function, so the derivative of its straight-through gradient would be wrong.
    PyTorch's `once_differentiable` cuts the graph there, and what is asked for by name
    (`autograd.grad`) then comes back without that part, and without a word.
    """

    @staticmethod
    def forward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        raise RuntimeError("a straight-through gradient cannot be differentiated again")


def pass_through(scores: Tensor, mask: Tensor) -> Tensor:
    """`mask`, whose gradient reaches `scores` unchanged (straight-through); shapes are equal.

    Raises RuntimeError where somebody differentiates twice.
    """
    out: Tensor = _StraightThrough.apply(scores, mask)
    return out


@dataclass(frozen=True)
class Threshold:
    """M = [s >= at], with dL/ds = dL/dM: the masks of the MNIST experiments.

    at: the threshold. A mask keeps as many weights as the data ask for.

    Example:
        >>> import torch
        >>> from quire.papers.supsup import Threshold
        >>> Threshold()(torch.tensor([0.5, -0.1, 0.0]), [torch.Size([3])])
        tensor([1., 0., 1.])
    """

    at: float = 0.0

    def __call__(self, scores: Tensor, shapes: Shapes) -> Tensor:
        """(..., n) -> (..., n). shapes: not looked at."""
        return pass_through(scores, (scores >= self.at).to(scores.dtype))


THRESHOLD = Threshold()
"""The paper's masks of MNIST."""


@dataclass(frozen=True)
class TopFraction:
    """M = 1 on the scores of a layer largest in magnitude, dL/ds = sign(s) dL/dM (edge-popup).

    keep: the share of each layer's weights that is kept, in (0, 1]; bigger is denser.

    Raises ValueError for a share outside.

    Example:
        >>> import torch
        >>> from quire.papers.supsup import TopFraction
        >>> TopFraction(0.5)(torch.tensor([0.5, -0.9, 0.1, 0.2]), [torch.Size([2, 2])])
        tensor([1., 1., 0., 0.])
    """

    keep: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.keep <= 1:
            raise ValueError(f"keep must be above 0 and at most 1, got {self.keep}")

    def __call__(self, scores: Tensor, shapes: Shapes) -> Tensor:
        """(..., n) -> (..., n)."""
        counts = [count_kept(shape.numel(), self.keep) for shape in shapes]
        return _keep_largest(scores, shapes, counts)


@dataclass(frozen=True)
class ErdosRenyi:
    """`TopFraction` with a share of its own for each layer (section 3.1; Mocanu et al. 2018).

    share = min(1/2, multiplier * (outputs + inputs) / weights), so that small layers are denser and
    a layer keeps about multiplier * (outputs + inputs) weights.

    multiplier: the paper's epsilon, 1 to 32. It is no percentage; bigger is denser.

    Raises ValueError for a multiplier that is not positive.
    """

    multiplier: float = 4.0

    def __post_init__(self) -> None:
        if not self.multiplier > 0:
            raise ValueError(f"multiplier must be positive, got {self.multiplier}")

    def find_keep(self, shape: torch.Size) -> float:
        """The share of a layer's weights (outputs, inputs, ...) that is kept."""
        return min(0.5, self.multiplier * (shape[0] + shape[1]) / shape.numel())

    def __call__(self, scores: Tensor, shapes: Shapes) -> Tensor:
        """(..., n) -> (..., n)."""
        counts = [count_kept(shape.numel(), self.find_keep(shape)) for shape in shapes]
        return _keep_largest(scores, shapes, counts)


def count_kept(size: int, keep: float) -> int:
    """How many of `size` weights a share of `keep` keeps: size - int((1 - keep) size).

    >>> count_kept(10, 0.25), count_kept(10, 1.0)
    (3, 10)
    """
    return size - int((1 - keep) * size)


def draw_scores(shapes: Shapes, generator: torch.Generator, *, tasks: int | None = None) -> Tensor:
    """Scores before training, (n,), or (tasks, n): Kaiming-uniform with a = sqrt(5).

    That is uniform within 1 / sqrt(inputs) for each layer. generator: on the CPU.
    """
    rows = 1 if tasks is None else tasks
    parts = []
    for shape in shapes:
        bound = 1 / math.sqrt(_fan_in(shape))
        uniform = torch.rand(rows, shape.numel(), generator=generator)
        parts.append((2 * uniform - 1) * bound)
    drawn = torch.cat(parts, 1)
    return drawn[0] if tasks is None else drawn


def draw_constants(shape: torch.Size, generator: torch.Generator) -> Tensor:
    """Frozen weights: +c or -c with equal chance, c = sqrt(2 / inputs), the Kaiming deviation.

    shape: (outputs, inputs, ...). generator: on the CPU.
    """
    constant = math.sqrt(2 / _fan_in(shape))
    signs = torch.randint(2, shape, generator=generator, dtype=torch.int8)
    return (2.0 * signs - 1) * constant


def _fan_in(shape: torch.Size) -> int:
    return shape[1:].numel() if len(shape) > 1 else shape.numel()


def _keep_largest(scores: Tensor, shapes: Shapes, counts: Sequence[int]) -> Tensor:
    """1 on the `counts` largest |scores| of each layer."""
    magnitude = scores.abs()
    parts = magnitude.detach().split([shape.numel() for shape in shapes], -1)
    masks = []
    for part, count in zip(parts, counts, strict=True):
        # By places and not by a bound, so that equal scores cannot keep too many.
        places = part.topk(count, dim=-1, sorted=False).indices
        masks.append(torch.zeros_like(part).scatter(-1, places, 1.0))
    return pass_through(magnitude, torch.cat(masks, -1))


# Packed: eight weights a byte


def pack(masks: Tensor) -> Tensor:
    """Masks (k, n) of bool or of 0 and 1 -> bytes (k, ceil(n / 8)) uint8, the first bit lowest."""
    spare = -masks.shape[1] % 8
    bits = torch.nn.functional.pad(masks.to(torch.uint8), (0, spare))
    bits = bits.unflatten(1, (bits.shape[1] // 8, 8))
    powers = torch.tensor([1, 2, 4, 8, 16, 32, 64, 128], dtype=torch.uint8, device=masks.device)
    return (bits * powers).sum(-1, dtype=torch.uint8)


def make_table(dtype: torch.dtype, device: torch.device) -> Tensor:
    """The eight bits of every byte, (256, 8), as numbers of `dtype`: what `unpack` looks up."""
    places = torch.arange(8, device=device)
    return ((torch.arange(256, device=device)[:, None] >> places) & 1).to(dtype)


def unpack(packed: Tensor, size: int, table: Tensor) -> Tensor:
    """Bytes (k, ceil(n / 8)) -> masks (k, n) in the dtype of `table`. size: n."""
    # One look-up a byte writes eight numbers: several times as fast as shifts on a CPU.
    rows = torch.nn.functional.embedding(packed.to(torch.int32), table)
    return rows.flatten(1)[:, :size]
