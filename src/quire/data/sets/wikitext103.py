"""WikiText-103: verified articles of English Wikipedia, tokenised into words."""

import re
from dataclasses import dataclass

from quire.data import store
from quire.data.catalogue import Dataset
from quire.data.lines import read_whole

PARTS = ("train", "valid", "test")
DATASET = Dataset(
    summary="28,475 good and featured articles of English Wikipedia, 103 million words",
    licence="CC BY-SA 3.0",
    home="https://huggingface.co/datasets/Salesforce/wikitext",
    layouts=(tuple(f"wiki.{part}.tokens" for part in PARTS),),
    by_hand="the three files of wikitext-103-v1.zip, as published",
)


@dataclass(frozen=True)
class Texts:
    """The published parts, each one text: train, valid, test."""

    train: str
    valid: str
    test: str


def wikitext103(root: store.Root = None) -> Texts:
    """The three parts of WikiText-103. Raises DataMissing, ValueError for a file without titles."""
    texts = []
    for path in store.files("wikitext103", root):
        texts.append(read_whole(path))
        if not re.search(r"^ = .+ = *$", texts[-1], re.MULTILINE):
            raise ValueError(f"{path} has no line that is a title, as in ' = Title = '")
    return Texts(*texts)
