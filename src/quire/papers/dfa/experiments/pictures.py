"""Pictures to classify, as tensors on the device."""

from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from quire import data
from quire.lab import Run

PictureName = Literal["mnist", "fashion_mnist", "cifar10"]


class Pictures(NamedTuple):
    """Training and test pictures as rows (N, D) with mean zero, and labels (N,)."""

    train: Tensor
    train_label: Tensor
    test: Tensor
    test_label: Tensor


def load_pictures(
    run: Run, name: PictureName, *, train: int, test: int = 10_000, flat: bool = True
) -> Pictures:
    """The first pictures of a data set, values / 255 less the training mean.

    Args:
        run: Where it lies and where it goes.
        name: Which data set.
        train: At most so many to train on.
        test: At most so many to test on.
        flat: Whether a picture is a row, (N, D), or stays (N, C, H, W).
    """
    loaders = {
        "mnist": data.mnist,
        "fashion_mnist": data.fashion_mnist,
        "cifar10": data.cifar10,
    }
    split = loaders[name](run.data)
    parts = []
    for images, count in ((split.train, train), (split.test, test)):
        pixels = torch.from_numpy(np.ascontiguousarray(images.image[:count]))
        label = torch.from_numpy(np.ascontiguousarray(images.label[:count]))
        x = pixels.to(run.device).float() / 255
        parts += [x.flatten(1) if flat else x, label.to(run.device)]
    mean = parts[0].mean()
    return Pictures(parts[0] - mean, parts[1], parts[2] - mean, parts[3])
