"""Immune repertoires, simulated, and human receptors with a known target."""

import csv
import gzip
import io
import tarfile
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from quire.data import store
from quire.data.bags import Root, read_arrays
from quire.data.catalogue import Dataset, pinned, versions
from quire.data.tables import write_table

_IMMUNEML = (
    "https://raw.githubusercontent.com/uio-bmi/immuneML/"
    "ab5fb13b9b2f960955edf02fea1f13f1e2855433/docs/source/_static/files/"
)
_VDJDB = (
    "https://codeload.github.com/antigenomics/vdjdb-db/tar.gz/"
    "6bfd9d2c74a0116c1d6096ebe0f816fb91de273e"
)
REPERTOIRES = ("quickstart", "simulated")
VDJDB = {
    "cdr3_beta": "cdr3.beta", "v_beta": "v.beta", "j_beta": "j.beta", "cdr3_alpha": "cdr3.alpha",
    "epitope": "antigen.epitope", "antigen_gene": "antigen.gene",
    "antigen_species": "antigen.species", "mhc_a": "mhc.a", "mhc_class": "mhc.class",
    "reference": "reference.id",
}  # fmt: skip
LARGE = ("10xgenomics-2019-07-09.txt", "PMID_39746936.txt", "PMID_40498839.txt")
"""Chunks that are left out, so that the set stays small."""


DATASET = Dataset(
    summary="simulated repertoires of immuneML, and 38,722 human receptors of VDJdb",
    licence="AGPL-3.0 (both repositories); terms of VDJdb's records: see its site",
    home="https://github.com/uio-bmi/immuneML",
    sources=(
        pinned(
            _IMMUNEML + "quickstart_data.zip",
            "ac5c341edcfc10f8eed4f741a2e7a4fbc753bad40175574c29be2b8d4d403569",
        ),
        pinned(
            _IMMUNEML + "dataset.zip",
            "3fd7fd5a7b8033018b11a8cb6f9ce8356a274628690fba6757bdb7db8194889c",
        ),
        pinned(_VDJDB),
    ),
    layouts=(
        (
            "immuneml_quickstart.npz",
            "immuneml_simulated.npz",
            "vdjdb_human_beta.csv.gz",
        ),
    ),
    note="The repertoires are simulated; the receptors of VDJdb are real, three of its "
    "largest studies are left out.",
    known=versions(
        {
            "as in the archive, with genes": """
284a3a47848926ba8b6a69026fc3858790d68d0a109911b5f0713fce7b472494  immuneml_quickstart.npz
""",
            "as in the archive, with counts": """
3343b29b0ab32fa3521243ed572b7156ada2262985a2b26b4bbf913907bbdd17  immuneml_simulated.npz
""",
            "38,722 human records": """
1d9acafd6154d14bf8628b470bbd38e8e1808d064000cee6a7768e78726d120c  vdjdb_human_beta.csv.gz
""",
        }
    ),
)


def unpack(downloads: list[Path], produced: Path) -> None:
    """Two archives of AIRR tables, and VDJdb's repository."""
    quickstart, simulated, vdjdb = downloads
    with zipfile.ZipFile(quickstart) as archive:
        text, offsets, rows, _ = _repertoires(archive, "cdr3_aa", None)
        y = np.array([row["signal_disease"] == "True" for row in rows])
        np.savez_compressed(produced / "immuneml_quickstart.npz", seqs=text, offsets=offsets, y=y)
    with zipfile.ZipFile(simulated) as archive:
        text, offsets, rows, signal = _repertoires(archive, "junction_aa", "disease")
        disease, batch = (
            np.array([row[key] == "True" for row in rows]) for key in ("disease", "batch")
        )
        np.savez_compressed(
            produced / "immuneml_simulated.npz",
            seqs=text,
            offsets=offsets,
            seq_has_disease_signal=signal,
            disease=disease,
            batch=batch,
        )
    _vdjdb(vdjdb, produced / "vdjdb_human_beta.csv.gz")


def _repertoires(
    archive: zipfile.ZipFile, column: str, witness: str | None
) -> tuple[NDArray[np.uint8], NDArray[np.int64], list[dict[str, str]], NDArray[np.bool_]]:
    """Sequences joined by newlines, offsets, the rows of metadata, and a flag for each sequence."""
    rows = list(csv.DictReader(io.StringIO(archive.read("metadata.csv").decode())))
    sequences: list[str] = []
    offsets, signal = [0], []
    for row in rows:
        text = archive.read("repertoires/" + Path(row["filename"]).name).decode()
        for receptor in csv.DictReader(io.StringIO(text), delimiter="\t"):
            sequences.append(receptor[column])
            signal.append(witness is not None and receptor[witness] == "1")
        offsets.append(len(sequences))
    joined = np.frombuffer("\n".join(sequences).encode("ascii"), np.uint8)
    return joined, np.array(offsets), rows, np.array(signal)


def _vdjdb(archive: Path, target: Path) -> None:
    """Human records with a beta chain, each once, in sorted order."""
    found = set()
    with tarfile.open(archive) as tar:
        for member in tar:
            name = member.name.split("/")
            if name[-2:-1] != ["chunks"] or not name[-1].endswith(".txt") or name[-1] in LARGE:
                continue
            file = tar.extractfile(member)
            text = file.read().decode() if file else ""
            for row in csv.DictReader(io.StringIO(text), delimiter="\t"):
                record = tuple((row[column] or "").strip() for column in VDJDB.values())
                if (row["species"] or "").strip() == "HomoSapiens" and record[0]:
                    found.add(record)
    write_table(target, list(VDJDB), sorted(found))


class Repertoire(NamedTuple):
    """Labelled repertoires of receptors.

    Args:
        sequence: CDR3 amino acids, repertoires one after the other.
        size: (repertoires,) int64, sequences of each.
        label: (repertoires,) int64, 1 where diseased.
        batch: (repertoires,) int64, a nuisance that goes with the label, or None.
        witness: (sequences,) bool, True where a sequence carries the disease's signal, or None
            where that is not known.
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
        text, offsets, label = read_arrays(path, ("seqs", "offsets", "y"))
        batch = witness = None
    else:
        keys = ("seqs", "offsets", "disease", "batch", "seq_has_disease_signal")
        text, offsets, label, batch, witness = read_arrays(path, keys)
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
