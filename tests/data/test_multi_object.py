"""TFRecords without TensorFlow: written here, by protobuf and by TensorBoard."""

import gzip
import re
import struct
from pathlib import Path

import numpy as np
import pytest

from data.samples import example, message_field, multi_object_example, tfrecords
from quire import data
from quire.data import DATASETS, DataMissing
from quire.data.sets.multi_object import PARTS, _crc32c, _records

OBJECTS = (2, 3, 1)
"""Of the images that `put` writes."""


def put(root: Path, part: str, *, content: bytes | None = None) -> list[dict[str, np.ndarray]]:
    """The part's file with three images; gives their features."""
    features = [multi_object_example(part, seed, n) for seed, n in enumerate(OBJECTS)]
    folder = root / "multi_object"
    folder.mkdir(exist_ok=True)
    whole = tfrecords(*map(example, features)) if content is None else content
    (folder / PARTS[part].file).write_bytes(whole)
    return features


@pytest.mark.parametrize("part", PARTS)
def test_what_was_written_is_read(part: str, tmp_path: Path) -> None:
    form, features = PARTS[part], put(tmp_path, part)
    read = data.multi_object(tmp_path, part)
    assert read.image.shape == (3, form.channels, form.height, form.width)
    assert read.image.dtype == read.objects.dtype == np.uint8
    assert read.record.tolist() == [0, 1, 2]
    for row, (written, objects) in enumerate(zip(features, OBJECTS, strict=True)):
        np.testing.assert_array_equal(read.image[row].transpose(1, 2, 0), written["image"])
        stripes = np.arange(form.width) * (objects + 1) // form.width
        np.testing.assert_array_equal(read.objects[row], np.tile(stripes, (form.height, 1)))
        for name in ("x", "visibility"):
            np.testing.assert_array_equal(read.factors[name][row], written[name])
        assert read.factors["color"].shape[1:] == (form.entities, form.channels)[: form.channels]
    assert ("size" in read.factors) == (part == "clevr_with_masks")


def test_images_are_chosen_by_their_objects_and_cut(tmp_path: Path) -> None:
    features = put(tmp_path, "clevr_with_masks")
    read = data.multi_object(
        tmp_path, "clevr_with_masks", fewest=2, most=2, window=(29, 221, 64, 256)
    )
    assert read.image.shape == (1, 3, 192, 192)
    np.testing.assert_array_equal(
        read.image[0].transpose(1, 2, 0), features[0]["image"][29:221, 64:256]
    )
    assert read.factors["size"].dtype == np.uint8
    put(tmp_path, "tetrominoes")
    assert data.multi_object(tmp_path, count=2).record.tolist() == [0, 1]
    assert data.multi_object(tmp_path, most=2).record.tolist() == [0, 2]
    with pytest.raises(ValueError, match="no image with 4 to None objects"):
        data.multi_object(tmp_path, fewest=4)


def test_bytes_in_one_piece_are_read_too(tmp_path: Path) -> None:
    features = multi_object_example("tetrominoes", 0, 2)
    entries = b""
    for name, values in features.items():
        if values.dtype == np.uint8:
            held = message_field(1, message_field(1, values.tobytes()))
        else:  # floats that are not packed: each after a tag of kind 5
            held = message_field(2, b"".join(b"\x0d" + struct.pack("<f", x) for x in values.flat))
        entry = message_field(1, name.encode()) + message_field(2, held)
        entries += message_field(1, entry)
    put(tmp_path, "tetrominoes", content=tfrecords(message_field(1, entries)))
    read = data.multi_object(tmp_path)
    np.testing.assert_array_equal(read.image[0].transpose(1, 2, 0), features["image"])
    np.testing.assert_array_equal(read.factors["color"][0], features["color"])


