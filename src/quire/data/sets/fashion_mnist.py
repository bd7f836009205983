"""Fashion-MNIST: pictures of clothing."""

from pathlib import Path

import numpy as np

from quire.data.archives import read_idx
from quire.data.arrays import Split
from quire.data.catalogue import Dataset, Source, versions
from quire.data.images import Root, from_npz

_ZALANDO = "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/"
_ZALANDO_MIRROR = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"


def _fashion(file: str, md5: str) -> Source:
    return Source(urls=(_ZALANDO + file, _ZALANDO_MIRROR + file), checksum=f"md5:{md5}")


DATASET = Dataset(
    summary="70,000 grey pictures of clothing of 28x28 pixels in 10 classes",
    licence="MIT",
    home="https://github.com/zalandoresearch/fashion-mnist",
    sources=(
        _fashion("train-images-idx3-ubyte.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
        _fashion("train-labels-idx1-ubyte.gz", "25c81989df183df01b3e8a0aad5dffbe"),
        _fashion("t10k-images-idx3-ubyte.gz", "bef4ecab320f06d8554ea6380940ec79"),
        _fashion("t10k-labels-idx1-ubyte.gz", "bb300cfdad3c16e7a12a480ee83cd310"),
    ),
    layouts=(("fashion_mnist.npz",),),
    known=versions(
        {
            "repacked, arrays equal to the original": """
5b6d2c4c694a91887af8ab7d039c04f80af3c29378d731c93a538d2e831aa469  fashion_mnist.npz
""",
        }
    ),
)


def unpack(downloads: list[Path], produced: Path) -> None:
    """Four IDX files become one npz file."""
    x_train, y_train, x_test, y_test = (read_idx(path) for path in downloads)
    np.savez_compressed(
        produced / "fashion_mnist.npz",
        x_train=x_train,
        y_train=y_train,
        x_test=x_test,
        y_test=y_test,
    )


def fashion_mnist(root: Root = None) -> Split:
    """Fashion-MNIST: 60,000 training and 10,000 test images (1, 28, 28) of clothing, 0..255.

    Raises DataMissing if it is not under root, ValueError if the file is damaged.
    """
    return from_npz("fashion_mnist", root)
