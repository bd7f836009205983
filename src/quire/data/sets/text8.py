"""text8: the first 100 million characters of Wikipedia."""

import os
import shutil
import zipfile
from pathlib import Path

from quire.data.catalogue import Dataset, pinned
from quire.data.text import read_text, text_file

DATASET = Dataset(
    summary="100 million characters of English Wikipedia as of 2006, a to z and blanks",
    licence="CC BY-SA 3.0",
    home="http://mattmahoney.net/dc/textdata.html",
    sources=(
        pinned(
            "http://mattmahoney.net/dc/text8.zip",
            "a6640522afe85d1963ad56c05b0ede0a0c000dddc9671758a6cc09b7a38e5232",
        ),
    ),
    layouts=(("text8",),),
)


def unpack(downloads: list[Path], produced: Path) -> None:
    """The one file of the archive."""
    with (
        zipfile.ZipFile(downloads[0]) as archive,
        archive.open("text8") as content,
        (produced / "text8").open("wb") as out,
    ):
        shutil.copyfileobj(content, out)


def text8(root: str | os.PathLike[str] | None = None) -> str:
    """100 million characters of English Wikipedia as of 2006, a to z and blanks; DataMissing."""
    return read_text(text_file("text8", root))
