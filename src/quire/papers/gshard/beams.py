"""Flat beam search: all hypotheses in one sequence, told apart by a mask (appendix A.2).

B batch, S source tokens, K beams, L steps so far, V vocabulary, D width. Token k of step l stands
at place l K + k and may attend to its own ancestors alone. What was computed stays where it is:
when a beam takes over another one's past only a row of the mask is copied.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from quire.nn import Mask, Padding
from quire.papers.gshard.mixture import tell
from quire.papers.gshard.translator import Translator


class Hypotheses(NamedTuple):
    """The best translations of each source, the best one first.

    tokens: int64 (B, K, L), padding after an end. score: log-probability over the length's penalty,
    (B, K).
    """

    tokens: Tensor
    score: Tensor


@dataclass(frozen=True)
class Ancestry(Mask):
    """Which places are a place's ancestors, itself included: bool (B, L K, L K)."""

    places: Tensor

    def allows(self, batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        """As the table says, whatever the head."""
        return self.places[batch, query, key]


class FlatPositions(nn.Module):
    """The positions of `inner` for K interleaved sequences: the K tokens of a step share one.

    Example:
        >>> import torch
        >>> from quire.nn import SinusoidalPositions
        >>> from quire.papers.gshard import FlatPositions
        >>> FlatPositions(SinusoidalPositions(8), beams=3)(torch.zeros(2, 12, 8)).shape
        torch.Size([2, 12, 8])
    """

    def __init__(self, inner: nn.Module, *, beams: int) -> None:
        super().__init__()
        self.inner = inner
        self.beams = beams

    def forward(self, x: Tensor, step: int = 0) -> Tensor:
        """x (B, L K, D) -> (B, L K, D)."""
        rows, places, width = x.shape
        steps = places // self.beams
        apart = x.view(rows, steps, self.beams, width).transpose(1, 2).reshape(-1, steps, width)
        marked: Tensor = self.inner(apart, step)
        return marked.view(rows, self.beams, steps, width).transpose(1, 2).reshape_as(x)


@contextmanager
def flattened(model: Translator, beams: int) -> Iterator[None]:
    """Inside `with`, the decoder takes K interleaved sequences."""
    decoder = model.model.decoder
    before = decoder.positions
    assert isinstance(before, nn.Module)
    decoder.positions = FlatPositions(before, beams=beams)
    try:
        yield
    finally:
        decoder.positions = before


@torch.no_grad()
def search_beams(
    model: Translator, source: Tensor, length: int, *, beams: int = 4, penalty: float = 0.6
) -> Hypotheses:
    """The likeliest translations of source int64 (B, S), of up to `length` tokens.

    All beams of a row are one group of its mixtures: with a router that drops tokens they take
    slots from one another.

    Args:
        model: In evaluation mode.
        source: Padded.
        length: L at the end.
        beams: K.
        penalty: Scores are divided by ((5 + length) / 6) to this power (Wu et al., 2016).

    Raises ValueError for beams or a length below 1.
    """
    if beams < 1 or length < 1:
        raise ValueError(f"beams and length must be at least 1, got {beams} and {length}")
    rows, device = len(source), source.device
    counted = source != model.padding
    seen = Padding(counted | (torch.arange(source.shape[1], device=device) == 0))
    with tell(model.model.encoder, counted=counted):
        memory = model.model.encoder(model.scale * model.table(source), seen)
    read = torch.full((rows, beams), model.padding, device=device)
    places = torch.eye(beams, dtype=torch.bool, device=device).expand(rows, -1, -1)
    # All beams begin alike, so only the first one may be continued at the first step.
    score = torch.full((rows, beams), -torch.inf, device=device)
    score[:, 0] = 0
    ended = torch.zeros_like(score, dtype=torch.bool)
    sizes = torch.zeros_like(score)
    chosen: list[tuple[Tensor, Tensor]] = []
    with flattened(model, beams):
        for _ in range(length):
            y = model.model.decoder(
                model.scale * model.table(read), memory, Ancestry(places), seen
            )[:, -beams:]  # fmt: skip
            logp = F.linear(y, model.table.weight).float().log_softmax(-1)
            # An ended beam goes on with padding, at no cost.
            stay = torch.full_like(logp[:1, :1], -torch.inf)
            stay[..., model.padding] = 0
            logp = torch.where(ended[..., None], stay, logp)
            score, flat = (score[..., None] + logp).flatten(1).topk(beams, dim=1)
            parent, token = flat // logp.shape[-1], flat % logp.shape[-1]
            sizes = sizes.gather(1, parent) + (~ended.gather(1, parent)).float()
            ended = ended.gather(1, parent) | (token == model.padding)
            chosen.append((parent, token))
            read, places = torch.cat((read, token), 1), grow(places, parent)
    final = score / ((5 + sizes) / 6) ** penalty
    best = final.argsort(dim=1, descending=True, stable=True)
    return Hypotheses(trace_back(chosen, best), final.gather(1, best))


def grow(places: Tensor, parent: Tensor) -> Tensor:
    """The ancestors (B, L K, L K) with a step more, whose beams continue `parent` (B, K)."""
    beams = parent.shape[1]
    rows = places[:, -beams:].gather(1, parent[..., None].expand(-1, -1, places.shape[2]))
    own = torch.eye(beams, dtype=torch.bool, device=places.device).expand(len(places), -1, -1)
    below = torch.cat((rows, own), 2)
    return torch.cat((F.pad(places, (0, beams)), below), 1)


def trace_back(chosen: list[tuple[Tensor, Tensor]], beam: Tensor) -> Tensor:
    """The tokens (B, K, L) of the last step's beams (B, K), from each step's parents and tokens."""
    found = []
    for parent, token in reversed(chosen):
        found.append(token.gather(1, beam))
        beam = parent.gather(1, beam)
    return torch.stack(found[::-1], -1)
