"""What takes long to work out and follows from files alone, remembered between commands."""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from quire.lab.errors import RunError
from quire.lab.files import write_atomically
from quire.lab.papers import paper_folders


def remembered(name: str, files: Iterable[Path], compute: Callable[[], Any]) -> Any:
    """What `compute` gives (anything that JSON holds), computed anew when one of `files` changed.

    It is kept in the user's cache directory; where that cannot be written nothing is remembered.
    """
    signature = _signature(files)
    here = hashlib.sha256(str(Path(__file__).resolve()).encode()).hexdigest()[:8]
    path = cache_folder() / f"{name}-{here}.json"
    with suppress(OSError, ValueError, KeyError, TypeError):
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["signature"] == signature:
            return kept["value"]
    value = compute()
    with suppress(RunError):
        write_atomically(path, json.dumps({"signature": signature, "value": value}).encode())
    return value


def _signature(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in sorted(files):
        with suppress(OSError):
            stat = path.stat()
            digest.update(f"{path}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def cache_folder() -> Path:
    """The user's cache directory of quire: XDG_CACHE_HOME, else ``~/.cache``."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "quire"


def source_files() -> Iterator[Path]:
    """All that the digests of the experiments follow from: Quire's sources, papers' TOML."""
    yield from (Path(__file__).resolve().parent.parent).rglob("*.py")
    for folder in paper_folders().values():
        yield from folder.rglob("*.py")
        yield from folder.glob("*.toml")
        yield from folder.glob("experiments/*.toml")
