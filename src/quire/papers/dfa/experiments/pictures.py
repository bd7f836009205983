"""Pictures to classify, as tensors on the device."""

from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from quire import data
from quire.lab import Run

PictureName = Literal["mnist", "fashion_mnist", "cifar10"]


class Pictures(NamedTuple):
    """Pictures, rows (N, D) or (N, C, H, W), about mean zero, and labels (N,) of three parts."""

    train: Tensor
    train_label: Tensor
    val: Tensor
    val_label: Tensor
    test: Tensor
    test_label: Tensor


def load_pictures(
    run: Run, name: PictureName, *, train: int, test: int = 10_000, flat: bool = True
) -> Pictures:
    """The first pictures of a data set, values / 255 less the training mean.

    The last tenth of those to train on is kept for validation.

    Args:
        run: Where it lies and where it goes.
        name: Which data set.
        train: At most so many to train and to validate on.
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
    x, label, test_x, test_label = parts
    kept = len(x) - len(x) // 10
    mean = x[:kept].mean()
    return Pictures(
        x[:kept] - mean, label[:kept], x[kept:] - mean, label[kept:], test_x - mean, test_label
    )
