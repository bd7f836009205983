"""ImageNet as the paper trains on it: the user's own folder, scale and colour augmentation.

The folder is `<root>/imagenet/{train,val}/<class>/<image>`; classes are numbered in order of name.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

SUFFIXES = {".jpeg", ".jpg", ".png"}


class Listing(NamedTuple):
    """The files of one part of the dataset and their class numbers."""

    files: list[Path]
    labels: list[int]
    classes: list[str]


def listing(root: Path, part: str) -> Listing:
    """The images of `<root>/<part>/<class>/`. Raises FileNotFoundError where there is none."""
    folder = root / part
    classes = sorted(p.name for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []
    found = [
        (path, number)
        for number, name in enumerate(classes)
        for path in sorted((folder / name).iterdir())
        if path.suffix.lower() in SUFFIXES
    ]
    if not found:
        raise FileNotFoundError(f"imagenet: no images in {folder}/<class>/")
    files, labels = zip(*found, strict=True)
    return Listing(list(files), list(labels), classes)


def load(path: Path, shorter_side: int) -> Tensor:
    """An image file as (3, H, W) uint8, resized so that its shorter side is `shorter_side`."""
    import numpy as np
    from PIL import Image

    with Image.open(path) as picture:
        # JPEG decodes straight to a smaller size where that is still large enough.
        picture.draft("RGB", (shorter_side, shorter_side))
        image = picture.convert("RGB")
    scale = shorter_side / min(image.size)
    size = tuple(max(shorter_side, round(length * scale)) for length in image.size)
    pixels = np.array(image.resize((size[0], size[1]), Image.Resampling.BILINEAR))
    return torch.from_numpy(pixels).permute(2, 0, 1)


def random_view(path: Path, crop: int, sides: tuple[int, int], seed: Sequence[int]) -> Tensor:
    """A random crop (3, crop, crop) of the image at a random scale, mirrored half of the time.

    The shorter side is uniform in `sides`, in pixels; all randomness follows from `seed`.
    """
    digest = hashlib.sha256(repr(tuple(seed)).encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)

    def draw(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=generator))

    image = load(path, draw(*sides))
    top, left = draw(0, image.shape[1] - crop), draw(0, image.shape[2] - crop)
    view = image[:, top : top + crop, left : left + crop]
    return view.flip(-1) if draw(0, 1) else view


def in_threads(function: Callable[..., Tensor], jobs: Iterable[tuple[Any, ...]]) -> list[Tensor]:
    """`function(*job)` for each of `jobs`, in order, on a few threads: decoding releases the GIL."""
    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
        return list(pool.map(lambda job: function(*job), jobs))


def colour_axes(images: Tensor) -> Tensor:
    """Principal axes (3, 3) of the pixels of `images` (B, 3, H, W), columns times their std."""
    pixels = images.movedim(1, 0).flatten(1).double()
    values, vectors = torch.linalg.eigh(torch.cov(pixels))
    return (vectors * values.clamp(min=0).sqrt()).to(images.dtype)


def shift_colours(
    images: Tensor, axes: Tensor, generator: torch.Generator, *, std: float = 0.1
) -> Tensor:
    """AlexNet's colour augmentation: each image (B, 3, H, W) moves along the pixels' `axes`.

    By a normal amount of standard deviation `std` along each axis, in units of that axis.
    """
    amount = std * torch.randn(len(images), 3, generator=generator).to(images)
    return images + (amount @ axes.to(images).T)[:, :, None, None]


def centre_crop(image: Tensor, size: int) -> Tensor:
    """The middle (..., size, size) of an image, which is padded with zeros where it is smaller."""
    height, width = image.shape[-2:]
    missing_y, missing_x = max(0, size - height), max(0, size - width)
    if missing_y or missing_x:
        sides = (missing_x // 2, missing_x - missing_x // 2, missing_y // 2, missing_y - missing_y // 2)
        image = F.pad(image, sides)
        height, width = image.shape[-2:]
    top, left = (height - size) // 2, (width - size) // 2
    return image[..., top : top + size, left : left + size]
