"""Files that are whole or not there."""

import contextlib
import os
import tempfile
from pathlib import Path

from quire.lab.errors import RunError


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` to a temporary neighbour, flush it to disk, then put it in place.

    Raises `RunError` with one line when the disk refuses; what stood at `path` then still stands.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror}; nothing was changed") from error
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise RunError(f"cannot write {path}: {error.strerror}; nothing was changed") from error
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
