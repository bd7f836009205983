"""DialogSum: conversations and their summaries."""

from pathlib import Path
from typing import NamedTuple

from quire.data import store
from quire.data.catalogue import Dataset, pinned, versions
from quire.data.lines import read_json_lines, read_whole, write_gzip

_HOME = (
    "https://raw.githubusercontent.com/cylnlp/dialogsum/"
    "848cc8c05e0a04def79326539de827f1b28786a0/DialogSum_Data/dialogsum."
)
DATASET = Dataset(
    summary="conversations with summaries: 12,460 to train on, 500 to develop, 500 to test",
    licence="CC BY-NC-SA 4.0",
    home="https://github.com/cylnlp/dialogsum",
    sources=(
        pinned(_HOME + "train.jsonl"),
        pinned(
            _HOME + "dev.jsonl",
            "436721e0a3571eef7072964f80e042fb151d8c6178db1a688ce8f803bbf0a13f",
        ),
        pinned(
            _HOME + "test.jsonl",
            "6de36eca7e7b9b10975fd5ea3f47391df172d8b3c15d03d84d763cbaab015fda",
        ),
    ),
    layouts=(
        ("train.jsonl.gz", "dev.jsonl.gz", "test.jsonl.gz"),
        ("dev.jsonl.gz", "test.jsonl.gz"),
    ),
    note="Where train.jsonl.gz is missing only dev and test are given.",
    known=versions(
        {
            "as published, without the training part": """
40a9f0a3daf8dbd48376254737fd4b8e9b6a125da54642e9afa5882f76bd45a8  dev.jsonl.gz
4542bd7997f5c7147a51ee6f853dcaea812cfa788f04040affeac0aed0f29694  test.jsonl.gz
""",
        }
    ),
)


def unpack(downloads: list[Path], produced: Path) -> None:
    """The lines as they are, compressed."""
    for part, path in zip(("train", "dev", "test"), downloads, strict=True):
        write_gzip(produced / f"{part}.jsonl.gz", read_whole(path))


class Conversation(NamedTuple):
    """A conversation with summaries.

    Args:
        name: Its name in the dataset.
        text: One turn a line, "#Person1#: ...".
        summaries: One, in "test" three.
        topics: As many as summaries.
    """

    name: str
    text: str
    summaries: tuple[str, ...]
    topics: tuple[str, ...]


def dialogsum(root: store.Root = None) -> dict[str, list[Conversation]]:
    """Conversations by part: "train" (12,460, where it is here), "dev" (500) and "test" (500).

    Raises DataMissing, and ValueError for a bad line.
    """
    parts = {}
    for path in store.files("dialogsum", root):
        part = path.name.split(".")[0]
        ends = ("1", "2", "3") if part == "test" else ("",)
        fields = {"fname": str, "dialogue": str}
        fields |= dict.fromkeys((kind + end for kind in ("summary", "topic") for end in ends), str)
        parts[part] = [
            Conversation(
                row["fname"],
                row["dialogue"],
                tuple(row["summary" + end] for end in ends),
                tuple(row["topic" + end] for end in ends),
            )
            for row in read_json_lines(path, fields)
        ]
    return parts
