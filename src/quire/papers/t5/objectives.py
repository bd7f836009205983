"""Objectives as compositions: noise x inputs x targets (table 3).

An objective says which tokens are noise (`masks`), what of a text the model is shown, and what it
must write. Shapes: B sequences, L raw tokens, I and T the lengths of inputs and targets with the
end-of-sequence token. All shapes follow from L, no loop runs over sequences or tokens: a batch is
corrupted where it lies, on a CPU or an accelerator.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from quire.nn.devices import is_accelerator
from quire.papers.t5.lengths import span_counts
from quire.papers.t5.masks import (
    Independent,
    Noise,
    RandomSpans,
    everything,
    halfway,
    places,
    second_half,
    suffix,
)


@dataclass(frozen=True)
class Ids:
    """Which token ids mean what.

    Args:
        size: Ids of the vocabulary, sentinels included (without rows that only pad an embedding).
        sentinels: How many of the last ids stand for a span; the first span has the last id.
        pad: Fills rows up, and begins the decoder's input.
        eos: Ends inputs and targets.
        unk: Stands for what the vocabulary lacks. Ordinary ids begin after it.
    """

    size: int = 32_100
    sentinels: int = 100
    pad: int = 0
    eos: int = 1
    unk: int = 2

    def __post_init__(self) -> None:
        if not 1 <= self.sentinels < self.size - 3:
            raise ValueError(
                f"sentinels must be between 1 and size - 4 = {self.size - 4}, got {self.sentinels}"
            )

    @property
    def mask(self) -> int:
        """The id that stands for one masked token: that of the first sentinel."""
        return self.size - 1

    @property
    def first_sentinel(self) -> int:
        """The lowest id of a sentinel."""
        return self.size - self.sentinels


class Pair(NamedTuple):
    """What a batch holds: inputs (B, I) and targets (B, T), int64, padded with id 0."""

    inputs: Tensor
    targets: Tensor


@dataclass(frozen=True)
class View:
    """What the parts of an objective see.

    Args:
        tokens: Raw tokens, (B, L).
        noise: Which are noise, (B, L).
        valid: Which places hold a token, (B, L).
        ids: The vocabulary's.
        generator: Of random numbers.
        shown: For targets: what the part for inputs made of `tokens`, (B, L).
    """

    tokens: Tensor
    noise: Tensor
    valid: Tensor
    ids: Ids
    generator: Generator | None
    shown: Tensor | None = None


Part = Callable[[View], tuple[Tensor, Tensor]]
"""view -> (tokens, which of them stay), each (B, L)."""


def whole(view: View) -> tuple[Tensor, Tensor]:
    """All tokens as they are."""
    return view.tokens, view.valid


def kept(view: View) -> tuple[Tensor, Tensor]:
    """The tokens that are no noise."""
    return view.tokens, view.valid & ~view.noise


def dropped(view: View) -> tuple[Tensor, Tensor]:
    """The noise tokens, in order."""
    return view.tokens, view.noise


def noise_to_sentinels(view: View) -> tuple[Tensor, Tensor]:
    """The kept tokens, and for each run of noise a sentinel of its own."""
    return _sentinels(view, view.noise)


def kept_to_sentinels(view: View) -> tuple[Tensor, Tensor]:
    """The noise tokens, and for each run of kept ones a sentinel of its own."""
    return _sentinels(view, view.valid & ~view.noise)


def masked(view: View) -> tuple[Tensor, Tensor]:
    """All tokens, each noise token as the mask: what MASS is shown."""
    return view.tokens.masked_fill(view.noise, view.ids.mask), view.valid


@dataclass(frozen=True)
class MaskedOrRandom:
    """All tokens, each noise token as the mask or as a random one: what BERT is shown.

    random: share of the noise tokens that become a uniform id from 3 on, sentinels included.
    """

    random: float = 0.1

    def __call__(self, view: View) -> tuple[Tensor, Tensor]:
        shape, device, generator = view.tokens.shape, view.tokens.device, view.generator
        draw = torch.rand(shape, generator=generator, device=device)
        other = torch.randint(
            view.ids.unk + 1, view.ids.size, shape, generator=generator, device=device
        )
        chosen = other.masked_fill(draw >= self.random, view.ids.mask)
        return torch.where(view.noise, chosen, view.tokens), view.valid


def shuffled(view: View) -> tuple[Tensor, Tensor]:
    """All tokens in random order."""
    draw = torch.rand(view.tokens.shape, generator=view.generator, device=view.tokens.device)
    order = draw.masked_fill(~view.valid, 2.0).argsort(1)
    return view.tokens.gather(1, order), view.valid


Sampler = Callable[[View], Tensor]
"""view -> ids (B, L) to put in the place of noise: a model's samples, or those of `uniform`."""


