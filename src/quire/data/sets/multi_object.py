"""Multi-object scenes with true masks: Tetrominoes, Multi-dSprites, CLEVR with masks.

They are published as TFRecords, read here without TensorFlow: gzip, records, `tf.train.Example`.
N images of H x W pixels, E entities, of which the first is the background.
"""

import gzip
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quire.data import store
from quire.data.catalogue import Dataset


class _Form(NamedTuple):
    """A part's file, E, H, W and channels; whether its masks are (H, W, E), not (E, H, W)."""

    file: str
    entities: int
    height: int
    width: int
    channels: int = 3
    entities_last: bool = False


PARTS = {
    "tetrominoes": _Form("tetrominoes_train.tfrecords", 4, 35, 35),
    "multi_dsprites_binarized": _Form("multi_dsprites_binarized.tfrecords", 4, 64, 64, 1, True),
    "multi_dsprites_colored_on_grayscale": _Form(
        "multi_dsprites_colored_on_grayscale.tfrecords", 6, 64, 64, 3, True
    ),
    "multi_dsprites_colored_on_colored": _Form(
        "multi_dsprites_colored_on_colored.tfrecords", 5, 64, 64, 3, True
    ),
    "clevr_with_masks": _Form("clevr_with_masks_train.tfrecords", 11, 240, 320),
}
"""What the parts are called, and their form, as the publisher's readers have it."""

DATASET = Dataset(
    summary="scenes with true masks: Tetrominoes, Multi-dSprites, CLEVR with masks (TFRecords)",
    licence="Apache-2.0 (the repository)",
    home="https://github.com/google-deepmind/multi_object_datasets",
    layouts=tuple((form.file,) for form in PARTS.values()),
    by_hand="the gzipped TFRecords as published, any of them alone: tetrominoes_train (300 MB), "
    "multi_dsprites_colored_on_grayscale (1 GB), clevr_with_masks_train (10.5 GB), … from "
    "https://storage.googleapis.com/multi-object-datasets/<folder>/<file>.tfrecords with folder "
    "tetrominoes, multi_dsprites or clevr_with_masks",
    note="Papers train on the first 60,000 images (CLEVR: 70,000) and test on those after them.",
)


class Pictures(NamedTuple):
    """Images with the entity that is seen at each pixel.

    Args:
        image: (N, C, H, W) uint8.
        objects: (N, H, W) uint8; 0 is the background, i the i-th object.
        factors: What is said of each entity, by the published names, (N, E) or (N, E, ...) float32,
            uint8 where it is a class of CLEVR. "visibility" is 1 where there is such an entity.
        record: (N,) int64, where an image stands in the file, from 0.
    """

    image: NDArray[np.uint8]
    objects: NDArray[np.uint8]
    factors: dict[str, NDArray[Any]]
    record: NDArray[np.int64]


def multi_object(
    root: store.Root = None,
    part: str = "tetrominoes",
    *,
    count: int | None = None,
    fewest: int = 0,
    most: int | None = None,
    window: tuple[int, int, int, int] | None = None,
) -> Pictures:
    """The images of a part's file in its order. CLEVR takes 307 kB an image, 147 kB in its middle.

    Args:
        root: The folder of all datasets.
        part: One of `PARTS`.
        count: Records that are looked through; None is the whole file.
        fewest: Fewest objects of an image that is kept.
        most: Most objects; None is any number.
        window: First row, the row after the last, and columns likewise, that are kept.

    Raises DataMissing, and ValueError for another part or a damaged file. A record's length is
    compared with its checksum; its content is left to gzip's, at the end of the file.
    """
    if part not in PARTS:
        raise ValueError(f"part must be one of {', '.join(PARTS)}, got {part!r}")
    form = PARTS[part]
    store.check_root(root)
    path = store.folder("multi_object", root) / form.file
    if not path.is_file():
        raise store.DataMissing(
            f"multi_object: {form.file} not found in {path.parent}; put there by hand "
            f"{DATASET.by_hand} ({DATASET.home})"
        )
    top, bottom, left, right = window or (0, form.height, 0, form.width)
    images, objects, numbers = [], [], []
    factors: dict[str, list[NDArray[Any]]] = {}
    try:
        for number, record in enumerate(_records(path, count)):
            features = _features(record)
            seen = int((_floats(features["visibility"])[1:] > 0.5).sum())
            if seen < fewest or (most is not None and seen > most):
                continue
            image, masks = (_bytes(features.pop(name)) for name in ("image", "mask"))
            pixels = image.reshape(form.height, form.width, form.channels)
            images.append(pixels[top:bottom, left:right].transpose(2, 0, 1).copy())
            objects.append(_number(masks, form)[top:bottom, left:right].copy())
            numbers.append(number)
            for name, feature in features.items():
                values = _floats(feature) if feature[0] == FLOATS else _bytes(feature)
                factors.setdefault(name, []).append(values.reshape(form.entities, -1))
    except (OSError, EOFError, LookupError, ValueError, struct.error, zlib.error) as error:
        raise ValueError(
            f"multi_object: {path} is not a whole file of gzipped TFRecords of {part} ({error}); "
            "delete it and fetch it again"
        ) from error
    if not images:
        raise ValueError(f"multi_object: {path} has no image with {fewest} to {most} objects")
    whole = {name: np.stack(rows) for name, rows in factors.items()}
    whole = {name: x[..., 0] if x.shape[2] == 1 else x for name, x in whole.items()}
    return Pictures(np.stack(images), np.stack(objects), whole, np.array(numbers, np.int64))


