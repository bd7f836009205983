"""CIFAR-100: small colour photographs in 100 classes, from the binary archive."""

import shutil
from pathlib import Path

import numpy as np

from quire.data import store
from quire.data.archives import extract
from quire.data.arrays import Images, Split
from quire.data.catalogue import Dataset, Source
from quire.data.images import Root

CLASSES = 100

DATASET = Dataset(
    summary="60,000 colour photographs of 32x32 pixels in 100 classes",
    licence="none stated; research use, cite Krizhevsky 2009",
    home="https://www.cs.toronto.edu/~kriz/cifar.html",
    sources=(
        Source(
            urls=("https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",),
            checksum="md5:03b5dce01913d631647c71ecec9e9cb8",
        ),
    ),
    layouts=(("train.bin", "test.bin"),),
)


def unpack(downloads: list[Path], produced: Path) -> None:
    """The binary files out of their archive."""
    scratch = produced.parent / "archive"
    extract(downloads[0], scratch)
    for path in (scratch / "cifar-100-binary").glob("*.bin"):
        shutil.move(path, produced / path.name)


def cifar100(root: Root = None) -> Split:
    """CIFAR-100: 50,000 training and 10,000 test images (3, 32, 32), red green blue, 0..255.

    Labels are the fine ones, 0..99. Raises DataMissing if it is not under root, ValueError if a
    file is damaged.
    """
    train, test = store.files("cifar100", root)
    return Split(_from_records(train), _from_records(test))


def _from_records(path: Path) -> Images:
    """Records of a coarse and a fine label byte and 3 x 32 x 32 pixel bytes."""
    size = 2 + 3 * 32 * 32
    content = np.fromfile(path, np.uint8)
    if not len(content) or len(content) % size:
        raise ValueError(f"cifar100: {path} is not records of {size} bytes; fetch it again")
    records = content.reshape(-1, size)
    label = records[:, 1].astype(np.int64)
    if label.max() >= CLASSES:
        raise ValueError(f"cifar100: labels must be 0..{CLASSES - 1}, got {label.max()} in {path}")
    return Images(records[:, 2:].reshape(-1, 3, 32, 32), label)
