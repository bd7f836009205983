"""MNIST: handwritten digits."""

import shutil
from pathlib import Path

from quire.data.arrays import Split
from quire.data.catalogue import Dataset, Source, versions
from quire.data.images import Root, from_npz

DATASET = Dataset(
    summary="70,000 handwritten digits of 28x28 pixels",
    licence="CC BY-SA 3.0 as commonly distributed; LeCun, Cortes and Burges",
    home="http://yann.lecun.com/exdb/mnist/",
    sources=(
        Source(
            urls=("https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz",),
            checksum="sha256:731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1",
        ),
    ),
    layouts=(("mnist.npz",),),
    known=versions(
        {
            "as Keras publishes it": """
731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1  mnist.npz
""",
            "repacked, arrays equal to the original": """
06af5dfe73b70e3bc1c36439982b18a8d76803db9b544f6fdf838a37fbb01b64  mnist.npz
""",
        }
    ),
)


def unpack(downloads: list[Path], produced: Path) -> None:
    """The npz file as it is."""
    shutil.move(downloads[0], produced / "mnist.npz")


def mnist(root: Root = None) -> Split:
    """MNIST: 60,000 training and 10,000 test images (1, 28, 28) of handwritten digits, 0..255.

    Raises DataMissing if it is not under root, ValueError if the file is damaged.
    """
    return from_npz("mnist", root)
