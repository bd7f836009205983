"""Multiple-instance benchmarks: Musk 1 and 2, Elephant, Fox, Tiger."""

from pathlib import Path

import numpy as np

from quire.data import store
from quire.data.bags import Bags, Root, read_arrays
from quire.data.catalogue import Dataset, pinned, versions

_MILPY = "https://raw.githubusercontent.com/jmarrietar/MILpy/79fef5dd2726e5ca32955e17ff925dae0e2a9986/data/"
_MIL = {
    "musk1_unscaled": ("X_musk_original", "Bag2_musk_original", "bagI_musk1_original"),
    **{f"{name}_original": ("X", "Bag2", "BagI") for name in ("musk2", "elephant", "fox", "tiger")},
}
MIL = ("musk1", "musk2", "elephant", "fox", "tiger")


DATASET = Dataset(
    summary="multiple-instance benchmarks: Musk 1 and 2, Elephant, Fox, Tiger",
    licence="Musk CC BY 4.0 (UCI); the pictures' features: none stated",
    home="https://github.com/jmarrietar/MILpy",
    sources=tuple(
        pinned(f"{_MILPY}{folder}/{file}.mat") for folder, files in _MIL.items() for file in files
    ),
    layouts=(("musk1.npz", "musk2.npz", "elephant.npz", "fox.npz", "tiger.npz"),),
    known=versions(
        {
            "arrays equal to the repository's": """
fed2c0b6f2db187b62d518269e1d56993677ff59a540875c4e639f9100c7b428  musk1.npz
2cbf9964837780f7f746bc9eaf571a66978e245cc533c180ada845435892a18f  musk2.npz
0b1beb7c88f18de699d6a2a5d0163983c8a3c7fab41bd142006bb4257ba1a703  elephant.npz
9996be684d8083dfad5f1dec376db45e2e888e50cdc1474f7cbf6382245a636d  fox.npz
12c6b5803a69df9a4b654a0396f5f89e06ccc2aebbb00f7cc8919748a62fcd90  tiger.npz
""",
        }
    ),
)


def unpack(downloads: list[Path], produced: Path) -> None:
    """Matlab files, three a set: instances, the bag of each instance, the bags' labels."""
    from scipy.io import loadmat

    for name, at in zip(
        ("musk1", "musk2", "elephant", "fox", "tiger"), range(0, 15, 3), strict=True
    ):
        x, bag, label = (
            loadmat(path)[key]
            for path, key in zip(downloads[at : at + 3], ("X", "Bag2", "bagI"), strict=True)
        )
        x = x.astype(np.int16 if name.startswith("musk") else np.float32)
        offsets = np.concatenate(([0], np.bincount(bag.ravel())[1:].cumsum()))
        np.savez_compressed(
            produced / f"{name}.npz", X=x, bag_offsets=offsets, y=(label.ravel() == 1).astype(int)
        )


def mil(root: Root = None) -> dict[str, Bags]:
    """The classic benchmarks musk1, musk2, elephant, fox and tiger by name.

    Raises DataMissing, and ValueError for a damaged file.
    """
    files = {path.stem: path for path in store.files("mil", root)}
    sets = {}
    for name in MIL:
        x, offsets, y = read_arrays(files[name], ("X", "bag_offsets", "y"))
        if len(offsets) != len(y) + 1 or offsets[-1] != len(x):
            raise ValueError(f"mil: {files[name]} has offsets that do not fit its instances")
        sets[name] = Bags(x.astype(np.float32), np.diff(offsets), y.astype(np.int64))
    return sets
