"""What image datasets share: npz files of a training and a test part, and their checks."""

import os
import zlib
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from quire.data import store
from quire.data.arrays import Images, Split

Root = str | os.PathLike[str] | None


def from_npz(name: str, root: Root) -> Split:
    """The parts of a dataset of one npz file with images of 28 x 28 pixels; DataMissing."""
    return read_split(name, store.files(name, root)[0], (1, 28, 28))


def read_split(name: str, path: Path, shape: tuple[int, int, int]) -> Split:
    """The parts in an npz file with x_train, y_train, x_test and y_test of images of that shape.

    Raises ValueError for a damaged file or another form.
    """
    keys = ("x_train", "y_train", "x_test", "y_test")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            x_train, y_train, x_test, y_test = (archive[key] for key in keys)
    except (OSError, EOFError, LookupError, TypeError, ValueError, BadZipFile, zlib.error) as error:
        raise ValueError(
            f"{name}: {path} is not an npz file with {', '.join(keys)} ({error}); "
            "delete it and fetch it again"
        ) from error
    return checked_split(name, (x_train, y_train), (x_test, y_test), shape)


def checked_split(
    name: str,
    train: tuple[NDArray[Any], NDArray[Any]],
    test: tuple[NDArray[Any], NDArray[Any]],
    shape: tuple[int, int, int],
) -> Split:
    """Checks the form of both parts and gives them the dtypes of `Images`.

    Args:
        name: The dataset, for the messages. Raises ValueError for another form.
        train: uint8 images (N, ...) and labels (N,) in 0..9.
        test: The same of the test part.
        shape: (C, H, W) of an image.
    """
    parts = []
    for image, label in (train, test):
        count = len(label)
        pixels = (count, *shape)
        if image.dtype != np.uint8 or image.size != np.prod(pixels) or label.shape != (count,):
            raise ValueError(
                f"{name}: expected uint8 images {shape} and one label each, got {image.dtype} "
                f"{image.shape} and labels {label.shape}"
            )
        if count and not 0 <= label.min() <= label.max() <= 9:
            raise ValueError(f"{name}: labels must be 0..9, got {label.min()}..{label.max()}")
        parts.append(Images(image.reshape(pixels), label.astype(np.int64)))
    return Split(*parts)
