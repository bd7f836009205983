"""What datasets of rows share: text that may be compressed, JSON lines, comma-separated tables.

Every error is a ValueError of one line that names the file.
"""

import csv
import gzip
import io
import json
import lzma
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

Row = dict[str, Any]
"""One example by its published field names."""

Fields = Mapping[str, type | tuple[type, ...]]
"""The fields that a row must have, and their types."""


def read_whole(path: Path) -> str:
    """The text of a file that is plain, `.gz` or `.xz`. Raises ValueError for a damaged one."""
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
        elif path.suffix == ".xz":
            content = lzma.decompress(content)
        return content.decode()
    except (OSError, EOFError, zlib.error, lzma.LZMAError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path} is not a whole text file ({error}); delete it and fetch it again"
        ) from error


def read_json_lines(path: Path, fields: Fields) -> list[Row]:
    """The rows of a file with one JSON object a line, each with at least these fields.

    Raises ValueError naming file and line.
    """
    rows = []
    # Split at line feeds alone: texts may hold other separators.
    for number, line in enumerate(read_whole(path).removesuffix("\n").split("\n"), 1):
        try:
            row = json.loads(line)
        except ValueError:
            raise ValueError(f"{path}, line {number}: not JSON") from None
        lacking = [
            name
            for name, kind in fields.items()
            if not isinstance(row, dict) or not isinstance(row.get(name), kind)
        ]
        if lacking:
            raise ValueError(
                f"{path}, line {number}: an object with {', '.join(fields)} expected, "
                f"{', '.join(lacking)} missing or of another type"
            )
        rows.append(row)
    return rows


def read_task(
    files: Iterable[Path], task: str, tasks: Mapping[str, Fields]
) -> dict[str, list[Row]]:
    """The parts of one task, from those of `files` that stand in its folder; a part whose name
    says that it is unlabelled has no label.

    Raises ValueError for another task than `tasks` has, or a bad line.
    """
    if task not in tasks:
        raise ValueError(f"task must be one of {', '.join(tasks)}, got {task!r}")
    parts = {}
    for path in files:
        if path.parent.name == task:
            part = path.name.split(".")[0]
            fields = tasks[task]
            if part.endswith("unlabelled"):
                fields = {name: kind for name, kind in fields.items() if name != "label"}
            parts[part] = read_json_lines(path, fields)
    return parts


def read_csv(path: Path, columns: Iterable[str]) -> dict[str, list[str]]:
    """The columns of a comma-separated file with a header; all that it has, at least these.

    Raises ValueError naming the file, and the line whose number of entries differs.
    """
    header, *rows = list(csv.reader(io.StringIO(read_whole(path), newline=""))) or [[]]
    lacking = [column for column in columns if column not in header]
    if lacking:
        raise ValueError(f"{path}: the columns {', '.join(lacking)} are missing")
    if not rows:
        raise ValueError(f"{path} holds no row")
    for number, row in enumerate(rows, 2):
        if len(row) != len(header):
            raise ValueError(f"{path}, line {number}: {len(header)} entries expected")
    return {
        name: list(column) for name, column in zip(header, zip(*rows, strict=True), strict=True)
    }


def write_gzip(path: Path, text: str) -> None:
    """Writes text as UTF-8 in gzip, without a time: equal text gives equal bytes."""
    path.write_bytes(gzip.compress(text.encode(), mtime=0))
