"""Feature maps phi: attention weights are phi(q) . phi(k), which must not be negative.

A feature map is any function or module that takes (..., K) to (..., C) features, the same for
queries and keys. It gets float32 (or float64), whatever the model's precision.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from quire.nn.positions import check_room


class EluPlusOne(torch.autograd.Function):
    """exp(x) below 0, x + 1 above; its derivative is min(phi, 1), so that only phi is kept."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        """As `elu_plus_one`; elu(x) + 1 as written rounds small values to multiples of 6e-8."""
        return _elu_plus_one(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        """Only phi is kept."""
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        """grad times exp(x) or 1."""
        (phi,) = ctx.saved_tensors
        return phi.clamp(max=1) * grad


def elu_plus_one(x: Tensor) -> Tensor:
    """elu(x) + 1: x + 1 above 0, exp(x) below (eq. 7). C = K features, all positive.

    Example:
        >>> elu_plus_one(torch.tensor([-1.0, 0.0, 2.0]))
        tensor([0.3679, 1.0000, 3.0000])
    """
    # torch takes a function's forward derivative only once: there it differentiates the operations.
    if forward_ad._current_level >= 0 or not (torch.is_grad_enabled() and x.requires_grad):
        return _elu_plus_one(x)
    phi: Tensor = EluPlusOne.apply(x)
    return phi


def _elu_plus_one(x: Tensor) -> Tensor:
    return x.clamp(max=0).exp_() + x.clamp(min=0)


def identity(x: Tensor) -> Tensor:
    """x itself: q . k may be negative, so this is for tests and for maps applied elsewhere.

    Example:
        >>> identity(torch.tensor([-1.0, 2.0]))
        tensor([-1.,  2.])
    """
    return x


def squared_relu(x: Tensor) -> Tensor:
    """relu(x)^2, C = K: no weight below 0; `torch.relu` itself is a feature map too.

    Example:
        >>> squared_relu(torch.tensor([-1.0, 2.0]))
        tensor([0., 4.])
    """
    return x.relu().square()


def polynomial(x: Tensor) -> Tensor:
    """All products x_a x_b: phi(q) . phi(k) = (q . k)^2 exactly (section 3.2.1), C = K^2.

    Example:
        >>> polynomial(torch.tensor([1.0, 3.0]))
        tensor([1., 3., 3., 9.])
    """
    return (x[..., :, None] * x[..., None, :]).flatten(-2)


def taylor(x: Tensor) -> Tensor:
    """1 + s + s^2 / 2 with s = q . k / sqrt(K): softmax's weights to second order, C = 1 + K + K^2.

    Positive for every s. "Simple linear attention language models balance the recall-throughput
    tradeoff" (Based), section 3.1.

    Example:
        >>> taylor(torch.tensor([[2.0]]))
        tensor([[1.0000, 2.0000, 2.8284]])
    """
    x = x / x.shape[-1] ** 0.25
    return torch.cat((torch.ones_like(x[..., :1]), x, polynomial(x) / 2**0.5), -1)


class Favor(nn.Module):
    """Positive random features whose products are softmax's weights on average (Performer, FAVOR+).

    phi(x) = exp(w x' - x'.x' / 2) / sqrt(C) with x' = x / K^(1/4) and C rows w; the mean of
    phi(q) . phi(k) is exp(q . k / sqrt(K)). "Rethinking attention with Performers", lemma 1 and
    section 2.4.

    Args:
        dim: K.
        features: C.
        generator: Draws the rows; None takes one seeded with 0.
        orthogonal: Whether rows in blocks of K are orthogonal, which lowers the variance.

    Buffer: projection (C, K).

    Example:
        >>> phi = Favor(4, 16)
        >>> phi(torch.randn(2, 3, 5, 4)).shape
        torch.Size([2, 3, 5, 16])
    """

    projection: Tensor

    def __init__(
        self,
        dim: int,
        features: int,
        *,
        generator: torch.Generator | None = None,
        orthogonal: bool = True,
    ) -> None:
        super().__init__()
        generator = generator or torch.Generator().manual_seed(0)
        rows = torch.randn(features, dim, generator=generator)
        if orthogonal:
            length = rows.norm(dim=-1, keepdim=True)
            squares = torch.randn(-(-features // dim), dim, dim, generator=generator)
            directions, upper = torch.linalg.qr(squares)
            # Without these signs the directions are not uniform and the estimate is biased.
            directions = directions * upper.diagonal(dim1=-2, dim2=-1).sign()[:, None]
            rows = directions.mT.flatten(0, 1)[:features] * length
        self.register_buffer("projection", rows)

    def forward(self, x: Tensor) -> Tensor:
        """(..., K) -> (..., C)."""
        return self.exponents(x).exp() / len(self.projection) ** 0.5

    def exponents(self, x: Tensor) -> Tensor:
        """ln of the features but for their common factor, w x' - x'.x' / 2: (..., K) -> (..., C).

        Of a long x all features round to 0: attention is computed with these instead.
        """
        x = x / x.shape[-1] ** 0.25
        return x @ self.projection.to(x.dtype).mT - x.square().sum(-1, keepdim=True) / 2


class Hedgehog(nn.Module):
    """A learned map: the softmax over features of W x and -W x, W one matrix a head, C = 2 K.

    "The Hedgehog & the Porcupine", section 4.2. heads: H. dim: K. W begins as the identity.

    Example:
        >>> phi = Hedgehog(3, 4)
        >>> phi(torch.randn(2, 3, 5, 4)).shape
        torch.Size([2, 3, 5, 8])
    """

    def __init__(self, heads: int, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.eye(dim).repeat(heads, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, T, K) -> (B, H, T, 2 K). Raises ValueError for another number of heads."""
        if x.shape[-3] != len(self.weight):
            raise ValueError(f"a matrix for each of {len(self.weight)} heads, got {x.shape[-3]}")
        x = x @ self.weight.to(x.dtype)
        return torch.cat((x, -x), -1).softmax(-1)


class CosineReweighting(nn.Module):
    """cosFormer's weights relu(q_i) . relu(k_j) cos(pi (i - j) / (2 L)), as positions of the heads.

    It turns q and k into 2 K features, so it is given to `MultiHeadAttention(positions=...)` with a
    kernel whose feature map is `identity`. length: L, at least the number of tokens, so that no
    weight is negative. "cosFormer: rethinking softmax in attention", eq. 10.

    Forward raises ValueError if there are more tokens than L.

    Example:
        >>> positions = CosineReweighting(100)
        >>> q, k = positions(torch.randn(2, 3, 5, 4), torch.randn(2, 3, 5, 4))
        >>> q.shape
        torch.Size([2, 3, 5, 8])
    """

    def __init__(self, length: int) -> None:
        super().__init__()
        self.length = length

    def forward(self, q: Tensor, k: Tensor, start: int | Tensor = 0) -> tuple[Tensor, Tensor]:
        """q, k (B, H, T, K) whose first token is at `start`, a number or (B,); both (.., 2 K)."""
        return self._reweight(q, start), self._reweight(k, start)

    def _reweight(self, x: Tensor, start: int | Tensor) -> Tensor:
        check_room(self.length, x.shape[-2], start, "a weight")
        dtype = torch.promote_types(x.dtype, torch.float32)
        token = torch.arange(x.shape[-2], device=x.device, dtype=dtype)
        token = token + (start[:, None, None] if isinstance(start, Tensor) else start)
        angle = (torch.pi / 2 / self.length * token)[..., None]
        x = x.relu()
        return torch.cat((x * angle.cos(), x * angle.sin()), -1).to(x.dtype)
