"""Relative positions in buckets, and the bias of attention that is learned for each (section 2.1).

B batch, H heads, Tq queries, Tk keys. A relative position is the key's minus the query's: negative
looks back.
"""

import math

import torch
from torch import Tensor, nn


def relative_position_bucket(
    relative: Tensor, bidirectional: bool = True, buckets: int = 32, max_distance: int = 128
) -> Tensor:
    """The bucket of each relative position: int64, the shape of `relative`.

    Half of the buckets hold one distance each; the others grow with its logarithm, and the last one
    holds every distance from `max_distance` on.

    Args:
        relative: Integers, the key's position minus the query's.
        bidirectional: Whether looking ahead has buckets of its own, the second half; without it
            all that is ahead falls in bucket 0.
        buckets: How many there are in all.
        max_distance: The distance, in tokens, from which on all share one bucket.

    Raises ValueError for numbers that are no integers, too few buckets or a distance that needs no
    logarithm.

    Example:
        >>> relative_position_bucket(torch.tensor([-200, -9, -1, 0, 1, 200]))
        tensor([15,  8,  1,  0, 17, 31])
    """
    if relative.is_floating_point():
        raise ValueError(f"relative positions must be integers, got {relative.dtype}")
    own = buckets // 2 if bidirectional else buckets
    exact = own // 2
    if exact < 1 or max_distance <= exact:
        raise ValueError(
            f"buckets must be at least {4 if bidirectional else 2} and max_distance above "
            f"{exact}, the distances that have a bucket each; got {buckets} and {max_distance}"
        )
    distance = relative.abs() if bidirectional else (-relative).clamp(min=0)
    # The authors' single precision: at powers of two its rounding decides the bucket.
    log = torch.log(distance.clamp(min=1).float() / exact) / math.log(max_distance / exact)
    far = (exact + (log * (own - exact)).long()).clamp(max=own - 1)
    bucket = torch.where(distance < exact, distance, far)
    return bucket + own * (relative > 0) if bidirectional else bucket


class RelativeBias(nn.Module):
    """A learned number for each bucket and head, added to the scores of attention.

    All layers of a stack share one. Only differences of positions count, so that the bias of any
    later query is that of an earlier one, shifted.

    Args:
        heads: H.
        bidirectional: Whether queries look ahead.
        buckets: How many relative positions are told apart.
        max_distance: In tokens; further ones share a bucket.

    Example:
        >>> import torch
        >>> from quire.papers.t5 import RelativeBias
        >>> RelativeBias(4)(torch.arange(3), torch.arange(5)).shape
        torch.Size([4, 3, 5])
    """

    def __init__(
        self,
        heads: int,
        *,
        bidirectional: bool = True,
        buckets: int = 32,
        max_distance: int = 128,
    ) -> None:
        super().__init__()
        self.bidirectional = bidirectional
        self.max_distance = max_distance
        # A stack draws it anew, at its own width's scale.
        self.weight = nn.Parameter(0.02 * torch.randn(buckets, heads))

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        """The bias of positions query (Tq,) and key (Tk,): (H, Tq, Tk); of (B, T) (B, H, Tq, Tk).

        One side may be (B, T) and the other one (T,).
        """
        # (..., Tq, Tk, H) -> (..., H, Tq, Tk)
        values = self.weight[self._bucket(key[..., None, :] - query[..., :, None])]
        return values.movedim(-1, -3)

    def square(self, queries: int, keys: int, first: int = 0) -> Tensor:
        """The bias of queries at `first`, `first` + 1, … for the keys 0, 1, …: (H, Tq, Tk).

        As `forward` gives it, but each difference is looked up once and not once a pair.
        """
        if not queries:
            return self.weight.new_zeros(self.weight.shape[1], 0, keys)
        last = first + queries - 1
        # Every difference there is, the smallest one first: that of the last query to key 0.
        relative = torch.arange(-last, keys - first, device=self.weight.device)
        values_HR = self.weight[self._bucket(relative)].T
        # Row r of the windows begins r differences later: the query `last` - r.
        return values_HR.unfold(1, keys, 1).flip(1)

    def _bucket(self, relative: Tensor) -> Tensor:
        return relative_position_bucket(
            relative, self.bidirectional, len(self.weight), self.max_distance
        )
