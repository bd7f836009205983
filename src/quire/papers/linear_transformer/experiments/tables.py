"""Predictors of images that learn nothing but counts: what any trained model has to beat.

N images, T values of each (row by row, channels innermost), L levels.
"""

import numpy as np
from numpy.typing import NDArray

Levels = NDArray[np.uint8]
"""Images (N, T)."""


def measure_histogram(train: Levels, test: Levels, levels: int) -> float:
    """Bits a value of the test images by a histogram of the training images for each place."""
    contexts = (np.broadcast_to(np.arange(x.shape[1]), x.shape) for x in (train, test))
    return count_bits(train, test, *contexts, levels=levels)


def measure_table(train: Levels, test: Levels, shape: tuple[int, int, int], levels: int) -> float:
    """The same by a table: the place, and what is to the left of it and above it.

    Of these two it is known whether they are 0, in the lower half or in the upper half of the
    levels.

    Args:
        train: Images to count.
        test: Images to predict.
        shape: Height, width, channels.
        levels: L.
    """

    def find_contexts(images: Levels) -> NDArray[np.int64]:
        picture = images.reshape(len(images), *shape)
        around = np.pad(picture, ((0, 0), (1, 0), (1, 0), (0, 0)))
        sides = (x.reshape(images.shape) for x in (around[:, 1:, :-1], around[:, :-1, 1:]))
        left, above = ((x > 0).astype(np.int64) + (x >= (levels + 1) // 2) for x in sides)
        return (np.arange(images.shape[1]) * 3 + left) * 3 + above

    return count_bits(train, test, find_contexts(train), find_contexts(test), levels=levels)


def count_bits(
    train: Levels, test: Levels, known: NDArray[np.int64], asked: NDArray[np.int64], *, levels: int
) -> float:
    """Bits a value of the test images by the counts of each context, each count one higher.

    Args:
        train: Images to count.
        test: Images to predict.
        known: The context of each value of `train`, a number.
        asked: Of each value of `test`.
        levels: L.
    """
    contexts = 1 + int(max(known.max(), asked.max()))
    cells = (known * levels + train).ravel()
    counts = np.bincount(cells, minlength=contexts * levels).reshape(contexts, levels) + 1
    chance = counts / counts.sum(1, keepdims=True)
    return float(-np.log2(chance[asked, test]).mean())
