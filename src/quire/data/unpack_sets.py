"""How the downloads of bags, tables and Omniglot become the files that the loaders read."""

import csv
import gzip
import hashlib
import io
import json
import re
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def mil(downloads: list[Path], target: Path) -> None:
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
            target / f"{name}.npz", X=x, bag_offsets=offsets, y=(label.ravel() == 1).astype(int)
        )


def immune_repertoire(downloads: list[Path], target: Path) -> None:
    """Two archives of AIRR tables, and VDJdb's repository."""
    quickstart, simulated, vdjdb = downloads
    with zipfile.ZipFile(quickstart) as archive:
        text, offsets, rows, _ = _repertoires(archive, "cdr3_aa", None)
        y = np.array([row["signal_disease"] == "True" for row in rows])
        np.savez_compressed(target / "immuneml_quickstart.npz", seqs=text, offsets=offsets, y=y)
    with zipfile.ZipFile(simulated) as archive:
        text, offsets, rows, signal = _repertoires(archive, "junction_aa", "disease")
        disease, batch = (
            np.array([row[key] == "True" for row in rows]) for key in ("disease", "batch")
        )
        np.savez_compressed(
            target / "immuneml_simulated.npz",
            seqs=text,
            offsets=offsets,
            seq_has_disease_signal=signal,
            disease=disease,
            batch=batch,
        )
    _vdjdb(vdjdb, target / "vdjdb_human_beta.csv.gz")


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


VDJDB = {
    "cdr3_beta": "cdr3.beta", "v_beta": "v.beta", "j_beta": "j.beta", "cdr3_alpha": "cdr3.alpha",
    "epitope": "antigen.epitope", "antigen_gene": "antigen.gene",
    "antigen_species": "antigen.species", "mhc_a": "mhc.a", "mhc_class": "mhc.class",
    "reference": "reference.id",
}  # fmt: skip
LARGE = ("10xgenomics-2019-07-09.txt", "PMID_39746936.txt", "PMID_40498839.txt")
"""Chunks that are left out, so that the set stays small."""


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
    _write_table(target, list(VDJDB), sorted(found))


UCI = (
    "banknote", "breast-cancer-wisconsin", "breast-cancer", "ecoli", "german-credit", "glass",
    "haberman", "ionosphere", "iris", "new-thyroid", "pima", "sonar", "seeds", "wine",
    "wine-quality-red", "phoneme", "balance-scale", "contraceptive", "hayes-roth",
)  # fmt: skip
WEKA = {
    "vote": ("vote",), "soybean": ("soybean",), "labor": ("labor",),
    "hypothyroid": ("hypothyroid",), "segment": ("segment-challenge", "segment-test"),
}  # fmt: skip


def uci(downloads: list[Path], target: Path) -> None:
    """Comma-separated rows without a header, and Weka's archive of ARFF files."""
    *plain, weka = downloads
    for name, path in zip(UCI, plain, strict=True):
        lines = path.read_text(encoding="utf-8").splitlines()
        rows = [tuple(_entry(x) for x in line.split(",")) for line in lines if line]
        if name == "hayes-roth":  # its first column is a number of the row
            rows = [row[1:] for row in rows]
        header = [f"f{column}" for column in range(len(rows[0]) - 1)]
        _write_table(target / f"{name}.csv.gz", [*header, "class"], rows)
    with zipfile.ZipFile(weka) as archive:
        for name, parts in WEKA.items():
            tables = [list(_arff(archive.read(f"data/{part}.arff").decode())) for part in parts]
            _write_table(
                target / f"{name}.csv.gz", tables[0][0], [r for t in tables for r in t[1:]]
            )


def _entry(text: str) -> str:
    """Without quotes; "?" where it is missing."""
    entry = text.strip().strip("'")
    return "?" if entry == "nan" else entry


def _arff(text: str) -> Iterator[tuple[str, ...]]:
    """Names of the columns, then the rows; the class stands last."""
    head, _, body = re.split(r"(@data\s*\n)", text, maxsplit=1, flags=re.IGNORECASE)
    names = re.findall(r"^@attribute\s+('[^']+'|\S+)", head, re.MULTILINE | re.IGNORECASE)
    yield (*(name.strip("'") for name in names[:-1]), "class")
    for line in body.splitlines():
        if line.strip() and not line.startswith("%"):
            yield tuple(_entry(x) for x in line.split(","))


def _write_table(
    path: Path, header: list[str] | tuple[str, ...], rows: list[tuple[str, ...]]
) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([tuple(header), *rows])
    path.write_bytes(gzip.compress(text.getvalue().encode(), mtime=0))


ARC = "21875aec0e05135a9bd38b3f29a8e6ac8184a7b3eec6a5ac4cfbd27ec2bbafc1"
"""sha256 of the training tasks joined, before compression."""


def arc(downloads: list[Path], target: Path) -> None:
    """The repository's archive: `<top>/data/training/<id>.json` alone, joined in one file."""
    tasks: dict[str, Any] = {}
    with tarfile.open(downloads[0]) as archive:
        for member in archive:
            found = re.fullmatch(r"[^/]+/data/training/([0-9a-f]{8})\.json", member.name)
            content = archive.extractfile(member) if found else None
            if found and content is not None:
                tasks[found[1]] = json.load(content)
    text = json.dumps(tasks, sort_keys=True, separators=(",", ":")).encode()
    if hashlib.sha256(text).hexdigest() != ARC:
        raise ValueError("arc: data/training is not that of commit 3990304")
    with (
        (target / "training.json.gz").open("wb") as file,
        gzip.GzipFile("", "wb", fileobj=file, mtime=0) as out,
    ):
        out.write(text)


def omniglot(downloads: list[Path], target: Path) -> None:
    """Two archives of pictures: <folder>/<alphabet>/character<NN>/<number>_<drawer>.png."""
    from PIL import Image

    arrays: dict[str, Any] = {}
    for split, path in zip(("background", "evaluation"), downloads, strict=True):
        with zipfile.ZipFile(path) as archive:
            names = [n.split("/") for n in archive.namelist() if re.search(r"_\d\d\.png$", n)]
            names.sort(key=lambda parts: (parts[-3], parts[-2], parts[-1][-6:]))
            pictures = []
            for parts in names:
                with Image.open(io.BytesIO(archive.read("/".join(parts)))) as picture:
                    pictures.append(np.packbits(~np.asarray(picture.convert("1"), bool)))
        kinds = sorted({(parts[-3], parts[-2]) for parts in names})
        alphabets = sorted({alphabet for alphabet, _ in kinds})
        arrays |= {
            f"{split}_images_packed": np.stack(pictures),
            f"{split}_class": np.array([kinds.index((p[-3], p[-2])) for p in names], np.uint16),
            f"{split}_alphabet": np.array([alphabets.index(p[-3]) for p in names], np.uint8),
            f"{split}_drawer": np.array([int(p[-1][-6:-4]) for p in names], np.uint8),
            f"{split}_alphabet_names": np.array(alphabets),
            f"{split}_class_names": np.array(["/".join(kind) for kind in kinds]),
        }
    np.savez_compressed(target / "omniglot.npz", **arrays)
