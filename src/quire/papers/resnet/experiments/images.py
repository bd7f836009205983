"""Small images as the experiments take them: on the device, less the mean image.

Legend: N images, B batch, C channels, H and W height and width.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from quire.data import Images, Split


class Part(NamedTuple):
    """image (N, C, H, W) uint8 and label (N,) as tensors on the device that trains."""

    image: Tensor
    label: Tensor


class Prepared(NamedTuple):
    """Images on the device, with the mean image (C, H, W) and one deviation of the training set."""

    train: Part
    test: Part
    mean: Tensor
    std: float

    def centre(self, image: Tensor) -> Tensor:
        """uint8 images (B, C, H, W) less the mean image, as float32 with deviation 1."""
        return (image.float() - self.mean) / self.std


def prepare(split: Split, device: torch.device) -> Prepared:
    """Moves both parts to `device`, where minibatches are gathered by row.

    The paper subtracts the per-pixel mean; all pixels are then divided by one number as well.
    Raises ValueError where all training images are the same one.
    """
    pixels = split.train.image
    mean = pixels.mean(0, dtype=np.float64)
    # In parts: the squares of all of CIFAR-10 as floats would take 600 MB.
    square = sum(
        float(np.square(part, dtype=np.float32).sum()) for part in np.array_split(pixels, 50)
    )
    variance = square / pixels.size - (mean**2).mean()
    if variance <= 0:
        raise ValueError("the training images must not all be the same: they have no deviation")
    std = variance**0.5
    train, test = (
        Part(torch.from_numpy(part.image).to(device), torch.from_numpy(part.label).to(device))
        for part in split
    )
    return Prepared(train, test, torch.from_numpy(mean).float().to(device), float(std))


def shorten(images: Images, count: int) -> Images:
    """The first `count` images, or all of them."""
    return Images(images.image[:count], images.label[:count])


def hold_out(train: Images, count: int) -> Split:
    """The last `count` training images as the test part. Raises ValueError if nothing is left."""
    kept = len(train.label) - count
    if kept < 1:
        raise ValueError(f"holdout must leave images to train on; got {count} of {kept + count}")
    return Split(shorten(train, kept), Images(train.image[kept:], train.label[kept:]))
