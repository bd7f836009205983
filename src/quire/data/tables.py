"""Small tables for classification."""

import csv
import gzip
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from quire.data import store


class Table(NamedTuple):
    """Rows with a class.

    feature: (rows, columns) float64; a category is its index, NaN is missing. categorical:
    (columns,) bool. label: (rows,) int64, the index of the class in sorted order. classes: names.
    """

    feature: NDArray[np.float64]
    categorical: NDArray[np.bool_]
    label: NDArray[np.int64]
    classes: tuple[str, ...]


def uci(root: str | os.PathLike[str] | None = None) -> dict[str, Table]:
    """24 small classification sets by name, most of them from the UCI repository.

    A column of which every entry is a number or missing is numeric, any other one categorical.
    There is no official split. Raises DataMissing, and ValueError for rows of different lengths.
    """
    return {path.name.split(".")[0]: _read(path) for path in store.files("uci", root)}


def _read(path: Path) -> Table:
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