def uniform(view: View) -> Tensor:
    """Ordinary ids, each as likely."""
    ids = view.ids
    return torch.randint(
        ids.unk + 1, ids.first_sentinel, view.tokens.shape, generator=view.generator,
        device=view.tokens.device,
    )  # fmt: skip


@dataclass(frozen=True)
class Replaced:
    """All tokens, each noise token replaced by a sample (ELECTRA's corruption).

    A sample may be the token itself, which is then no replacement.

    Args:
        sampler: Gives the samples, as a small generator network does.
    """

    sampler: Sampler = uniform

    def __call__(self, view: View) -> tuple[Tensor, Tensor]:
        return torch.where(view.noise, self.sampler(view), view.tokens), view.valid


@dataclass(frozen=True)
class Verdicts:
    """For each token whether the inputs have another one at its place (replaced-token detection).

    Args:
        original: The id that is written for a token that stands as it was.
        replaced: The id for another one.
    """

    original: int
    replaced: int

    def __call__(self, view: View) -> tuple[Tensor, Tensor]:
        assert view.shown is not None
        differs = view.shown != view.tokens
        ids = torch.full_like(view.tokens, self.original).masked_fill(differs, self.replaced)
        return ids, view.valid


def of_another_row(view: View) -> tuple[Tensor, Tensor]:
    """All tokens, noise as what another row has there; a sentinel begins the second half.

    A row takes from the one before it, again from its beginning where that is too short: lengths
    tell nothing. Raises ValueError for a batch of one row.
    """
    if len(view.tokens) == 1:
        raise ValueError("next sentence takes two rows or more, of which one is another's end")
    length = view.valid.sum(1, keepdim=True).roll(1, 0).clamp(min=1)
    place = places(view.valid)
    other = view.tokens.roll(1, 0).gather(1, (place % length).expand_as(view.tokens))
    seam = place == halfway(view.valid)
    tokens = torch.where(view.noise, other, view.tokens)
    return tokens.masked_fill(seam, view.ids.mask), view.valid


@dataclass(frozen=True)
class Follows:
    """One token for the row: whether its second half is its own (BERT's next sentence).

    Args:
        own: The id that is written where it is.
        other: The id where it is another row's.
    """

    own: int
    other: int

    def __call__(self, view: View) -> tuple[Tensor, Tensor]:
        exchanged = view.noise.any(1, keepdim=True)
        ids = torch.full_like(view.tokens, self.own).masked_fill(exchanged, self.other)
        return ids, view.valid & (places(view.valid) == 0)


def _sentinels(view: View, runs: Tensor) -> tuple[Tensor, Tensor]:
    before = torch.nn.functional.pad(runs[:, :-1], (1, 0))
    first = runs & ~before
    number = first.cumsum(1)
    _check_count(number, view.ids)
    tokens = torch.where(first, view.ids.size - number, view.tokens)
    return tokens, view.valid & ~(runs & before)


def _check_count(number: Tensor, ids: Ids) -> None:
    """Independent noise has no most number of runs: beyond the sentinels are ordinary ids."""
    if number.shape[1] <= 2 * ids.sentinels or number.device.type == "meta":
        return
    enough = (number[:, -1] <= ids.sentinels).all()
    text = f"a row has more spans than the {ids.sentinels} sentinels: use longer spans, less noise"
    if is_accelerator(number):
        torch._assert_async(enough, text)  # the device is not waited for
    elif not enough:
        raise ValueError(f"{text}, shorter rows or more sentinels")


def join(tokens: Tensor, stay: Tensor, ids: Ids, width: int) -> Tensor:
    """The tokens that stay, moved together, then end of sequence, then padding: (B, width).

    What is over `width` - 1 tokens is cut.

    Args:
        tokens: (B, L).
        stay: Mask, (B, L).
        ids: The vocabulary's.
        width: Tokens of a row, end of sequence included.
    """
    place = stay.cumsum(1)
    out = torch.full((len(tokens), width + 1), ids.pad, dtype=torch.long, device=tokens.device)
    end = place[:, -1:].clamp(max=width - 1) if tokens.shape[1] else torch.zeros_like(out[:, :1])
    # Column `width` takes what is left out.
    out.scatter_(1, (place - 1).masked_fill_(~stay | (place >= width), width), tokens)
    return out.scatter_(1, end, ids.eos)[:, :width]


