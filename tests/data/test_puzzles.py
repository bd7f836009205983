"""ARC: the bundle, and how it comes out of the repository's archive."""

import gzip
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from data.samples import tar
from data.test_store import Server, offer
from quire import data
from quire.data import store
from quire.data.sets import arc as arc_file

PAIR = {"input": [[1, 0]], "output": [[0, 1]]}
TASK = {"train": [PAIR], "test": [PAIR]}


def write(root: Path, content: bytes) -> None:
    (root / "arc").mkdir(exist_ok=True)
    (root / "arc" / "training.json.gz").write_bytes(content)


def test_tasks_by_id(tmp_path: Path) -> None:
    write(tmp_path, gzip.compress(json.dumps({"abc": TASK | {"name": "x"}}).encode(), mtime=0))
    assert data.arc(tmp_path) == {"abc": TASK}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{}", "is not gzipped JSON"),
        (gzip.compress(b"{}", mtime=0)[:-3], "is not gzipped JSON"),
        (gzip.compress(b"{", mtime=0), "is not gzipped JSON"),
        (
            gzip.compress(b'{"abc": {"train": []}}', mtime=0),
            "an object of tasks with 'train' and 'test'",
        ),
        (gzip.compress(b"[]", mtime=0), "an object of tasks"),
    ],
)
def test_a_broken_bundle_is_named(content: bytes, message: str, tmp_path: Path) -> None:
    write(tmp_path, content)
    with pytest.raises(ValueError, match=r"training\.json\.gz.*" + message):
        data.arc(tmp_path)


def test_training_alone_comes_out_of_the_archive(
    server: Server, no_root: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = json.dumps({"train": [], "test": []}).encode()
    members = {
        "ARC-AGI-3990304/data/training/0000000b.json": json.dumps(TASK).encode(),
        "ARC-AGI-3990304/data/training/0000000a.json": json.dumps(TASK).encode(),
        "ARC-AGI-3990304/data/evaluation/0000000c.json": other,
        "ARC-AGI-3990304/data/training/notes.txt": b"not a task",
    }
    offer(monkeypatch, server, "arc", [tar(members)])
    with pytest.raises(ValueError, match="data/training is not that of commit 3990304"):
        data.get("arc", tmp_path)
    joined = json.dumps({"0000000a": TASK, "0000000b": TASK}, sort_keys=True, separators=(",", ":"))
    monkeypatch.setattr(arc_file, "ARC", hashlib.sha256(joined.encode()).hexdigest())
    assert data.get("arc", tmp_path).checksum_ok
    assert list(data.arc(tmp_path)) == ["0000000a", "0000000b"]
    first = (tmp_path / "arc" / "training.json.gz").read_bytes()
    assert gzip.decompress(first) == joined.encode()


def test_published_counts(real: Callable[[str], None]) -> None:
    real("arc")
    assert "not one of" not in store.version("arc")
    tasks = data.arc()
    assert len(tasks) == 400
    assert sum(len(task["train"]) for task in tasks.values()) == 1302
    assert sum(len(task["test"]) for task in tasks.values()) == 416
