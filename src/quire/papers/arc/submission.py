"""Files that competitions take: the CSV of Kaggle 2020 and the JSON of ARC Prize, both ways.

Both hold the first attempts for each test grid. Where a prediction is missing, a grid of one black
cell stands in for it, as both demand something. A file is replaced only once the new one is whole.
"""

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from quire.papers.arc.evaluate import Answer, Attempt
from quire.papers.arc.tasks import Grid, Task, as_grid

PathLike = str | os.PathLike[str]
FILLER: Grid = np.zeros((1, 1), np.int8)
KAGGLE_2020, ARC_PRIZE = 3, 2
"""Attempts for a test grid in either competition."""


def write_submission(
    path: PathLike, predictions: Mapping[str, Sequence[Answer]], tasks: Mapping[str, Task]
) -> None:
    """Write predictions for `tasks`: `.csv` as Kaggle 2020 took them, `.json` as ARC Prize does.

    CSV: a row `<task>_<test>,|123|456| |...|`, up to three attempts. JSON:
    `{task: [{"attempt_1": grid, "attempt_2": grid}, ...]}`. Raises ValueError for another suffix
    or where the file cannot be written.
    """
    path = Path(path)
    if path.suffix not in (".csv", ".json"):
        raise ValueError(f"{path.name}: the suffix must be .csv (Kaggle 2020) or .json (ARC Prize)")
    rows = _csv(predictions, tasks) if path.suffix == ".csv" else _json(predictions, tasks)
    replace_file(path, rows)


def read_submission(path: PathLike) -> dict[str, list[Attempt]]:
    """Attempts by task id from either file; nothing says there which of them fit.

    Raises ValueError with one line: the file, the row or task, what was wrong.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path.name} is not UTF-8 text") from None
    if path.suffix not in (".csv", ".json"):
        raise ValueError(f"{path.name}: the suffix must be .csv (Kaggle 2020) or .json (ARC Prize)")
    by_grid = _read_csv(text, path) if path.suffix == ".csv" else _read_json(text, path)
    return {id: _attempts(grids, path, id) for id, grids in by_grid.items()}


def replace_file(path: Path, text: str) -> None:
    """Put `text` at `path`, whole or not at all. Raises ValueError where that fails."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise ValueError(f"cannot write {path}: {error.strerror or error}") from None
    finally:
        part.unlink(missing_ok=True)


def _grids(predictions: Mapping[str, Sequence[Answer]], task: Task, count: int) -> list[list[Grid]]:
    """For each test input its first attempts, at most `count`."""
    chosen = list(predictions.get(task.id, ()))[:count]
    return [[attempt.outputs[i] for attempt in chosen] for i in range(len(task.test))]


def _csv(predictions: Mapping[str, Sequence[Answer]], tasks: Mapping[str, Task]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["output_id", "output"])
    for id in sorted(tasks):
        for place, grids in enumerate(_grids(predictions, tasks[id], KAGGLE_2020)):
            writer.writerow([f"{id}_{place}", " ".join(map(_bars, grids or [FILLER]))])
    return text.getvalue()


def _bars(grid: Grid) -> str:
    return "|" + "".join("".join(map(str, row)) + "|" for row in grid.tolist())


def _json(predictions: Mapping[str, Sequence[Answer]], tasks: Mapping[str, Task]) -> str:
    content = {
        id: [
            {
                f"attempt_{k + 1}": (grids[k] if k < len(grids) else FILLER).tolist()
                for k in range(ARC_PRIZE)
            }
            for grids in _grids(predictions, tasks[id], ARC_PRIZE)
        ]
        for id in sorted(tasks)
    }
    return json.dumps(content) + "\n"


def _read_csv(text: str, path: Path) -> dict[str, list[list[Grid]]]:
    rows = list(csv.reader(io.StringIO(text)))
    if not rows or rows[0] != ["output_id", "output"]:
        raise ValueError(f"{path.name}: the first line must be output_id,output")
    found: dict[str, dict[int, list[Grid]]] = {}
    for number, row in enumerate(rows[1:], 2):
        where = f"{path.name}, line {number}"
        name, _, place = row[0].rpartition("_") if len(row) == 2 else ("", "", "")
        if not name or not place.isdecimal():
            raise ValueError(f"{where}: <task>_<test>,<grids> expected")
        found.setdefault(name, {})[int(place)] = [_from_bars(w, where) for w in row[1].split()]
    for name, places in found.items():
        if sorted(places) != list(range(len(places))):
            raise ValueError(f"{path.name}: task {name} has test grids {sorted(places)}")
    return {name: [places[i] for i in range(len(places))] for name, places in found.items()}


def _from_bars(text: str, where: str) -> Grid:
    rows = text.strip("|").split("|")
    if not text.startswith("|") or not text.endswith("|") or not all(r.isdecimal() for r in rows):
        raise ValueError(f"{where}: a grid is written as |123|456|, got {text[:40]!r}")
    return as_grid([[int(colour) for colour in row] for row in rows], where)


def _read_json(text: str, path: Path) -> dict[str, list[list[Grid]]]:
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path.name} is not JSON: {error.msg} at line {error.lineno}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path.name}: an object of lists by task id expected")
    return {
        id: [_two(entry, f"{path.name}, task {id}[{i}]") for i, entry in enumerate(entries)]
        for id, entries in content.items()
    }


def _two(entry: Any, where: str) -> list[Grid]:
    names = [f"attempt_{k + 1}" for k in range(ARC_PRIZE)]
    if not isinstance(entry, dict) or not all(name in entry for name in names):
        raise ValueError(f"{where}: {' and '.join(names)} expected")
    return [as_grid(entry[name], f"{where}.{name}") for name in names]


def _attempts(grids: list[list[Grid]], path: Path, id: str) -> list[Attempt]:
    if len({len(attempts) for attempts in grids}) != 1:
        raise ValueError(f"{path.name}: task {id} has different numbers of attempts for its grids")
    return [Attempt(outputs) for outputs in zip(*grids, strict=True)]
