"""The image datasets: small files of every format, damaged files, and the real ones if here."""

import io
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from data.samples import cifar_records, pictures
from quire import data
from quire.data import Split
from quire.data.sets import cifar10 as cifar10_file


def write_npz(root: Path, name: str, **changes: np.ndarray) -> Path:
    image, label = pictures(20, 28, 28)
    arrays = {"x_train": image, "y_train": label, "x_test": image[:7], "y_test": label[:7]}
    path = root / name / f"{name}.npz"
    path.parent.mkdir(exist_ok=True)
    np.savez_compressed(path, **{**arrays, **changes})
    return path


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_npz(name: str, tmp_path: Path) -> None:
    write_npz(tmp_path, name)
    split: Split = getattr(data, name)(tmp_path)
    image, label = pictures(20, 28, 28)
    assert split.train.image.shape == (20, 1, 28, 28)
    assert split.train.image.dtype == np.uint8
    assert split.test.image.shape == (7, 1, 28, 28)
    assert split.test.label.dtype == np.int64
    np.testing.assert_array_equal(split.train.image[:, 0], image)
    np.testing.assert_array_equal(split.train.label, label)


def test_truncated_npz(tmp_path: Path) -> None:
    path = write_npz(tmp_path, "mnist")
    whole = path.read_bytes()
    for size in (0, 10, len(whole) // 2, len(whole) - 5):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match="is not an npz file with x_train"):
            data.mnist(tmp_path)
    broken = bytearray(whole)
    broken[len(whole) // 3] ^= 0xFF
    path.write_bytes(broken)
    with pytest.raises(ValueError, match="is not an npz file with x_train"):
        data.mnist(tmp_path)


def test_npz_of_another_form(tmp_path: Path) -> None:
    path = write_npz(tmp_path, "mnist")
    with path.open("wb") as file:
        np.savez(file, x_train=np.zeros(3))
    with pytest.raises(ValueError, match="is not an npz file with x_train"):
        data.mnist(tmp_path)
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(ValueError, match="is not an npz file with x_train"):
        data.mnist(tmp_path)
    with path.open("wb") as file:
        np.savez(file, x_train=np.array([print], dtype=object))
    with pytest.raises(ValueError, match="is not an npz file with x_train"):
        data.mnist(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_train": np.zeros((20, 28, 28))}, "expected uint8 images"),
        ({"x_train": np.zeros((20, 28, 27), np.uint8)}, "expected uint8 images"),
        ({"y_test": np.zeros((7, 10), np.uint8)}, "expected uint8 images"),
        ({"y_test": np.full(7, 10)}, r"labels must be 0\.\.9, got 10\.\.10"),
        ({"y_train": np.full(20, -1)}, r"labels must be 0\.\.9"),
    ],
)
def test_arrays_of_a_wrong_form(changes: dict, message: str, tmp_path: Path) -> None:
    write_npz(tmp_path, "mnist", **changes)
    with pytest.raises(ValueError, match=message):
        data.mnist(tmp_path)


def write_parquet(root: Path, **changes: object) -> tuple[np.ndarray, np.ndarray]:
    """CIFAR-10 in the columns of its Parquet release, losslessly: 20 train and 5 test images."""
    pyarrow = pytest.importorskip("pyarrow", reason="extra vision")
    parquet = pytest.importorskip("pyarrow.parquet", reason="extra vision")
    image_module = pytest.importorskip("PIL.Image", reason="extra vision")
    image, label = pictures(20, 3, 32, 32)

    def encoded(pixels: np.ndarray) -> dict[str, object]:
        buffer = io.BytesIO()
        image_module.fromarray(pixels.transpose(1, 2, 0)).save(buffer, "PNG")
        return {"bytes": buffer.getvalue(), "path": None}

    columns: dict[str, object] = {"img": list(map(encoded, image)), "label": label}
    columns.update(changes)
    (root / "cifar10").mkdir(exist_ok=True)
    table = pyarrow.table({name: value for name, value in columns.items() if value is not None})
    parquet.write_table(table, root / "cifar10" / "train.parquet")
    parquet.write_table(table.slice(0, 5), root / "cifar10" / "test.parquet")
    return image, label


def test_cifar10_parquet_and_binary_agree(tmp_path: Path) -> None:
    image, label = write_parquet(tmp_path)
    parquet = data.cifar10(tmp_path)
    np.testing.assert_array_equal(parquet.train.image, image)
    np.testing.assert_array_equal(parquet.test.label, label[:5])
    assert parquet.train.label.dtype == np.int64
    for k in range(1, 6):
        part = slice(4 * k - 4, 4 * k)
        records = cifar_records(image[part], label[part])
        (tmp_path / "cifar10" / f"data_batch_{k}.bin").write_bytes(records)
    (tmp_path / "cifar10" / "test_batch.bin").write_bytes(cifar_records(image[:5], label[:5]))
    binary = data.cifar10(tmp_path)
    np.testing.assert_array_equal(binary.train.image, parquet.train.image)
    np.testing.assert_array_equal(binary.train.label, parquet.train.label)
    np.testing.assert_array_equal(binary.test.image, parquet.test.image)


def test_cifar10_is_decoded_once(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_parquet(tmp_path)
    first = data.cifar10(tmp_path)
    [kept] = (own_cache / "decoded").iterdir()
    decode = cifar10_file._from_parquet
    calls: list[Path] = []
    monkeypatch.setattr(
        cifar10_file, "_from_parquet", lambda path: calls.append(path) or decode(path)
    )
    second = data.cifar10(tmp_path)
    assert calls == []
    np.testing.assert_array_equal(first.train.image, second.train.image)
    np.testing.assert_array_equal(first.test.label, second.test.label)

    kept.write_bytes(kept.read_bytes()[:100])  # a cut-off cache is made again
    third = data.cifar10(tmp_path)
    assert len(calls) == 2
    np.testing.assert_array_equal(first.train.image, third.train.image)

    os.utime(tmp_path / "cifar10" / "train.parquet", (1, 1))  # a new file is decoded anew
    data.cifar10(tmp_path)
    assert len(calls) == 4
    assert all(path.suffix == ".npz" for path in (own_cache / "decoded").iterdir())


def test_cifar10_loads_where_nothing_can_be_cached(tmp_path: Path, own_cache: Path) -> None:
    image, _ = write_parquet(tmp_path)
    own_cache.parent.mkdir()
    own_cache.write_text("a file where the cache's folder should be")
    np.testing.assert_array_equal(data.cifar10(tmp_path).train.image, image)


def test_cifar10_loads_where_the_disk_is_full(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError("no space left on device")

    image, _ = write_parquet(tmp_path)
    monkeypatch.setattr(np, "savez", full)
    np.testing.assert_array_equal(data.cifar10(tmp_path).train.image, image)
    assert list((own_cache / "decoded").iterdir()) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"img": None},
        {"label": None},
        {"img": [b"no struct"] * 20},
        {"img": [{"bytes": b"no picture", "path": ""}] * 20},
    ],
)
def test_cifar10_parquet_of_another_form(changes: dict, tmp_path: Path) -> None:
    write_parquet(tmp_path, **changes)
    with pytest.raises(
        ValueError, match=r"train\.parquet is not Parquet with img\.bytes"
    ) as caught:
        data.cifar10(tmp_path)
    assert "\n" not in str(caught.value)


