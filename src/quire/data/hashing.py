"""Checksums and fingerprints of files, remembered in the user's cache."""

import contextlib
import hashlib
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

WHOLE = 64 << 20
"""Bytes up to which a fingerprint reads a whole file."""

ENDS = 1 << 20
"""Bytes that a fingerprint reads at the start and at the end of a larger file."""

MANY = 1000
"""Files of a folder above which its fingerprint follows from names and sizes alone."""

SETTLED = 2.0
"""Seconds that a file must be unchanged before its digest is remembered: a file that is written
twice within the clock's step keeps its time of change."""


def sha256(path: Path) -> str:
    """The sha256 of a file, in hexadecimal. Reads the whole file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_sums(sums: Mapping[str, str]) -> str:
    """One sha256 for the files of a dataset: that of a single file, else of their sorted table.

    sums: name -> sha256.
    """
    if len(sums) == 1:
        return next(iter(sums.values()))
    text = "".join(f"{sha256}  {name}\n" for name, sha256 in sorted(sums.items()))
    return hashlib.sha256(text.encode()).hexdigest()


def remembered(kind: str, path: Path, *, compute: Callable[[Path], str], cache: Path) -> str:
    """`compute(path)`, or what it gave when the file last had this path, size and time of change.

    Args:
        kind: Tells functions apart.
        path: The file. Raises OSError if it cannot be read.
        compute: Gives the digest of a file.
        cache: The folder to remember in; one that cannot be written is no error.
    """
    facts = path.stat()
    key = hashlib.sha256(f"{kind}\n{path.resolve()}".encode()).hexdigest()[:32]
    stamp = f"{facts.st_size} {facts.st_mtime_ns}"
    note = cache / "checksums" / key
    try:
        known, _, digest = note.read_text(encoding="ascii").rpartition(" ")
        if known == stamp and digest:
            return digest
    except (OSError, ValueError):
        pass
    digest = compute(path)
    if time.time() - facts.st_mtime > SETTLED:
        _write(note, f"{stamp} {digest}")
    return digest


def _write(note: Path, text: str) -> None:
    """Writes beside the note and moves there, so that no reader sees half of it."""
    unfinished = note.with_name(f"{note.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_text(text, encoding="ascii")
        os.replace(unfinished, note)
    except OSError:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)


def fingerprint(path: Path, cache: Path) -> str:
    """The hex digest of what a file or a folder holds; see `store.fingerprint`."""
    if not path.is_dir():
        return remembered("fingerprint", path, compute=_of_file, cache=cache)
    files = _files(path)
    digest = hashlib.sha256(b"folder\n")
    for name, file in sorted(files.items()):
        if len(files) > MANY:
            content = str(file.stat().st_size)
        else:
            content = remembered("fingerprint", file, compute=_of_file, cache=cache)
        # Lengths first, so that no name can stand for a name and a digest.
        digest.update(f"{len(os.fsencode(name))} {content} ".encode() + os.fsencode(name) + b"\n")
    return digest.hexdigest()


def _of_file(path: Path) -> str:
    size = path.stat().st_size
    if size <= WHOLE:
        return sha256(path)
    with path.open("rb") as file:
        digest = hashlib.sha256(f"{size}\n".encode() + file.read(ENDS))
        file.seek(-ENDS, os.SEEK_END)
        digest.update(file.read(ENDS))
    return digest.hexdigest()


def _files(top: Path) -> dict[str, Path]:
    """The files below a folder by relative name; links to folders are followed, but not in rings.

    Raises OSError where a folder cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise error

    found: dict[str, Path] = {}
    above: dict[str, set[str]] = {os.fspath(top): {os.path.realpath(top)}}
    for folder, subfolders, names in os.walk(top, followlinks=True, onerror=refuse):
        way = above.pop(folder)
        for subfolder in tuple(subfolders):
            inner = os.path.join(folder, subfolder)
            real = os.path.realpath(inner)
            if real in way:
                subfolders.remove(subfolder)
            else:
                above[inner] = way | {real}
        for name in names:
            file = Path(folder, name)
            if file.is_file():
                found[file.relative_to(top).as_posix()] = file
    return found
