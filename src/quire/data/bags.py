"""Bags: multiple-instance benchmarks, immune repertoires, and receptors with a known target."""

import csv
import gzip
import os
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from quire.data import store

Root = str | os.PathLike[str] | None
MIL = ("musk1", "musk2", "elephant", "fox", "tiger")
REPERTOIRES = ("quickstart", "simulated")


class Bags(NamedTuple):
    """Labelled bags of instances.

    instance: (instances, features) float32, unscaled, bags one after the other. size: (bags,)
    int64, instances in each. label: (bags,) int64, 0 or 1.
    """

    instance: NDArray[np.float32]
    size: NDArray[np.int64]
    label: NDArray[np.int64]


class Repertoire(NamedTuple):
    """Labelled repertoires of receptors.

    sequence: CDR3 amino acids, repertoires one after the other. size: (repertoires,) int64. label:
    (repertoires,) int64, 1 where diseased. batch: (repertoires,) int64, a nuisance that goes with
    the label, or None. witness: (sequences,) bool, True where a sequence carries the disease's
    signal, or None where that is not known.
    """

    sequence: list[str]
    size: NDArray[np.int64]
    label: NDArray[np.int64]
    batch: NDArray[np.int64] | None
    witness: NDArray[np.bool_] | None


class Receptor(NamedTuple):
    """The beta chain's CDR3 of a human T-cell receptor, and the peptide it was found to bind."""

    cdr3: str
    epitope: str


def mil(root: Root = None) -> dict[str, Bags]:
    """The classic benchmarks musk1, musk2, elephant, fox and tiger by name.

    Raises DataMissing, and ValueError for a damaged file.
    """
    files = {path.stem: path for path in store.files("mil", root)}
    sets = {}
    for name in MIL:
        x, offsets, y = _arrays(files[name], ("X", "bag_offsets", "y"))
        if len(offsets) != len(y) + 1 or offsets[-1] != len(x):
            raise ValueError(f"mil: {files[name]} has offsets that do not fit its instances")
        sets[name] = Bags(x.astype(np.float32), np.diff(offsets), y.astype(np.int64))
    return sets


def immune_repertoire(root: Root = None, part: str = "quickstart") -> Repertoire:
    """Simulated repertoires that immuneML gives as examples.

    part: "quickstart", 100 repertoires of 1,000 heavy-chain CDR3 with an implanted motif in half of
    them; or "simulated", 200 of about 100 beta-chain CDR3 whose batch goes with the disease. Raises
    DataMissing, and ValueError for another part or a damaged file.
    """
    if part not in REPERTOIRES:
        raise ValueError(f"part must be one of {', '.join(REPERTOIRES)}, got {part!r}")
    path = store.files("immune_repertoire", root)[REPERTOIRES.index(part)]
    if part == "quickstart":
        text, offsets, label = _arrays(path, ("seqs", "offsets", "y"))
        batch = witness = None
    else:
        keys = ("seqs", "offsets", "disease", "batch", "seq_has_disease_signal")
        text, offsets, label, batch, witness = _arrays(path, keys)
    sequence = text.tobytes().decode("ascii").split("\n")
    if len(sequence) != offsets[-1] or len(offsets) != len(label) + 1:
        raise ValueError(f"immune_repertoire: {path} has {len(sequence)} sequences, not those that "
                         "its offsets count")  # fmt: skip
    batch = None if batch is None else batch.astype(np.int64)
    return Repertoire(sequence, np.diff(offsets), label.astype(np.int64), batch, witness)


def vdjdb(root: Root = None) -> list[Receptor]:
    """30,903 different human beta-chain CDR3 of VDJdb with their epitopes, 38,722 records.

    Part of the dataset immune_repertoire. Raises DataMissing.
    """
    path = store.files("immune_repertoire", root)[2]
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        return [Receptor(row["cdr3_beta"], row["epitope"]) for row in csv.DictReader(file)]


def _arrays(path: Path, keys: tuple[str, ...]) -> list[NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return [archive[key] for key in keys]
    except (OSError, EOFError, LookupError, ValueError, BadZipFile) as error:
        raise ValueError(f"{path} is not an npz file with {', '.join(keys)} ({error}); delete it "
                         "and fetch it again") from error  # fmt: skip