def test_cifar10_damaged_files(tmp_path: Path) -> None:
    write_parquet(tmp_path)
    path = tmp_path / "cifar10" / "train.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"train\.parquet is not Parquet"):
        data.cifar10(tmp_path)
    for file in (*(f"data_batch_{k}.bin" for k in range(1, 6)), "test_batch.bin"):
        (tmp_path / "cifar10" / file).write_bytes(bytes(3073))
    (tmp_path / "cifar10" / "data_batch_4.bin").write_bytes(bytes(3072))
    with pytest.raises(ValueError, match=r"data_batch_4\.bin is not records of 3073 bytes"):
        data.cifar10(tmp_path)


def test_cifar10_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_parquet(tmp_path)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ImportError, match=r"pip install 'quire-papers\[(vision|sklearn)\]'"):
        data.cifar10(tmp_path)


def test_digits() -> None:
    pytest.importorskip("sklearn", reason="extra vision")
    train, test = data.digits()
    assert train.image.shape == (1000, 1, 8, 8)
    assert test.image.shape == (797, 1, 8, 8)
    assert train.image.dtype == np.uint8
    assert train.label.dtype == np.int64
    assert train.image.max() == 16
    assert train.image.min() == 0
    assert train.label[:10].tolist() == list(range(10))
    assert train.image[0, 0, 0].tolist() == [0, 0, 5, 13, 9, 1, 0, 0]


def test_digits_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r"pip install 'quire-papers\[(vision|sklearn)\]'"):
        data.digits()


def test_real_mnist(real: Callable[[str], None]) -> None:
    real("mnist")
    train, test = data.mnist()
    assert train.image.shape == (60000, 1, 28, 28)
    assert test.image.shape == (10000, 1, 28, 28)
    assert train.label[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert np.bincount(test.label).tolist() == [
        980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009,
    ]  # fmt: skip
    assert train.image.mean() / 255 == pytest.approx(0.130660, abs=1e-5)


def test_real_fashion_mnist(real: Callable[[str], None]) -> None:
    real("fashion_mnist")
    train, test = data.fashion_mnist()
    assert np.bincount(train.label).tolist() == [6000] * 10
    assert np.bincount(test.label).tolist() == [1000] * 10
    assert train.image.mean() / 255 == pytest.approx(0.286041, abs=1e-5)


@pytest.mark.slow
def test_real_cifar10(real: Callable[[str], None]) -> None:
    real("cifar10")
    pytest.importorskip("pyarrow", reason="extra vision")
    train, test = data.cifar10()
    assert train.image.shape == (50000, 3, 32, 32)
    assert test.image.shape == (10000, 3, 32, 32)
    assert np.bincount(train.label).tolist() == [5000] * 10
    assert np.bincount(test.label).tolist() == [1000] * 10
    assert train.label[:10].tolist() == [6, 9, 9, 4, 1, 1, 2, 7, 8, 3]
    mean = train.image.mean((0, 2, 3)) / 255
    np.testing.assert_allclose(mean, (0.4914, 0.4822, 0.4465), atol=1e-3)
