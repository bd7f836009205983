"""AG News: news articles of four topics."""

import csv
import io
import json
from pathlib import Path
from typing import NamedTuple

from quire.data import store
from quire.data.catalogue import Dataset, pinned, versions
from quire.data.lines import read_json_lines, read_whole, write_gzip

TOPICS = ("World", "Sports", "Business", "Sci/Tech")
_HOME = (
    "https://raw.githubusercontent.com/mhjabreel/CharCnn_Keras/"
    "555590db4219b1243abb1918effd6a7425a2d75f/data/ag_news_csv/"
)
DATASET = Dataset(
    summary="news articles of four topics: 120,000 to train on, 7,600 to test",
    licence="non-commercial research",
    home="https://github.com/mhjabreel/CharCnn_Keras",
    sources=(
        pinned(_HOME + "train.csv"),
        pinned(
            _HOME + "test.csv",
            "521465c2428ed7f02f8d6db6ffdd4b5447c1c701962353eb2c40d548c3c85699",
        ),
    ),
    layouts=(("train.jsonl.gz", "test.jsonl.gz"), ("test.jsonl.gz",)),
    note="Where train.jsonl.gz is missing only the test part is given: who splits it must say so.",
    known=versions(
        {
            "the test part alone": """
fd91c6f131f07af040fd8da121b57c6b19ae00e9377add8a090173f23426f1d1  test.jsonl.gz
""",
        }
    ),
)


def unpack(downloads: list[Path], produced: Path) -> None:
    """Comma-separated rows without a header: topic 1..4, title, description."""
    for part, path in zip(("train", "test"), downloads, strict=True):
        lines = []
        for topic, title, description in csv.reader(io.StringIO(read_whole(path), newline="")):
            row = {"label": int(topic) - 1, "title": title, "description": description}
            lines.append(json.dumps(row, ensure_ascii=False) + "\n")
        write_gzip(produced / f"{part}.jsonl.gz", "".join(lines))


class Article(NamedTuple):
    """A news article. label: the index of its topic in `TOPICS`."""

    title: str
    description: str
    label: int


def ag_news(root: store.Root = None) -> dict[str, list[Article]]:
    """News articles by part, "train" (120,000, where it is here) and "test" (7,600).

    Raises DataMissing, and ValueError for a bad line.
    """
    fields = {"title": str, "description": str, "label": int}
    parts = {}
    for path in store.files("ag_news", root):
        articles = [
            Article(*(row[name] for name in fields)) for row in read_json_lines(path, fields)
        ]
        if not {article.label for article in articles} <= set(range(len(TOPICS))):
            raise ValueError(f"{path}: labels must be 0..3")
        parts[path.name.split(".")[0]] = articles
    return parts
