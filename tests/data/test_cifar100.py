"""CIFAR-100 from its binary records."""

from pathlib import Path

import numpy as np
import pytest

from quire import data


def test_records_are_read_and_damage_is_said(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(256, size=(6, 3, 32, 32), dtype=np.uint8)
    label = np.array([0, 5, 99, 7, 50, 98])
    folder = tmp_path / "cifar100"
    folder.mkdir()
    coarse = np.zeros((6, 1), np.uint8)
    records = np.concatenate([coarse, label[:, None].astype(np.uint8), image.reshape(6, -1)], 1)
    (folder / "train.bin").write_bytes(records.tobytes())
    (folder / "test.bin").write_bytes(records[:2].tobytes())
    train, test = data.cifar100(tmp_path)
    np.testing.assert_array_equal(train.image, image)
    np.testing.assert_array_equal(train.label, label)
    assert len(test.label) == 2
    (folder / "test.bin").write_bytes(records.tobytes()[:-1])
    with pytest.raises(ValueError, match="is not records of 3074 bytes"):
        data.cifar100(tmp_path)
    records[0, 1] = 100
    (folder / "test.bin").write_bytes(records.tobytes())
    with pytest.raises(ValueError, match=r"labels must be 0\.\.99, got 100"):
        data.cifar100(tmp_path)
