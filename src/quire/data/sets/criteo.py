"""Criteo's whole log of a week, as places in a table.

N impressions, 39 fields: 13 of numbers, 26 of categories.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quire.data import store
from quire.data.catalogue import Dataset

NUMBERS, FIELDS = 13, 39
DATASET = Dataset(
    summary="Criteo's Display Advertising Challenge, 45.8 million impressions with 39 fields",
    licence="the terms of the challenge, research only",
    home="https://www.kaggle.com/c/criteo-display-ad-challenge",
    layouts=(("label.npy", "place.npy", "sizes.npy"),),
    by_hand="what quire.data.sets.criteo.index_log(train_txt, folder) makes of the challenge's "
    "train.txt (11 GB)",
    note="As in the published code: numbers above 2 become the square of their logarithm, rounded "
    "down, and values that are seen fewer than 10 times share a place.",
)


@dataclass(frozen=True)
class Log:
    """Impressions of advertisements as places in one table of all fields' values.

    Args:
        label: (N,) uint8, 1 where it was clicked.
        place: (N, F) int32, of each field's value in its own part of the table, from 0.
        sizes: (F,) int64, values of each field.
    """

    label: NDArray[np.uint8]
    place: NDArray[np.int32]
    sizes: NDArray[np.int64]


def criteo(root: store.Root = None) -> Log:
    """The whole log, mapped from disk. There is no official split of it.

    Raises DataMissing, and ValueError for arrays that do not fit together.
    """
    paths = store.files("criteo", root)
    try:
        label, place, sizes = (np.load(path, mmap_mode="r", allow_pickle=False) for path in paths)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{paths[0].parent} holds no whole npy files ({error})") from error
    if place.ndim != 2 or label.shape != (len(place),) or sizes.shape != (place.shape[1],):
        raise ValueError(f"{paths[0].parent}: labels, places and sizes do not fit together")
    return Log(label, place, np.asarray(sizes))


def index_log(source: Path, folder: Path, *, least: int = 10) -> None:
    """Turn the challenge's train.txt into the three files of this dataset, in two passes.

    A field's place 0 is that of all values seen fewer than `least` times. About half an hour and
    8 GB of disk for the whole log.

    Raises ValueError naming the line where one has another number of fields or a number is none.
    """
    counts: list[Counter[str]] = [Counter() for _ in range(FIELDS)]
    total = 0
    for _, values in _rows(source):
        total += 1
        for count, value in zip(counts, values, strict=True):
            count[value] += 1
    kept = [sorted(value for value, seen in count.items() if seen >= least) for count in counts]
    places = [{value: place for place, value in enumerate(field, 1)} for field in kept]
    folder.mkdir(parents=True, exist_ok=True)
    out = np.lib.format.open_memmap(
        folder / "place.npy", mode="w+", dtype=np.int32, shape=(total, FIELDS)
    )
    label = np.zeros(total, np.uint8)
    for number, (clicked, values) in enumerate(_rows(source)):
        label[number] = clicked
        out[number] = [place.get(value, 0) for place, value in zip(places, values, strict=True)]
    out.flush()
    np.save(folder / "label.npy", label)
    np.save(folder / "sizes.npy", np.array([len(field) + 1 for field in kept], np.int64))


def _rows(source: Path) -> Iterator[tuple[int, list[str]]]:
    with source.open(encoding="ascii") as file:
        for number, line in enumerate(file, 1):
            label, *values = line.rstrip("\n").split("\t")
            if len(values) != FIELDS or label not in ("0", "1"):
                raise ValueError(f"{source}, line {number}: a label and {FIELDS} fields expected")
            try:
                values[:NUMBERS] = map(bucket, values[:NUMBERS])
            except ValueError:
                raise ValueError(f"{source}, line {number}: a number is none") from None
            yield int(label), values


def bucket(value: str) -> str:
    """A number as a category: "" where missing, itself up to 2, else floor(log(value)^2).

    >>> bucket(""), bucket("-1"), bucket("2"), bucket("100")
    ('', '-1', '2', '21')
    """
    if not value:
        return ""
    number = int(value)
    return str(number) if number <= 2 else str(int(np.log(number) ** 2))
