"""Phrases: words that stand together more often than chance become one word (section 4)."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from quire.papers.word2vec.corpus import END, Corpus, blocks


class Phrases:
    """Finds two-word phrases and joins them; a second pass over the result finds longer ones.

    score(a, b) = (count(ab) - delta) / (count(a) count(b)) * words (equation 6; the authors' code
    brings in the number of words, so that a threshold means the same on any corpus). Joined are
    pairs with a score above the threshold, from the left, without overlap.

    Args:
        delta: Discount that keeps pairs of rare words from joining.
        threshold: Least score; of several passes each takes a lower one (the authors: 200, 100).
        min_count: Words and pairs seen fewer times never join (the authors: delta).
        joiner: Stands between the joined words.

    Raises ValueError where an argument is out of range.

    Example:
        >>> from quire.papers.word2vec import Phrases
        >>> corpus = [["we", "flew", "air", "canada"], ["air", "canada", "flew"], ["we", "we"]]
        >>> phrases = Phrases(delta=1, threshold=1, min_count=1).fit(corpus)
        >>> list(phrases.transform([["they", "flew", "air", "canada"]]))
        [['they', 'flew', 'air_canada']]
    """

    def __init__(
        self,
        delta: float = 5,
        threshold: float = 100,
        *,
        min_count: int = 5,
        joiner: str = "_",
    ) -> None:
        if not delta >= 0:
            raise ValueError(f"delta must be at least 0, got {delta}")
        if not threshold > 0:
            raise ValueError(f"threshold must be above 0, got {threshold}")
        if min_count < 1:
            raise ValueError(f"min_count must be at least 1, got {min_count}")
        if not joiner or joiner.split() != [joiner]:
            raise ValueError(f"joiner must be text without whitespace, got {joiner!r}")
        self.delta, self.threshold = delta, threshold
        self.min_count, self.joiner = min_count, joiner
        self.scores: dict[tuple[str, str], float] = {}
        """Pairs that are joined, with their scores."""

    def fit(self, corpus: Corpus) -> "Phrases":
        """Count a corpus (path or lists of words) and choose its phrases.

        Raises ValueError for an empty corpus or a file that cannot be read.
        """
        words: Counter[str] = Counter()
        pairs: Counter[tuple[str, str]] = Counter()
        last = END
        for block in blocks(corpus):
            words.update(block)
            pairs.update(zip([last, *block], block, strict=False))
            if block:
                last = block[-1]
        words.pop(END, None)
        total = words.total()
        if not total:
            raise ValueError("the corpus is empty: it holds no words")
        self.scores = {}
        for (a, b), count in pairs.items():
            if END in (a, b) or count < self.min_count:
                continue
            score = (count - self.delta) / (words[a] * words[b]) * total
            if score > self.threshold:
                self.scores[a, b] = score
        return self

    def transform(self, corpus: Corpus) -> Iterator[list[str]]:
        """The corpus's sentences with phrases joined, one after the other."""
        for sentence in sentences(corpus):
            yield self.join(sentence)

    def join(self, sentence: Sequence[str]) -> list[str]:
        """A sentence with its phrases joined."""
        joined: list[str] = []
        free = False  # whether the last word may still join with the next
        for word in sentence:
            if free and (joined[-1], word) in self.scores:
                joined[-1] += self.joiner + word
                free = False
            else:
                joined.append(word)
                free = True
        return joined


class Rewritten:
    """A corpus as passes of `Phrases` rewrite it, anew each time it is walked over.

    Example:
        >>> from quire.papers.word2vec import Rewritten
        >>> list(Rewritten([["a", "b"]], []))
        [['a', 'b']]
    """

    def __init__(self, corpus: Corpus, passes: Sequence[Phrases]) -> None:
        self.corpus, self.passes = corpus, list(passes)

    def __iter__(self) -> Iterator[list[str]]:
        for sentence in sentences(self.corpus):
            for phrases in self.passes:
                sentence = phrases.join(sentence)
            yield sentence


def find_phrases(
    corpus: Corpus, thresholds: Iterable[float] = (200, 100), *, delta: float = 5
) -> list[Phrases]:
    """Passes with falling thresholds, each over what the ones before have joined.

    corpus: a path or a list; not a generator, which could be read only once.

    Example:
        >>> from quire.papers.word2vec import find_phrases
        >>> passes = find_phrases([["new", "york", "times"]] * 9 + [["a", "b"]] * 99, [10, 10])
        >>> passes[1].join(passes[0].join(["new", "york", "times"]))
        ['new_york_times']
    """
    passes: list[Phrases] = []
    for threshold in thresholds:
        passes.append(Phrases(delta, threshold).fit(Rewritten(corpus, passes)))
    return passes


def sentences(corpus: Corpus) -> Iterator[list[str]]:
    """A corpus's sentences as lists of words."""
    sentence: list[str] = []
    for block in blocks(corpus):
        begin = 0
        while begin < len(block):
            try:
                end = block.index(END, begin)
            except ValueError:
                sentence += block[begin:]
                break
            sentence += block[begin:end]
            if sentence:
                yield sentence
            sentence, begin = [], end + 1
    if sentence:
        yield sentence
