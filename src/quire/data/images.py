"""Image datasets: MNIST, Fashion-MNIST, CIFAR-10, Omniglot and scikit-learn's digits."""

import hashlib
import io
import os
import zlib
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from quire.data import store
from quire.data.arrays import Images, Split

Root = str | os.PathLike[str] | None


def mnist(root: Root = None) -> Split:
    """MNIST: 60,000 training and 10,000 test images (1, 28, 28) of handwritten digits, 0..255.

    Raises DataMissing if it is not under root, ValueError if the file is damaged.
    """
    return _from_npz("mnist", root)


def fashion_mnist(root: Root = None) -> Split:
    """Fashion-MNIST: 60,000 training and 10,000 test images (1, 28, 28) of clothing, 0..255.

    Raises DataMissing if it is not under root, ValueError if the file is damaged.
    """
    return _from_npz("fashion_mnist", root)


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
        return _split("cifar10", _from_records(train), _from_records([test]), (3, 32, 32))
    kept = _decoded(files)
    if kept is not None and kept.is_file():
        try:
            return _read_split("cifar10", kept, (3, 32, 32))
        except ValueError:
            kept.unlink(missing_ok=True)
    train_file, test_file = files
    split = _split("cifar10", _from_parquet(train_file), _from_parquet(test_file), (3, 32, 32))
    if kept is not None:
        _keep(split, kept)
    return split


class Characters(NamedTuple):
    """Drawings of characters.

    image: (N, 1, 105, 105) uint8, 1 is ink. label: (N,) int64, the character. alphabet: (N,) int64.
    drawer: (N,) int64, 1..20.
    """

    image: NDArray[np.uint8]
    label: NDArray[np.int64]
    alphabet: NDArray[np.int64]
    drawer: NDArray[np.int64]


def omniglot(root: Root = None, part: str = "background") -> Characters:
    """Omniglot: 20 drawings of each character, sorted by character, then drawer.

    part: "background" (964 characters of 30 alphabets) or "evaluation" (659 of 20). Raises
    DataMissing if it is not under root, ValueError for another part or a damaged file.
    """
    if part not in ("background", "evaluation"):
        raise ValueError(f"part must be 'background' or 'evaluation', got {part!r}")
    path = store.files("omniglot", root)[0]
    keys = [f"{part}_{key}" for key in ("images_packed", "class", "alphabet", "drawer")]
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            packed, label, alphabet, drawer = (archive[key] for key in keys)
        image = np.unpackbits(packed, axis=1, count=105 * 105).reshape(-1, 1, 105, 105)
    except (OSError, EOFError, LookupError, TypeError, ValueError, BadZipFile, zlib.error) as error:
        raise ValueError(
            f"omniglot: {path} is not an npz file with {', '.join(keys)} ({error}); "
            "delete it and fetch it again"
        ) from error
    return Characters(image, *(x.astype(np.int64) for x in (label, alphabet, drawer)))


def digits() -> Split:
    """scikit-learn's handwritten digits (1, 8, 8), values 0..16: first 1,000 train, last 797 test.

    Raises ImportError naming the extra if scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError("digits needs scikit-learn: pip install 'quire[vision]'") from error
    bunch = load_digits()
    image = bunch.images.astype(np.uint8)[:, None]
    label = bunch.target.astype(np.int64)
    return Split(Images(image[:1000], label[:1000]), Images(image[1000:], label[1000:]))


def _from_npz(name: str, root: Root) -> Split:
    return _read_split(name, store.files(name, root)[0], (1, 28, 28))


def _read_split(name: str, path: Path, shape: tuple[int, int, int]) -> Split:
    keys = ("x_train", "y_train", "x_test", "y_test")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            x_train, y_train, x_test, y_test = (archive[key] for key in keys)
    except (OSError, EOFError, LookupError, TypeError, ValueError, BadZipFile, zlib.error) as error:
        raise ValueError(
            f"{name}: {path} is not an npz file with {', '.join(keys)} ({error}); "
            "delete it and fetch it again"
        ) from error
    return _split(name, (x_train, y_train), (x_test, y_test), shape)


def _split(
    name: str,
    train: tuple[NDArray[Any], NDArray[Any]],
    test: tuple[NDArray[Any], NDArray[Any]],
    shape: tuple[int, int, int],
) -> Split:
    """Checks the form of both parts and gives them the dtypes of `Images`."""
    parts = []
    for image, label in (train, test):
        count = len(label)
        pixels = (count, *shape)
        if image.dtype != np.uint8 or image.size != np.prod(pixels) or label.shape != (count,):
            raise ValueError(
                f"{name}: expected uint8 images {shape} and one label each, got {image.dtype} "
                f"{image.shape} and labels {label.shape}"
            )
        if count and not 0 <= label.min() <= label.max() <= 9:
            raise ValueError(f"{name}: labels must be 0..9, got {label.min()}..{label.max()}")
        parts.append(Images(image.reshape(pixels), label.astype(np.int64)))
    return Split(*parts)


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
            "cifar10 from Parquet needs pyarrow and pillow: pip install 'quire[vision]'"
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
