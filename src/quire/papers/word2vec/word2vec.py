"""Word2Vec: vectors of words from running text (sections 2 and 3)."""

import os
from collections.abc import Callable
from numbers import Integral
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from quire.papers.word2vec.corpus import Corpus, read_corpus, scratch
from quire.papers.word2vec.formats import load_vectors, save_vectors
from quire.papers.word2vec.queries import Asked, most_similar
from quire.papers.word2vec.training.reference import Form
from quire.papers.word2vec.training.session import Progress, Session, Training, build_tables
from quire.papers.word2vec.vocabulary import Vocabulary

Architecture = Literal["skip-gram", "cbow"]
Loss = Literal["negative", "hierarchical", "nce", "full"]


class Word2Vec:
    """Vectors of words, learned by predicting words from their neighbours.

    Args:
        dim: Dimensions D.
        window: Largest distance of a context word; each place draws its own from 1..window.
        negative: k, noise words of a pair (losses "negative" and "nce").
        sample: t of the subsampling of frequent words; 0 keeps all.
        min_count: Words seen fewer times are ignored.
        epochs: Passes over the corpus.
        architecture: "skip-gram" or "cbow".
        loss: "negative" (equation 4), "hierarchical" (equation 3), "nce" or "full" (equation 2).
        threads: One repeats bit for bit; several write without locks (HogWild), which does not.
        seed: What is drawn follows from it.

    The full softmax is for small vocabularies. Training needs numba
    (`pip install 'quire-papers[fast]'`); without it PyTorch does the work, much slower. What else
    can be chosen stands in `Training`, which `fit` takes.

    Example:
        >>> from quire.papers.word2vec import Word2Vec
        >>> corpus = [["a", "small", "cat"], ["a", "small", "dog"]] * 50
        >>> model = Word2Vec(dim=8, epochs=2, sample=0).fit(corpus)
        >>> model.vectors.shape, model.vocabulary.words[:2]
        ((4, 8), ['a', 'small'])
    """

    def __init__(
        self,
        dim: int = 100,
        window: int = 5,
        *,
        negative: int = 5,
        sample: float = 1e-3,
        min_count: int = 5,
        epochs: int = 5,
        architecture: Architecture = "skip-gram",
        loss: Loss = "negative",
        threads: int = 1,
        seed: int = 0,
    ) -> None:
        self.dim, self.window = _whole("dim", dim), _whole("window", window)
        self.min_count, self.epochs = _whole("min_count", min_count), _whole("epochs", epochs)
        self.threads, self.seed = _whole("threads", threads), _whole("seed", seed, least=0)
        noisy = loss not in ("hierarchical", "full")  # the others draw none: 0 will do
        self.negative = _whole("negative", negative, least=int(noisy))
        if not 0 <= sample < 1:
            raise ValueError(f"sample must lie in [0, 1), got {sample}")
        if architecture not in ("skip-gram", "cbow"):
            raise ValueError(f"architecture must be 'skip-gram' or 'cbow', got {architecture!r}")
        if loss not in ("negative", "hierarchical", "nce", "full"):
            raise ValueError(
                f"loss must be 'negative', 'hierarchical', 'nce' or 'full', got {loss!r}"
            )
        self.sample, self.architecture, self.loss = float(sample), architecture, loss
        self.vocabulary = Vocabulary([], [])
        self.vectors: NDArray[np.float32] = np.zeros((0, self.dim), np.float32)
        """Vectors of the words as input, (words, D), in the vocabulary's order."""
        self.output: NDArray[np.float32] = np.zeros((0, self.dim), np.float32)
        """Vectors of the words as output, or of the Huffman tree's inner nodes (W - 1)."""

    # Training

    def fit(
        self,
        corpus: Corpus,
        *,
        training: Training | None = None,
        progress: Callable[[Progress], object] | None = None,
    ) -> "Word2Vec":
        """Learn anew from a corpus: a path (plain, .gz, .xz) or lists of words.

        progress: called about once a second (`print` will do); training ends where it returns
        True. After a Ctrl-C the vectors stand as they were then, and it is raised on.

        Raises ValueError for an empty corpus, one without a frequent enough word, and a file that
        cannot be read; the model then stays as it was.
        """
        with scratch() as folder:
            session = self.begin(corpus, folder, training=training)
            self._run(session, progress)
        return self

    def partial_fit(
        self,
        corpus: Corpus,
        *,
        training: Training | None = None,
        progress: Callable[[Progress], object] | None = None,
    ) -> "Word2Vec":
        """Go on with another corpus: counts add up, words that become frequent enough join.

        The learning rate falls from its start once more. With hierarchical softmax the tree is
        built anew from the new counts and its nodes begin at zero.
        """
        with scratch() as folder:
            session = self.begin(corpus, folder, training=training, known=self.vocabulary)
            self._run(session, progress)
        return self

    def begin(
        self,
        corpus: Corpus,
        folder: Path,
        *,
        training: Training | None = None,
        known: Vocabulary | None = None,
    ) -> Session:
        """Read a corpus and give the session that will train this model on it, step by step.

        Args:
            corpus: A path, or lists of words.
            folder: Where the corpus is kept as rows as long as the session lasts.
            training: What else can be chosen.
            known: The vocabulary to go on from.
        """
        training = training or Training()
        vocabulary, tokens = read_corpus(
            corpus, min_count=self.min_count, folder=folder, known=known
        )
        hierarchical = self.loss == "hierarchical"
        if hierarchical and len(vocabulary) < 2:
            raise ValueError("hierarchical softmax needs at least two words")
        generator = np.random.default_rng((self.seed, len(known or ())))
        size = len(vocabulary)
        vectors = generator.random((size, self.dim), dtype=np.float32)
        vectors -= 0.5
        vectors /= self.dim / (2 * training.start)
        output = np.zeros((size - hierarchical, self.dim), np.float32)
        # Words that are known keep their vectors, in the rows that the new counts give them.
        if known:
            rows = [vocabulary[word] for word in known]
            vectors[rows] = self.vectors
            # The inner nodes of a tree are other nodes once counts change: they begin at zero.
            if not hierarchical and len(self.output) == len(known):
                output[rows] = self.output
        form = Form(
            self.dim,
            self.window,
            0 if self.loss in ("hierarchical", "full") else self.negative,
            self.architecture == "cbow",
            self.loss,
            training.shared_negatives,
            training.cbow_mean,
            training.corrected,
            not training.dynamic_window,
        )
        tables = build_tables(vocabulary, vectors, output, form, self.sample, training)
        session = Session(tokens, tables, form, training, epochs=self.epochs, seed=self.seed)
        self.vocabulary, self.vectors, self.output = vocabulary, vectors, output
        return session

    def _run(self, session: Session, progress: Callable[[Progress], object] | None) -> None:
        try:
            session.run(self.threads, progress)
        finally:
            session.pull()
        if not np.isfinite([self.vectors.min(), self.vectors.max()]).all():
            raise ValueError("the vectors are not finite: lower the learning rate")

    # Use

    def __getitem__(self, word: str) -> NDArray[np.float32]:
        """The vector of a word, (D); KeyError where it is unknown."""
        return self.vectors[self.vocabulary[word]]

    def __contains__(self, word: object) -> bool:
        return word in self.vocabulary

    def most_similar(
        self,
        positive: Asked = (),
        negative: Asked = (),
        n: int = 10,
    ) -> list[tuple[str, float]]:
        """The n words nearest to sum(positive) - sum(negative), with cosines: see `most_similar`.

        `most_similar(["king", "woman"], ["man"])` asks an analogy, `most_similar(["Czech",
        "currency"])` composes (Table 5). For many questions make a `UnitVectors` of the model.
        """
        return most_similar(self, positive, negative, n=n)

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        counts: str | os.PathLike[str] | None = None,
        binary: bool | None = None,
    ) -> None:
        """Write the vectors in word2vec's text (.txt, .vec) or binary format (.bin, also .gz).

        The arguments are those of `save_vectors`.
        """
        save_vectors(path, self.vocabulary, self.vectors, counts=counts, binary=binary)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        counts: str | os.PathLike[str] | None = None,
        limit: int | None = None,
        binary: bool | None = None,
        strict: bool = True,
        **settings: Any,
    ) -> "Word2Vec":
        """A model with the vectors of a file, to ask or to go on from with `partial_fit`.

        The formats hold no output vectors: those begin at zero. Without `counts` none are known,
        and `partial_fit` takes those of its own corpus (1 for a word that it lacks). `</s>`, which
        the authors' program writes, keeps its vector: in a corpus it ends a sentence.

        Args:
            path: The vectors.
            counts: Their vocabulary file.
            limit: Read so many words.
            binary: The format, for an unusual suffix.
            strict: Refuse a file with odd entries: see `load_vectors`.
            settings: The constructor's, for `partial_fit`; `dim` is the file's.

        Raises ValueError as `load_vectors` does, and where `dim` is another.
        """
        vocabulary, vectors = load_vectors(
            path, counts=counts, limit=limit, binary=binary, strict=strict
        )
        dim = vectors.shape[1]
        if settings.get("dim", dim) != dim:
            raise ValueError(f"{Path(path).name} holds {dim} dimensions, not {settings['dim']}")
        model = cls(**settings | {"dim": dim})
        model.vocabulary, model.vectors = vocabulary, vectors
        model.output = np.zeros_like(vectors)
        return model


def _whole(name: str, value: int, *, least: int = 1) -> int:
    """`value` as an int; NumPy's whole numbers will do."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, got {value!r}")
    return int(value)
