"""The Toronto Face Database: faces of 48x48 pixels in five folds.

N images.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quire.data import store
from quire.data.arrays import read_npz
from quire.data.catalogue import Dataset

UNLABELLED, TRAIN, VALIDATION, TEST = range(4)
"""What an image is in a fold."""
FOLDS, SIDE = 5, 48

DATASET = Dataset(
    summary="about 100,000 faces of 48x48 grey pixels, of which 4,178 stand in five folds",
    licence="not to be passed on: it was given out on request, for research",
    home="http://aclab.ca/users/josh/TFD.html",
    layouts=(("tfd.npz",),),
    by_hand="an npz file with images (N x 48 x 48 uint8) and folds (N x 5: 0 unlabelled, 1 train, "
    "2 validation, 3 test), the arrays of these names in TFD_48x48.mat",
)


@dataclass(frozen=True)
class Faces:
    """The faces.

    Args:
        image: (N, 1, 48, 48) uint8, 0..255.
        fold: (N, 5) int64, what each image is in each of the folds.
    """

    image: NDArray[np.uint8]
    fold: NDArray[np.int64]

    def take(self, part: int, fold: int = 0) -> NDArray[np.uint8]:
        """The images that are `part` (UNLABELLED, TRAIN, VALIDATION, TEST) of a fold."""
        return self.image[self.fold[:, fold] == part]


def tfd(root: store.Root = None) -> Faces:
    """The Toronto Face Database, as its owner put it there.

    Raises DataMissing, and ValueError for a damaged file, other shapes, or a fold in which one of
    unlabelled, validation and test images lacks.
    """
    path = store.files("tfd", root)[0]
    read = read_npz(path, ("images", "folds"))
    image, fold = read["images"], read["folds"]
    if image.shape[1:] != (SIDE, SIDE) or image.dtype != np.uint8:
        raise ValueError(
            f"{path}: images must be N x 48 x 48 uint8, got {image.shape} {image.dtype}"
        )
    if fold.shape != (len(image), FOLDS) or not np.isin(fold, np.arange(4)).all():
        raise ValueError(f"{path}: folds must be N x 5 numbers from 0 to 3, got {fold.shape}")
    for part in (UNLABELLED, VALIDATION, TEST):
        if not (fold == part).any(0).all():
            raise ValueError(f"{path}: every fold needs images of part {part}")
    return Faces(image[:, None], fold.astype(np.int64))
