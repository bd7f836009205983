"""Labelled bags of instances, and the npz files that hold them."""

import os
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

Root = str | os.PathLike[str] | None


class Bags(NamedTuple):
    """Labelled bags of instances.

    instance: (instances, features) float32, unscaled, bags one after the other. size: (bags,)
    int64, instances in each. label: (bags,) int64, 0 or 1.
    """

    instance: NDArray[np.float32]
    size: NDArray[np.int64]
    label: NDArray[np.int64]


def read_arrays(path: Path, keys: tuple[str, ...]) -> list[NDArray[Any]]:
    """The arrays of an npz file in the order of the keys. Raises ValueError for a damaged file."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return [archive[key] for key in keys]
    except (OSError, EOFError, LookupError, ValueError, BadZipFile) as error:
        raise ValueError(f"{path} is not an npz file with {', '.join(keys)} ({error}); delete it "
                         "and fetch it again") from error  # fmt: skip
