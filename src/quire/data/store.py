"""Where datasets lie, whether they are whole, and how they get there."""

import gzip
import hashlib
import os
import tarfile
import tempfile
import zipfile
import zlib
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from quire.data.catalogue import DATASETS, Dataset, Source

UNREADABLE = (EOFError, tarfile.TarError, gzip.BadGzipFile, zipfile.BadZipFile, zlib.error)
RECORD = "SHA256SUMS"  # sha256sum's own format, so `sha256sum -c SHA256SUMS` works


class DataMissing(FileNotFoundError):  # noqa: N818 (a state, as in "data missing")
    """A dataset that is not here: the message says what, where it comes from, where to put it."""


class Status(NamedTuple):
    """What stands of a dataset.

    present: all its files are there. where: their folder (None if a package holds the data).
    checksum_ok: True if every file has a known or recorded checksum, False if one differs from its
    record, None if nothing is known to compare with. detail: the same in words.
    """

    name: str
    present: bool
    where: Path | None
    checksum_ok: bool | None
    detail: str


def dataset(name: str) -> Dataset:
    """The entry of the table. Raises ValueError naming the known ones."""
    if name not in DATASETS:
        raise ValueError(f"unknown dataset {name!r}; known are {', '.join(sorted(DATASETS))}")
    return DATASETS[name]


def cache() -> Path:
    """The user's cache directory of quire (not created)."""
    import pooch

    return Path(pooch.os_cache("quire"))


def folder(name: str, root: str | os.PathLike[str] | None = None) -> Path:
    """The folder of a dataset: under root, else under $QUIRE_DATA, else in the user's cache."""
    chosen = root if root is not None else os.environ.get("QUIRE_DATA") or None
    return (Path(chosen) if chosen is not None else cache() / "data") / name


def locate(path: Path) -> Path | None:
    """The file itself or its `.xz` form, None if neither is there."""
    for candidate in (path, path.with_name(path.name + ".xz")):
        if candidate.is_file():
            return candidate
    return None


def files(name: str, root: str | os.PathLike[str] | None = None) -> list[Path]:
    """The dataset's files, in the order of the first layout that is complete.

    With root None and no QUIRE_DATA, absent files are downloaded to the user's cache first.
    Raises DataMissing if they are not there.
    """
    found = _complete(dataset(name), folder(name, root))
    if found is None and root is None and not os.environ.get("QUIRE_DATA"):
        get(name)
        found = _complete(dataset(name), folder(name))
    if found is None:
        raise _missing(dataset(name), folder(name, root))
    return found


def status(name: str, root: str | os.PathLike[str] | None = None) -> Status:
    """What is here of a dataset, and whether its checksums are known. Downloads nothing."""
    entry = dataset(name)
    if not entry.layouts:
        present = find_spec("sklearn") is not None
        detail = "inside scikit-learn" if present else "pip install 'quire[vision]'"
        return Status(name, present, None, None, detail)
    where = folder(name, root)
    found = _complete(entry, where)
    if found is None:
        return Status(name, False, where, None, str(_missing(entry, where)))
    known = _known(name)
    recorded = _record(where)
    notes: set[str] = set()
    for path in found:
        relative = path.relative_to(where).as_posix()
        digest = sha256(path)
        if recorded.get(relative, digest) != digest:
            detail = f"{path} changed since it was fetched: delete it and get {name} again"
            return Status(name, True, where, False, detail)
        note = known.get((relative, digest))
        notes.add(note or ("as fetched" if relative in recorded else ""))
    if "" in notes:
        return Status(name, True, where, None, "not one of the versions with a known checksum")
    return Status(name, True, where, True, "; ".join(sorted(notes)))


def check(name: str, root: str | os.PathLike[str] | None = None) -> Status:
    """`status`, and loads the dataset if its checksums allow, so that a wrong form is found too.

    Raises ValueError if the files are here and as recorded but cannot be read.
    """
    import quire.data

    result = status(name, root)
    if result.present and result.checksum_ok is not False:
        arguments = () if result.where is None else (result.where.parent,)
        getattr(quire.data, name)(*arguments)
    return result


