"""Where ImageNet's images come from: the user's own files, augmented as in the paper, or drawn.

The folder is `<root>/{train,val}/<class>/<image>`; classes are numbered in order of name.
Legend: B images, H and W height and width. Pixels leave here in units of 1, less a mean colour.
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from quire.papers.resnet.experiments.scenes import SHAPES, draw

File = tuple[Path, int]
"""An image file and the number of its class."""


class Listing(NamedTuple):
    """The image files of one part of a dataset, and the names of its classes."""

    files: list[File]
    classes: list[str]


def list_images(root: Path, part: str) -> Listing:
    """The images of `<root>/<part>/<class>/`. Raises FileNotFoundError where there is none."""
    folder = root / part
    classes = sorted(p.name for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []
    files = [
        (path, number)
        for number, name in enumerate(classes)
        for path in sorted((folder / name).iterdir())
        if path.suffix.lower() in {".jpeg", ".jpg", ".png"}
    ]
    if not files:
        raise FileNotFoundError(f"imagenet: no images in {folder}/<class>/")
    return Listing(files, classes)


def load_image(path: Path, shorter_side: int) -> Tensor:
    """An image file as (3, H, W) uint8, resized so that its shorter side is `shorter_side`.

    Raises ImportError naming the extra if Pillow is not installed, ValueError naming the file if it
    is not a whole image.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError("image files need pillow: pip install 'quire-papers[vision]'") from error
    try:
        with Image.open(path) as picture:
            # JPEG decodes straight to a smaller size where that is still large enough.
            picture.draft("RGB", (shorter_side, shorter_side))
            image = picture.convert("RGB")
    except Exception as error:
        # Pillow's decoders let through whatever they meet, and most of it names no file.
        raise ValueError(f"imagenet: {path} is not a whole image: {error}") from None
    scale = shorter_side / min(image.size)
    width, height = (max(shorter_side, round(length * scale)) for length in image.size)
    pixels = np.array(image.resize((width, height), Image.Resampling.BILINEAR))
    return torch.from_numpy(pixels).permute(2, 0, 1)


def random_view(path: Path, crop: int, sides: tuple[int, int], seed: Sequence[int]) -> Tensor:
    """A random crop (3, crop, crop) of the image at a random scale, mirrored half of the time.

    Args:
        path: The image file.
        crop: Side of the view, pixels.
        sides: Range of the shorter side that the image is resized to, pixels.
        seed: Numbers that all randomness follows from.
    """
    digest = hashlib.sha256(repr(tuple(seed)).encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)

    def draw(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=generator))

    image = load_image(path, draw(*sides))
    top, left = draw(0, image.shape[1] - crop), draw(0, image.shape[2] - crop)
    view = image[:, top : top + crop, left : left + crop]
    return view.flip(-1) if draw(0, 1) else view


def map_in_threads(
    function: Callable[[int, File], Tensor], files: Sequence[File]
) -> tuple[Tensor, Tensor]:
    """(B, ...) of `function(position, file)` and the labels (B,); decoding releases the GIL."""
    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
        images = list(pool.map(function, range(len(files)), files))
    return torch.stack(images), torch.tensor([label for _, label in files])


def find_colour_axes(pixels: Tensor) -> Tensor:
    """Principal axes (3, 3) of colours (B, 3, H, W), in columns, each as long as its deviation."""
    flat = pixels.movedim(1, 0).flatten(1).double()
    values, vectors = torch.linalg.eigh(torch.cov(flat))
    return (vectors * values.clamp(min=0).sqrt()).to(pixels.dtype)


