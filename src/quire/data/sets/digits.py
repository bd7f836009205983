"""scikit-learn's handwritten digits."""

import numpy as np

from quire.data.arrays import Images, Split
from quire.data.catalogue import Dataset

DATASET = Dataset(
    summary="1,797 handwritten digits of 8x8 pixels, values 0..16, inside scikit-learn",
    licence="CC BY 4.0",
    home="https://archive.ics.uci.edu/dataset/80",
    extras=("sklearn",),
    package="scikit-learn",
)


def digits() -> Split:
    """scikit-learn's handwritten digits (1, 8, 8), values 0..16: first 1,000 train, last 797 test.

    Raises ImportError naming the extra if scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError(
            "digits needs scikit-learn: pip install 'quire-papers[sklearn]'"
        ) from error
    bunch = load_digits()
    image = bunch.images.astype(np.uint8)[:, None]
    label = bunch.target.astype(np.int64)
    return Split(Images(image[:1000], label[:1000]), Images(image[1000:], label[1000:]))
