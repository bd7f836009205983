"""Colour images split into tasks of a few classes each: arrays on the device, or files on disk.

Legend: B images, C channels, H and W height and width.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from quire import data
from quire.data import Images, random_crop_flip
from quire.lab import Run

AT_ONCE = 256
"""Test images classified at once."""
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's colours; used for all images alike."""


class Source(Protocol):
    """Tasks of images."""

    count: int
    ways: int

    def batch(self, task: int, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Augmented images (B, C, H, W) of a task and their labels (B,) in 0..ways - 1."""
        ...

    def test(self, task: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Its test images, some at a time."""
        ...


class ArrayTasks:
    """Images in memory, their classes dealt out at random: `ways` classes a task.

    Args:
        train: uint8 images (N, C, H, W) and labels.
        test: The same to test on.
        ways: Classes of a task, a divisor of all.
        run: Decides which classes go together, and where images go.
        padding: Pixels that training crops are shifted by.

    Raises ValueError where the classes cannot be dealt out evenly.
    """

    def __init__(self, train: Images, test: Images, ways: int, run: Run, *, padding: int) -> None:
        classes = int(train.label.max()) + 1
        if classes % ways:
            raise ValueError(f"ways must divide {classes} classes, got {ways}")
        self.count, self.ways, self.padding = classes // ways, ways, padding
        order = torch.randperm(classes, generator=run.rng("classes"))
        place = torch.empty(classes, dtype=torch.int64)
        place[order] = torch.arange(classes)
        self.parts, self.rows = {}, {}
        for name, part in (("train", train), ("test", test)):
            number = place[torch.from_numpy(part.label)]
            image = torch.from_numpy(part.image).to(run.device)
            self.parts[name] = image, (number % ways).to(run.device)
            self.rows[name] = [(number // ways == t).nonzero()[:, 0] for t in range(self.count)]

    def batch(self, task: int, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Augmented images (B, C, H, W) of a task and their labels (B,) in 0..ways - 1."""
        image, label = self.parts["train"]
        rows = self.rows["train"][task]
        chosen = rows[torch.randint(len(rows), (size,), generator=generator)].to(image.device)
        views = random_crop_flip(image[chosen], generator, padding=self.padding)
        return normalise(views), label[chosen]

    def test(self, task: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Its test images, some at a time."""
        image, label = self.parts["test"]
        for rows in self.rows["test"][task].split(AT_ONCE):
            chosen = rows.to(image.device)
            yield normalise(image[chosen]), label[chosen]


class FolderTasks:
    """The user's own ImageNet: <root>/{train,val}/<class>/, ten classes a task in order of name.

    Args:
        root: The folder.
        ways: Classes of a task.
        device: Where images go.

    Raises FileNotFoundError without class folders, ValueError where train and val differ in them.
    """

    def __init__(self, root: Path, ways: int, device: torch.device) -> None:
        self.root, self.ways, self.device = root, ways, device
        self.classes = [
            sorted(p.name for p in (root / part).iterdir() if p.is_dir())
            if (root / part).is_dir() else []
            for part in ("train", "val")
        ]  # fmt: skip
        if not self.classes[0]:
            raise FileNotFoundError(f"imagenet: no data, no class folders in {root / 'train'}")
        if self.classes[0] != self.classes[1]:
            raise ValueError("imagenet: train and val must have the same class folders")
        self.count = len(self.classes[0]) // ways

    def _files(self, part: str, task: int) -> list[tuple[Path, int]]:
        own = self.classes[0][task * self.ways : (task + 1) * self.ways]
        return [
            (path, number)
            for number, name in enumerate(own)
            for path in sorted((self.root / part / name).iterdir())
        ]

    def batch(self, task: int, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Augmented images (B, 3, 224, 224) of a task and their labels (B,) in 0..ways - 1."""
        files = self._files("train", task)
        chosen = torch.randint(len(files), (size,), generator=generator).tolist()
        draws = torch.rand(size, 4, generator=generator).tolist()
        picked = [files[i] for i in chosen]
        image = read_all([path for path, _ in picked], draws)
        label = torch.tensor([number for _, number in picked], device=self.device)
        return normalise(image.to(self.device)), label

    def test(self, task: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Its validation images, some at a time."""
        files = self._files("val", task)
        for begin in range(0, len(files), AT_ONCE):
            some = files[begin : begin + AT_ONCE]
            image = read_all([path for path, _ in some], None)
            label = torch.tensor([number for _, number in some], device=self.device)
            yield normalise(image.to(self.device)), label


def read_all(paths: list[Path], draws: list[list[float]] | None) -> Tensor:
    """Files as (B, 3, 224, 224) uint8: a random share of each, half of them mirrored, or the
    middle. draws: four numbers in 0..1 for each file; None is the middle."""
    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
        rows = draws or [[]] * len(paths)
        return torch.stack(list(pool.map(read_view, paths, rows)))


def read_view(path: Path, draw: list[float], *, side: int = 224) -> Tensor:
    """One view (3, side, side) uint8 of a file.

    Args:
        path: The file.
        draw: Share of the area, place from top and from left, and mirror, each in 0..1; empty for
            the middle of the image at a shorter side of 8 / 7 of the view.
        side: Pixels.

    Raises ImportError naming the extra without Pillow.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError("image files need pillow: pip install 'quire-papers[vision]'") from error
    with Image.open(path) as picture:
        image = picture.convert("RGB")
    width, height = image.size
    share = (0.08 + 0.92 * draw[0]) ** 0.5 if draw else 7 / 8
    cut = share * min(width, height)
    top, left = (draw[1], draw[2]) if draw else (0.5, 0.5)
    box = (left * (width - cut), top * (height - cut))
    view = image.resize(
        (side, side), Image.Resampling.BILINEAR, box=(*box, box[0] + cut, box[1] + cut)
    )
    pixels = torch.from_numpy(np.array(view)).permute(2, 0, 1)
    return pixels.flip(-1) if draw and draw[3] < 0.5 else pixels


def normalise(image: Tensor) -> Tensor:
    """uint8 (B, 3, H, W) -> floats with ImageNet's mean and deviation taken out."""
    mean, deviation = (image.new_tensor(v, dtype=torch.float32)[:, None, None]
                       for v in (MEAN, DEVIATION))  # fmt: skip
    return (image.float() / 255 - mean) / deviation


def enlarge_digits(images: Images) -> Images:
    """scikit-learn's digits as grey images of three channels (N, 3, 16, 16): no file is needed."""
    image = torch.from_numpy(images.image).float() * (255 / 16)
    wide = F.interpolate(image, scale_factor=2).expand(-1, 3, -1, -1)
    return Images(wide.to(torch.uint8).numpy(), images.label)


def open_source(name: str, ways: int, run: Run) -> Source:
    """The tasks of "digits", "cifar10", "cifar100" or "imagenet".

    Args:
        name: Which images.
        ways: Classes of a task.
        run: Where they lie and go.
    """
    if name == "imagenet":
        return FolderTasks(data.store.folder("imagenet", run.data), ways, run.device)
    if name == "digits":
        train, test = (enlarge_digits(part) for part in data.digits())
        return ArrayTasks(train, test, ways, run, padding=1)
    split = data.cifar10(run.data) if name == "cifar10" else data.cifar100(run.data)
    return ArrayTasks(split.train, split.test, ways, run, padding=4)
