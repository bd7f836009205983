"""Many tasks out of one data set of digits: permutations, rotations and pairs of classes.

Legend: T tasks at once, B examples of each, P pixels of an image, side by side.
"""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from quire import data
from quire.lab import Run

Dataset = Literal["digits", "mnist"]
Kind = Literal["permutations", "rotations", "pairs"]
MEAN, DEVIATION = 0.1307, 0.3081
"""Of MNIST's pixels in 0..1: the published normalisation, also of 8x8 digits."""
DEGREES = 10
"""From one rotation to the next."""


class Pictures(NamedTuple):
    """Flat pixels (N, P) in 0..1, their labels (N,), and of each class the rows (in `pools`)."""

    image: Tensor
    label: Tensor


class Batch(NamedTuple):
    """Examples (T, B, P) of T tasks, and their labels (T, B)."""

    x: Tensor
    label: Tensor


class Tasks:
    """Tasks that are drawn from: a data set seen through `count` transformations.

    Args:
        train: Pictures to train on.
        test: Pictures to test on.
        count: Tasks.
        labels: L, of each task.
        change: From normalised x (T, B, P) and tasks (T,) to what those tasks see.
        pools: Rows of the training and the test pictures that belong to each task; None is all.
    """

    def __init__(
        self,
        train: Pictures,
        test: Pictures,
        *,
        count: int,
        labels: int,
        change: Callable[[Tensor, Tensor], Tensor],
        pools: tuple[list[Tensor], list[Tensor]] | None = None,
    ) -> None:
        self.parts = {"train": train, "test": test}
        self.count = count
        self.labels = labels
        self.change = change
        self.pools = None if pools is None else dict(zip(("train", "test"), pools, strict=True))

    @property
    def pixels(self) -> int:
        """P."""
        return self.parts["train"].image.shape[1]

    @staticmethod
    def normalise(image: Tensor) -> Tensor:
        """Pixels in 0..1 -> with MNIST's mean and deviation taken out."""
        return (image - MEAN) / DEVIATION

    def draw(
        self,
        tasks: Tensor,
        size: int,
        generator: torch.Generator,
        part: Literal["train", "test"] = "train",
    ) -> Batch:
        """`size` random examples of each of some tasks (T,), with replacement.

        Args:
            tasks: Numbers of tasks, on the CPU.
            size: B.
            generator: On the CPU.
            part: Which pictures.
        """
        pictures = self.parts[part]
        if self.pools is None:
            rows = torch.randint(len(pictures.image), (len(tasks), size), generator=generator)
        else:
            share = torch.rand(len(tasks), size, generator=generator)
            pools = [self.pools[part][task] for task in tasks.tolist()]
            rows = torch.stack(
                [pool[(s * len(pool)).long()] for s, pool in zip(share, pools, strict=True)]
            )
        rows = rows.to(pictures.image.device)
        x, label = pictures.image[rows], pictures.label[rows]
        x = self.change(self.normalise(x), tasks.to(x.device))
        # Of a pair of classes the first is 0 and the second 1.
        return Batch(x, label % self.labels)


def make_tasks(kind: Kind, dataset: Dataset, count: int, run: Run) -> Tasks:
    """Permutations of pixels, rotations by 10 degrees each, or pairs of classes.

    Args:
        kind: What tells the tasks apart.
        dataset: What they are made of.
        count: Tasks; there are 36 rotations and 5 pairs at most.
        run: Where pictures lie and go, and what permutations are drawn from.

    Raises ValueError for more tasks than there are.
    """
    most = {"permutations": math.inf, "rotations": 360 // DEGREES, "pairs": 5}[kind]
    if count > most:
        raise ValueError(f"there are {most} {kind}, asked for {count}")
    train, test = load_pictures(dataset, run)
    side = math.isqrt(train.image.shape[1])
    if kind == "rotations":
        return Tasks(train, test, count=count, labels=10, change=make_rotations(side))
    if kind == "pairs":
        pools = tuple(
            [(part.label.cpu() // 2 == pair).nonzero()[:, 0] for pair in range(count)]
            for part in (train, test)
        )
        keep: Callable[[Tensor, Tensor], Tensor] = lambda x, tasks: x  # noqa: E731
        return Tasks(train, test, count=count, labels=2, change=keep, pools=(pools[0], pools[1]))
    orders = torch.stack(
        [torch.randperm(side * side, generator=run.rng("permutation", i)) for i in range(count)]
    ).to(run.device)

    def permute(x: Tensor, tasks: Tensor) -> Tensor:
        return x.gather(2, orders[tasks][:, None].expand_as(x))

    return Tasks(train, test, count=count, labels=10, change=permute)


def make_rotations(side: int) -> Callable[[Tensor, Tensor], Tensor]:
    """Turn normalised images (T, B, P) by 10 degrees times the task, with background around."""
    background = (0 - MEAN) / DEVIATION

    def rotate(x: Tensor, tasks: Tensor) -> Tensor:
        angle = tasks * (math.pi / 180 * DEGREES)
        cosine, sine = angle.cos(), angle.sin()
        zero = torch.zeros_like(cosine)
        turn = torch.stack([cosine, -sine, zero, sine, cosine, zero], 1).view(-1, 2, 3)
        # The images of a task are the channels of one picture: all are turned alike.
        images = x.view(len(x), -1, side, side) - background
        grid = F.affine_grid(turn.to(x.dtype), list(images.shape), align_corners=False)
        return (F.grid_sample(images, grid, align_corners=False) + background).flatten(2)

    return rotate


def load_pictures(dataset: Dataset, run: Run) -> tuple[Pictures, Pictures]:
    """Training and test pictures on the run's device.

    scikit-learn's digits are split 1,400 to 397 in an order that the seed decides; MNIST as it is.
    """
    if dataset == "mnist":
        split = data.mnist(run.data)
        train, test = (
            (torch.from_numpy(part.image).flatten(1) / 255, torch.from_numpy(part.label))
            for part in split
        )
    else:
        both = data.digits()
        image = torch.from_numpy(np.concatenate([part.image for part in both])).flatten(1) / 16
        label = torch.from_numpy(np.concatenate([part.label for part in both]))
        order = torch.randperm(len(label), generator=run.rng("split"))
        cut = order[:1400], order[1400:]
        train, test = ((image[rows], label[rows]) for rows in cut)
    return tuple(  # type: ignore[return-value]
        Pictures(image.float().to(run.device), label.to(run.device))
        for image, label in (train, test)
    )


# The control: what no net is needed for


def find_means(tasks: Tasks, size: int, generator: torch.Generator) -> Tensor:
    """The mean of `size` training images of each task, (T, P): P floats a task."""
    some = torch.arange(tasks.count).split(10)
    return torch.cat([tasks.draw(few, size, generator).x.mean(1) for few in some])


def name_by_mean(means: Tensor, x: Tensor) -> Tensor:
    """The task (G,) whose mean is nearest to that of each group, x (G, B, P)."""
    return torch.cdist(x.mean(1), means).argmin(1)
