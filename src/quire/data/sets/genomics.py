"""Promoters with a TATA box."""

import csv
import gzip
import os
from pathlib import Path

from quire.data import store
from quire.data.catalogue import Dataset, pinned, versions

_PROMOTERS = "https://raw.githubusercontent.com/egochao/DeePromoter/4279eba86882d9daef4fcb2d740b29d0ff234567/data/"


DATASET = Dataset(
    summary="6,015 human and mouse promoters with a TATA box (EPDnew), 300 bases each",
    licence="MIT (the repository); EPDnew's data are free to use",
    home="https://github.com/egochao/DeePromoter",
    sources=(
        pinned(
            _PROMOTERS + "human/TATA/hs_pos_TATA.txt",
            "9515889e07fea56de600ba1ed170c801e8b9b93a8e96d253db07b693aae3d38a",
        ),
        pinned(
            _PROMOTERS + "mouse/TATA/mm_pos_TATA.txt",
            "4a69c76ed20d94505b803ef1a7ceddc8682d3c96c6a04851fcbb18d1d530fa6c",
        ),
    ),
    layouts=(("epdnew_tata_promoters.csv.gz",),),
    note="Promoters only: negatives are made from them.",
    known=versions(
        {
            "EPDnew TATA promoters, 2,929 human and 3,086 mouse": """
0089e0a62420366899ead5936d97101ebb9f32d931e0ea26a87b1806facb5af4  epdnew_tata_promoters.csv.gz
""",
        }
    ),
)


def unpack(downloads: list[Path], produced: Path) -> None:
    """Lists of sequences, a file a species, become one table."""
    rows = ["species,name,sequence"]
    for species, path in zip(("human", "mouse"), downloads, strict=True):
        rows += [f"{species},,{sequence}" for sequence in path.read_text().split()]
    content = "".join(row + "\n" for row in rows).encode()
    (produced / "epdnew_tata_promoters.csv.gz").write_bytes(gzip.compress(content, mtime=0))


def genomics(root: str | os.PathLike[str] | None = None) -> dict[str, list[str]]:
    """Promoters with a TATA box by species, "human" (2,929) and "mouse" (3,086), from EPDnew.

    Each is 300 bases of A, C, G and T, from 249 before to 50 after the start of transcription;
    within a species all differ. Raises DataMissing, and ValueError for a row that is not so.
    """
    path = store.files("genomics", root)[0]
    promoters: dict[str, list[str]] = {}
    with gzip.open(path, "rt", encoding="ascii", newline="") as file:
        for number, row in enumerate(csv.DictReader(file), 2):
            sequence = row.get("sequence") or ""
            if len(sequence) != 300 or set(sequence) - set("ACGT") or not row.get("species"):
                raise ValueError(f"{path.name}, line {number}: a species and 300 bases expected")
            promoters.setdefault(row["species"], []).append(sequence)
    return promoters
