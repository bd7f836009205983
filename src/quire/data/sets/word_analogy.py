"""Analogy questions: of words and of phrases."""

import os

from quire.data import store
from quire.data.archives import keep_all
from quire.data.catalogue import Dataset, pinned, versions
from quire.data.text import read_text

_ANALOGY = "https://raw.githubusercontent.com/tmikolov/word2vec/20c129af10659f7c50e86e3be406df663beff438/questions-"

Question = tuple[str, str, str, str]
"""a, b, c, d: a is to b as c is to d."""


DATASET = Dataset(
    summary="analogy questions: 19,544 of words, 3,218 of phrases",
    licence="Apache-2.0",
    home="https://github.com/tmikolov/word2vec",
    sources=(
        pinned(
            _ANALOGY + "words.txt",
            "8c29b3332afc46f3fb8be04cb5297bf96f39aa7131272dff57869b4485b22a36",
        ),
        pinned(
            _ANALOGY + "phrases.txt",
            "55cfc0894d0fe6cf974d106da3e09b5fb2fa6125b6ddc633d06e298dc5aa7901",
        ),
    ),
    layouts=(
        ("questions-words.txt", "questions-phrases.txt"),
        ("questions-words.txt.gz", "questions-phrases.txt.gz"),
    ),
    known=versions(
        {
            "as published, compressed": """
24876e771faf8b97ca33cc0e3157285fe471bd2d72dd944b21a82dc50b95065f  questions-words.txt.gz
878aed07005dcba7644091f386070ba0c0a3d8d39c86894ba101f5fae181d819  questions-phrases.txt.gz
""",
            "as published": """
8c29b3332afc46f3fb8be04cb5297bf96f39aa7131272dff57869b4485b22a36  questions-words.txt
55cfc0894d0fe6cf974d106da3e09b5fb2fa6125b6ddc633d06e298dc5aa7901  questions-phrases.txt
""",
        }
    ),
)


unpack = keep_all


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
    for number, line in enumerate(read_text(path).splitlines(), 1):
        words = line.split()
        if len(words) > 1 and words[0] == ":":
            section = sections.setdefault(" ".join(words[1:]), [])
        elif len(words) == 4 and section is not None:
            section.append((words[0], words[1], words[2], words[3]))
        elif words:
            raise ValueError(f"{path.name}, line {number}: four words or ': section' expected")
    return sections
