"""The files of word2vec: vectors as text or binary, counts as text.

Text: a header `W D`, then a line `word x_1 ... x_D` a word. Binary: the same header, then word,
blank, D little-endian float32 (and a newline, which not every program writes). The suffix says
which: `.txt` or `.vec` is text, `.bin` binary; `.gz` after it compresses.
"""

import codecs
import contextlib
import gzip
import itertools
import os
import warnings
import zlib
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quire.papers.word2vec.vocabulary import Vocabulary, check_word

PathLike = str | os.PathLike[str]
Vectors = NDArray[np.float32]

CHUNK = 1 << 20
"""Bytes of a binary file that are read together."""


def save_vectors(
    path: PathLike,
    vocabulary: Vocabulary,
    vectors: Vectors,
    *,
    counts: PathLike | None = None,
    binary: bool | None = None,
) -> None:
    """Write vectors (words, D), and with `counts` the vocabulary file there (`word count` lines).

    An existing file is replaced only once the new one is whole.

    Args:
        path: Its suffix says the format.
        vocabulary: The words.
        vectors: Their vectors (words, D).
        counts: Where the vocabulary file goes; None writes none.
        binary: The format, for another suffix.

    Raises ValueError for another suffix without `binary`, and where sizes differ.

    Example:
        >>> import numpy as np, tempfile
        >>> from quire.papers.word2vec import Vocabulary, load_vectors, save_vectors
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_vectors(f"{folder}/v.bin", Vocabulary(["a", "b"], [2, 1]), np.eye(2, 3))
        ...     vocabulary, vectors = load_vectors(f"{folder}/v.bin")
        >>> vocabulary.words, vectors.shape
        (['a', 'b'], (2, 3))
    """
    binary = _is_binary(Path(path)) if binary is None else binary
    if len(vectors) != len(vocabulary):
        raise ValueError(f"{len(vocabulary)} words but {len(vectors)} vectors")
    _write(Path(path), _content(vocabulary, vectors, binary=binary))
    if counts is not None:
        lines = (
            f"{word} {count}\n".encode()
            for word, count in zip(vocabulary, vocabulary.counts, strict=True)
        )
        _write(Path(counts), lines)


def load_vectors(
    path: PathLike,
    *,
    counts: PathLike | None = None,
    limit: int | None = None,
    binary: bool | None = None,
    strict: bool = True,
) -> tuple[Vocabulary, Vectors]:
    """Read vectors, from this library, gensim, the authors' program or another.

    A byte-order mark, tabs between the columns of a text and blank lines at its end do no harm.
    Memory stays near that of the matrix.

    Args:
        path: The vectors.
        counts: Their vocabulary file (also .gz). A count of 0, which the authors' program writes
            for `</s>`, is taken as 1. None: the order stands in (`Vocabulary.ranked`).
        limit: Read so many words from the beginning, the most frequent ones as files go.
        binary: The format, for another suffix than .txt, .vec or .bin.
        strict: Refuse a file with an odd entry. False reads what there is, and warns: of words
            that stand twice the first stays, blanks in a word become `_`, what is not UTF-8 is
            replaced by U+FFFD, rows without D finite numbers are left out, a text may lack its
            header, and the header's number of words and bytes at the end do not matter; a word
            without a count gets 1.

    Raises ValueError with one line for a file that is missing or not in the format.
    """
    path = Path(path)
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be at least 1, got {limit}")
    binary = _is_binary(path) if binary is None else binary
    try:
        with _open(path, "rb") as file:
            words, vectors = _read(_Source(file, path.name, binary, strict), limit)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path.name} is damaged or cut short: {error}") from None
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror or error}") from None
    if counts is None:
        return Vocabulary(words, None), vectors
    return _with_counts(words, vectors, Path(counts), strict=strict)


def _is_binary(path: Path) -> bool:
    suffix = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
    if suffix not in (".txt", ".vec", ".bin"):
        raise ValueError(
            f"{path.name}: the suffix must be .txt or .vec (text) or .bin (binary), also with .gz; "
            "for another say binary=True or binary=False"
        )
    return suffix == ".bin"


def _open(path: Path, mode: str) -> IO[bytes]:
    return gzip.open(path, mode) if path.name.endswith(".gz") else path.open(mode)  # type: ignore[return-value]


