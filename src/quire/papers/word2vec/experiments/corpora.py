"""Real text as lists of words: a dataset, or a file of the user's own."""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import NonNegativeInt

from quire import data
from quire.data.sets.wiki_en import wiki_en
from quire.lab import Group
from quire.papers.word2vec.phrases import sentences

WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
"""Letters and digits of any script, with apostrophes inside."""


class Source(Group):
    """Which text, and how much of it."""

    name: Literal["wiki_en", "text8"] = "wiki_en"
    """The dataset."""
    file: Path | None = None
    """A text file in its place (plain, .gz, .xz; a line is a sentence)."""
    tokenise: bool = True
    """Take runs of letters and digits, in lower case; else what whitespace separates."""
    words: NonNegativeInt = 0
    """Words of the corpus that are used, from its beginning; 0 takes all."""


class Lines:
    """A source as lists of words, anew each time it is walked over. root: of the datasets."""

    def __init__(self, source: Source, root: Path | None) -> None:
        self.source, self.root = source, root

    def __iter__(self) -> Iterator[list[str]]:
        left = self.source.words or math.inf
        for line in self._lines():
            words = [*line][: int(min(left, len(line)))]
            left -= len(words)
            if words:
                yield words
            if left <= 0:
                return

    def _lines(self) -> Iterator[list[str]]:
        source = self.source
        if source.file is None and source.name == "wiki_en":
            for article in wiki_en(self.root):
                yield from map(self._words, article.split("\n"))
            return
        for sentence in sentences(source.file or data.text_file(source.name, self.root)):
            yield self._words(" ".join(sentence)) if source.tokenise else sentence

    def _words(self, line: str) -> list[str]:
        return WORD.findall(line.lower())
