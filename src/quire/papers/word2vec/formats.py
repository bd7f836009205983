"""The files of word2vec: vectors as text or binary, counts as text.

Text: a header `W D`, then a line `word x_1 ... x_D` a word. Binary: the same header, then word,
blank, D little-endian float32 (and a newline, which not every program writes). The suffix says
which: `.txt` or `.vec` is text, `.bin` binary; `.gz` after it compresses.
"""

import gzip
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from quire.papers.word2vec.vocabulary import Vocabulary

PathLike = str | os.PathLike[str]


def save_vectors(
    path: PathLike,
    vocabulary: Vocabulary,
    vectors: NDArray[np.float32],
    *,
    counts: PathLike | None = None,
) -> None:
    """Write vectors (words, D), and with `counts` the vocabulary file there (`word count` lines).

    An existing file is replaced only once the new one is whole.

    Args:
        path: Its suffix says the format.
        vocabulary: The words.
        vectors: Their vectors (words, D).
        counts: Where the vocabulary file goes; None writes none.

    Raises ValueError for another
    suffix, for a word that holds whitespace (the formats cannot say it), and where sizes differ.

    Example:
        >>> import numpy as np, tempfile
        >>> from quire.papers.word2vec import Vocabulary, load_vectors, save_vectors
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_vectors(f"{folder}/v.bin", Vocabulary(["a", "b"], [2, 1]), np.eye(2, 3))
        ...     vocabulary, vectors = load_vectors(f"{folder}/v.bin")
        >>> vocabulary.words, vectors.shape
        (['a', 'b'], (2, 3))
    """
    binary = _is_binary(Path(path))
    if len(vectors) != len(vocabulary):
        raise ValueError(f"{len(vocabulary)} words but {len(vectors)} vectors")
    bad = next((word for word in vocabulary if word.split() != [word]), None)
    if bad is not None:
        raise ValueError(f"{bad!r} holds whitespace: word2vec's formats cannot save it")
    rows = np.ascontiguousarray(vectors, dtype="<f4")
    _write(Path(path), _content(vocabulary, rows, binary=binary))
    if counts is not None:
        lines = (
            f"{word} {count}\n".encode()
            for word, count in zip(vocabulary, vocabulary.counts, strict=True)
        )
        _write(Path(counts), lines)


def load_vectors(
    path: PathLike, *, counts: PathLike | None = None
) -> tuple[Vocabulary, NDArray[np.float32]]:
    """Read vectors, from this library, gensim or the authors' program.

    Without a file of `counts` the order of the words stands in for them: W, W - 1, ..., 1.
    Raises ValueError with one line for a file that is missing, cut short, not in the format, with
    rows of another length than the header says or a word that stands twice.
    """
    path = Path(path)
    binary = _is_binary(path)
    try:
        with _open(path, "rb") as file:
            size, dim = _header(file.readline(), path)
            rows = _binary_rows(file, size, dim, path) if binary else _text_rows(file, dim, path)
            words, vectors = _collect(rows, size, dim, path)
    except (EOFError, gzip.BadGzipFile) as error:
        raise ValueError(f"{path.name} is damaged or cut short: {error}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path.name}: a word is not UTF-8 ({error.reason})") from None
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror or error}") from None
    if len(set(words)) != size:
        raise ValueError(f"{path.name}: a word stands twice")
    if counts is None:
        return Vocabulary(words, np.arange(size, 0, -1)), vectors
    return _with_counts(words, vectors, Path(counts))


def _is_binary(path: Path) -> bool:
    suffix = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
    if suffix not in (".txt", ".vec", ".bin"):
        raise ValueError(
            f"{path.name}: the suffix must be .txt or .vec (text) or .bin (binary), also with .gz"
        )
    return suffix == ".bin"


def _open(path: Path, mode: str) -> IO[bytes]:
    return gzip.open(path, mode) if path.name.endswith(".gz") else path.open(mode)  # type: ignore[return-value]


def _content(vocabulary: Vocabulary, rows: NDArray[np.float32], *, binary: bool) -> Iterator[bytes]:
    yield f"{rows.shape[0]} {rows.shape[1]}\n".encode()
    for word, row in zip(vocabulary, rows, strict=True):
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


def _header(line: bytes, path: Path) -> tuple[int, int]:
    try:
        size, dim = (int(number) for number in line.split())
    except ValueError:
        size = dim = 0
    if size < 1 or dim < 1:
        raise ValueError(f"{path.name}: the first line must say how many words and dimensions")
    return size, dim


def _text_rows(file: IO[bytes], dim: int, path: Path) -> Iterator[tuple[str, NDArray[np.float32]]]:
    for number, line in enumerate(file, 2):
        word, *values = line.decode().rstrip().split(" ")
        if len(values) != dim:
            raise ValueError(
                f"{path.name}, line {number}: {len(values)} numbers, the header says {dim}"
            )
        try:
            yield word, np.array(values, dtype=np.float32)
        except ValueError:
            raise ValueError(f"{path.name}, line {number}: numbers expected") from None


def _binary_rows(
    file: IO[bytes], size: int, dim: int, path: Path
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    content, place = b"", 0
    for row in range(size):
        blank = content.find(b" ", place)
        while blank < 0 or len(content) < blank + 1 + 4 * dim:
            more = file.read(1 << 20)
            if not more:
                raise ValueError(
                    f"{path.name} is cut short, or its rows are not of {dim} numbers: "
                    f"{row} of {size} words are whole"
                )
            content, place = content[place:] + more, 0
            blank = content.find(b" ")
        word = content[place:blank].decode().lstrip("\n")
        place = blank + 1 + 4 * dim
        yield word, np.frombuffer(content[blank + 1 : place], "<f4")
    if (content[place:] + file.read(2)).strip(b"\n"):
        raise ValueError(f"{path.name}: bytes are left over; are its rows of {dim} numbers?")


def _collect(
    rows: Iterator[tuple[str, NDArray[np.float32]]], size: int, dim: int, path: Path
) -> tuple[list[str], NDArray[np.float32]]:
    words: list[str] = []
    parts: list[NDArray[np.float32]] = []
    for word, row in rows:
        words.append(word)
        parts.append(row)
    if len(words) != size:
        raise ValueError(f"{path.name}: {len(words)} words, the header says {size}")
    vectors = np.stack(parts).astype(np.float32)
    if vectors.shape != (size, dim) or not np.isfinite(vectors).all():
        raise ValueError(f"{path.name}: a number is not finite")
    return words, vectors


def _with_counts(
    words: list[str], vectors: NDArray[np.float32], path: Path
) -> tuple[Vocabulary, NDArray[np.float32]]:
    try:
        lines = [line.rsplit(" ", 1) for line in path.read_text(encoding="utf-8").splitlines()]
        counts = {word: int(count) for word, count in lines}
        found = np.array([counts[word] for word in words])
    except KeyError as error:
        raise ValueError(f"{path.name} has no count of {error}") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{path.name} is no file of `word count` lines: {error}") from None
    order = np.argsort(-found, kind="stable")
    return Vocabulary([words[i] for i in order], found[order]), vectors[order]
