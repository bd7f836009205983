"""How long inputs and targets of span corruption are, exactly (sections 3.1.4 and 3.3.4).

Noise and spans are counted, not drawn: every example of one raw length has one input length and one
target length, so that batches hold no padding.
"""

from typing import NamedTuple

TARGET_CAPS = {0.10: 103, 0.15: 192, 0.25: 256, 0.50: 512}
"""Longest target of replaced spans with independent noise by rate, inputs 512, in tokens."""

DROP_TOKENS_CAP = 104
"""Longest target of dropped tokens at 15 %, inputs 512, in tokens."""

FINE_TUNING_CAPS = {"glue": 84, "superglue": 62, "squad": 97, "other": 512}
"""Longest target of fine-tuning, in tokens."""


class Lengths(NamedTuple):
    """Lengths in tokens; those of inputs and targets count the end-of-sequence token."""

    raw: int
    inputs: int
    targets: int


def span_counts(length: int, rate: float = 0.15, mean: float = 3.0) -> tuple[int, int]:
    """Noise tokens and noise spans in `length` tokens; halves are rounded to even.

    A sequence of less than two tokens has no noise. There are never more spans than kept tokens, as
    each span follows a kept one.

    Example:
        >>> span_counts(568)
        (85, 28)

    Raises ValueError for a rate outside 0..1 or a mean below 1.
    """
    check_noise(rate, mean)
    if length < 2:
        return 0, 0
    noise = min(max(round(length * rate), 1), length - 1)
    return noise, min(max(round(noise / mean), 1), length - noise)


def span_lengths(raw: int, rate: float = 0.15, mean: float = 3.0) -> Lengths:
    """Lengths of inputs and targets that `raw` tokens give.

    Example:
        >>> span_lengths(568)
        Lengths(raw=568, inputs=512, targets=114)
    """
    noise, spans = span_counts(raw, rate, mean)
    return Lengths(raw, raw - noise + spans + 1, noise + spans + 1)


def raw_length(inputs: int, rate: float = 0.15, mean: float = 3.0) -> Lengths:
    """The largest raw length whose inputs are at most `inputs` tokens, with its lengths.

    At a rate of 0.5 one token less is taken where targets would be longer than inputs, as the
    authors do.

    Example:
        >>> raw_length(512, mean=10)
        Lengths(raw=591, inputs=512, targets=99)

    Raises ValueError for inputs below 3, which hold no span.
    """
    if inputs < 3:
        raise ValueError(f"inputs must be at least 3 tokens, got {inputs}")
    check_noise(rate, mean)
    raw = inputs - 1
    while span_lengths(raw, rate, mean).inputs > inputs:
        raw -= 1
    while span_lengths(raw + 1, rate, mean).inputs <= inputs:
        raw += 1
    found = span_lengths(raw, rate, mean)
    if rate == 0.5 and found.targets > found.inputs:
        return span_lengths(raw - 1, rate, mean)
    return found


def check_noise(rate: float, mean: float = 1.0) -> None:
    """Raises ValueError for a rate outside 0..1 or a mean below 1."""
    if not 0.0 < rate < 1.0:
        raise ValueError(f"rate must be between 0 and 1, got {rate}")
    if not mean >= 1.0:
        raise ValueError(f"mean must be at least 1 token, got {mean}")
