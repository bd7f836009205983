"""Layers with learned patterns: pooling by learned states, and a learned memory (section 3).

B batch, S state patterns, N stored patterns, D width, H heads, K width of association space.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from quire.nn import Mask, Padding
from quire.nn.masks import fit_mask
from quire.papers.hopfield.association import check_tensor
from quire.papers.hopfield.layers import Hopfield, Input


class HopfieldPooling(nn.Module):
    """Learned states pool a set of patterns of any size into one vector (section 3).

    Args:
        dim: Width D of the patterns.
        heads: H.
        quantity: Learned states; their outputs are put side by side.
        options: As in `Hopfield`; `state` is for the learned states, by default static (K wide).

    Raises ValueError for a quantity below 1, and as `Hopfield`.

    Example:
        >>> import torch
        >>> from quire.papers.hopfield import HopfieldPooling
        >>> HopfieldPooling(8, 2, quantity=3)(torch.randn(2, 5, 8)).shape
        torch.Size([2, 24])
    """

    def __init__(self, dim: int, heads: int = 1, *, quantity: int = 1, **options: Any) -> None:
        super().__init__()
        check_quantity(quantity)
        state = options.pop("state", Input(norm=False, static=True))
        self.hopfield = Hopfield(dim, heads, state=state, **options)
        width = self.hopfield.head_dim if state.static else state.dim or dim
        self.states = nn.Parameter(0.02 * torch.randn(1, quantity, width))

    def forward(
        self,
        patterns: Tensor,
        projection: Tensor | None = None,
        *,
        counts: Tensor | Padding | None = None,
        mask: Tensor | Mask | None = None,
    ) -> Tensor:
        """The pooled patterns: (B, quantity * output width).

        Args:
            patterns: (B, N, D).
            projection: (B, N, Dp), by default the patterns.
            counts: As in `Hopfield`.
            mask: As in `Hopfield`.
        """
        states = self.states.expand(patterns.shape[0], -1, -1)
        return self.hopfield(states, patterns, projection, counts=counts, mask=mask).flatten(1)

    def weights(
        self,
        patterns: Tensor,
        *,
        counts: Tensor | Padding | None = None,
        mask: Tensor | Mask | None = None,
    ) -> Tensor:
        """The association of each learned state: (B, H, quantity, N); arguments as in `forward`."""
        states = self.states.expand(patterns.shape[0], -1, -1)
        return self.hopfield.weights(states, patterns, counts=counts, mask=mask)


class HopfieldLayer(nn.Module):
    """Inputs associate with learned stored patterns and read learned projections (section 3).

    `store` puts given patterns in, e.g. a training set.

    Args:
        dim: Width D of the inputs.
        heads: H.
        quantity: Stored patterns.
        separate: Whether the projections are parameters of their own, else they are the patterns.
        options: As in `Hopfield`; `stored` and `projection` are static by default (K wide).

    Raises ValueError for a quantity below 1, and as `Hopfield`.

    Example:
        >>> import torch
        >>> from quire.papers.hopfield import HopfieldLayer
        >>> HopfieldLayer(8, 2, quantity=50)(torch.randn(3, 5, 8)).shape
        torch.Size([3, 5, 8])
    """

    def __init__(
        self, dim: int, heads: int = 1, *, quantity: int = 1, separate: bool = True, **options: Any
    ) -> None:
        super().__init__()
        check_quantity(quantity)
        fixed = Input(norm=False, static=True)
        stored, projection = (options.pop(key, fixed) for key in ("stored", "projection"))
        self.hopfield = Hopfield(dim, heads, stored=stored, projection=projection, **options)
        widths = [
            self.hopfield.head_dim if part.static else part.dim or dim
            for part in (stored, projection)
        ]
        self.stored = nn.Parameter(0.02 * torch.randn(quantity, widths[0]))
        self.projection = (
            nn.Parameter(0.02 * torch.randn(quantity, widths[1])) if separate else None
        )

    def forward(
        self,
        state: Tensor,
        *,
        counts: Tensor | Padding | None = None,
        mask: Tensor | Mask | None = None,
    ) -> Tensor:
        """state (B, S, D), (B, D) or (D,) -> the same with the output width.

        counts: (quantity,) bool, True where a stored pattern counts, or a `Padding` of one row.
        mask: A mask of `quire.nn`, as of S queries and `quantity` keys, or (S, quantity), bool or
        numbers as in `Hopfield`; S is the last dimension but one.
        """
        # All inputs see the same patterns, so they are the states of one bag.
        flat = state.reshape(1, math.prod(state.shape[:-1]), state.shape[-1])
        if mask is not None:
            mask = self._flatten_mask(mask, state)
        if counts is not None and not isinstance(counts, Padding):
            check_tensor("counts", counts, "of bool, (quantity,), a Padding of quire.nn")
            counts = counts[None]
        projection = None if self.projection is None else self.projection[None]
        out = self.hopfield(flat, self.stored[None], projection, counts=counts, mask=mask)
        return out.view(*state.shape[:-1], out.shape[-1])

    def _flatten_mask(self, mask: Tensor | Mask, state: Tensor) -> Tensor:
        """A mask of each input's S states as one of all states: (1 or H, all states, quantity)."""
        leading, states = state.shape[:-2], state.shape[-2] if state.ndim > 1 else 1
        if isinstance(mask, Mask):
            rows, heads = math.prod(leading), self.hopfield.heads
            # Only sizes and the device of these are read.
            q = state.new_empty(()).expand(rows, heads, states, 1)
            fitted = fit_mask(mask, q, self.stored.expand(rows, heads, -1, -1))
            assert fitted is not None
            dense = fitted.dense(states, len(self.stored), rows, heads, state.device)
            dense = dense.expand(rows, -1, -1, -1)
            return dense.transpose(0, 1).flatten(1, 2)[None]
        check_tensor("mask", mask, "(states, quantity), a Mask of quire.nn")
        if mask.ndim != 2:
            raise ValueError(f"mask must be (states, quantity), got {tuple(mask.shape)}")
        return mask.repeat(math.prod(leading), 1)

    @torch.no_grad()
    def store(self, patterns: Tensor, projection: Tensor | None = None) -> None:
        """Put patterns (quantity, width) and their projections in place of the learned ones."""
        for parameter, value in ((self.stored, patterns), (self.projection, projection)):
            if parameter is not None and value is not None:
                if parameter.shape != value.shape:
                    raise ValueError(f"patterns must be {tuple(parameter.shape)}, got "
                                     f"{tuple(value.shape)}")  # fmt: skip
                parameter.copy_(value)


def check_quantity(quantity: int) -> None:
    """Raises ValueError for fewer learned patterns than one."""
    if quantity < 1:
        raise ValueError(f"quantity must be at least 1, got {quantity}")
