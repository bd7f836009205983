"""Corpora of any size as words' rows in a file: read once, counted, never whole in memory.

A corpus is a path (plain text, `.gz` or `.xz`; words are what whitespace separates, a line is a
sentence) or an iterable of lists of words (a generator will do: it is read once).
"""

import codecs
import contextlib
import gzip
import lzma
import os
import tempfile
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from quire.papers.word2vec.vocabulary import Vocabulary, check_word

Corpus = str | os.PathLike[str] | Iterable[Sequence[str]]
"""A path, or lists of words."""

END = "</s>"
"""The word that ends a sentence, as in the authors' code; a corpus may also spell it out."""

BLOCK = 1 << 18
"""Bytes of text, or rows, that are taken in together."""


def blocks(corpus: Corpus) -> Iterator[list[str]]:
    """Words in large blocks, `</s>` after each sentence.

    Raises ValueError for a file that is missing, not UTF-8, damaged or cut short, and for
    sentences that are not lists of words (see `check_word`).
    """
    if isinstance(corpus, str | os.PathLike):
        yield from _file_blocks(Path(corpus))
        return
    if not isinstance(corpus, Iterable):
        raise ValueError(f"a corpus is a path or lists of words, got {type(corpus).__name__}")
    block: list[str] = []
    for sentence in corpus:
        if isinstance(sentence, str | bytes | bytearray):
            raise ValueError(
                f"a sentence must be a list of words, got {type(sentence).__name__}: "
                "split it, or give a path"
            )
        try:
            block.extend(sentence)
        except TypeError:
            raise ValueError(
                f"a sentence must be a list of words, got {type(sentence).__name__}"
            ) from None
        block.append(END)
        if len(block) > BLOCK // 8:
            yield _checked(block)
            block = []
    yield _checked(block)


def _checked(block: list[str]) -> list[str]:
    try:
        distinct = set(block)
    except TypeError:  # something that is no word, such as a list
        other = next(kind for kind in map(type, block) if kind is not str)
        raise ValueError(
            f"a sentence must be a list of words of type str, got {other.__name__}"
        ) from None
    for word in distinct:
        check_word(word)
    return block


def _file_blocks(path: Path) -> Iterator[list[str]]:
    decoder = codecs.getincrementaldecoder("utf-8")()
    done, rest = 0, ""
    try:
        with _open(path) as file:
            while content := file.read(BLOCK):
                if done == 0 and content.startswith(codecs.BOM_UTF8):
                    done, content = 3, content[3:]  # no part of the first word
                # Where the decoder begins: at a character that was not whole, if there is one.
                begin = done - len(decoder.getstate()[0])
                done += len(content)
                # Words are cut at whitespace only; what follows the last one is held back.
                head, rest = _cut(rest + decoder.decode(content))
                if len(rest) > BLOCK:
                    raise ValueError(
                        f"{path.name} holds over {BLOCK:,} characters without whitespace: "
                        "words are what whitespace separates"
                    )
                yield _words(head)
        begin = done - len(decoder.getstate()[0])
        decoder.decode(b"", final=True)
        yield [*_words(rest), END]
    except UnicodeDecodeError as error:
        raise ValueError(f"{path.name} is not UTF-8 text: byte {begin + error.start}") from None
    except (EOFError, lzma.LZMAError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path.name} is damaged or cut short: {error}") from None
    except OSError as error:
        raise ValueError(f"cannot read the corpus {path}: {error.strerror or error}") from None


def _cut(text: str) -> tuple[str, str]:
    """The text to its last whitespace, of whatever kind, and the rest."""
    if not text or text[-1].isspace():
        return text, ""
    last = text.rsplit(None, 1)[-1]
    return text[: -len(last)], last


def _open(path: Path) -> IO[bytes]:
    if path.suffix == ".gz":
        return gzip.open(path)  # type: ignore[return-value]
    return lzma.open(path) if path.suffix == ".xz" else path.open("rb")


def _words(text: str) -> list[str]:
    return text.replace("\n", f" {END} ").split()


