"""Where datasets lie, downloads from a local server, and every way in which they fail."""

import gzip
import hashlib
import io
import lzma
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data.samples import STORY, babi_texts, cifar_records, idx, pictures, tar
from quire import data
from quire.data import DATASETS, DataMissing, Source, store
from quire.data.archives import extract, read_idx
from quire.data.catalogue import Dataset, module

Server = tuple[str, Path]


def offer(
    monkeypatch: pytest.MonkeyPatch,
    server: Server,
    name: str,
    contents: list[bytes],
    *,
    checksum: str = "",
) -> None:
    """Makes the local server the dataset's home, with the right checksums unless one is given."""
    address, served = server
    sources = []
    for number, (source, content) in enumerate(zip(DATASETS[name].sources, contents, strict=True)):
        file = f"{number}/{source.urls[0].rsplit('/', 1)[-1]}"
        (served / str(number)).mkdir(exist_ok=True)
        (served / file).write_bytes(content)
        right = "sha256:" + hashlib.sha256(content).hexdigest()
        sources.append(Source((address + file,), checksum or right))
    change(monkeypatch, name, sources=tuple(sources))


def change(monkeypatch: pytest.MonkeyPatch, name: str, **fields: object) -> Dataset:
    """Changes fields of a dataset's entry for the time of the test."""
    monkeypatch.setattr(module(name), "DATASET", replace(DATASETS[name], **fields))
    return DATASETS[name]


def mnist_file(count: int = 20) -> bytes:
    image, label = pictures(count, 28, 28)
    target = io.BytesIO()
    np.savez(target, x_train=image, y_train=label, x_test=image[:10], y_test=label[:10])
    return target.getvalue()


def test_roots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> None:
    monkeypatch.setenv("QUIRE_DATA", "/shared")
    assert store.folder("mnist", tmp_path) == tmp_path / "mnist"
    assert store.folder("mnist") == Path("/shared/mnist")
    monkeypatch.setenv("QUIRE_DATA", "")
    assert store.folder("mnist") == own_cache / "data" / "mnist"


def test_missing_data_is_one_line_that_says_what_whence_and_where(tmp_path: Path) -> None:
    with pytest.raises(DataMissing) as caught:
        data.mnist(tmp_path)
    message = str(caught.value)
    assert "\n" not in message
    for part in ("mnist.npz", str(tmp_path / "mnist"), "quire data get mnist", "storage.google"):
        assert part in message
    state = data.status("mnist", tmp_path)
    assert (state.present, state.where, state.checksum_ok) == (False, tmp_path / "mnist", None)
    assert data.check("mnist", tmp_path) == state
    assert state.detail == message


def test_missing_data_names_what_the_nearest_layout_lacks(tmp_path: Path) -> None:
    (tmp_path / "cifar10").mkdir()
    (tmp_path / "cifar10" / "train.parquet").touch()
    with pytest.raises(DataMissing, match=r"cifar10: test\.parquet not found"):
        data.cifar10(tmp_path)


@pytest.mark.parametrize("function", [data.status, data.get, data.check])
def test_unknown_names_get_the_nearest(function: object) -> None:
    with pytest.raises(
        ValueError, match=r"unknown dataset 'mnst': did you mean 'mnist'\? Known: ag_news, arc"
    ):
        function("mnst")


def test_data_in_a_package() -> None:
    state = data.status("digits")
    assert state.where is None
    assert state.checksum_ok is None
    assert data.get("digits") == state


def test_download_by_default_to_the_cache(
    server: Server, monkeypatch: pytest.MonkeyPatch, own_cache: Path, no_root: None
) -> None:
    offer(monkeypatch, server, "mnist", [mnist_file()])
    train, test = data.mnist()
    assert (len(train.label), len(test.label)) == (20, 10)
    where = own_cache / "data" / "mnist"
    assert sorted(path.name for path in where.iterdir()) == ["SHA256SUMS", "mnist.npz"]
    state = data.check("mnist")
    assert state.present
    assert state.checksum_ok
    assert state.detail == "as fetched"


def test_no_download_into_a_root_that_was_named(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    offer(monkeypatch, server, "mnist", [mnist_file()])
    monkeypatch.setenv("QUIRE_DATA", str(tmp_path / "shared"))
    with pytest.raises(DataMissing):
        data.mnist()
    assert data.get("mnist").present
    assert len(data.mnist().train.label) == 20


def test_a_file_changed_after_the_download_is_noticed(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    offer(monkeypatch, server, "mnist", [mnist_file()])
    data.get("mnist", tmp_path)
    (tmp_path / "mnist" / "mnist.npz").write_bytes(b"cut off")
    state = data.check("mnist", tmp_path)
    assert state.present
    assert state.checksum_ok is False
    assert "changed since it was fetched: delete it" in state.detail
    assert store.version("mnist", tmp_path) == state.detail


def test_check_reads_the_files(tmp_path: Path) -> None:
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "mnist.npz").write_bytes(b"cut off")
    assert data.status("mnist", tmp_path).present
    with pytest.raises(ValueError, match="is not an npz file"):
        data.check("mnist", tmp_path)


def test_files_without_any_checksum_are_said_to_be_unknown(tmp_path: Path) -> None:
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "mnist.npz").write_bytes(mnist_file())
    assert data.check("mnist", tmp_path).checksum_ok is None


