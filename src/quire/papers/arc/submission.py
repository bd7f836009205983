"""Files that competitions take: the CSV of Kaggle 2020 and the JSON of ARC Prize, both ways.

Both hold the first attempts for each test grid. Where a prediction is missing, a grid of one black
cell stands in for it, as both demand something. A file is replaced only once the new one is whole.
"""

import csv
import io
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from quire.papers.arc.evaluate import Answer, Attempt, check_ids
from quire.papers.arc.tasks import Grid, Task, as_grid, parse_json

PathLike = str | os.PathLike[str]
FILLER: Grid = np.zeros((1, 1), np.int8)
KAGGLE_2020, ARC_PRIZE = 3, 2
"""Attempts for a test grid in either competition."""


def write_submission(
    path: PathLike, predictions: Mapping[str, Sequence[Answer]], tasks: Mapping[str, Task]
) -> None:
    """Write predictions for `tasks`: `.csv` as Kaggle 2020 took them, `.json` as ARC Prize does.

    CSV: a row `<task>_<test>,|123|456| |...|`, up to three attempts. JSON:
    `{task: [{"attempt_1": grid, "attempt_2": grid}, ...]}`. Raises ValueError for another suffix,
    for predictions that `evaluate` refuses (a task that is not among `tasks`, another number of
    grids than test inputs), what is no grid, or where the file cannot be written.
    """
    path = Path(path)
    check_ids(predictions, tasks)
    if path.suffix not in (".csv", ".json"):
        raise ValueError(f"{path.name}: the suffix must be .csv (Kaggle 2020) or .json (ARC Prize)")
    rows = _csv(predictions, tasks) if path.suffix == ".csv" else _json(predictions, tasks)
    replace_file(path, rows)


def read_submission(
    path: PathLike, *, damaged: Literal["error", "skip"] = "error"
) -> dict[str, list[Attempt]]:
    """Attempts by task id from either file; nothing says there which of them fit.

    A grid with fewer attempts than another of its task (an empty one, `[]` or null, is none) has
    its last one again, which changes no score; one without any has a black cell, as written.
    damaged: what a task is whose entry cannot be read, an error or left out.

    Raises ValueError with one line: the file, the row or task, what was wrong. A file that is not
    CSV or JSON of this form is one whatever `damaged` says.
    """
    path = Path(path)
    if damaged not in ("error", "skip"):
        raise ValueError(f"damaged must be 'error' or 'skip', not {damaged!r}")
    if path.suffix not in (".csv", ".json"):
        raise ValueError(f"{path.name}: the suffix must be .csv (Kaggle 2020) or .json (ARC Prize)")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path.name} is not UTF-8 text") from None
    skip = damaged == "skip"
    return _read_csv(text, path, skip) if path.suffix == ".csv" else _read_json(text, path, skip)


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


def _grids(
    predictions: Mapping[str, Sequence[Answer]], id: str, task: Task, count: int
) -> list[list[Grid]]:
    """For each test input its first attempts, at most `count`."""
    chosen = list(predictions.get(id, ()))[:count]
    for attempt in chosen:
        if len(attempt.outputs) != len(task.test):
            raise ValueError(f"task {id}: a prediction has {len(attempt.outputs)} grids for "
                             f"{len(task.test)} test inputs")  # fmt: skip
    return [
        [as_grid(attempt.outputs[i], f"task {id}, prediction {k}") for k, attempt in
         enumerate(chosen)] for i in range(len(task.test))
    ]  # fmt: skip


def _csv(predictions: Mapping[str, Sequence[Answer]], tasks: Mapping[str, Task]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["output_id", "output"])
    for id in sorted(tasks):
        for place, grids in enumerate(_grids(predictions, id, tasks[id], KAGGLE_2020)):
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
            for grids in _grids(predictions, id, tasks[id], ARC_PRIZE)
        ]
        for id in sorted(tasks)
    }
    return json.dumps(content) + "\n"