class Tokens:
    """A corpus as rows of a vocabulary: int32, -1 after each sentence, other words left out.

    rows: the array, or a file of int32 of which only pieces are mapped into memory.
    """

    def __init__(self, rows: NDArray[np.int32] | Path) -> None:
        self.rows = rows
        size = rows.stat().st_size // 4 if isinstance(rows, Path) else len(rows)
        self.size = size

    def piece(self, begin: int, end: int) -> NDArray[np.int32]:
        """Rows begin..end, or to the last one."""
        end = min(end, self.size)
        if isinstance(self.rows, Path):
            # A map for a piece alone: address space stays flat, too.
            return np.memmap(
                self.rows, np.int32, mode="r", offset=4 * begin, shape=(max(0, end - begin),)
            )
        return self.rows[begin:end]

    def pieces(self, size: int) -> list[tuple[int, int, int]]:
        """(begin, end, words before) of pieces of about `size` rows, cut at ends of sentences.

        A sentence that runs on over 1,000 words, the most that training takes, is cut anywhere.
        """
        found, begin, before = [], 0, 0
        while begin < self.size:
            rows = self.piece(begin, begin + size + 1000)
            ends = np.flatnonzero(rows[size:] < 0)
            end = begin + min(len(rows), size + int(ends[0]) + 1 if len(ends) else size)
            found.append((begin, end, before))
            before += int((rows[: end - begin] >= 0).sum())
            begin = end
        return found


def read_corpus(
    corpus: Corpus, *, min_count: int = 5, folder: Path, known: Vocabulary | None = None
) -> tuple[Vocabulary, Tokens]:
    """Count a corpus and write it into `folder` as rows, in one pass over the text.

    Equal counts are ordered by first appearance. Gives the vocabulary and the rows.

    Args:
        corpus: A path, or lists of words.
        min_count: Words seen fewer times are dropped.
        folder: Where the rows are written.
        known: A vocabulary whose counts are added; its words stay and new ones join them.

    Raises ValueError for an empty corpus and where no word is frequent enough.
    """
    known = known or Vocabulary([], [])
    # Rows are given in order of appearance first: one pass, whatever the counts will be.
    index: defaultdict[str, int] = defaultdict()
    index.default_factory = index.__len__
    index[END]
    # The authors' files name the end of a sentence as a word. It keeps its vector, under a name
    # that no corpus can hold: `</s>` itself still ends a sentence.
    hidden = END + "\n"
    for word in (*known.words, *known.rare):
        index[hidden if word == END else word]
    raw = folder / "raw.int32"
    with raw.open("wb") as file:
        for block in blocks(corpus):
            np.fromiter(map(index.__getitem__, block), np.int32, len(block)).tofile(file)
    # Then they are counted, sorted and written once more, a block at a time.
    tokens = Tokens(raw)
    pieces = range(0, tokens.size, BLOCK)
    seen = np.zeros(len(index), dtype=np.int64)
    for begin in pieces:
        seen += np.bincount(tokens.piece(begin, begin + BLOCK), minlength=len(index))
    if seen[0] == tokens.size:
        raise ValueError("the corpus is empty: it holds no words")
    size = len(known)
    if known.ranked:  # nothing was counted: the new corpus's counts are taken, at least 1
        seen[1 : size + 1] = np.maximum(seen[1 : size + 1], 1)
    else:
        seen[1 : size + 1] += known.counts
    rare = np.fromiter(known.rare.values(), np.int64, len(known.rare))
    seen[size + 1 : size + 1 + len(rare)] += rare
    words = [END if word == hidden else str(word) for word in index]
    vocabulary, lookup = _choose(words, seen, min_count, size)
    path = folder / "rows.int32"
    with path.open("wb") as file:
        for begin in pieces:
            rows = lookup[tokens.piece(begin, begin + BLOCK)]
            rows[rows != DROPPED].tofile(file)
    raw.unlink()
    return vocabulary, Tokens(path)


DROPPED = -2


def _choose(
    words: list[str], seen: NDArray[np.int64], min_count: int, known: int
) -> tuple[Vocabulary, NDArray[np.int32]]:
    """The vocabulary of words with their counts, and their rows (`DROPPED` for rare ones)."""
    # Row 0 is the end of a sentence: no word of the vocabulary, whatever its count.
    stays = seen >= min_count
    stays[1 : known + 1] = True
    stays[0] = False
    chosen = np.flatnonzero(stays)
    if not len(chosen):
        most = int(seen[1:].max())
        raise ValueError(
            f"no word appears min_count = {min_count} times (the most frequent one {most}): "
            "lower min_count"
        )
    chosen = chosen[np.argsort(-seen[chosen], kind="stable")]
    rare = {words[i]: int(seen[i]) for i in np.flatnonzero(~stays)[1:]}
    lookup = np.full(len(words), DROPPED, dtype=np.int32)
    lookup[chosen] = np.arange(len(chosen))
    lookup[0] = -1
    return Vocabulary([words[i] for i in chosen], seen[chosen], rare), lookup


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A folder for the rows while training lasts (TMPDIR says where)."""
    with tempfile.TemporaryDirectory(prefix="word2vec-") as folder:
        yield Path(folder)