def _number(masks: NDArray[np.uint8], form: _Form) -> NDArray[np.uint8]:
    """The entity at each pixel (H, W), the first whose mask is not zero there."""
    shape = (form.height, form.width)
    if form.entities_last:
        table = masks.reshape(*shape, form.entities)
        return (table > 0).argmax(2).astype(np.uint8)
    return (masks.reshape(form.entities, *shape) > 0).argmax(0).astype(np.uint8)


# Records: a length (8 bytes), its checksum (4), the content, its checksum (4)


def _records(path: Path, count: int | None) -> Iterator[memoryview]:
    with gzip.open(path) as file:
        while count is None or count > 0:
            head = file.read(12)
            if not head:
                return
            (length,) = struct.unpack("<Q", head[:8])
            if _masked(_crc32c(head[:8])) != struct.unpack("<I", head[8:])[0]:
                raise ValueError("a record's length has another checksum")
            content = file.read(length + 4)
            if len(content) != length + 4:
                raise ValueError("the last record is cut off")
            yield memoryview(content)[:length]
            count = None if count is None else count - 1


def _crc32c(data: bytes) -> int:
    """Castagnoli's checksum, bit by bit: it is for lengths alone."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def _masked(crc: int) -> int:
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


# tf.train.Example, a message of protobuf: fields with a number, of varying length


BYTES, FLOATS = 1, 2
"""Which list a feature holds."""
_Feature = tuple[int, memoryview]


def _features(example: memoryview) -> dict[str, _Feature]:
    """The features of an example by name: which list each holds, and that list's content."""
    found = {}
    for _, features in _fields(example):
        for _, entry in _fields(features):
            parts = dict(_fields(entry))  # 1 is the name, 2 the feature
            (found[bytes(parts[1]).decode()],) = _fields(parts[2])  # one list
    return found


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Number and content of each field; all that are needed have a length (kind 2) or 4 bytes."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        if tag & 7 not in (2, 5):
            raise ValueError(f"a field of kind {tag & 7}, where bytes or floats should be")
        length, at = _varint(message, at) if tag & 7 == 2 else (4, at)
        if at + length > len(message):
            raise ValueError("a field is longer than its message")
        yield tag >> 3, message[at : at + length]
        at += length


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """Seven bits a byte, the lowest first; with where the next field begins."""
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def _floats(feature: _Feature) -> NDArray[np.float32]:
    if feature[0] != FLOATS:
        raise ValueError("a feature has no floats")
    return np.frombuffer(b"".join(part for _, part in _fields(feature[1])), "<f4")


def _bytes(feature: _Feature) -> NDArray[np.uint8]:
    """All bytes of a list, which are published one by one: each after its tag and its length."""
    if feature[0] != BYTES:
        raise ValueError("a feature has no bytes")
    packed = np.frombuffer(feature[1], np.uint8)
    triples = packed[: len(packed) // 3 * 3].reshape(-1, 3)
    if len(packed) % 3 == 0 and (triples[:, 0] == 10).all() and (triples[:, 1] == 1).all():
        return triples[:, 2].copy()  # a view would keep the whole record
    return np.frombuffer(b"".join(part for _, part in _fields(feature[1])), np.uint8)
