"""The arrays that datasets give, and the npz files that hold them."""

import zlib
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray


class Images(NamedTuple):
    """Labelled images.

    image: (N, C, H, W) uint8, 0..255 unless the dataset says otherwise. label: (N,) int64.
    """

    image: NDArray[np.uint8]
    label: NDArray[np.int64]


class Split(NamedTuple):
    """The training and the test images of a dataset."""

    train: Images
    test: Images


def read_npz(path: Path, keys: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    """All arrays of an npz file by name, at least these. Raises ValueError for a damaged file."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive}
    except (OSError, EOFError, LookupError, TypeError, ValueError, BadZipFile, zlib.error,
            AttributeError, NotImplementedError) as error:  # fmt: skip
        raise ValueError(
            f"{path} is not a whole npz file ({error}); delete it and fetch it again"
        ) from error
    lacking = [key for key in keys if key not in arrays]
    if lacking:
        raise ValueError(f"{path} has no {', '.join(lacking)}; it has {', '.join(arrays)}")
    return arrays