@dataclass(frozen=True)
class Objective:
    """What a model learns from raw text: noise x inputs x targets.

    Example:
        >>> objective = Objective(Independent(0.15), kept, dropped)  # the paper's "drop tokens"
        >>> inputs, targets = objective(torch.randint(3, 32_000, (2, 100)))
        >>> inputs.shape
        torch.Size([2, 101])

    Args:
        noise: Which tokens are noise.
        inputs: What the model is shown.
        targets: What it must write.
        ids: The vocabulary's.
        lengths: L -> (I, T); None takes L + 1 for both, which nothing exceeds. What is over is cut
            before the end of sequence is put.
    """

    noise: Noise
    inputs: Part
    targets: Part
    ids: Ids = field(default_factory=Ids)
    lengths: Callable[[int], tuple[int, int]] | None = None

    def __call__(
        self, tokens: Tensor, *, lengths: Tensor | None = None, generator: Generator | None = None
    ) -> Pair:
        """Inputs (B, I) and targets (B, T) of raw tokens.

        Args:
            tokens: Ids of an integer type, (B, L), or (L,) for one sequence and 1-d results.
            lengths: Tokens of each row, (B,); None takes rows as full.
            generator: On the tokens' device. The same state gives the same corruption.

        Raises ValueError for tokens of another shape or type, and where a row has more spans than
        there are sentinels (on an accelerator RuntimeError, at some later operation).
        """
        if tokens.dim() == 1:
            inputs, targets = self(tokens[None], lengths=lengths, generator=generator)
            return Pair(inputs[0], targets[0])
        if tokens.dim() != 2 or tokens.is_floating_point() or tokens.dtype == torch.bool:
            raise ValueError(
                f"tokens must be integers (batch, length), got {tuple(tokens.shape)} "
                f"of {str(tokens.dtype).removeprefix('torch.')}"
            )
        tokens = tokens.long()
        if lengths is None:
            valid = torch.ones_like(tokens, dtype=torch.bool)
        else:
            valid = torch.arange(tokens.shape[1], device=tokens.device) < lengths[:, None]
        noise = self.noise(tokens, valid, generator)
        view = View(tokens, noise, valid, self.ids, generator)
        shown, stay = self.inputs(view)
        written, chosen = self.targets(View(tokens, noise, valid, self.ids, generator, shown))
        length = tokens.shape[1]
        width, most = self.lengths(length) if self.lengths else (length + 1, length + 1)
        return Pair(join(shown, stay, self.ids, width), join(written, chosen, self.ids, most))


def span_corruption(
    tokens: Tensor,
    rate: float = 0.15,
    *,
    mean: float = 3.0,
    generator: Generator | None = None,
    ids: Ids | None = None,
) -> Pair:
    """Inputs and targets of the paper's final objective, from raw tokens.

    Each span becomes a sentinel in the inputs; the targets are the spans, each after its sentinel.
    Lengths are those of `span_lengths`, without padding.

    Example:
        >>> inputs, targets = span_corruption(torch.randint(3, 32_000, (2, 568)))
        >>> inputs.shape, targets.shape
        (torch.Size([2, 512]), torch.Size([2, 114]))

    Args:
        tokens: (B, L) or (L,), of an integer type.
        rate: Share of tokens that are noise.
        mean: Average length of a span, in tokens.
        generator: Of random numbers.
        ids: The vocabulary's; None takes the published 32,100.

    Raises ValueError as `Objective` does.
    """
    return random_spans(rate, mean, ids=ids)(tokens, generator=generator)


def prefix_lm(*, ids: Ids | None = None) -> Objective:
    """The rest of a text from its beginning, cut at a random place."""
    return Objective(suffix, kept, dropped, ids or Ids())


def bert_style(rate: float = 0.15, *, ids: Ids | None = None) -> Objective:
    """The whole text from one with masks and random tokens."""
    return Objective(Independent(rate), MaskedOrRandom(), whole, ids or Ids())


def deshuffling(*, ids: Ids | None = None) -> Objective:
    """The text from its tokens in random order."""
    return Objective(everything, shuffled, whole, ids or Ids())


