"""English Wikipedia as of 2015: the first articles."""

import hashlib
import os
import re
from pathlib import Path

from quire.data.catalogue import Dataset, pinned, versions
from quire.data.text import read_text, text_file

_WIKI = "https://raw.githubusercontent.com/jason-feng/wikiVisual/1c0fac92f29f17c1603bfffbe864e0dfdff66897/text/AA/wiki_"
WIKI_EN = "d7326538db9ae7c71ba13ef1390f037e047b14a27132c8ea9b0002c3137603ee"
"""sha256 of the assembled text."""


DATASET = Dataset(
    summary="the first 3,803 articles of English Wikipedia as of 2015, 10.7 M words",
    licence="CC BY-SA 3.0",
    home="https://github.com/jason-feng/wikiVisual",
    sources=tuple(pinned(f"{_WIKI}{part:02d}") for part in range(66)),
    layouts=(("enwiki2015_prefix.txt",),),
    note="A later dump than text8, cased and without markup; both begin at Anarchism.",
    known=versions(
        {
            "the text below, compressed": """
0a90d5133a6fce28b63fa017b8cdcfb07ef4326414addb315f3584e6be2efda0  enwiki2015_prefix.txt.xz
""",
            "as assembled from the repository": """
d7326538db9ae7c71ba13ef1390f037e047b14a27132c8ea9b0002c3137603ee  enwiki2015_prefix.txt
""",
        }
    ),
)


def unpack(downloads: list[Path], produced: Path) -> None:
    """WikiExtractor's output without its wrappers and without articles under 100 words."""
    article = re.compile(r"<doc [^>]*>\n(.*?)\n</doc>", re.DOTALL)
    found = (match[1].strip() for path in downloads for match in article.finditer(
        path.read_text(encoding="utf-8")))  # fmt: skip
    content = "\n\n\n".join(text for text in found if len(text.split()) >= 100).encode()
    if hashlib.sha256(content).hexdigest() != WIKI_EN:
        raise ValueError("wiki_en: the articles are not those that the repository had in May 2015")
    (produced / "enwiki2015_prefix.txt").write_bytes(content)


def wiki_en(root: str | os.PathLike[str] | None = None) -> list[str]:
    """The first 3,803 articles of English Wikipedia as of 2015, without markup: 10.7 M words.

    Each begins with its title. There is no official split. Raises DataMissing.
    """
    return read_text(text_file("wiki_en", root)).split("\n\n\n")