# Writing


def _content(vocabulary: Vocabulary, vectors: Vectors, *, binary: bool) -> Iterator[bytes]:
    yield f"{vectors.shape[0]} {vectors.shape[1]}\n".encode()
    for word, row in zip(vocabulary, vectors, strict=True):
        row = row.astype("<f4")
        if binary:
            yield word.encode() + b" " + row.tobytes() + b"\n"
        else:
            # repr of a float32 is the shortest text that reads back as the same number.
            yield f"{word} {' '.join(map(str, row))}\n".encode()


def _write(path: Path, content: Iterator[bytes]) -> None:
    part = path.with_name(f".{path.name}.part" + (".gz" if path.suffix == ".gz" else ""))
    try:
        with _open(part, "wb") as file:
            file.writelines(content)
        part.replace(path)
    except OSError as error:
        raise ValueError(f"cannot write {path}: {error.strerror or error}") from None
    finally:
        part.unlink(missing_ok=True)


# Reading


class _Source(NamedTuple):
    """An open file of vectors and how it is read."""

    file: IO[bytes]
    name: str
    binary: bool
    strict: bool


class _Row(NamedTuple):
    word: bytes
    numbers: Vectors | None
    """(D); None where they are no D numbers."""
    where: str


def _read(source: _Source, limit: int | None) -> tuple[list[str], Vectors]:
    """Words and vectors (words, D), written into the matrix one by one."""
    size, dim, first = _header(source)
    room = size if limit is None else min(size or limit, limit)
    vectors = _matrix(room or 1024, dim, source.name)
    words: dict[str, None] = {}
    odd: list[str] = []
    rows = _binary_rows(source, size, dim) if source.binary else _text_rows(source, dim, first)
    complete = True
    with contextlib.closing(rows):
        for row in rows:
            word, fault = _word(row, words, strict=source.strict)
            if fault is not None:
                if source.strict:
                    raise ValueError(f"{source.name}, {row.where}: {fault}")
                odd.append(f"{row.where}: {fault}")
            if word is None or row.numbers is None:
                continue
            if len(words) == len(vectors):  # no header, or a wrong one
                vectors = _grown(vectors, size if source.strict else None, source.name)
            vectors[len(words)] = row.numbers
            words[word] = None
            if len(words) == limit:
                complete = False
                break
    if source.strict and complete and len(words) != size:
        raise ValueError(f"{source.name}: {len(words)} words, the header says {size}")
    if not words:
        raise ValueError(f"{source.name} holds no vectors")
    if odd:
        warnings.warn(f"{source.name}: {len(odd)} odd entries, the first in {odd[0]}", stacklevel=3)
    return [*words], vectors[: len(words)]


def _word(row: _Row, before: dict[str, None], *, strict: bool) -> tuple[str | None, str | None]:
    """A row's word (None leaves the row out), and what is wrong with it, if anything."""
    if row.numbers is None or not np.isfinite(row.numbers).all():
        return None, "numbers expected" if row.numbers is None else "a number is not finite"
    fault = None
    content = row.word if strict else b"_".join(row.word.split())
    if content != row.word:
        fault = f"{row.word!r} is no word"
    try:
        word = content.decode()
    except UnicodeDecodeError as error:
        word, fault = content.decode(errors="replace"), f"a word is not UTF-8 ({error.reason})"
    try:
        check_word(word)
    except ValueError as error:
        return None, str(error)
    if word in before:
        return None, f"{word!r} stands twice"
    return word, fault


def _matrix(rows: int, dim: int, name: str) -> Vectors:
    try:
        return np.empty((rows, dim), np.float32)
    except (MemoryError, ValueError):
        raise ValueError(
            f"{name}: {rows:,} x {dim:,} numbers do not fit into memory: give a limit"
        ) from None


def _grown(vectors: Vectors, size: int | None, name: str) -> Vectors:
    if size is not None:
        raise ValueError(f"{name}: more words than the {size} that the header says")
    larger = _matrix(2 * len(vectors), vectors.shape[1], name)
    larger[: len(vectors)] = vectors
    return larger


