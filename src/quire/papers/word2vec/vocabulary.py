"""Words with their counts, and what follows from counts: subsampling and noise."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Subsampling = Literal["code", "paper"]
"""Which of the two published formulas keeps a word; see `keep_probability`."""


WHITESPACE = frozenset(" \t\n\r\v\f")
"""What the file formats separate words by."""


def check_word(word: object) -> None:
    """Raise ValueError for what the file formats cannot hold as a word.

    A word is a str of at least one character, none of them a blank, a tab or the end of a line,
    that UTF-8 can write. Other whitespace, such as a no-break space, is part of a word.
    """
    if not isinstance(word, str):
        raise ValueError(f"a word must be a str, got {word!r} ({type(word).__name__})")
    if not word or not WHITESPACE.isdisjoint(word):
        raise ValueError(
            f"{word!r} is no word: it must have at least one character and no blank, tab or "
            "newline (phrases are joined by '_')"
        )
    if not word.isascii():
        try:
            word.encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f"{word!r} is no word: UTF-8 cannot write it ({error.reason})"
            ) from None


class Vocabulary:
    """Words sorted by count, the most frequent first; a word's index is its row of vectors.

    Args:
        words: Distinct words.
        counts: As many, at least 1 each, not increasing. None: nothing was counted, and ranks
            W, W - 1, ..., 1 stand in (`ranked`).
        rare: Counts of words seen too rarely so far; `Word2Vec.partial_fit` adds to them.

    Raises ValueError where words and counts do not fit, and for what is no word (`check_word`).

    Example:
        >>> from quire.papers.word2vec import Vocabulary
        >>> vocabulary = Vocabulary(["the", "cat"], [7, 2])
        >>> vocabulary["cat"], "dog" in vocabulary, len(vocabulary)
        (1, False, 2)
    """

    def __init__(
        self,
        words: Sequence[str],
        counts: Sequence[int] | NDArray[np.int64] | None,
        rare: dict[str, int] | None = None,
    ) -> None:
        self.words = list(words)
        for word in self.words:
            check_word(word)
        self.ranked = counts is None
        """Whether `counts` are ranks alone: `Word2Vec.partial_fit` then counts anew."""
        if counts is None:
            counts = np.arange(len(self.words), 0, -1)
        self.counts = np.asarray(counts, dtype=np.int64)
        self.rare = dict(rare or {})
        if self.counts.shape != (len(self.words),):
            raise ValueError(f"{len(self.words)} words but counts of shape {self.counts.shape}")
        if len(self.index) != len(self.words):
            raise ValueError("a word stands twice in the vocabulary")
        if len(self.words) and (self.counts.min() < 1 or (np.diff(self.counts) > 0).any()):
            raise ValueError("counts must be at least 1 and sorted, the largest first")

    @cached_property
    def index(self) -> dict[str, int]:
        """Row of each word."""
        return {word: row for row, word in enumerate(self.words)}

    def __len__(self) -> int:
        return len(self.words)

    def __iter__(self) -> Iterator[str]:
        return iter(self.words)

    def __contains__(self, word: object) -> bool:
        return word in self.index

    def __getitem__(self, word: str) -> int:
        if word not in self.index:
            raise KeyError(f"'{word}' is not in the vocabulary of {len(self)} words")
        return self.index[word]

    def __repr__(self) -> str:
        return f"Vocabulary({len(self)} words, {int(self.counts.sum())} tokens)"


def keep_probability(
    counts: Sequence[int] | NDArray[np.int64], sample: float, variant: Subsampling = "code"
) -> NDArray[np.float64]:
    """Probability that an occurrence of each word is kept (section 2.3), shape (words,).

    With f the word's share of all tokens and t = sample: "paper" keeps with sqrt(t/f) (equation
    5), the authors' "code" with sqrt(t/f) + t/f, both at most 1. sample = 0 keeps everything.
    Raises ValueError for another variant or a negative sample.

    Example:
        >>> from quire.papers.word2vec import keep_probability
        >>> keep_probability([90, 10], 0.1, "paper").round(3).tolist()
        [0.333, 1.0]
    """
    if variant not in ("code", "paper"):
        raise ValueError(f"subsampling must be 'code' or 'paper', got {variant!r}")
    if not sample >= 0:
        raise ValueError(f"sample must be at least 0, got {sample}")
    counts = np.asarray(counts, dtype=np.float64)
    if sample == 0:
        return np.ones(len(counts))
    ratio = sample * counts.sum() / counts
    keep = np.sqrt(ratio) + (ratio if variant == "code" else 0)
    return np.minimum(1.0, keep)


def noise_distribution(
    counts: Sequence[int] | NDArray[np.int64], exponent: float = 0.75
) -> NDArray[np.float64]:
    """P_n(w), proportional to count^exponent (section 2.2): 1 is unigram, 0 uniform.

    Example:
        >>> from quire.papers.word2vec import noise_distribution
        >>> noise_distribution([16, 1]).round(3).tolist()
        [0.889, 0.111]
    """
    weight = np.asarray(counts, dtype=np.float64) ** exponent
    return weight / weight.sum()


def alias_table(
    probabilities: NDArray[np.float64],
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Walker's alias tables (threshold, alias): an exact draw in two numbers whatever the size.

    Draw a column i uniformly and u in [0, 1): the outcome is i where u < threshold[i], else
    alias[i] (Vose's construction).

    Example:
        >>> import numpy as np
        >>> from quire.papers.word2vec import alias_table
        >>> alias_table(np.array([0.75, 0.25]))[0].tolist()
        [1.0, 0.5]
    """
    size = len(probabilities)
    scaled = (np.asarray(probabilities, dtype=np.float64) * size).tolist()
    threshold, alias = np.ones(size, dtype=np.float32), np.arange(size, dtype=np.int32)
    small = [i for i, p in enumerate(scaled) if p < 1]
    large = [i for i, p in enumerate(scaled) if p >= 1]
    # A column that is not full is filled up by one that has more than its share, which may then
    # itself be less than full. What rounding leaves at the end keeps a threshold of 1.
    while small and large:
        low, high = small.pop(), large[-1]
        threshold[low], alias[low] = scaled[low], high
        scaled[high] -= 1 - scaled[low]
        if scaled[high] < 1:
            small.append(large.pop())
    return threshold, alias


def noise_table(
    counts: Sequence[int] | NDArray[np.int64], size: int, exponent: float = 0.75
) -> NDArray[np.int32]:
    """The table of the authors' code: word w fills about size * P_n(w) consecutive places.

    The code uses 10^8 places. Rare words share what rounding leaves, so the alias tables, which
    are exact and smaller, are what training uses unless it replays the original.

    Example:
        >>> from quire.papers.word2vec import noise_table
        >>> noise_table([16, 1], 20).tolist().count(1)
        1
    """
    reached = np.cumsum(noise_distribution(counts, exponent))
    # The place after the one that crosses a word's share is the next word's, one word at a place.
    first = np.floor(size * reached[:-1]).astype(np.int64) + 2
    row = np.arange(len(first))
    first = np.maximum.accumulate(first - row) + row
    edges = np.concatenate([[0], np.minimum(first, size), [size]])
    return np.repeat(np.arange(len(reached), dtype=np.int32), np.diff(edges))
