"""Tasks of the Abstraction and Reasoning Corpus: data model, loaders, checks.

A task shows a few pairs of coloured grids and asks for the output of one or more test inputs
(Chollet, 2019, section III). A grid is an int8 array (height, width), 1 to 30 a side, of
colours 0..9.
"""

import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

Grid = NDArray[np.int8]
"""Colours 0..9, (height, width), 1 to 30 a side."""

LARGEST = 30
COLOURS = 10


@dataclass(frozen=True, eq=False)
class Pair:
    """An input grid and its output; None where the output is what is asked for."""

    input: Grid
    output: Grid | None = None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Pair):
            return NotImplemented
        return same_grid(self.input, other.input) and same_grid(self.output, other.output)

    def __hash__(self) -> int:
        return hash((self.input.shape, self.input.tobytes()))


@dataclass(frozen=True)
class Task:
    """Demonstrations `train`, each with an output, and the pairs `test` that are asked for.

    Example:
        >>> from quire.papers.arc import Task
        >>> pair = {"input": [[1, 0]], "output": [[0, 1]]}
        >>> task = Task.from_dict({"train": [pair], "test": [{"input": [[2, 0]]}]}, id="mirror")
        >>> task.train[0].output
        array([[0, 1]], dtype=int8)
        >>> task.test[0].output is None
        True
    """

    id: str
    train: tuple[Pair, ...]
    test: tuple[Pair, ...]

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], *, id: str) -> Self:
        """A task from the corpus's own JSON form; further keys are left aside.

        Raises ValueError with one line that names the task and the place.
        """
        if not isinstance(content, Mapping):
            raise ValueError(f"task {id}: an object with 'train' and 'test' expected")
        parts = {}
        for part in ("train", "test"):
            pairs = content.get(part)
            if not isinstance(pairs, list | tuple) or not pairs:
                raise ValueError(f"task {id}: '{part}' must be a list of at least one pair")
            parts[part] = tuple(
                _pair(pair, f"task {id}, {part}[{i}]", asked=part == "test")
                for i, pair in enumerate(pairs)
            )
        return cls(id, parts["train"], parts["test"])

    def to_dict(self) -> dict[str, Any]:
        """The corpus's own JSON form; a test pair without output has no key `output`."""
        return {"train": [_plain(pair) for pair in self.train],
                "test": [_plain(pair) for pair in self.test]}  # fmt: skip

    def blind(self) -> Self:
        """The same task without its test outputs: all that a solver may see."""
        return replace(self, test=tuple(Pair(pair.input) for pair in self.test))

    @property
    def has_outputs(self) -> bool:
        """Whether every test output is known."""
        return all(pair.output is not None for pair in self.test)


def same_grid(a: Grid | None, b: Grid | None) -> bool:
    """Whether two grids are equal, size included; None equals None alone."""
    if a is None or b is None:
        return a is b
    a, b = np.asarray(a), np.asarray(b)
    return a.shape == b.shape and bool((a == b).all())


def as_grid(value: Any, where: str = "grid") -> Grid:
    """`value`, rows of colours or an integer array, as a grid.

    Raises ValueError with one line that begins with `where`.
    """
    if isinstance(value, np.ndarray):
        if value.ndim != 2 or value.dtype.kind not in "iu":
            raise ValueError(f"{where}: an array of integers (height, width) expected, "
                             f"got {value.dtype} {value.shape}")  # fmt: skip
        array = value
    else:
        array = _from_rows(value, where)
    height, width = array.shape
    if not (1 <= height <= LARGEST and 1 <= width <= LARGEST):
        raise ValueError(f"{where}: {height}x{width} cells; 1 to {LARGEST} a side are allowed")
    if array.min() < 0 or array.max() >= COLOURS:
        row, column = np.argwhere((array < 0) | (array >= COLOURS))[0]
        raise ValueError(f"{where}: colour {array[row, column]} at row {row}, column {column}; "
                         f"0 to {COLOURS - 1} are allowed")  # fmt: skip
    return np.ascontiguousarray(array, dtype=np.int8)


def load(
    path: str | os.PathLike[str],
    *,
    solutions: str | os.PathLike[str] | Literal[False] | None = None,
) -> dict[str, Task]:
    """Tasks by id, from any form that they are published in.

    path: a folder of `<id>.json` files (fchollet/ARC-AGI and arcprize/ARC-AGI-2, `data/training`),
    a JSON file `{id: {"train", "test"}}` (also the challenges file of Kaggle's ARC Prize), or the
    file of one task; `.gz` after a file's name where it is compressed. solutions: Kaggle's file
    `{id: [grid, ...]}` of the test outputs; where None, the file beside a `*challenges*.json`
    whose name has `solutions` in that place is taken if it is there; where False, none is.

    Raises ValueError with one line: the file or task, the place in it, what was wrong.
    """
    path = Path(path)
    tasks = _load_folder(path) if path.is_dir() else _load_file(path)
    if solutions is None and not path.is_dir() and "challenges" in path.name:
        beside = path.with_name(path.name.replace("challenges", "solutions"))
        solutions = beside if beside.is_file() else None
    return _with_solutions(tasks, Path(solutions)) if solutions else tasks


