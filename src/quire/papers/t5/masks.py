"""Which tokens are noise: the first of the three parts of an objective (section 3.3).

Shapes: B sequences, L tokens. A noise function takes (tokens, valid, generator), both tensors
(B, L), and gives a mask (B, L) of bool, True where a token is noise. `valid` says which places hold
a token: rows may be shorter than L. No loop runs over sequences, spans or tokens, and no value is
read back, so masks are drawn where the tokens lie.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from quire.papers.t5.lengths import check_noise, span_counts

Noise = Callable[[Tensor, Tensor, Generator | None], Tensor]
"""(tokens, valid, generator) -> mask, each tensor (B, L)."""


def places(valid: Tensor) -> Tensor:
    """Places 0..L-1 as (1, L)."""
    return torch.arange(valid.shape[1], device=valid.device)[None]


@dataclass(frozen=True)
class RandomSpans:
    """Spans of random lengths, their number and total fixed (section 3.3.4).

    Kept and noise tokens are each split into as many parts, uniformly over all splits, and the
    parts alternate, a kept one first: the first token is never noise, the last one always is.

    Example:
        >>> tokens = torch.arange(20)[None]
        >>> mask = RandomSpans()(tokens, tokens >= 0, torch.Generator().manual_seed(0))
        >>> int(mask.sum()), bool(mask[0, 0]), bool(mask[0, -1])
        (3, False, True)

    Args:
        rate: Share of tokens that are noise.
        mean: Average length of a span, in tokens.
        roll: Rotate each row by a random number of places. A short text otherwise has its one
            span at its end.
    """

    rate: float = 0.15
    mean: float = 3.0
    roll: bool = False

    def __post_init__(self) -> None:
        check_noise(self.rate, self.mean)

    def __call__(self, tokens: Tensor, valid: Tensor, generator: Generator | None = None) -> Tensor:
        width, device = valid.shape[1], valid.device
        most = _most_spans(width, self.rate, self.mean)
        if most == 0:
            return torch.zeros_like(valid)
        length = valid.sum(1)
        noise, spans = _counts(length, self.rate, self.mean)
        most_noise, _ = span_counts(width, self.rate, self.mean)
        kept_ends = _ends(length - noise, spans, width - most_noise, most, generator)
        noise_ends = _ends(noise, spans, most_noise, most, generator)
        # Span q begins after kept parts 0..q and noise parts 0..q-1. Of a row with fewer spans than
        # `most` the rest begin where they end: the two changes cancel.
        ends = kept_ends + noise_ends
        begins = kept_ends + torch.nn.functional.pad(noise_ends[:, :-1], (1, 0))
        change = torch.zeros(len(valid), width + 1, dtype=torch.int32, device=device)
        one = torch.ones_like(ends, dtype=torch.int32)
        change.scatter_add_(1, begins, one).scatter_add_(1, ends, -one)
        mask = change[:, :width].cumsum(1) > 0
        if not self.roll:
            return mask
        draw = torch.rand(len(valid), generator=generator, device=device, dtype=torch.float64)
        size = length.clamp(min=1)[:, None]
        shift = (draw[:, None] * size).long().clamp(max=width - 1)
        source = torch.where(valid, (places(valid) - shift) % size, places(valid))
        return mask.gather(1, source)


@dataclass(frozen=True)
class Independent:
    """Each token is noise with probability `rate`, whatever its neighbours are (section 3.1.4).

    Example:
        >>> tokens = torch.arange(8)[None]
        >>> Independent(0.5)(tokens, tokens < 4).shape
        torch.Size([1, 8])
    """

    rate: float = 0.15

    def __post_init__(self) -> None:
        check_noise(self.rate)

    def __call__(self, tokens: Tensor, valid: Tensor, generator: Generator | None = None) -> Tensor:
        draw = torch.rand(valid.shape, generator=generator, device=valid.device)
        return (draw < self.rate) & valid


def suffix(tokens: Tensor, valid: Tensor, generator: Generator | None = None) -> Tensor:
    """All tokens from a place that is uniform in 1..L-1: what a prefix LM predicts.

    Example:
        >>> tokens = torch.arange(6)[None]
        >>> mask = suffix(tokens, tokens >= 0)
        >>> bool(mask[0, 0]), bool(mask[0, -1])
        (False, True)
    """
    draw = torch.rand(len(valid), 1, generator=generator, device=valid.device, dtype=torch.float64)
    choices = (valid.sum(1, keepdim=True) - 1).clamp(min=1)
    split = 1 + (draw * choices).long()
    return (places(valid) >= split) & valid


def everything(tokens: Tensor, valid: Tensor, generator: Generator | None = None) -> Tensor:
    """Every token is noise: deshuffling has all of them out of place.

    Example:
        >>> tokens = torch.arange(3)[None]
        >>> everything(tokens, tokens < 2)
        tensor([[ True,  True, False]])
    """
    return valid.clone()


def second_half(tokens: Tensor, valid: Tensor, generator: Generator | None = None) -> Tensor:
    """The second half of a row, of each row with probability 1/2: what next sentence exchanges.

    Example:
        >>> tokens = torch.arange(10).reshape(2, 5)
        >>> second_half(tokens, tokens >= 0, torch.Generator().manual_seed(0)).tolist()
        [[False, False, False, True, True], [False, False, False, False, False]]
    """
    draw = torch.rand(len(valid), 1, generator=generator, device=valid.device)
    return (draw < 0.5) & valid & (places(valid) >= halfway(valid))


def halfway(valid: Tensor) -> Tensor:
    """Where the second half of each row begins, (B, 1); the first is not shorter."""
    return (valid.sum(1, keepdim=True) + 1) // 2


def _counts(length: Tensor, rate: float, mean: float) -> tuple[Tensor, Tensor]:
    """`span_counts` of each row, (B,)."""
    noise = (length.double() * rate).round().long().clamp(min=1)
    noise = torch.minimum(noise, (length - 1).clamp(min=0))
    spans = (noise.double() / mean).round().long().clamp(min=1)
    return noise, torch.minimum(spans, length - noise) * (length > 1)


def _most_spans(width: int, rate: float, mean: float) -> int:
    """The most spans that a row of up to `width` tokens has.

    Two rates of growth: more spans need more noise, but never more than there are kept tokens.
    """
    noise, spans = span_counts(width, rate, mean)
    return spans if spans < width - noise else max(
        span_counts(n, rate, mean)[1] for n in range(width + 1)
    )  # fmt: skip


def _ends(
    total: Tensor, parts: Tensor, width: int, most: int, generator: Generator | None
) -> Tensor:
    """Where the parts end of `total` split into `parts` positive ones, uniformly: (B, most).

    total, parts: (B,), total at most `width`. The ends of parts beyond a row's are its total.
    """
    rows, device = len(total), total.device
    if most == 1:
        return total[:, None].clone()
    # The ends but for the last one: parts - 1 different values of 1..total-1.
    slots = torch.arange(width, device=device)[None]
    draw = torch.rand(rows, width, generator=generator, device=device)
    draw = draw.masked_fill(slots >= (total - 1)[:, None], 2.0)
    chosen = draw.topk(most - 1, dim=1, largest=False).indices + 1
    beyond = torch.arange(most - 1, device=device)[None] >= (parts - 1)[:, None]
    chosen = torch.where(beyond, total[:, None], chosen).sort(1).values
    return torch.cat([chosen, total[:, None]], 1)
