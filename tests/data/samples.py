"""Small files of every format that the loaders read."""

import gzip
import io
import json
import struct
import tarfile

import numpy as np


def idx(array: np.ndarray) -> bytes:
    header = b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return gzip.compress(header + array.tobytes(), mtime=0)


def tar(members: dict[str, bytes]) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return target.getvalue()


def pictures(count: int, *shape: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(256, size=(count, *shape), dtype=np.uint8), np.arange(count) % 10


def cifar_records(image: np.ndarray, label: np.ndarray) -> bytes:
    """image (N, 3, 32, 32)."""
    flat = image.reshape(len(image), -1)
    return np.concatenate((label.astype(np.uint8)[:, None], flat), 1).tobytes()


STORY = """1 Mary moved to the bathroom.
2 John went to the hallway.
3 Where is Mary? \tbathroom\t1
4 Daniel went back to the hallway.
5 Where is Daniel?\thallway\t4
1 The office is north of the den.
2 How do you go from the den to the office?\tn,n\t1
"""


def babi_texts(text: str = STORY) -> dict[str, str]:
    """The 60 files of bAbI, each with the same text."""
    return {
        f"qa{task}_{part}.txt": text for task in range(1, 21) for part in ("train", "valid", "test")
    }


def json_lines(*rows: dict) -> bytes:
    """Gzipped JSON lines."""
    return gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode(), mtime=0)