def _read_csv(text: str, path: Path, skip: bool) -> dict[str, list[Attempt]]:
    try:
        rows = [(n, row) for n, row in enumerate(csv.reader(io.StringIO(text)), 1) if row]
    except csv.Error as error:
        raise ValueError(f"{path.name} is not CSV: {error}") from None
    if not rows or rows[0][1] != ["output_id", "output"]:
        raise ValueError(f"{path.name}: the first line must be output_id,output")
    found: dict[str, dict[int, tuple[int, str]]] = {}
    wrong: set[str] = set()
    for number, row in rows[1:]:
        where = f"{path.name}, line {number}"
        name, _, place = row[0].rpartition("_") if len(row) == 2 else ("", "", "")
        if not name or not re.fullmatch("[0-9]{1,4}", place):
            if not skip:
                raise ValueError(f"{where}: <task>_<test>,<grids> expected")
            wrong.add(row[0].rpartition("_")[0])
        elif found.setdefault(name, {}).setdefault(int(place), (number, row[1]))[0] != number:
            if not skip:
                raise ValueError(f"{where}: {row[0]} occurs twice")
            wrong.add(name)
    attempts = {}
    for name, places in found.items():
        try:
            if name not in wrong:
                attempts[name] = _attempts(_csv_grids(places, f"{path.name}, line", name))
        except ValueError:
            if not skip:
                raise
    return attempts


def _csv_grids(places: dict[int, tuple[int, str]], where: str, name: str) -> list[list[Grid]]:
    """Each test grid's attempts, from its line's number and text."""
    if sorted(places) != list(range(len(places))):
        line = min(number for number, _ in places.values())
        raise ValueError(f"{where} {line}: task {name} has test grids {sorted(places)}")
    rows = [places[i] for i in range(len(places))]
    return [[_from_bars(word, f"{where} {n}") for word in text.split()] for n, text in rows]


def _from_bars(text: str, where: str) -> Grid:
    rows = text.strip("|").split("|")
    if not re.fullmatch(r"\|([0-9]+\|)+", text):
        raise ValueError(f"{where}: a grid is written as |123|456|, got {text[:40]!r}")
    return as_grid([[int(colour) for colour in row] for row in rows], where)


def _read_json(text: str, path: Path, skip: bool) -> dict[str, list[Attempt]]:
    content = parse_json(text, path.name)
    if not isinstance(content, dict):
        raise ValueError(f"{path.name}: an object of lists by task id expected")
    attempts = {}
    for id, entries in content.items():
        where = f"{path.name}, task {id}"
        try:
            if not isinstance(entries, list) or not entries:
                raise ValueError(f"{where}: a list with an entry for each test grid expected")
            attempts[id] = _attempts([_tries(e, f"{where}[{i}]") for i, e in enumerate(entries)])
        except ValueError:
            if not skip:
                raise
    return attempts


def _tries(entry: Any, where: str) -> list[Grid]:
    """One test grid's attempts: the two that ARC Prize asks for, more where there are more."""
    names = [f"attempt_{k + 1}" for k in range(ARC_PRIZE)]
    if not isinstance(entry, dict) or not all(name in entry for name in names):
        raise ValueError(f"{where}: {' and '.join(names)} expected")
    while f"attempt_{len(names) + 1}" in entry:
        names.append(f"attempt_{len(names) + 1}")
    made = [name for name in names if entry[name] not in (None, [])]
    return [as_grid(entry[name], f"{where}.{name}") for name in made]


def _attempts(grids: list[list[Grid]]) -> list[Attempt]:
    """Attempts at a task from those at each of its grids (see `read_submission`)."""
    most = max(map(len, grids))
    padded = [[*tries, *[(tries or [FILLER])[-1]] * (most - len(tries))] for tries in grids]
    return [Attempt(outputs) for outputs in zip(*padded, strict=True)]
