"""SciTLDR: abstracts of papers and their summaries of one sentence."""

import json
from pathlib import Path
from typing import NamedTuple

from quire.data import store
from quire.data.catalogue import Dataset, pinned, versions
from quire.data.lines import read_json_lines, write_gzip

_FIELDS = {"paper_id": str, "title": str, "source": list, "target": list}
_HOME = (
    "https://raw.githubusercontent.com/allenai/scitldr/"
    "5ccad9c00a60ad75c9e04abf7f27d0f53f983b20/SciTLDR-Data/SciTLDR-A/"
)
DATASET = Dataset(
    summary="1,992 + 619 + 618 abstracts of papers with summaries of one sentence (SciTLDR-A)",
    licence="Apache-2.0",
    home="https://github.com/allenai/scitldr",
    sources=(
        pinned(
            _HOME + "train.jsonl",
            "b222771d387be585cfdf5ae957b36757138415a352e0a3e3b23f73f87c3b1119",
        ),
        pinned(
            _HOME + "dev.jsonl",
            "3191fa98ccc09521332b7a1cd63b1930be4e8df125a235ccd31e40329709525e",
        ),
        pinned(
            _HOME + "test.jsonl",
            "fb42dd6cd4f4a1928ae8a01a189456fbfe994a07e938bd49f68653933f6503c9",
        ),
    ),
    layouts=(("train.jsonl.gz", "dev.jsonl.gz", "test.jsonl.gz"),),
    known=versions(
        {
            "as published, four of its fields": """
2725f2bc20d51391b0a4f13839a5f1b3b8e312ea40607cd7ff4313ff24dcfa8a  train.jsonl.gz
59585daf264ad865c88be70ee8b7681cb4b92499d5d40594708e479c445ad4d2  dev.jsonl.gz
a20a4a13e9491aed8d2bbe31729d40cacff5e3958f2237027d7aca199e1ca41d  test.jsonl.gz
""",
        }
    ),
)


def unpack(downloads: list[Path], produced: Path) -> None:
    """Keeps the four fields that the loader reads."""
    for part, path in zip(("train", "dev", "test"), downloads, strict=True):
        kept = ({name: row[name] for name in _FIELDS} for row in read_json_lines(path, _FIELDS))
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept)
        write_gzip(produced / f"{part}.jsonl.gz", text)


class Abstract(NamedTuple):
    """A paper's abstract with summaries.

    Args:
        paper: The paper's name in the dataset.
        title: Its title.
        sentences: The abstract's.
        summaries: One in "train", one or more in "dev" and "test".
    """

    paper: str
    title: str
    sentences: tuple[str, ...]
    summaries: tuple[str, ...]


def scitldr(root: store.Root = None) -> dict[str, list[Abstract]]:
    """Abstracts by part: "train" (1,992), "dev" (619) and "test" (618).

    Raises DataMissing, and ValueError for a bad line.
    """
    parts = {}
    for path in store.files("scitldr", root):
        parts[path.name.split(".")[0]] = [
            Abstract(row["paper_id"], row["title"], tuple(row["source"]), tuple(row["target"]))
            for row in read_json_lines(path, _FIELDS)
        ]
    return parts
