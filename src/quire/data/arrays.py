"""The arrays that image datasets give."""

from typing import NamedTuple

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
