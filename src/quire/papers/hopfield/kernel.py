"""Hopfield association as the kernel of `quire.nn.MultiHeadAttention`.

B batch, H heads, T tokens, K head width, V value width.
"""

import math

import torch
from torch import Tensor, nn

from quire.nn import Mask, softmax_attention


class HopfieldAttention(nn.Module):
    """Attention whose queries are updated in association space before they read values.

    q <- softmax(beta q k^T) k, `steps` times, then softmax(beta q k^T) v (equation 10). steps: 0 is
    scaled dot-product attention. beta: inverse temperature, by default 1 / sqrt(K). heads: H, to
    learn one beta for each head, which begins at `beta`.

    The number of updates is fixed, so that a token's result depends on no other query: with a
    causal mask, padding, and in decoding through the cache of keys and values it is the same.

    Raises ValueError if steps < 0, heads < 1 or beta is not positive, TypeError if steps is no
    whole number.

    Example:
        >>> import torch
        >>> from quire.nn import Causal, MultiHeadAttention
        >>> from quire.papers.hopfield import HopfieldAttention
        >>> HopfieldAttention(1, heads=2)(*torch.randn(3, 1, 2, 5, 4)).shape
        torch.Size([1, 2, 5, 4])
        >>> attention = MultiHeadAttention(8, 2, kernel=HopfieldAttention(steps=3))
        >>> attention(torch.randn(2, 5, 8), None, Causal()).shape
        torch.Size([2, 5, 8])
    """

    def __init__(
        self, steps: int = 0, beta: float | None = None, *, heads: int | None = None
    ) -> None:
        super().__init__()
        if not isinstance(steps, int):
            raise TypeError(f"steps must be a whole number, got {steps!r}")
        if steps < 0 or (beta is not None and not 0 < beta < math.inf):
            raise ValueError(f"steps must be >= 0 and beta positive, got {steps} and {beta}")
        if heads is not None and heads < 1:
            raise ValueError(f"heads must be at least 1, got {heads}")
        self.steps = steps
        self.beta = beta
        # As a factor to 1 / sqrt(K) or to beta, in logarithms, so that it stays positive.
        self.log_factor = None if heads is None else nn.Parameter(torch.zeros(heads))

    def forward(self, q: Tensor, k: Tensor, v: Tensor, mask: Mask | None = None) -> Tensor:
        """q (B, H, Tq, K), k (B, G, Tk, K), v (B, G, Tk, V) -> (B, H, Tq, V); G divides H."""
        factor: float | Tensor = 1.0 if self.beta is None else self.beta * q.shape[-1] ** 0.5
        if self.log_factor is not None:
            factor = factor * self.log_factor.exp()[:, None, None]
        for _ in range(self.steps):
            # A learned factor in float32 must not make one of queries in half precision.
            q = softmax_attention((q * factor).to(q.dtype), k, k, mask)
        return softmax_attention((q * factor).to(q.dtype), k, v, mask)
