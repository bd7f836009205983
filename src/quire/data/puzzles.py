"""The Abstraction and Reasoning Corpus: few-shot puzzles on coloured grids."""

import gzip
import json
import os
import zlib
from typing import Any

from quire.data import store


def arc(root: str | os.PathLike[str] | None = None) -> dict[str, dict[str, Any]]:
    """The 400 public training tasks of ARC-AGI-1 by id, in the corpus's own form.

    A task is `{"train": [{"input": grid, "output": grid}, ...], "test": [...]}`, a grid a list of
    rows of colours 0..9. The evaluation tasks are not part of it: whoever scores a solver on them
    names their folder. Raises DataMissing, and ValueError if the file cannot be read.
    """
    [path] = store.files("arc", root)
    try:
        tasks = json.loads(gzip.decompress(path.read_bytes()))
    except (EOFError, gzip.BadGzipFile, zlib.error, ValueError) as error:
        raise ValueError(f"{path} is not gzipped JSON: {error}") from None
    if not isinstance(tasks, dict) or not all(
        isinstance(task, dict) and {"train", "test"} <= set(task) for task in tasks.values()
    ):
        raise ValueError(f"{path}: an object of tasks with 'train' and 'test' by id expected")
    return {id: {part: task[part] for part in ("train", "test")} for id, task in tasks.items()}
