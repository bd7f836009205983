"""What unpacking needs: safe archives, IDX files, downloads that are kept as they are."""

import gzip
import math
import shutil
import struct
import tarfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


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


def keep_all(downloads: list[Path], produced: Path) -> None:
    """For datasets whose loader reads the downloads as they are."""
    for path in downloads:
        shutil.move(path, produced / path.name)