def mass_style(rate: float = 0.15, *, ids: Ids | None = None) -> Objective:
    """The whole text from one with masks."""
    return Objective(Independent(rate), masked, whole, ids or Ids())


def replace_spans(
    rate: float = 0.15, *, targets: int | None = None, ids: Ids | None = None
) -> Objective:
    """The runs of noise from the rest, with a sentinel for each: the paper's baseline.

    targets: longest target in tokens (`lengths.TARGET_CAPS`); None cuts nothing.
    """
    return Objective(Independent(rate), noise_to_sentinels, kept_to_sentinels, ids or Ids(),
                     _capped(targets))  # fmt: skip


def drop_tokens(
    rate: float = 0.15, *, targets: int | None = None, ids: Ids | None = None
) -> Objective:
    """The noise tokens from the rest, without a sign of where they were.

    targets: longest target in tokens (`lengths.DROP_TOKENS_CAP`); None cuts nothing.
    """
    return Objective(Independent(rate), kept, dropped, ids or Ids(), _capped(targets))


def random_spans(
    rate: float = 0.15, mean: float = 3.0, *, roll: bool = False, ids: Ids | None = None
) -> Objective:
    """Spans of average length `mean` from the rest: the paper's final objective.

    Args:
        rate: Share of tokens that are noise.
        mean: Average length of a span, in tokens.
        roll: Rotate the mask at random; a row then may have one run more, and one token more.
        ids: The vocabulary's.
    """

    def lengths(raw: int) -> tuple[int, int]:
        noise, spans = span_counts(raw, rate, mean)
        return raw - noise + spans + 1 + roll, noise + spans + 1 + roll

    return Objective(RandomSpans(rate, mean, roll), noise_to_sentinels, kept_to_sentinels,
                     ids or Ids(), lengths)  # fmt: skip


def replaced_tokens(
    verdicts: Verdicts, rate: float = 0.15, *, sampler: Sampler = uniform, ids: Ids | None = None
) -> Objective:
    """For each token whether it was replaced, as text: an objective in the manner of ELECTRA.

    Args:
        verdicts: The ids that are written.
        rate: Share of tokens that are replaced.
        sampler: Gives what they are replaced by.
        ids: The vocabulary's.
    """
    return Objective(Independent(rate), Replaced(sampler), verdicts, ids or Ids())


def next_sentence(follows: Follows, *, ids: Ids | None = None) -> Objective:
    """Whether the second half of a text is its own or another's, as text: BERT's other objective.

    BERT exchanges sentences (section 3.1 of Devlin et al., 2019); here halves of a row stand for
    them, since a row of a store has no marks of sentences. It takes batches of two rows or more.

    Args:
        follows: The ids that are written.
        ids: The vocabulary's.
    """
    return Objective(second_half, of_another_row, follows, ids or Ids(), lambda raw: (raw + 1, 2))


def _capped(targets: int | None) -> Callable[[int], tuple[int, int]] | None:
    return None if targets is None else lambda raw: (raw + 1, min(targets, raw + 1))


def merge(inputs: list[int], targets: list[int], *, ids: Ids | None = None) -> list[int]:
    """The raw tokens of one sequence from its kept and its noise runs.

    Runs are what sentinels separate, whatever their numbers: a text that begins with noise has
    targets that begin without a sentinel. Padding and ends of sequence are left out.

    Example:
        >>> merge([5, 6, 32_099, 9, 1], [32_099, 7, 8, 32_098, 1])
        [5, 6, 7, 8, 9]
    """
    ids = ids or Ids()
    kept_runs, noise_runs = _runs(inputs, ids), _runs(targets, ids)
    if noise_runs[0]:
        kept_runs = kept_runs[1:]  # before the first sentinel stands nothing
        noise_runs, kept_runs = kept_runs, noise_runs
    else:
        noise_runs = noise_runs[1:]
    merged: list[int] = []
    for number in range(max(len(kept_runs), len(noise_runs))):
        for runs in (kept_runs, noise_runs):
            merged += runs[number] if number < len(runs) else []
    return merged


def _runs(tokens: list[int], ids: Ids) -> list[list[int]]:
    runs: list[list[int]] = [[]]
    for token in tokens:
        if token >= ids.first_sentinel:
            runs.append([])
        elif token not in (ids.pad, ids.eos):
            runs[-1].append(token)
    return runs