def shift_colours(
    images: Tensor, axes: Tensor, generator: torch.Generator, *, std: float = 0.1
) -> Tensor:
    """AlexNet's colour augmentation: moves each image by normal amounts along the colours' axes.

    Args:
        images: Minibatch (B, 3, H, W).
        axes: (3, 3), in columns, from `find_colour_axes`.
        generator: On the CPU, so that the amounts are the same on every device.
        std: Deviation of the amount on each axis, in that axis' own length.
    """
    amount = std * torch.randn(len(images), 3, generator=generator).to(images)
    return images + (amount @ axes.to(images).T)[:, :, None, None]


def centre_crop(image: Tensor, size: int) -> Tensor:
    """The middle (..., size, size) of an image. Raises ValueError where it is smaller."""
    height, width = image.shape[-2:]
    if min(height, width) < size:
        raise ValueError(f"size must be at most {min(height, width)}, the shorter side; got {size}")
    top, left = (height - size) // 2, (width - size) // 2
    return image[..., top : top + size, left : left + size]


class Folder:
    """Files on disk: augmented minibatches to train on, whole images to test on.

    Args:
        root: Holds train/<class>/ and val/<class>/.
        crop: Side of a training view, pixels.
        sides: Range of the shorter side that a view is cut from, pixels.
        test_side: Shorter side of test images, pixels.
        rows_of: Number of training images -> (step -> row numbers (B,) of its minibatch).
        seed: What the views follow from, with step and row.

    Raises FileNotFoundError without images, ValueError if train and val differ in their classes.
    """

    def __init__(
        self,
        root: Path,
        crop: int,
        *,
        sides: tuple[int, int],
        test_side: int,
        rows_of: Callable[[int], Callable[[int], Tensor]],
        seed: int,
    ) -> None:
        self.train, self.val = list_images(root, "train"), list_images(root, "val")
        if self.train.classes != self.val.classes:
            raise ValueError("imagenet: train and val must have the same class folders")
        self.classes = len(self.train.classes)
        self.crop, self.sides, self.test_side, self.seed = crop, sides, test_side, seed
        self.rows = rows_of(len(self.train.files))
        # Mean and axes from a thousand images, evenly spaced over the classes: one pass of seconds.
        sample = self.train.files[:: -(-len(self.train.files) // 1000)]
        small, _ = map_in_threads(lambda _, file: centre_crop(load_image(file[0], 64), 64), sample)
        pixels = small.float() / 255
        self.mean = pixels.mean((0, 2, 3))[:, None, None]
        self.axes = find_colour_axes(pixels)

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Augmented images (B, 3, crop, crop) and labels (B,) of a step."""
        rows = self.rows(step).tolist()

        def view(position: int, file: File) -> Tensor:
            return random_view(file[0], self.crop, self.sides, (self.seed, step, rows[position]))

        image, label = map_in_threads(view, [self.train.files[row] for row in rows])
        return image.float() / 255 - self.mean, label

    def test(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Whole validation images (1, 3, H, W) with labels (1,)."""
        for path, label in self.val.files:
            image = load_image(path, self.test_side)
            yield image[None].float() / 255 - self.mean, torch.tensor([label])


class Drawn:
    """Drawn shapes in the place of files, so that all that surrounds them can be tried.

    Args:
        size: Images B of a minibatch.
        crop: Side of a training image, pixels.
        test_side: Side of a test image, pixels.
        stream: Gives a generator that follows from names and numbers.
    """

    classes = len(SHAPES)

    def __init__(
        self, size: int, crop: int, *, test_side: int, stream: Callable[..., torch.Generator]
    ) -> None:
        self.size, self.crop, self.test_side, self.stream = size, crop, test_side, stream
        self.axes = find_colour_axes(draw(64, crop, stream("colours")).image)

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Images (B, 3, crop, crop) and labels (B,) of a step."""
        scene = draw(self.size, self.crop, self.stream("train", step))
        return scene.image, scene.label[:, 0]

    def test(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Four minibatches of images (B, 3, side, side) with labels (B,)."""
        for part in range(4):
            scene = draw(self.size, self.test_side, self.stream("test", part))
            yield scene.image, scene.label[:, 0]
