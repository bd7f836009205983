"""Text: corpora as files and articles, analogy questions, and rated pairs of words."""

import gzip
import lzma
import os
from pathlib import Path

from quire.data import store

Question = tuple[str, str, str, str]
"""a, b, c, d: a is to b as c is to d."""

Pair = tuple[str, str, float]
"""Two words and the similarity that people gave them."""


def text_file(name: str, root: str | os.PathLike[str] | None = None) -> Path:
    """The file of a corpus, "wiki_en" or "text8"; its name ends in `.xz` where it is compressed.

    Raises DataMissing if it is not there, ValueError for a dataset that is not one file of text.
    """
    if name not in ("text8", "wiki_en"):
        raise ValueError(f"text_file knows text8 and wiki_en, got {name!r}")
    return store.files(name, root)[0]


def wiki_en(root: str | os.PathLike[str] | None = None) -> list[str]:
    """The first 3,803 articles of English Wikipedia as of 2015, without markup: 10.7 M words.

    Each begins with its title. There is no official split. Raises DataMissing.
    """
    return _read(text_file("wiki_en", root)).split("\n\n\n")


def text8(root: str | os.PathLike[str] | None = None) -> str:
    """100 million characters of English Wikipedia as of 2006, a to z and blanks; DataMissing."""
    return _read(text_file("text8", root))


def word_analogy(
    root: str | os.PathLike[str] | None = None, kind: str = "words"
) -> dict[str, list[Question]]:
    """Analogy questions by section, in their order and spelling.

    kind: "words" (19,544 in 14 sections, of which the first five are semantic, the others' names
    begin with "gram") or "phrases" (3,218 in 5 sections, words joined by "_"). Raises DataMissing,
    and ValueError for another kind or a line that is neither a section nor four words.
    """
    if kind not in ("words", "phrases"):
        raise ValueError(f"kind must be 'words' or 'phrases', got {kind!r}")
    path = next(path for path in store.files("word_analogy", root) if kind in path.name)
    sections: dict[str, list[Question]] = {}
    section: list[Question] | None = None
    for number, line in enumerate(_read(path).splitlines(), 1):
        words = line.split()
        if len(words) > 1 and words[0] == ":":
            section = sections.setdefault(" ".join(words[1:]), [])
        elif len(words) == 4 and section is not None:
            section.append((words[0], words[1], words[2], words[3]))
        elif words:
            raise ValueError(f"{path.name}, line {number}: four words or ': section' expected")
    return sections


def word_similarity(root: str | os.PathLike[str] | None = None) -> dict[str, list[Pair]]:
    """Rated pairs by set: WS-353-ALL, WS-353-SIM, WS-353-REL, SIMLEX-999, SimVerb-3500.

    Raises DataMissing, and ValueError for a line that is not two words and a number.
    """
    sets = {}
    for path in store.files("word_similarity", root):
        pairs: list[Pair] = []
        for number, line in enumerate(_read(path).splitlines(), 1):
            try:
                first, second, score = line.split()
                pairs.append((first, second, float(score)))
            except ValueError:
                raise ValueError(
                    f"{path.name}, line {number}: two words and a number expected"
                ) from None
        sets[path.name.removeprefix("EN-").removesuffix(".txt")] = pairs
    return sets


def _read(path: Path) -> str:
    """The text of a file: plain, `.gz` or `.xz`."""
    if path.suffix == ".gz":
        content = gzip.decompress(path.read_bytes())
    else:
        content = path.read_bytes()
        content = lzma.decompress(content) if path.suffix == ".xz" else content
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path.name} is not UTF-8 text: byte {error.start}") from None