def test_wrong_checksum_keeps_nothing(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    offer(monkeypatch, server, "mnist", [mnist_file()], checksum="md5:" + "0" * 32)
    with pytest.raises(ValueError, match="does not have the checksum md5:0000"):
        data.get("mnist", tmp_path)
    assert list((tmp_path / "mnist").iterdir()) == []


def test_the_second_address_is_tried(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    offer(monkeypatch, server, "mnist", [mnist_file()])
    [source] = DATASETS["mnist"].sources
    gone = replace(source, urls=(server[0] + "gone.npz", *source.urls))
    change(monkeypatch, "mnist", sources=(gone,))
    assert data.get("mnist", tmp_path).present


def test_no_address_answers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, no_root: None) -> None:
    monkeypatch.setenv("no_proxy", "*")
    nowhere = Source(("http://127.0.0.1:9/mnist.npz",), None)
    change(monkeypatch, "mnist", sources=(nowhere,))
    with pytest.raises(DataMissing, match=r"127\.0\.0\.1:9/mnist\.npz \(ConnectionError\)"):
        data.mnist()


def test_fashion_mnist_from_its_four_files(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    image, label = pictures(12, 28, 28)
    label = label.astype(np.uint8)
    files = [idx(image), idx(label), idx(image[:5]), idx(label[:5])]
    offer(monkeypatch, server, "fashion_mnist", files)
    assert data.get("fashion_mnist", tmp_path).checksum_ok
    train, test = data.fashion_mnist(tmp_path)
    np.testing.assert_array_equal(train.image[:, 0], image)
    np.testing.assert_array_equal(test.label, label[:5])


def test_cifar10_from_its_archive(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    image, label = pictures(12, 3, 32, 32)
    parts = {
        f"cifar-10-batches-bin/data_batch_{k}.bin": cifar_records(
            image[2 * k - 2 : 2 * k], label[2 * k - 2 : 2 * k]
        )
        for k in range(1, 6)
    }
    parts["cifar-10-batches-bin/test_batch.bin"] = cifar_records(image[10:], label[10:])
    offer(monkeypatch, server, "cifar10", [tar(parts)])
    assert data.get("cifar10", tmp_path).present
    train, test = data.cifar10(tmp_path)
    np.testing.assert_array_equal(train.image, image[:10])
    np.testing.assert_array_equal(train.label, label[:10])
    np.testing.assert_array_equal(test.image, image[10:])


@pytest.mark.parametrize("folder", ["en-valid-10k", "en-valid-10k-nosf"])
def test_babi_from_its_archive(
    folder: str, server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    members = {
        f"tasks_1-20_v1-2/{folder}/{file}": text.encode() for file, text in babi_texts().items()
    }
    offer(monkeypatch, server, "babi", [tar(members)])
    assert data.get("babi", tmp_path).present
    assert data.check("babi", tmp_path).checksum_ok
    assert len(data.babi(tmp_path).train.answer) == 60


def test_a_download_that_is_no_archive(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    offer(monkeypatch, server, "cifar10", [b"<html>moved</html>"])
    with pytest.raises(ValueError, match="cifar10: the download is not an archive"):
        data.get("cifar10", tmp_path)
    offer(monkeypatch, server, "cifar10", [tar({f"x{k}": bytes(999) for k in range(99)})[:200]])
    with pytest.raises(ValueError, match="cifar10: the download is not an archive"):
        data.get("cifar10", tmp_path)
    offer(monkeypatch, server, "babi", [tar({"elsewhere/qa1_train.txt": STORY.encode()})])
    with pytest.raises(ValueError, match="has no folder tasks_1-20_v1-2"):
        data.get("babi", tmp_path)
    assert list((tmp_path / "babi").iterdir()) == []


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


@pytest.mark.parametrize(
    "bad",
    [
        member("../escaped"),
        member("inside/../../escaped"),
        member("/nowhere/escaped"),
        member("link", tarfile.SYMTYPE, "/etc/passwd"),
        member("link", tarfile.SYMTYPE, "inside"),
        member("hard", tarfile.LNKTYPE, "inside/file"),
        member("device", tarfile.CHRTYPE),
        member("fifo", tarfile.FIFOTYPE),
    ],
    ids=lambda info: f"{info.name}-{info.type.decode()}",
)
def test_malicious_archives_unpack_nothing(bad: tarfile.TarInfo, tmp_path: Path) -> None:
    archive = tmp_path / "bad.tar"
    with tarfile.open(archive, "w") as writer:
        writer.addfile(member("inside/file"))
        writer.addfile(bad)
    target = tmp_path / "a" / "b"
    with pytest.raises(ValueError, match="nothing was unpacked"):
        extract(archive, target)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["bad.tar"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0\0\x08\x01\0\0\0\x05abc",
        b"\0\0\x0d\x01\0\0\0\x01a",
        b"\0\0\x08\x03\0\0",
        b"\0\0\x08",
    ],
)
def test_malformed_idx(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.gz").write_bytes(gzip.compress(content, mtime=0))
    with pytest.raises(ValueError, match=r"x\.gz is not an IDX file"):
        read_idx(tmp_path / "x.gz")


def test_real_data_is_what_it_says(real: object) -> None:
    real("babi")
    assert data.status("babi").present
    assert "10k version" in store.version("babi")


def test_compressed_and_plain_files_are_both_found(tmp_path: Path) -> None:
    (tmp_path / "a.txt.xz").write_bytes(lzma.compress(b"x"))
    assert store.locate(tmp_path / "a.txt") == tmp_path / "a.txt.xz"
    (tmp_path / "a.txt").touch()
    assert store.locate(tmp_path / "a.txt") == tmp_path / "a.txt"
    assert store.locate(tmp_path / "b.txt") is None
