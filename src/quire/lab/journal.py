"""`metrics.jsonl`: what a run logged, a line a recorded step."""

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from quire.lab.errors import RunError
from quire.lab.files import write_atomically


class Journal:
    """Append-only log that can be taken back to a step when a run resumes."""

    def __init__(self, path: Path, *, writes: bool = True) -> None:
        self.path = path
        self._writes = writes
        self._lines: list[str] = []
        self._flushed = time.monotonic()

    def write(self, loop: str, step: int, total: int, values: Mapping[str, float]) -> None:
        """Add a line; it reaches the disk within about a second."""
        if self._writes:
            row = {"loop": loop, "step": step, "of": total, **values}
            self._lines.append(json.dumps(row, separators=(",", ":")) + "\n")
            if time.monotonic() - self._flushed > 1.0:
                self.flush()

    def flush(self) -> None:
        """Write what is in memory. Raises `RunError` when the disk refuses."""
        self._flushed = time.monotonic()
        if not self._lines:
            return
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.writelines(self._lines)
        except OSError as error:
            raise RunError(f"cannot write {self.path}: {error.strerror}; "
                           "the last good checkpoint stands") from error  # fmt: skip
        self._lines.clear()

    def rewind(self, loop: str, step: int) -> None:
        """Forget lines of `loop` from `step` on, and torn ones."""
        if not (self._writes and self.path.exists()):
            return
        rows = read_journal(self.path)
        kept = [row for row in rows if row["loop"] != loop or row["step"] < step]
        text = "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in kept)
        write_atomically(self.path, text.encode())


def read_journal(path: Path) -> list[dict[str, Any]]:
    """The lines of a journal; one that a kill tore apart is left out."""
    return list(parse_rows(path.read_bytes().splitlines())) if path.exists() else []


def parse_rows(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """What whole lines say; those that are torn, or no text, are passed over."""
    for line in lines:
        with suppress(ValueError):  # no JSON, or not UTF-8
            row = json.loads(line)
            if isinstance(row, dict):
                yield row
