"""Sequences of DNA."""

import csv
import gzip
import os

from quire.data import store


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