def _header(source: _Source) -> tuple[int | None, int, bytes | None]:
    """Words, dimensions, and the first line where it is a row and no header (not strict)."""
    line = source.file.readline(CHUNK).removeprefix(codecs.BOM_UTF8)
    try:
        size, dim = (int(number) for number in line.split())
    except ValueError:
        size = dim = 0
    if size >= 1 and dim >= 1:
        return size, dim, None
    columns = len(line.split()) - 1
    if source.binary or source.strict or columns < 1:
        hint = "" if source.binary or columns < 1 else " (strict=False reads a file without it)"
        raise ValueError(
            f"{source.name}: the first line must say how many words and dimensions{hint}"
        )
    return None, columns, line


def _text_rows(source: _Source, dim: int, first: bytes | None) -> Generator[_Row, None, None]:
    number = 1
    if first is not None:
        yield _text_row(first, dim, "line 1", source)
    blank = 0
    for number, line in enumerate(source.file, 2):
        if not line.strip():
            blank = blank or number
            continue
        if blank and source.strict:  # only at the end blank lines do no harm
            raise ValueError(f"{source.name}, line {blank}: 0 numbers, the header says {dim}")
        yield _text_row(line, dim, f"line {number}", source)


def _text_row(line: bytes, dim: int, where: str, source: _Source) -> _Row:
    line = line.rstrip(b" \t\r\n")
    word, *values = line.split(b" ")
    if len(values) != dim:
        # Tabs in place of blanks, or several of them; the word is what stands before D numbers.
        parts = line.rsplit(None, dim)
        exact = len(line.split()) == dim + 1
        if source.strict and not exact:
            raise ValueError(
                f"{source.name}, {where}: {len(line.split()) - 1} numbers, the header says {dim}"
            )
        word, values = parts[0], parts[1:]
    try:
        numbers = np.array(values, dtype=np.float32)
    except ValueError:
        numbers = None
    return _Row(word, numbers if numbers is not None and len(values) == dim else None, where)


def _binary_rows(source: _Source, size: int | None, dim: int) -> Generator[_Row, None, None]:
    content, place = b"", 0
    for row in range(size) if source.strict and size else itertools.count():
        blank = content.find(b" ", place)
        while blank < 0 or len(content) < blank + 1 + 4 * dim:
            more = source.file.read(CHUNK)
            if not more or (blank < 0 and len(content) - place > CHUNK):
                if source.strict:
                    raise ValueError(
                        f"{source.name} is cut short, or its rows are not of {dim} numbers: "
                        f"{row} of {size} words are whole"
                    )
                return
            content, place = content[place:] + more, 0
            blank = content.find(b" ")
        word = content[place:blank].lstrip(b"\n")
        place = blank + 1 + 4 * dim
        yield _Row(word, np.frombuffer(content[blank + 1 : place], "<f4"), f"word {row + 1}")
    if source.strict and (content[place:] + source.file.read(2)).strip(b"\n"):
        raise ValueError(f"{source.name}: bytes are left over; are its rows of {dim} numbers?")


def _with_counts(
    words: list[str], vectors: Vectors, path: Path, *, strict: bool
) -> tuple[Vocabulary, Vectors]:
    """The words by their counts in a file, and the vectors in that order."""
    counts: dict[str, int] = {}
    try:
        with _open(path, "rb") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                try:
                    word, count = line.removeprefix(codecs.BOM_UTF8).rsplit(None, 1)
                    counts[word.decode(errors="strict" if strict else "replace")] = int(count)
                except ValueError:
                    if strict:
                        raise ValueError(
                            f"{path.name} is no file of `word count` lines: line {number}"
                        ) from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path.name} is damaged or cut short: {error}") from None
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror or error}") from None
    missing = next((word for word in words if word not in counts), None)
    if strict and missing is not None:
        raise ValueError(f"{path.name} has no count of {missing!r}")
    found = np.array([counts.get(word, 1) for word in words])
    if (found < 0).any():
        raise ValueError(f"{path.name}: a count is below 0")
    # The authors' program counts 0 for `</s>`, which it may never have met.
    found = np.maximum(found, 1)
    order = np.argsort(-found, kind="stable")
    if (np.diff(order) != 1).any():
        words, found, vectors = [words[i] for i in order], found[order], vectors[order]
    return Vocabulary(words, found), vectors
