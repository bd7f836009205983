"""Files that are whole or not there."""

import contextlib
import os
from pathlib import Path

from quire.lab.errors import RunError


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` to a temporary neighbour, flush it to disk, then put it in place.

    Raises `RunError` with one line when the disk refuses; what stood at `path` then still stands.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise RunError(f"cannot write {path}: {error.strerror}; nothing was changed") from error
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
