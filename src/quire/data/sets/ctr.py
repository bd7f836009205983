"""Clicks on advertisements: small samples of Criteo's and Avazu's logs.

N impressions, I integer fields, C categorical fields.
"""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quire.data import store
from quire.data.catalogue import Dataset, pinned, versions
from quire.data.lines import read_csv, read_whole, write_gzip

SPLITS = ("train", "dev", "test")
_CRITEO = ["label", *(f"I{k}" for k in range(1, 14)), *(f"C{k}" for k in range(1, 27))]
_HOME = (
    "https://raw.githubusercontent.com/Lapis-Hong/Wide-ResDNN/"
    "9889f939deb904a35692e2efdc6ab4f743a7df71/data/"
)
_SOURCES = """
2b0614035f6c931dc4ac2c1a1a26fa954f2b9231703f3a77bcdd53d9d9f29872  criteo/train.csv
7ac8a164e43a9903be3d43e640bcd464cfa0d96d7a652ec8ef8a33fe97cac6b9  criteo/dev.csv
3a7a78b694945482aede520e68300b0e2748603363072822cfbbb9f72d0dfd9a  criteo/test.csv
49fb8cdcadfd9030a6fcb8cd97fe8205d94b84723ee8292e229d741ce1362e4f  avazu/train.csv
1dbd14ef356202a106766d175ab20dfa182838c8cf77e6b018dd18df05c7e757  avazu/dev.csv
9c81e37b0766fb1daa430706c0c8188046e6daf6a295ab667687d87dada32f35  avazu/test.csv
"""
DATASET = Dataset(
    summary="clicks on advertisements: 8,000 rows of Criteo's log, 8,999 of Avazu's",
    licence="none stated there; terms of the two Kaggle competitions, research only",
    home="https://github.com/Lapis-Hong/Wide-ResDNN",
    sources=tuple(
        pinned(_HOME + file, sha256)
        for sha256, file in (line.split() for line in _SOURCES.strip().splitlines())
    ),
    layouts=(("criteo_sample.csv.gz", "avazu_sample.csv.gz"),),
    note="The heads of the logs: an AUC on a test part of 400 rows is known to 0.03, and no "
    "published one is comparable.",
    known=versions(
        {
            "from the repository, with a header": """
d285ad4fee1477f0755b9fb181a3152c3fd39f8fc720b05fd9b24b23da1481e6  criteo_sample.csv.gz
47788d2a468424f93d3451297f34e72c615c9dc30f0e774f18cdafa61bc69d98  avazu_sample.csv.gz
""",
        }
    ),
)


def unpack(downloads: list[Path], produced: Path) -> None:
    """Criteo has tabs and no header; Avazu has commas, its header in the training part alone."""
    criteo, avazu = downloads[:3], downloads[3:]
    rows = [["split", *_CRITEO]]
    for split, path in zip(SPLITS, criteo, strict=True):
        rows += [[split, *row] for row in _rows(path, "\t")]
    _write(produced / "criteo_sample.csv.gz", rows)
    header, *first = _rows(avazu[0], ",")
    rows = [["split", *header], *(["train", *row] for row in first)]
    for split, path in zip(SPLITS[1:], avazu[1:], strict=True):
        rows += [[split, *row] for row in _rows(path, ",")]
    _write(produced / "avazu_sample.csv.gz", rows)


def _rows(path: Path, delimiter: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(read_whole(path), newline=""), delimiter=delimiter))


def _write(path: Path, rows: list[list[str]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    write_gzip(path, text.getvalue())


@dataclass(frozen=True)
class Clicks:
    """Impressions of advertisements.

    Args:
        label: (N,) int64, 1 where it was clicked.
        number: (N, I) float64, NaN where missing.
        category: (N, C) text, empty where missing.
        split: (N,) text, "train", "dev" or "test".
        numbers: The names of the I fields of numbers.
        categories: The names of the C fields of categories.
    """

    label: NDArray[np.int64]
    number: NDArray[np.float64]
    category: NDArray[np.str_]
    split: NDArray[np.str_]
    numbers: tuple[str, ...]
    categories: tuple[str, ...]


def ctr(root: store.Root = None, log: str = "criteo") -> Clicks:
    """A sample of a log of clicks.

    log: "criteo" (8,000 rows, 13 integer and 26 categorical fields) or "avazu" (8,999 rows of one
    hour, 22 categorical fields; its id is left out). The split is random, 90 : 5 : 5. Raises
    DataMissing, and ValueError for another log or a damaged file.
    """
    if log not in ("criteo", "avazu"):
        raise ValueError(f"log must be 'criteo' or 'avazu', got {log!r}")
    path = store.files("ctr", root)[("criteo", "avazu").index(log)]
    target = "label" if log == "criteo" else "click"
    table = read_csv(path, ("split", target, *(_CRITEO if log == "criteo" else ())))
    numbers = tuple(name for name in table if log == "criteo" and name.startswith("I"))
    categories = tuple(name for name in table if name not in ("split", target, "id", *numbers))
    try:
        label = np.array([int(entry) for entry in table[target]])
        number = [[float(entry or "nan") for entry in table[name]] for name in numbers]
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return Clicks(
        label,
        np.array(number).T if numbers else np.empty((len(label), 0)),
        np.array([table[name] for name in categories]).T,
        np.array(table["split"]),
        numbers,
        categories,
    )
