"""What text datasets share: corpora as files, and text that may be compressed."""

import gzip
import lzma
import os
from pathlib import Path

from quire.data import store


def text_file(name: str, root: str | os.PathLike[str] | None = None) -> Path:
    """The file of a corpus, "wiki_en" or "text8"; its name ends in `.xz` where it is compressed.

    Raises DataMissing if it is not there, ValueError for a dataset that is not one file of text.
    """
    if name not in ("text8", "wiki_en"):
        raise ValueError(f"text_file knows text8 and wiki_en, got {name!r}")
    return store.files(name, root)[0]


def read_text(path: Path) -> str:
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
