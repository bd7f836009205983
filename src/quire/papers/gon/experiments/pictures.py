"""Pictures to reconstruct, as tensors in [0, 1] on the device: digits, MNIST and its like,
Omniglot, and shapes that can be drawn at any resolution."""

import math
from typing import Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from quire import data
from quire.lab import Run

RealName = Literal["mnist", "fashion_mnist", "cifar10"]
OMNIGLOT = 105
"""Pixels of a drawing's side."""


class Pictures(NamedTuple):
    """Training and test pictures (N, C, H, W) in [0, 1], with labels (N,) where there are any."""

    train: Tensor
    test: Tensor
    train_label: Tensor
    test_label: Tensor


class FinePictures(NamedTuple):
    """Pictures at the trained size and the same ones at a finer one, (N, 1, H, W) in [0, 1]."""

    train: Tensor
    test: Tensor
    fine: Tensor
    """The test pictures, finer."""


def load_digits(run: Run) -> Pictures:
    """scikit-learn's digits (1, 8, 8), four fifths to train, split anew for each seed."""
    split = data.digits()
    image = np.concatenate([split.train.image, split.test.image])
    label = torch.from_numpy(np.concatenate([split.train.label, split.test.label])).to(run.device)
    pixels = torch.from_numpy(image).float().div(16).to(run.device)
    order = torch.randperm(len(pixels), generator=run.rng("split")).to(run.device)
    held, kept = order[: len(order) // 5], order[len(order) // 5 :]
    return Pictures(pixels[kept], pixels[held], label[kept], label[held])


def load_real(name: RealName, run: Run, *, train: int, test: int) -> Pictures:
    """Pictures (C, 32, 32) of a data set, 28 pixels brought to 32 bilinearly; the first of each.

    Args:
        name: Which data set.
        run: Where it lies and where it goes.
        train: At most so many to train on.
        test: At most so many to test on.
    """
    loaders = {
        "mnist": data.mnist,
        "fashion_mnist": data.fashion_mnist,
        "cifar10": data.cifar10,
    }
    split = loaders[name](run.data)
    parts = []
    for images, count in ((split.train.image, train), (split.test.image, test)):
        pixels = torch.from_numpy(np.ascontiguousarray(images[:count])).to(run.device).float() / 255
        if pixels.shape[-1] != 32:
            pixels = F.interpolate(pixels, (32, 32), mode="bilinear", align_corners=False)
        parts.append(pixels)
    labels = [torch.from_numpy(part.label).to(run.device) for part in split]
    return Pictures(parts[0], parts[1], labels[0][:train], labels[1][:test])


def load_omniglot(run: Run, *, size: int, fine: int, train: int, test: int) -> FinePictures:
    """Drawings of Omniglot, averaged over blocks; tested on alphabets that training never saw.

    Args:
        run: Where it lies and where it goes, and what chooses the drawings.
        size: Pixels of a side in training, a divisor of 105.
        fine: Pixels of a side of the finer ones, a divisor of 105.
        train: So many drawings of the background alphabets.
        test: So many drawings of the evaluation alphabets.
    """
    kept: list[Tensor] = []
    for part, count in (("background", train), ("evaluation", test)):
        image: NDArray[np.uint8] = data.omniglot(run.data, part).image
        chosen = torch.randperm(len(image), generator=run.rng("drawings", part))[:count]
        kept.append(torch.from_numpy(image[chosen.numpy()]).to(run.device).float())
    return FinePictures(average(kept[0], size), average(kept[1], size), average(kept[1], fine))


def draw_shapes(run: Run, *, size: int, fine: int, train: int, test: int) -> FinePictures:
    """Discs, rings and boxes, drawn finely and averaged over blocks, so that both sizes are exact.

    Args:
        run: What draws them and where they go.
        size: Pixels of a side in training; it divides `fine`.
        fine: Pixels of a side of the finer ones.
        train: So many to train on.
        test: So many to test on.
    """
    drawn = render_shapes(train + test, 2 * fine, run.rng("shapes")).to(run.device)
    low, high = average(drawn, size), average(drawn[train:], fine)
    return FinePictures(low[:train], low[train:], high)


def render_shapes(count: int, size: int, generator: torch.Generator) -> Tensor:
    """Bits (count, 1, size, size): a disc, a ring or a turned box each, one where it is inside.

    count: pictures. size: pixels of a side. generator: what they are drawn from.
    """
    line = torch.linspace(-1 + 1 / size, 1 - 1 / size, size)
    rows, columns = torch.meshgrid(line, line, indexing="ij")
    drawn = torch.rand(6, count, 1, 1, generator=generator)
    centre, radius = 0.8 * (drawn[:2] - 0.5), 0.25 + 0.3 * drawn[2]
    y, x = rows - centre[0], columns - centre[1]
    distance = (x.square() + y.square()).sqrt()
    angle = math.pi * drawn[3]
    turned = torch.stack([x * angle.cos() + y * angle.sin(), y * angle.cos() - x * angle.sin()])
    sides = torch.stack([radius, radius * (0.4 + 0.6 * drawn[4])])
    disc = distance <= radius
    ring = disc & (distance >= 0.5 * radius)
    box = (turned.abs() <= sides).all(0)
    kind = (3 * drawn[5]).long()
    return torch.where(kind == 0, disc, torch.where(kind == 1, ring, box)).float()[:, None]


def average(pictures: Tensor, size: int) -> Tensor:
    """Means over blocks: (N, 1, H, H) -> (N, 1, size, size). size: a divisor of H."""
    side = pictures.shape[-1]
    if side % size:
        raise ValueError(f"size must divide {side}, got {size}")
    return F.avg_pool2d(pictures, side // size)


def take_batch(pictures: Tensor, size: int, run: Run) -> Tensor:
    """Places (size,) of a random minibatch at this run's step, on the device."""
    chosen = torch.randint(len(pictures), (size,), generator=run.rng("batch", run.step))
    return chosen.to(pictures.device)
