"""Questions to vectors: neighbours, analogies, similarity (section 4; Tables 1 to 6)."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from quire.papers.word2vec.vocabulary import Vocabulary

Question = tuple[str, str, str, str]
"""a is to b as c is to d."""

Rule = Literal["add", "mul"]
"""3CosAdd, argmax cos(x, b - a + c), or 3CosMul, cos(x, b) cos(x, c) / cos(x, a) (Levy and
Goldberg 2014; cosines moved to [0, 1])."""


class Embedding(Protocol):
    """Anything with a vocabulary and its vectors, (words, D): a `Word2Vec` is one."""

    vocabulary: Vocabulary
    vectors: NDArray[np.float32]


Asked = str | NDArray[np.float32] | Sequence[str | NDArray[np.float32]]
"""A word, a vector (D), or several of either."""


class Similarity(NamedTuple):
    """How vectors agree with people about pairs of words."""

    correlation: float
    """Spearman's; nan with fewer than two covered pairs."""
    coverage: float
    """Part of the pairs with both words in the vocabulary."""


class Analogies(NamedTuple):
    """Answers to analogy questions, in percent of those covered."""

    accuracy: dict[str, float]
    """By section; also "semantic" (sections without the prefix "gram"), "syntactic" and "total".
    nan where none is covered."""
    coverage: float
    """Part of all questions with all four words among those searched."""
    total_of_all: float
    """Percent of all questions, a question that is not covered counting as wrong."""


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows divided by their lengths (rows of zeros stay)."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, 1e-12), dtype=np.float32)


def most_similar(
    embedding: Embedding,
    positive: Asked = (),
    negative: Asked = (),
    *,
    n: int = 10,
    top: int | None = None,
) -> list[tuple[str, float]]:
    """The n words whose unit vectors are nearest to sum(positive) - sum(negative), with cosines.

    Args:
        embedding: A vocabulary and its vectors, such as a `Word2Vec`.
        positive: Words or vectors (D), or one of them, whose unit vectors are added.
        negative: Those whose unit vectors are subtracted.
        n: How many; the words asked about are left out.
        top: Search so many most frequent words alone.

    Raises ValueError without a word to ask about, for n or top below 1, and for an unknown word.

    Example:
        >>> import numpy as np
        >>> from quire.papers.word2vec import Word2Vec, Vocabulary, most_similar
        >>> model = Word2Vec(dim=2)
        >>> model.vocabulary = Vocabulary(["east", "south", "southeast"], [3, 2, 1])
        >>> model.vectors = np.array([[1, 0], [0, 1], [1, 1]], np.float32)
        >>> [word for word, _ in most_similar(model, ["east", "south"], n=1)]
        ['southeast']
    """
    positive, negative = _several(positive), _several(negative)
    vocabulary = embedding.vocabulary
    if not positive and not negative:
        raise ValueError("name at least one word, in positive or negative")
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    if top is not None and top < 1:
        raise ValueError(f"top must be at least 1, got {top}")
    asked = [*positive, *negative]
    rows = [_row(vocabulary, word) for word in asked if isinstance(word, str)]
    given = [
        embedding.vectors[_row(vocabulary, word)] if isinstance(word, str) else word
        for word in asked
    ]
    signs = np.array([1] * len(positive) + [-1] * len(negative), dtype=np.float32)
    target = unit(signs @ unit(np.stack(given)))
    table = embedding.vectors[:top]
    cosine = (table if isinstance(embedding, UnitVectors) else unit(table)) @ target
    cosine[[row for row in rows if row < len(cosine)]] = -np.inf
    # Those that may be among the n best, then in order, the more frequent of equal ones first.
    n = min(n, len(cosine))
    near = np.flatnonzero(cosine >= np.partition(cosine, -n)[-n])
    best = near[np.argsort(-cosine[near], kind="stable")][:n]
    return [(vocabulary.words[i], float(cosine[i])) for i in best if np.isfinite(cosine[i])]


def _several(asked: Asked) -> list[str | NDArray[np.float32]]:
    """What is asked about as a list, where it may be one word or one vector."""
    vector = isinstance(asked, np.ndarray) and asked.ndim == 1 and asked.dtype.kind == "f"
    single = isinstance(asked, str) or vector
    return [asked] if single else list(asked)  # type: ignore[list-item]


def _row(vocabulary: Vocabulary, word: str) -> int:
    if word not in vocabulary:
        raise ValueError(f"'{word}' is not in the vocabulary of {len(vocabulary)} words")
    return vocabulary[word]


