"""Layers of many nets at once: a panel of nets with different weights is one graph.

Shapes: M members, N rows, I inputs, O outputs. Every parameter begins with M, so that one
optimiser that works number by number (Adam, AdamW, SGD) trains M independent nets.
"""

import copy
from collections.abc import Sequence
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor, nn

Module = TypeVar("Module", bound=nn.Module)


def draw_uniform(
    *shape: int, bound: float, middle: float = 0.0, generator: torch.Generator | None = None
) -> Tensor:
    """Numbers between `middle` - `bound` and `middle` + `bound`.

    Args:
        shape: Of the tensor.
        bound: Half of the range.
        middle: Of the range.
        generator: Where they come from; the global one where None.
    """
    return middle + bound * (2 * torch.rand(shape, generator=generator) - 1)


class StackedLinear(nn.Module):
    """M linear layers: (N, I), the same for all, or (M, ..., I) to (M, N, O) or (M, ..., O).

    The first weights are those of `nn.Linear`.

    Args:
        members: M.
        inputs: I.
        outputs: O.
        bias: Whether there is one.
        generator: Of the first weights; the global one where None.

    Example:
        >>> layer = StackedLinear(3, 4, outputs=2)
        >>> layer(torch.randn(5, 4)).shape
        torch.Size([3, 5, 2])
    """

    def __init__(
        self,
        members: int,
        inputs: int,
        *,
        outputs: int = 1,
        bias: bool = True,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if min(members, inputs, outputs) < 1:
            raise ValueError("members, inputs and outputs must be at least 1, got "
                             f"{members}, {inputs} and {outputs}")  # fmt: skip
        bound = inputs**-0.5
        self.weight = nn.Parameter(
            draw_uniform(members, inputs, outputs, bound=bound, generator=generator)
        )
        self.bias = None
        if bias:
            drawn = draw_uniform(members, 1, outputs, bound=bound, generator=generator)
            self.bias = nn.Parameter(drawn)

    def forward(self, x: Tensor) -> Tensor:
        """(N, I) or (M, ..., I) to (M, N, O) or (M, ..., O)."""
        return multiply(x, self.weight, self.bias)


def multiply(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x (N, I) or (M, ..., I) times weight (M, I, O), plus bias (M, 1, O), in weight's dtype."""
    x = spread(x, len(weight)).to(weight.dtype)
    rows = x.flatten(1, -2)
    found = rows @ weight if bias is None else torch.baddbmm(bias, rows, weight)
    return found.view(*x.shape[:-1], weight.shape[2])


def spread(x: Tensor, members: int) -> Tensor:
    """x (N, I) for all members, (M, N, I); what begins with M stays.

    Raises ValueError for another first dimension.
    """
    if x.ndim == 2:
        return x.expand(members, *x.shape)
    if x.ndim < 2 or len(x) != members:
        raise ValueError(f"x must be (rows, inputs) or begin with {members} members, "
                         f"got {tuple(x.shape)}")  # fmt: skip
    return x


def stack_mlp(
    members: int,
    sizes: Sequence[int],
    *,
    activation: type[nn.Module] = nn.ReLU,
    generator: torch.Generator | None = None,
) -> nn.Sequential:
    """M multilayer perceptrons of the same sizes.

    Args:
        members: M.
        sizes: Inputs, hidden widths, outputs.
        activation: Between the layers.
        generator: Of the first weights.

    Example:
        >>> stack_mlp(10, [2, 64, 64, 1])(torch.randn(7, 2)).shape
        torch.Size([10, 7, 1])
    """
    if len(sizes) < 2:
        raise ValueError(f"sizes must be inputs, hidden widths, outputs, got {list(sizes)}")
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [
            StackedLinear(members, inputs, outputs=outputs, generator=generator),
            activation(),
        ]
    return nn.Sequential(*layers[:-1])


def take_member(module: Module, index: int) -> Module:
    """A copy with the weights of one member alone: M is 1. The slow twin trains these in a loop.

    Raises ValueError where there is no such member.
    """
    members = {len(parameter) for parameter in module.parameters()}
    if len(members) != 1 or not 0 <= index < min(members):
        raise ValueError(f"index must be 0 to {min(members, default=0) - 1}, got {index}")
    alone = copy.deepcopy(module)
    for parameter in alone.parameters():
        parameter.data = parameter.data[index : index + 1].clone()
    return alone


def count_weights(module: nn.Module) -> int:
    """Numbers that one member learns."""
    return sum(parameter[0].numel() for parameter in module.parameters())
