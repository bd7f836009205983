"""Small classification sets, most of them from the UCI repository."""

import os
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

from quire.data import store
from quire.data.catalogue import Dataset, pinned, versions
from quire.data.tables import Table, read_table, write_table

_BROWNLEE = (
    "https://raw.githubusercontent.com/jbrownlee/Datasets/d20fcb6402ae34e653d4513b00f39257bb37ed7f/"
)
_CLUSTERING = (
    "https://raw.githubusercontent.com/hmofrad/clustering/"
    "80ffa957c0308cb0c4341249dc7c8dbde7e6ca58/dataset/"
)
_UCI_FILES = (
    "banknote_authentication", "breast-cancer-wisconsin", "breast-cancer", "ecoli", "german",
    "glass", "haberman", "ionosphere", "iris", "new-thyroid", "pima-indians-diabetes", "sonar",
    "wheat-seeds", "wine", "winequality-red", "phoneme",
)  # fmt: skip
UCI = (
    "banknote", "breast-cancer-wisconsin", "breast-cancer", "ecoli", "german-credit", "glass",
    "haberman", "ionosphere", "iris", "new-thyroid", "pima", "sonar", "seeds", "wine",
    "wine-quality-red", "phoneme", "balance-scale", "contraceptive", "hayes-roth",
)  # fmt: skip
WEKA = {
    "vote": ("vote",), "soybean": ("soybean",), "labor": ("labor",),
    "hypothyroid": ("hypothyroid",), "segment": ("segment-challenge", "segment-test"),
}  # fmt: skip


DATASET = Dataset(
    summary="24 small classification sets, most of them from the UCI repository",
    licence="CC BY 4.0 (UCI)",
    home="https://github.com/jbrownlee/Datasets",
    sources=(
        *(pinned(f"{_BROWNLEE}{file}.csv") for file in _UCI_FILES),
        *(
            pinned(f"{_CLUSTERING}{file}.data.txt")
            for file in ("balance-scale", "cmc", "hayes-roth")
        ),
        pinned(_BROWNLEE + "weka-datasets.zip"),
    ),
    layouts=(tuple(f"{name}.csv.gz" for name in (*UCI, *WEKA)),),
    note="Not the 121 sets with partitions of Fernandez-Delgado et al. (2014).",
    known=versions(
        {
            "with a header": """
57089a300906482f63a0aec067f8cca8805e2d918c79148e8db5b798ae7eac53  balance-scale.csv.gz
b2d6b72befc3535d519d800a080d805e85d0ac6ef624982a88f543f3004724bc  banknote.csv.gz
e8a7d5ab63d6b982a07d8e57f0e8a89bfda830ddcaa58967e02aa95f7adac923  breast-cancer-wisconsin.csv.gz
fafa3fd261595657a96dfa680850be37a2612158b9b278227d6770daf83043d7  breast-cancer.csv.gz
7f113da3275c16f2a5a0857d38f3bba357ad93ebdb51914c844d9a419d13ad5b  contraceptive.csv.gz
17725796ecc7b24519e1f89fa758975235077dd97b0b6a121f6d212ab83b56d0  ecoli.csv.gz
854a31f11541925b25e61fe550aa42ed13a6bce85b16f11a35442663b0c9684c  german-credit.csv.gz
5ebf801378cdf32ca3c0e1de24c631a1c56bbca06fa7ee9e396642e3af982d5f  glass.csv.gz
cf03a444d23afce7cafb79ecce944a1074a9762a4b9d6701e6d540c52008c84c  haberman.csv.gz
0a5abcfadfe96d393b4ca42de7f0476e9d88da75e827c2b798180862708b6456  hayes-roth.csv.gz
8f482a9fbaa97ebfb2c75ec615eb435e288139277ef2f062b4319d159008fbc2  hypothyroid.csv.gz
38e80bbd2a1668bd01b63d3799ad993bfe6c16ff318a7da4e1307e6975386a76  ionosphere.csv.gz
b05166f85ba6f8e9d80110a4b00ab0ef58f4da5da2e5a563afe4984e1d621963  iris.csv.gz
b55b7db5641ac8316b3c2baea83c00001a9049392dab0e3f353a2076cb30adaa  labor.csv.gz
fcbf17f2061b8576f6a8cfaece322c9545534c5ffa3abc9420380e7c85e44ef7  new-thyroid.csv.gz
7de5c1e78e18ed54c957b7d389940bbd2cbc1e9d25f196ccebb24d518147e7de  phoneme.csv.gz
a2585bc4af1552faeb22414aa0891d8afe2919ea121c01e3d36a4066229481e9  pima.csv.gz
6cd8a705a193a73f9bf30519006bb9faeda89ab9197ddfd94ac82d8aedd87843  seeds.csv.gz
7a2b1b3c4a9ff58c8b7b2ca340980b46ed163533c52e7814f98a36a9834f3fc9  segment.csv.gz
0b23095b1cf760cafa102965ee7cdf844b9723aee197698b100aca60a1555729  sonar.csv.gz
9f712b610e28c12a80338c0455904986687f5665cc1fb8c365cbbdbe6bfd1cb6  soybean.csv.gz
68354a9cc627da44784faede470cf4b0fc589d59d1b6132042d854d73562f401  vote.csv.gz
203002d7a2ab8fc7808dd0b1d9e95340d696fb904461bb59d8e998f0007869ec  wine-quality-red.csv.gz
41d111924fed0b90e543d0a3f115a2aed66333582a7baeb91017d911ee971573  wine.csv.gz
""",
        }
    ),
)


def unpack(downloads: list[Path], produced: Path) -> None:
    """Comma-separated rows without a header, and Weka's archive of ARFF files."""
    *plain, weka = downloads
    for name, path in zip(UCI, plain, strict=True):
        lines = path.read_text(encoding="utf-8").splitlines()
        rows = [tuple(_entry(x) for x in line.split(",")) for line in lines if line]
        if name == "hayes-roth":  # its first column is a number of the row
            rows = [row[1:] for row in rows]
        header = [f"f{column}" for column in range(len(rows[0]) - 1)]
        write_table(produced / f"{name}.csv.gz", [*header, "class"], rows)
    with zipfile.ZipFile(weka) as archive:
        for name, parts in WEKA.items():
            tables = [list(_arff(archive.read(f"data/{part}.arff").decode())) for part in parts]
            write_table(
                produced / f"{name}.csv.gz", tables[0][0], [r for t in tables for r in t[1:]]
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


def uci(root: str | os.PathLike[str] | None = None) -> dict[str, Table]:
    """24 small classification sets by name, most of them from the UCI repository.

    A column of which every entry is a number or missing is numeric, any other one categorical.
    There is no official split. Raises DataMissing, and ValueError for rows of different lengths.
    """
    return {path.name.split(".")[0]: read_table(path) for path in store.files("uci", root)}
