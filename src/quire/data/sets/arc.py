"""The Abstraction and Reasoning Corpus: few-shot puzzles on coloured grids."""

import gzip
import hashlib
import json
import os
import re
import tarfile
import zlib
from pathlib import Path
from typing import Any

from quire.data import store
from quire.data.catalogue import Dataset, pinned, versions

_ARC = (
    "https://codeload.github.com/fchollet/ARC-AGI/tar.gz/399030444e0ab0cc8b4e199870fb20b863846f34"
)

ARC = "21875aec0e05135a9bd38b3f29a8e6ac8184a7b3eec6a5ac4cfbd27ec2bbafc1"
"""sha256 of the training tasks joined, before compression."""


DATASET = Dataset(
    summary="ARC-AGI-1: the 400 public training tasks, 1,302 demonstrations, 416 tests",
    licence="Apache-2.0",
    home="https://github.com/fchollet/ARC-AGI",
    sources=(pinned(_ARC),),
    layouts=(("training.json.gz",),),
    note="The evaluation tasks are left out: solvers are developed without them.",
    known=versions(
        {
            "400 training tasks, as unpacked from the repository": """
a8c085395916d1f1699cce642784c12090f27201ac689a5555b8309c6029426f  training.json.gz
""",
        }
    ),
)


def unpack(downloads: list[Path], produced: Path) -> None:
    """The repository's archive: `<top>/data/training/<id>.json` alone, joined in one file."""
    tasks: dict[str, Any] = {}
    with tarfile.open(downloads[0]) as archive:
        for member in archive:
            found = re.fullmatch(r"[^/]+/data/training/([0-9a-f]{8})\.json", member.name)
            content = archive.extractfile(member) if found else None
            if found and content is not None:
                tasks[found[1]] = json.load(content)
    text = json.dumps(tasks, sort_keys=True, separators=(",", ":")).encode()
    if hashlib.sha256(text).hexdigest() != ARC:
        raise ValueError("arc: data/training is not that of commit 3990304")
    with (
        (produced / "training.json.gz").open("wb") as file,
        gzip.GzipFile("", "wb", fileobj=file, mtime=0) as out,
    ):
        out.write(text)


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