class UnitVectors:
    """Vectors divided by their lengths once, for many questions: a question is then one product.

    It is a copy: what training changes afterwards does not show. embedding: a vocabulary and its
    vectors, such as a `Word2Vec`.

    Example:
        >>> import numpy as np
        >>> from quire.papers.word2vec import UnitVectors, Vocabulary, Word2Vec
        >>> model = Word2Vec(dim=2)
        >>> model.vocabulary = Vocabulary(["east", "south", "southeast"], [3, 2, 1])
        >>> model.vectors = np.array([[2, 0], [0, 1], [1, 1]], np.float32)
        >>> ready = UnitVectors(model)
        >>> ready["east"].tolist(), round(ready.cosine("east", "southeast"), 3)
        ([1.0, 0.0], 0.707)
        >>> [word for word, _ in ready.most_similar(ready["south"], n=2)]
        ['south', 'southeast']
    """

    def __init__(self, embedding: Embedding) -> None:
        self.vocabulary = embedding.vocabulary
        self.vectors = unit(embedding.vectors)
        """(words, D), each of length 1 (or 0)."""

    def __getitem__(self, word: str) -> NDArray[np.float32]:
        """The unit vector of a word, (D); KeyError where it is unknown."""
        return self.vectors[self.vocabulary[word]]

    def __contains__(self, word: object) -> bool:
        return word in self.vocabulary

    def most_similar(
        self, positive: Asked = (), negative: Asked = (), *, n: int = 10, top: int | None = None
    ) -> list[tuple[str, float]]:
        """As the function `most_similar`, without dividing all vectors by their lengths."""
        return most_similar(self, positive, negative, n=n, top=top)

    def cosine(self, first: str, second: str) -> float:
        """The cosine of two words; KeyError where one is unknown."""
        return float(self[first] @ self[second])


def analogies(
    embedding: Embedding,
    questions: Mapping[str, Iterable[Question]],
    *,
    top: int | None = 30_000,
    rule: Rule = "add",
    fold_case: bool = True,
) -> Analogies:
    """Share of questions a : b :: c : ? whose nearest word is d, a, b and c left out (section 4).

    Questions with a word outside the searched vocabulary are skipped and show in the coverage.

    Args:
        embedding: A vocabulary and its vectors, such as a `Word2Vec`.
        questions: By section, as `quire.data.word_analogy` gives them.
        top: Search (and ask about) so many most frequent words alone.
        rule: 3CosAdd or 3CosMul.
        fold_case: Compare in upper case; the most frequent of words that become equal stays.

    Raises ValueError for another rule.
    """
    if rule not in ("add", "mul"):
        raise ValueError(f"rule must be 'add' or 'mul', got {rule!r}")
    # The vocabulary is sorted by count, so the first of equal words is the most frequent one.
    index: dict[str, int] = {}
    for row, word in enumerate(embedding.vocabulary.words[:top]):
        index.setdefault(word.upper() if fold_case else word, row)
    table = unit(embedding.vectors[list(index.values())])
    index = {word: row for row, word in enumerate(index)}
    right: dict[str, NDArray[np.bool_]] = {}
    asked = 0
    for section, rows in questions.items():
        quads = [[w.upper() if fold_case else w for w in row] for row in rows]
        asked += len(quads)
        known = [[index[w] for w in quad] for quad in quads if all(w in index for w in quad)]
        right[section] = _answers(table, np.array(known, dtype=np.int64).reshape(-1, 4), rule)
    groups = {
        "semantic": [v for k, v in right.items() if not k.startswith("gram")],
        "syntactic": [v for k, v in right.items() if k.startswith("gram")],
        "total": list(right.values()),
    }
    joined = right | {k: np.concatenate([*v, np.zeros(0, bool)]) for k, v in groups.items()}
    accuracy = {k: 100 * float(v.mean()) if len(v) else float("nan") for k, v in joined.items()}
    good, covered = joined["total"].sum(), len(joined["total"])
    return Analogies(accuracy, covered / max(1, asked), 100 * float(good) / max(1, asked))


def _answers(
    table: NDArray[np.float32], questions: NDArray[np.int64], rule: Rule
) -> NDArray[np.bool_]:
    """Which questions (rows a, b, c, d) are answered right."""
    right = np.zeros(len(questions), dtype=bool)
    for begin in range(0, len(questions), 256):  # (256, words) scores at a time
        part = questions[begin : begin + 256]
        a, b, c, d = part.T
        if rule == "add":
            score = (table[b] - table[a] + table[c]) @ table.T
        else:
            near = [(table[x] @ table.T + 1) / 2 for x in (a, b, c)]
            score = near[1] * near[2] / (near[0] + 1e-3)
        # The answer is mostly a, b or c itself where they are not left out.
        np.put_along_axis(score, part[:, :3], -np.inf, axis=1)
        right[begin : begin + 256] = score.argmax(1) == d
    return right


def similarity(
    embedding: Embedding, pairs: Iterable[tuple[str, str, float]], *, fold_case: bool = True
) -> Similarity:
    """Spearman's correlation of cosines with people's ratings; pairs with unknown words are left
    out and show in the coverage.

    pairs: as `quire.data.word_similarity` gives them. fold_case as in `analogies`.
    """
    from scipy.stats import spearmanr  # takes half a second and 75 MB to import

    index: dict[str, int] = {}
    for row, word in enumerate(embedding.vocabulary.words):
        index.setdefault(word.upper() if fold_case else word, row)
    rated = [(x.upper() if fold_case else x, y.upper() if fold_case else y, s) for x, y, s in pairs]
    known = [(index[x], index[y], s) for x, y, s in rated if x in index and y in index]
    coverage = len(known) / max(1, len(rated))
    if len(known) < 2:
        return Similarity(float("nan"), coverage)
    first, second, score = (np.array(column) for column in zip(*known, strict=True))
    table = embedding.vectors
    cosine = (unit(table[first]) * unit(table[second])).sum(1)
    return Similarity(float(spearmanr(cosine, score).statistic), coverage)