def test_an_example_of_protobuf_itself(tmp_path: Path) -> None:
    """The message is defined as TensorFlow does, and written by Google's library."""
    pytest.importorskip("google.protobuf", reason="comes with TensorBoard")
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="e.proto", package="e", syntax="proto3")
    repeated, optional = 3, 1

    def message(name: str, *fields: tuple[str, int, int, int, str]) -> None:
        entry = file.message_type.add(name=name)
        for field, number, label, kind, of in fields:
            named = {"type_name": of} if of else {}
            entry.field.add(name=field, number=number, label=label, type=kind, **named)

    message("BytesList", ("value", 1, repeated, 12, ""))
    message("FloatList", ("value", 1, repeated, 2, ""))
    message(
        "Feature",
        ("bytes_list", 1, optional, 11, ".e.BytesList"),
        ("float_list", 2, optional, 11, ".e.FloatList"),
    )
    message(
        "Entry", ("key", 1, optional, 9, ""), ("value", 2, optional, 11, ".e.Feature")
    )  # what a map is on the wire
    message("Features", ("feature", 1, repeated, 11, ".e.Entry"))
    message("Example", ("features", 1, optional, 11, ".e.Features"))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    theirs = message_factory.GetMessageClass(pool.FindMessageTypeByName("e.Example"))()
    features = multi_object_example("multi_dsprites_colored_on_grayscale", 0, 3)
    for name, values in features.items():
        entry = theirs.features.feature.add(key=name)
        if values.dtype == np.uint8:
            entry.value.bytes_list.value.extend(bytes([x]) for x in values.flat)
        else:
            entry.value.float_list.value.extend(values.flatten().tolist())
    assert theirs.SerializeToString() == example(features)
    put(
        tmp_path, "multi_dsprites_colored_on_grayscale",
        content=tfrecords(theirs.SerializeToString()),
    )  # fmt: skip
    read = data.multi_object(tmp_path, "multi_dsprites_colored_on_grayscale")
    np.testing.assert_array_equal(read.image[0].transpose(1, 2, 0), features["image"])
    np.testing.assert_array_equal(read.factors["x"][0], features["x"])


def test_records_of_tensorboard(tmp_path: Path) -> None:
    writer = pytest.importorskip("tensorboard.summary.writer.record_writer")
    records = [b"", b"one", bytes(300)]
    path = tmp_path / "records"
    with gzip.open(path, "wb") as file:
        theirs = writer.RecordWriter(file)
        for record in records:
            theirs.write(record)
        theirs.flush()
    assert [bytes(record) for record in _records(path, None)] == records
    assert [bytes(record) for record in _records(path, 1)] == records[:1]


def test_the_checksum_is_castagnolis() -> None:
    assert _crc32c(b"123456789") == 0xE3069283  # the usual check value


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"part must be one of tetrominoes, .* got 'clevr'"):
        data.multi_object(tmp_path, "clevr")
    with pytest.raises(DataMissing) as missing:
        data.multi_object(tmp_path, "clevr_with_masks")
    said = str(missing.value)
    assert "\n" not in said
    for part in ("clevr_with_masks_train.tfrecords", str(tmp_path), "by hand", "googleapis"):
        assert part in said
    assert not data.status("multi_object", tmp_path).present
    put(tmp_path, "clevr_with_masks")
    assert data.status("multi_object", tmp_path).present  # one file is enough
    assert len(DATASETS["multi_object"].layouts) == len(PARTS)


def test_damaged_files(tmp_path: Path) -> None:
    features = put(tmp_path, "tetrominoes")
    whole = gzip.decompress((tmp_path / "multi_object" / PARTS["tetrominoes"].file).read_bytes())
    lacking = {name: values for name, values in features[0].items() if name != "mask"}
    for content, message in (
        (b"text", "Not a gzipped file"),
        (gzip.compress(whole)[:-20], "ended before"),
        (gzip.compress(whole[:-9]), "the last record is cut off"),
        (gzip.compress(whole[:5]), "unpack requires"),
        (gzip.compress(b"\1" + whole[1:]), "another checksum"),
        (tfrecords(example(lacking)), "'mask'"),
        (tfrecords(example(features[0] | {"image": np.zeros(5, np.uint8)})), "cannot reshape"),
        (tfrecords(message_field(1, b"\x08\x01")), "a field of kind 0"),
        (tfrecords(message_field(1, b"\x0a\x7f")), "longer than its message"),
        (tfrecords(message_field(1, b"\x0a\xff")), "index out of"),
    ):
        put(tmp_path, "tetrominoes", content=content)
        with pytest.raises(ValueError, match=f"tetrominoes.*{re.escape(message)}") as caught:
            data.multi_object(tmp_path)
        assert "\n" not in str(caught.value)