def data_hash(tasks: Mapping[str, Task]) -> str:
    """sha256 of the tasks as canonical JSON: the same for every form that they were loaded from."""
    content = {id: tasks[id].to_dict() for id in sorted(tasks)}
    return hashlib.sha256(
        json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
    ).hexdigest()


def is_held_back(task_id: str) -> bool:
    """Whether a task belongs to the quarter that is scored only once a solver is finished."""
    return id_number(task_id) % 4 == 0


def id_number(task_id: str) -> int:
    """sha256 of the id as a number: what tasks are split by."""
    return int(hashlib.sha256(task_id.encode()).hexdigest(), 16)


def _pair(content: Any, where: str, *, asked: bool) -> Pair:
    if not isinstance(content, Mapping) or content.get("input") is None:
        raise ValueError(f"{where}: an object with 'input' and 'output' expected")
    output = content.get("output")
    if output is None and not asked:
        raise ValueError(f"{where}: a demonstration needs an 'output'")
    return Pair(
        as_grid(content["input"], f"{where}.input"),
        None if output is None else as_grid(output, f"{where}.output"),
    )


def _from_rows(value: Any, where: str) -> NDArray[np.int64]:
    if not isinstance(value, list | tuple) or not value:
        raise ValueError(f"{where}: a list of at least one row expected")
    for number, row in enumerate(value):
        if not isinstance(row, list | tuple) or not row:
            raise ValueError(f"{where}: row {number} must be a list of at least one colour")
        if len(row) != len(value[0]):
            raise ValueError(f"{where}: row {number} has {len(row)} cells, row 0 has "
                             f"{len(value[0])}")  # fmt: skip
        for column, colour in enumerate(row):
            # bool is an int to Python, and a float such as 3.0 is none: both are mistakes here.
            if type(colour) is not int or not 0 <= colour < COLOURS:
                raise ValueError(f"{where}: colour {colour!r} at row {number}, column {column}; "
                                 f"whole numbers 0 to {COLOURS - 1} are allowed")  # fmt: skip
    return np.array(value, dtype=np.int64)


def _plain(pair: Pair) -> dict[str, Any]:
    content = {"input": pair.input.tolist()}
    return content if pair.output is None else content | {"output": pair.output.tolist()}


def parse_json(content: str | bytes, where: str) -> Any:
    """What a JSON text holds.

    Raises ValueError with one line that begins with `where`: for what is not JSON, is nested too
    deeply, or names one thing twice.
    """
    try:
        return json.loads(content, object_pairs_hook=_as_object)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{where} is not JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        ) from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{where} is not JSON: {error.reason}") from None
    except RecursionError:
        raise ValueError(f"{where} is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def _as_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} occurs twice")
    return content


def _read(path: Path) -> Any:
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path} is damaged or not compressed: {error}") from None
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror or error}") from None
    return parse_json(content, str(path))


def _load_folder(path: Path) -> dict[str, Task]:
    files = sorted(path.glob("*.json"))
    if not files:
        inside = sorted(f.name for f in path.iterdir() if f.is_dir() and any(f.glob("*.json")))
        hint = f"; its folders {', '.join(inside)} do: name one of them" if inside else ""
        raise ValueError(f"{path} holds no files <id>.json{hint}")
    tasks = {}
    for file in files:
        content = _read(file)
        if not _is_task(content):
            raise ValueError(f"{file} is not one task, an object with 'train' and 'test'; "
                             "a file of many tasks is named by itself")  # fmt: skip
        tasks[file.stem] = Task.from_dict(content, id=file.stem)
    return tasks


def _load_file(path: Path) -> dict[str, Task]:
    content = _read(path)
    if _is_task(content):
        name = path.name.split(".")[0]
        return {name: Task.from_dict(content, id=name)}
    if not isinstance(content, dict) or not content:
        raise ValueError(f"{path}: an object of tasks by id, or one task, expected")
    return {id: Task.from_dict(task, id=id) for id, task in content.items()}


def _is_task(content: Any) -> bool:
    return isinstance(content, dict) and ("train" in content or "test" in content)


def _with_solutions(tasks: dict[str, Task], path: Path) -> dict[str, Task]:
    content = _read(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path}: an object of lists of grids by task id expected")
    solved = {}
    for id, task in tasks.items():
        grids = content.get(id)
        if not isinstance(grids, list) or len(grids) != len(task.test):
            have = f"{len(grids)} grids" if isinstance(grids, list) else "no list of grids"
            raise ValueError(f"{path.name}: {have} for task {id}, which asks for {len(task.test)}")
        test = tuple(
            Pair(pair.input, as_grid(grid, f"{path.name}, task {id}[{i}]"))
            for i, (pair, grid) in enumerate(zip(task.test, grids, strict=True))
        )
        solved[id] = replace(task, test=test)
    return solved
