"""IMDB: film reviews, negative or positive."""

from typing import NamedTuple

from quire.data import store
from quire.data.catalogue import Dataset, versions
from quire.data.lines import read_json_lines

DATASET = Dataset(
    summary="film reviews, negative or positive: a balanced 5,000 of each of the two parts",
    licence="none stated; cite Maas et al. 2011",
    home="https://ai.stanford.edu/~amaas/data/sentiment/",
    layouts=(("train.jsonl", "test.jsonl"),),
    by_hand="JSON lines (or with .xz after the name, compressed) with rating 1 to 10, label 0 or 1 "
    "and text, from train/ and test/ of aclImdb_v1.tar.gz",
    note="2,500 of each class and part of the 12,500, so not comparable with published accuracies.",
    known=versions(
        {
            "balanced, 5,000 of each part": """
c4f8b8f34a4fb1c25a3d1841e6a92c2ba495f79c31748c396822d08a6c7b86f9  train.jsonl.xz
ee668df90216c23661b1ec34ebe64da3665f6f9900bd298208d1444d4ad3a06f  test.jsonl.xz
""",
        }
    ),
)


class Review(NamedTuple):
    """A film review with its HTML line breaks. label: 0 negative, 1 positive. rating: 1 to 10."""

    text: str
    label: int
    rating: int


def imdb(root: store.Root = None) -> dict[str, list[Review]]:
    """Film reviews by part, "train" and "test", in the file's shuffled order.

    Raises DataMissing, and ValueError for a bad line.
    """
    fields = {"text": str, "label": int, "rating": int}
    parts = {}
    for path in store.files("imdb", root):
        reviews = [Review(*(row[name] for name in fields)) for row in read_json_lines(path, fields)]
        if not {review.label for review in reviews} <= {0, 1}:
            raise ValueError(f"{path}: labels must be 0 or 1")
        parts[path.name.split(".")[0]] = reviews
    return parts
