"""How downloads become the files that the loaders read."""

import gzip
import hashlib
import math
import re
import shutil
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quire.data import unpack_sets


def extract(archive: Path, target: Path) -> None:
    """Unpacks a tar archive, refusing members that lead out of target, links and devices.

    Raises ValueError naming the archive and the member. Nothing is unpacked then.
    """
    with tarfile.open(archive) as tar:
        members = tar.getmembers()
        for member in members:
            inside = (target / member.name).resolve().is_relative_to(target.resolve())
            if not inside or not (member.isfile() or member.isdir()):
                raise ValueError(
                    f"{archive.name}: member {member.name!r} is a link, a device or leads out of "
                    "the target folder; nothing was unpacked"
                )
        tar.extractall(target, members, filter="data")


def read_idx(path: Path) -> NDArray[np.uint8]:
    """A gzipped IDX file of bytes, as MNIST's authors define it.

    Raises ValueError if it is not one.
    """
    with gzip.open(path) as file:
        content = file.read()
    # Two zero bytes, 8 for unsigned bytes, the number of dimensions, then each as 32 bits.
    dimensions = content[3] if content[:3] == b"\0\0\x08" and len(content) > 3 else 0
    if dimensions and len(content) > 4 + 4 * dimensions:
        shape = struct.unpack_from(f">{dimensions}I", content, 4)
        pixels = np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions)
        if pixels.size == math.prod(shape):
            return pixels.reshape(shape)
    raise ValueError(f"{path.name} is not an IDX file of bytes")


def _mnist(downloads: list[Path], target: Path) -> None:
    shutil.move(downloads[0], target / "mnist.npz")


def _fashion_mnist(downloads: list[Path], target: Path) -> None:
    x_train, y_train, x_test, y_test = (read_idx(path) for path in downloads)
    np.savez_compressed(
        target / "fashion_mnist.npz", x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test
    )


def _cifar(downloads: list[Path], target: Path) -> None:
    scratch = target.parent / "archive"
    extract(downloads[0], scratch)
    for path in (scratch / "cifar-10-batches-bin").glob("*.bin"):
        shutil.move(path, target / path.name)


def _babi(downloads: list[Path], target: Path) -> None:
    """Facebook's own copy has the 10k files without supporting facts (`-nosf`), which we drop."""
    scratch = target.parent / "archive"
    extract(downloads[0], scratch)
    tasks = scratch / "tasks_1-20_v1-2"
    found = [name for name in ("en-valid-10k", "en-valid-10k-nosf") if (tasks / name).is_dir()]
    if not found:
        raise ValueError(f"{downloads[0].name} has no folder tasks_1-20_v1-2/en-valid-10k[-nosf]")
    (target / "en-valid-10k").mkdir()
    for path in (tasks / found[0]).glob("qa*_*.txt"):
        shutil.move(path, target / "en-valid-10k" / path.name)


def _as_they_are(downloads: list[Path], target: Path) -> None:
    for path in downloads:
        shutil.move(path, target / path.name)


def _text8(downloads: list[Path], target: Path) -> None:
    with (
        zipfile.ZipFile(downloads[0]) as archive,
        archive.open("text8") as content,
        (target / "text8").open("wb") as out,
    ):
        shutil.copyfileobj(content, out)


def _wiki_en(downloads: list[Path], target: Path) -> None:
    """WikiExtractor's output without its wrappers and without articles under 100 words."""
    article = re.compile(r"<doc [^>]*>\n(.*?)\n</doc>", re.DOTALL)
    found = (match[1].strip() for path in downloads for match in article.finditer(
        path.read_text(encoding="utf-8")))  # fmt: skip
    content = "\n\n\n".join(text for text in found if len(text.split()) >= 100).encode()
    if hashlib.sha256(content).hexdigest() != WIKI_EN:
        raise ValueError("wiki_en: the articles are not those that the repository had in May 2015")
    (target / "enwiki2015_prefix.txt").write_bytes(content)


WIKI_EN = "d7326538db9ae7c71ba13ef1390f037e047b14a27132c8ea9b0002c3137603ee"
"""sha256 of the assembled text."""


def _genomics(downloads: list[Path], target: Path) -> None:
    rows = ["species,name,sequence"]
    for species, path in zip(("human", "mouse"), downloads, strict=True):
        rows += [f"{species},,{sequence}" for sequence in path.read_text().split()]
    content = "".join(row + "\n" for row in rows).encode()
    (target / "epdnew_tata_promoters.csv.gz").write_bytes(gzip.compress(content, mtime=0))


UNPACK: dict[str, Callable[[list[Path], Path], None]] = {
    "arc": unpack_sets.arc,
    "babi": _babi,
    "cifar10": _cifar,
    "fashion_mnist": _fashion_mnist,
    "genomics": _genomics,
    "immune_repertoire": unpack_sets.immune_repertoire,
    "mil": unpack_sets.mil,
    "mnist": _mnist,
    "omniglot": unpack_sets.omniglot,
    "text8": _text8,
    "uci": unpack_sets.uci,
    "wiki_en": _wiki_en,
    "word_analogy": _as_they_are,
    "word_similarity": _as_they_are,
}
"""Dataset -> function of the downloads, in the table's order, and the folder to fill."""
