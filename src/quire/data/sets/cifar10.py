"""CIFAR-10: small colour photographs, from the binary archive or Parquet."""

import hashlib
import io
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quire.data import store
from quire.data.archives import extract
from quire.data.arrays import Split
from quire.data.catalogue import Dataset, Source, versions
from quire.data.images import Root, checked_split, read_split

DATASET = Dataset(
    summary="60,000 colour photographs of 32x32 pixels in 10 classes",
    licence="none stated; research use, cite Krizhevsky 2009",
    home="https://www.cs.toronto.edu/~kriz/cifar.html",
    sources=(
        Source(
            urls=("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
            checksum="sha256:c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        ),
    ),
    layouts=(
        (*(f"data_batch_{k}.bin" for k in range(1, 6)), "test_batch.bin"),
        ("train.parquet", "test.parquet"),
    ),
    extras=("vision",),
    note="Parquet (extra vision) may hold a JPEG copy, whose pixels are lossy: then say so "
    "beside every accuracy. The binary files need no extra.",
    known=versions(
        {
            "JPEG copy, lossy pixels": """
a1b4df3e6805750542752bc19be383e4d82c7a2dc022c6c9a3e3ffd7516cc2d5  train.parquet
caa6a6da615ebec92321014c5410c0b5b02a7914676b89f9a1da9915fa0c2671  test.parquet
""",
        }
    ),
)


def unpack(downloads: list[Path], produced: Path) -> None:
    """The binary files out of their archive."""
    scratch = produced.parent / "archive"
    extract(downloads[0], scratch)
    for path in (scratch / "cifar-10-batches-bin").glob("*.bin"):
        shutil.move(path, produced / path.name)


def cifar10(root: Root = None) -> Split:
    """CIFAR-10: 50,000 training and 10,000 test images (3, 32, 32), red green blue, 0..255.

    Reads the binary files of the official archive, or Parquet with the columns `img` (struct of
    encoded bytes and path) and `label` (extra `vision`). Decoded Parquet is kept in the user's
    cache directory. Parquet may hold a JPEG copy, whose pixels differ from the original's.

    Raises DataMissing if it is not under root, ValueError if a file is damaged.
    """
    files = store.files("cifar10", root)
    if files[0].suffix == ".bin":
        *train, test = files
        return checked_split("cifar10", _from_records(train), _from_records([test]), (3, 32, 32))
    kept = _decoded(files)
    if kept is not None and kept.is_file():
        try:
            return read_split("cifar10", kept, (3, 32, 32))
        except ValueError:
            kept.unlink(missing_ok=True)
    train_file, test_file = files
    split = checked_split(
        "cifar10", _from_parquet(train_file), _from_parquet(test_file), (3, 32, 32)
    )
    if kept is not None:
        _keep(split, kept)
    return split


def _from_records(files: list[Path]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The binary version of CIFAR-10: records of one label byte and 3 x 32 x 32 pixel bytes."""
    size = 1 + 3 * 32 * 32
    for file in files:
        if file.stat().st_size % size:
            raise ValueError(f"cifar10: {file} is not records of {size} bytes; fetch it again")
    records = np.concatenate([np.fromfile(file, np.uint8).reshape(-1, size) for file in files])
    return records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0]


def _from_parquet(path: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    try:
        import pyarrow
        import pyarrow.parquet
        from PIL import Image
    except ImportError as error:
        raise ImportError(
            "cifar10 from Parquet needs pyarrow and pillow: pip install 'quire-papers[vision]'"
        ) from error
    try:
        table = pyarrow.parquet.read_table(path, columns=["img", "label"])
        encoded = table["img"].combine_chunks().field("bytes")
        image = np.empty((len(encoded), 3, 32, 32), np.uint8)
        for row, item in enumerate(encoded):
            with Image.open(io.BytesIO(item.as_py())) as picture:
                image[row] = np.asarray(picture.convert("RGB")).transpose(2, 0, 1)
        return image, table["label"].to_numpy()
    except (OSError, LookupError, AttributeError, ValueError, pyarrow.ArrowException) as error:
        raise ValueError(
            f"cifar10: {path} is not Parquet with img.bytes (32x32 images) and label "
            f"({' '.join(str(error).split())})"
        ) from error


def _decoded(files: list[Path]) -> Path | None:
    """Where the decoded arrays of these very files are kept, None if the cache cannot be written.

    The name follows from path, size and time of change, so that new files are decoded anew.
    """
    facts = [(str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    key = hashlib.sha256(repr(facts).encode()).hexdigest()[:16]
    folder = store.cache() / "decoded"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return folder / f"cifar10-{key}.npz"


def _keep(split: Split, path: Path) -> None:
    """Writes the arrays beside `path` and moves them there, so that no reader sees half a file."""
    unfinished = path.with_suffix(f".{os.getpid()}.part")
    try:
        with unfinished.open("wb") as file:
            np.savez(
                file,
                x_train=split.train.image,
                y_train=split.train.label,
                x_test=split.test.image,
                y_test=split.test.label,
            )
        os.replace(unfinished, path)
    except OSError:  # a full disk must not stop a run that has its arrays
        unfinished.unlink(missing_ok=True)