def get(name: str, root: str | os.PathLike[str] | None = None) -> Status:
    """Downloads a dataset to its folder unless it is there; every checksum is verified first.

    Raises DataMissing if no source answers, ValueError if a download has the wrong checksum.
    """
    entry = dataset(name)
    where = folder(name, root)
    if not entry.sources or _complete(entry, where) is not None:
        return status(name, root)
    try:
        where.mkdir(parents=True, exist_ok=True)
        sums = _fetch(entry, where)
        record = where / (RECORD + ".new")
        record.write_text("".join(f"{digest}  {path}\n" for path, digest in sums.items()))
        os.replace(record, where / RECORD)
    except PermissionError as error:
        raise DataMissing(f"{_missing(entry, where)}; that folder cannot be written") from error
    if _complete(entry, where) is None:
        raise _missing(entry, where)
    return status(name, root)


def sha256(path: Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fetch(entry: Dataset, where: Path) -> dict[str, str]:
    """Downloads, unpacks beside the target, then moves: no reader sees half a file.

    Gives the sha256 of each file that is now under `where`.
    """
    from quire.data.unpack import UNPACK

    with tempfile.TemporaryDirectory(dir=where, prefix=".fetch-") as scratch:
        downloads = [_download(entry, source, Path(scratch), where) for source in entry.sources]
        produced = Path(scratch) / "produced"
        produced.mkdir()
        try:
            UNPACK[entry.name](downloads, produced)
        except UNREADABLE as error:
            raise ValueError(f"{entry.name}: the download is not an archive: {error}") from error
        sums = {}
        for path in sorted(path for path in produced.rglob("*") if path.is_file()):
            relative = path.relative_to(produced)
            sums[relative.as_posix()] = sha256(path)
            (where / relative).parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, where / relative)
    return sums


def _download(entry: Dataset, source: Source, scratch: Path, where: Path) -> Path:
    """Fetches one source from the first of its addresses that answers."""
    import pooch
    import requests

    file = source.urls[0].rsplit("/", 1)[-1]
    failures = []
    for url in source.urls:
        try:
            return Path(pooch.retrieve(url, source.checksum, fname=file, path=scratch))
        except (OSError, requests.RequestException) as error:
            failures.append(f"{url} ({type(error).__name__})")
        except ValueError as error:
            raise ValueError(
                f"{entry.name}: {url} does not have the checksum {source.checksum}; "
                "nothing was kept"
            ) from error
    raise DataMissing(f"{_missing(entry, where)}; tried {', '.join(failures)}")


def _missing(entry: Dataset, where: Path) -> DataMissing:
    absent = min(
        ([file for file in layout if locate(where / file) is None] for layout in entry.layouts),
        key=len,
    )
    what = absent[0] if len(absent) == 1 else f"{absent[0]} and {len(absent) - 1} more files"
    sources = " ".join(source.urls[0] for source in entry.sources[:1])
    return DataMissing(
        f"{entry.name}: {what} not found in {where}; `quire data get {entry.name}` fetches it from "
        f"{sources}, or put it there by hand ({entry.home})"
    )


def _complete(entry: Dataset, where: Path) -> list[Path] | None:
    for layout in entry.layouts:
        found = [path for file in layout if (path := locate(where / file)) is not None]
        if len(found) == len(layout):
            return found
    return None


def _known(name: str) -> dict[tuple[str, str], str]:
    """(file, sha256) -> what that version of the file is, from the table beside this module."""
    table = resources.files("quire.data").joinpath("known.sha256").read_text()
    rows = (line.split(maxsplit=2) for line in table.splitlines() if not line.startswith("#"))
    prefix = name + "/"
    return {
        (path.removeprefix(prefix), digest): note
        for digest, path, note in rows
        if path.startswith(prefix)
    }


def _record(where: Path) -> dict[str, str]:
    if not (where / RECORD).is_file():
        return {}
    lines = (where / RECORD).read_text().splitlines()
    return {path: digest for digest, path in (line.split(maxsplit=1) for line in lines)}
