"""Units that are built to add and to multiply, stacked: NAC and NALU, NAU and NMU.

Trask et al. 2018 (arXiv 1808.00508); Madsen and Johansen 2020 (arXiv 2001.05016). Shapes: M
members, N rows, I inputs, O outputs.
"""

import torch
from torch import Tensor, nn

from quire.papers.two_plus_two.stacked import draw_uniform, multiply, spread

TINY = 1e-7
"""Added to x without its sign before the logarithm, so that 0 has one."""


def glorot(inputs: int, outputs: int) -> float:
    """Bound of Glorot and Bengio's uniform first weights."""
    return float((6 / (inputs + outputs)) ** 0.5)


class NAC(nn.Module):
    """Neural accumulators: W = tanh(What) * sigmoid(Mhat), y = x W, no bias.

    W leans towards -1, 0 and 1, so that y is a sum of some inputs, far outside of the data too.

    Args:
        members: M.
        inputs: I.
        outputs: O.
        generator: Of the first weights.

    Example:
        >>> NAC(3, 2, outputs=1)(torch.tensor([[2.0, 2.0]])).shape
        torch.Size([3, 1, 1])
    """

    def __init__(
        self, members: int, inputs: int, *, outputs: int = 1,
        generator: torch.Generator | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        bound = glorot(inputs, outputs)
        first, second = (
            draw_uniform(members, inputs, outputs, bound=bound, generator=generator)
            for _ in range(2)
        )
        self.what, self.mhat = nn.Parameter(first), nn.Parameter(second)

    @property
    def weight(self) -> Tensor:
        """W (M, I, O), within [-1, 1]."""
        return self.what.tanh() * self.mhat.sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """(N, I) or (M, N, I) to (M, N, O)."""
        return multiply(x, self.weight)


class NALU(nn.Module):
    """Neural arithmetic logic units: y = g a + (1 - g) m, each output with a gate of its own.

    a = x W as in `NAC`, m = exp(log(abs(x) + 1e-7) W) with the same W, g = sigmoid(x G). The sign
    of a product is lost, and m is large where W is negative at an input near 0.

    Args:
        members: M.
        inputs: I.
        outputs: O.
        generator: Of the first weights.

    Example:
        >>> NALU(3, 2, outputs=1)(torch.tensor([[2.0, 3.0]])).shape
        torch.Size([3, 1, 1])
    """

    def __init__(
        self, members: int, inputs: int, *, outputs: int = 1,
        generator: torch.Generator | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.nac = NAC(members, inputs, outputs=outputs, generator=generator)
        bound = glorot(inputs, outputs)
        gate = draw_uniform(members, inputs, outputs, bound=bound, generator=generator)
        self.gate = nn.Parameter(gate)

    def forward(self, x: Tensor) -> Tensor:
        """(N, I) or (M, N, I) to (M, N, O)."""
        x = x.to(self.gate.dtype)
        weight, gate = self.nac.weight, multiply(x, self.gate).sigmoid()
        product = multiply((x.abs() + TINY).log(), weight).exp()
        return gate * multiply(x, weight) + (1 - gate) * product


class NAU(nn.Module):
    """Neural addition units: y = x clamp(W, -1, 1), with a penalty that draws W to -1, 0 or 1.

    Args:
        members: M.
        inputs: I.
        outputs: O.
        generator: Of the first weights.

    Example:
        >>> NAU(3, 2, outputs=1)(torch.tensor([[2.0, 2.0]])).shape
        torch.Size([3, 1, 1])
    """

    def __init__(
        self, members: int, inputs: int, *, outputs: int = 1,
        generator: torch.Generator | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        bound = min(0.5, glorot(inputs, outputs))
        self.weight = nn.Parameter(
            draw_uniform(members, inputs, outputs, bound=bound, generator=generator)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, I) or (M, N, I) to (M, N, O)."""
        return multiply(x, self.weight.clamp(-1, 1))

    def penalty(self) -> Tensor:
        """Mean distance of abs(W) from 0 or 1, whichever is nearer, (M,). It acts beyond 1 too."""
        return measure_distance(self.weight.abs())


class NMU(nn.Module):
    """Neural multiplication units: y = prod_i (w_i x_i + 1 - w_i), with w = clamp(W, 0, 1).

    An input takes part (w = 1) or is a factor of 1 (w = 0); the penalty draws W to these.

    Args:
        members: M.
        inputs: I.
        outputs: O.
        generator: Of the first weights.

    Example:
        >>> NMU(3, 2, outputs=1)(torch.tensor([[2.0, 2.0]])).shape
        torch.Size([3, 1, 1])
    """

    def __init__(
        self, members: int, inputs: int, *, outputs: int = 1,
        generator: torch.Generator | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        drawn = draw_uniform(members, inputs, outputs, bound=0.25, middle=0.5, generator=generator)
        self.weight = nn.Parameter(drawn)

    def forward(self, x: Tensor) -> Tensor:
        """(N, I) or (M, N, I) to (M, N, O)."""
        weight = self.weight.clamp(0, 1)[:, None]
        x = spread(x, len(weight)).to(weight.dtype)
        return (weight * x[..., None] + 1 - weight).prod(2)

    def penalty(self) -> Tensor:
        """Mean distance of W from 0 or 1, whichever is nearer, (M,)."""
        return measure_distance(self.weight)


def measure_distance(weight: Tensor) -> Tensor:
    """Mean distance of numbers (M, I, O) from 0 or 1, whichever is nearer, (M,)."""
    return torch.minimum(weight.abs(), (1 - weight).abs()).mean((1, 2))
