"""Tables for classification: rows with a class, as gzipped comma-separated files."""

import csv
import gzip
import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Table(NamedTuple):
    """Rows with a class.

    Args:
        feature: (rows, columns) float64; a category is its index, NaN is missing.
        categorical: (columns,) bool.
        label: (rows,) int64, the index of the class in sorted order.
        classes: The classes' names, in that order.
    """

    feature: NDArray[np.float64]
    categorical: NDArray[np.bool_]
    label: NDArray[np.int64]
    classes: tuple[str, ...]


def read_table(path: Path) -> Table:
    """A gzipped table with a header, the class last. Raises ValueError naming a bad line."""
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    for number, row in enumerate(rows, 2):
        if len(row) != len(header):
            raise ValueError(f"{path.name}, line {number}: {len(header)} columns expected")
    *columns, target = zip(*rows, strict=True)
    classes = sorted(set(target))
    label = np.array([classes.index(name) for name in target])
    read = [_column(column) for column in columns]
    feature = np.stack([values for values, _ in read], 1)
    return Table(feature, np.array([kind for _, kind in read]), label, tuple(classes))


def _column(entries: tuple[str, ...]) -> tuple[NDArray[np.float64], bool]:
    """Values, and whether they are categories."""
    try:
        return np.array([float("nan" if x == "?" else x) for x in entries]), False
    except ValueError:
        kinds = sorted(set(entries) - {"?"})
        return np.array([kinds.index(x) if x != "?" else np.nan for x in entries]), True


def write_table(
    path: Path, header: list[str] | tuple[str, ...], rows: list[tuple[str, ...]]
) -> None:
    """Writes a gzipped table with a header, without a time: equal rows give equal bytes."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([tuple(header), *rows])
    path.write_bytes(gzip.compress(text.getvalue().encode(), mtime=0))
