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


def message_field(number: int, content: bytes) -> bytes:
    """A field of a protobuf message that has a length."""
    length, tag = len(content), bytes([number << 3 | 2])
    while length >= 128:
        tag += bytes([length & 127 | 128])
        length >>= 7
    return tag + bytes([length]) + content


def example(features: dict[str, np.ndarray]) -> bytes:
    """A `tf.train.Example`: bytes one by one, as they are published, or packed floats."""
    entries = b""
    for name, values in features.items():
        flat = values.flatten()
        if values.dtype == np.uint8:
            each = np.stack([np.full_like(flat, 10), np.ones_like(flat), flat], 1)
            held = message_field(1, each.tobytes())
        else:
            held = message_field(2, message_field(1, flat.astype("<f4").tobytes()))
        entry = message_field(1, name.encode()) + message_field(2, held)
        entries += message_field(1, entry)
    return message_field(1, entries)


def tfrecords(*records: bytes) -> bytes:
    """Gzipped records. Checksums of contents are zero, those of lengths our own."""
    from quire.data.sets.multi_object import _crc32c, _masked

    whole = b""
    for record in records:
        length = struct.pack("<Q", len(record))
        whole += length + struct.pack("<I", _masked(_crc32c(length))) + record + bytes(4)
    return gzip.compress(whole, mtime=0)


def multi_object_example(part: str, seed: int, objects: int) -> dict[str, np.ndarray]:
    """Features of one image with so many upright stripes as objects, after a stripe without one."""
    from quire.data.sets.multi_object import PARTS

    form, rng = PARTS[part], np.random.default_rng(seed)
    column = np.arange(form.width) * (objects + 1) // form.width
    owner = np.broadcast_to(column, (form.height, form.width))
    masks = 255 * (owner == np.arange(form.entities)[:, None, None]).astype(np.uint8)
    factors = {
        "x": rng.random(form.entities, np.float32),
        "color": rng.random((form.entities, form.channels), np.float32),
        "visibility": (np.arange(form.entities) <= objects).astype(np.float32),
    }
    if part == "clevr_with_masks":
        factors |= {"size": rng.integers(1, 3, form.entities, np.uint8)}
    shape = (form.height, form.width, form.channels)
    if form.entities_last:
        masks = masks.transpose(1, 2, 0)
    return {"image": rng.integers(0, 256, shape, np.uint8), "mask": masks, **factors}
