"""Downloads and their unpacking."""

import gzip
import lzma
import os
import tarfile
import tempfile
import zipfile
import zlib
from pathlib import Path

from quire.data.catalogue import Dataset, Source, module
from quire.data.hashing import sha256

UNREADABLE = (
    EOFError,
    tarfile.TarError,
    gzip.BadGzipFile,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
)
"""What reading a damaged archive raises."""


class Unreachable(Exception):  # noqa: N818 (a state of the network)
    """No address of a source answers."""


def fetch(entry: Dataset, where: Path) -> dict[str, str]:
    """Downloads, unpacks beside the target, then moves: no reader sees half a file.

    Gives the sha256 of each file that is now under `where`. Raises Unreachable, OSError where the
    folder cannot be written, ValueError for a wrong checksum or a download of another form.
    """
    with tempfile.TemporaryDirectory(dir=where, prefix=".fetch-") as scratch:
        downloads = []
        for number, source in enumerate(entry.sources):
            # A folder each: sources may end in the same file name.
            downloads.append(_download(entry, source, Path(scratch, str(number))))
        produced = Path(scratch) / "produced"
        produced.mkdir()
        try:
            module(entry.name).unpack(downloads, produced)
        except UNREADABLE as error:
            raise ValueError(f"{entry.name}: the download is not an archive: {error}") from error
        except (LookupError, AttributeError, TypeError, NotImplementedError) as error:
            raise ValueError(
                f"{entry.name}: the download has another form than expected "
                f"({type(error).__name__}: {error})"
            ) from error
        sums = {}
        for path in sorted(path for path in produced.rglob("*") if path.is_file()):
            relative = path.relative_to(produced)
            sums[relative.as_posix()] = sha256(path)
            (where / relative).parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, where / relative)
    return sums


def _download(entry: Dataset, source: Source, folder: Path) -> Path:
    """Fetches one source from the first of its addresses that answers."""
    import pooch
    import requests

    file = source.urls[0].rsplit("/", 1)[-1]
    failures = []
    for url in source.urls:
        try:
            return Path(pooch.retrieve(url, source.checksum, fname=file, path=folder))
        except requests.RequestException as error:
            failures.append(f"{url} ({type(error).__name__})")
        except ValueError as error:
            raise ValueError(
                f"{entry.name}: {url} does not have the checksum {source.checksum}; "
                "nothing was kept"
            ) from error
    raise Unreachable(", ".join(failures))
