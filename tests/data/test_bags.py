"""Bags, repertoires, tables and Omniglot: from files of each form, and the real ones."""

import csv
import gzip
import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from data.samples import tar
from data.test_store import Server, offer
from quire import data
from quire.data import DATASETS, DataMissing, store
from quire.data.sets import immune_repertoire as immune_file
from quire.data.sets import mil as mil_file
from quire.data.sets import uci as uci_file


def folder(root: Path, name: str) -> Path:
    (root / name).mkdir()
    return root / name


def zipped(files: dict[str, bytes]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return target.getvalue()


def test_bags_by_set(tmp_path: Path) -> None:
    place = folder(tmp_path, "mil")
    for number, name in enumerate(("musk1", "musk2", "elephant", "fox", "tiger"), 2):
        x = np.arange(4 * number, dtype=np.int16).reshape(4, number)
        np.savez(place / f"{name}.npz", X=x, bag_offsets=[0, 1, 4], y=[1, 0])
    sets = data.mil(tmp_path)
    assert list(sets) == ["musk1", "musk2", "elephant", "fox", "tiger"]
    assert sets["fox"].instance.shape == (4, 5)
    assert sets["fox"].instance.dtype == np.float32
    assert sets["fox"].size.tolist() == [1, 3]
    np.savez(place / "fox.npz", X=x, bag_offsets=[0, 1, 9], y=[1, 0])
    with pytest.raises(ValueError, match=r"fox\.npz has offsets that do not fit"):
        data.mil(tmp_path)
    (place / "fox.npz").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="is not an npz file with X, bag_offsets, y"):
        data.mil(tmp_path)


def test_repertoires_and_receptors(tmp_path: Path) -> None:
    place = folder(tmp_path, "immune_repertoire")
    text = np.frombuffer(b"CASS\nCAW\nCSF", np.uint8)
    np.savez(place / "immuneml_quickstart.npz", seqs=text, offsets=[0, 2, 3], y=[True, False])
    np.savez(
        place / "immuneml_simulated.npz", seqs=text, offsets=[0, 1, 3], disease=[False, True],
        batch=[True, True], seq_has_disease_signal=[False, True, False],
    )  # fmt: skip
    rows = "cdr3_beta,epitope\nCASSF,GIL\n"
    (place / "vdjdb_human_beta.csv.gz").write_bytes(gzip.compress(rows.encode(), mtime=0))
    quick = data.immune_repertoire(tmp_path)
    assert quick.sequence == ["CASS", "CAW", "CSF"]
    assert (quick.size.tolist(), quick.label.tolist()) == ([2, 1], [1, 0])
    assert quick.witness is None
    simulated = data.immune_repertoire(tmp_path, "simulated")
    assert simulated.batch is not None and simulated.batch.tolist() == [1, 1]
    assert simulated.witness is not None and simulated.witness.tolist() == [False, True, False]
    assert data.vdjdb(tmp_path) == [("CASSF", "GIL")]
    with pytest.raises(ValueError, match="part must be one of quickstart, simulated, got 'cmv'"):
        data.immune_repertoire(tmp_path, "cmv")
    with pytest.raises(DataMissing, match="immune_repertoire"):
        data.vdjdb(tmp_path / "elsewhere")


def test_tables_know_numbers_from_categories(tmp_path: Path) -> None:
    place = folder(tmp_path, "uci")
    (files,) = DATASETS["uci"].layouts
    rows = "f0,f1,class\n1.5,red,no\n?,?,yes\n3,blue,no\n"
    for file in files:
        (place / file).write_bytes(gzip.compress(rows.encode(), mtime=0))
    table = data.uci(tmp_path)["breast-cancer-wisconsin"]
    np.testing.assert_array_equal(table.feature, [[1.5, 1], [np.nan, np.nan], [3, 0]])
    assert table.categorical.tolist() == [False, True]
    assert (table.label.tolist(), table.classes) == ([0, 1, 0], ("no", "yes"))
    (place / files[0]).write_bytes(gzip.compress(b"f0,class\n1\n", mtime=0))
    with pytest.raises(ValueError, match="line 2: 2 columns expected"):
        data.uci(tmp_path)


def test_characters_out_of_their_archives(
    server: Server, no_root: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def picture(at: int) -> bytes:
        image, target = Image.new("1", (105, 105), 1), io.BytesIO()
        image.putpixel((at, 0), 0)
        image.save(target, "PNG")
        return target.getvalue()

    names = ["Greek/character02/0002_01.png", "Greek/character01/0001_02.png",
             "Greek/character01/0001_01.png", "Aa/character01/0009_01.png"]  # fmt: skip
    parts = [
        zipped({f"images_{part}/{name}": picture(at) for at, name in enumerate(names)})
        for part in ("background", "evaluation")
    ]
    offer(monkeypatch, server, "omniglot", parts)
    read = data.omniglot(part="evaluation")
    assert read.image.shape == (4, 1, 105, 105)
    assert read.image.sum((1, 2, 3)).tolist() == [1, 1, 1, 1]
    assert read.image[:, 0, 0].argmax(-1).tolist() == [3, 2, 1, 0]
    assert read.label.tolist() == [0, 1, 1, 2]
    assert read.alphabet.tolist() == [0, 1, 1, 1]
    assert read.drawer.tolist() == [1, 1, 2, 1]
    with pytest.raises(ValueError, match="part must be 'background' or 'evaluation', got 'train'"):
        data.omniglot(part="train")


def test_bags_out_of_matlab_files(tmp_path: Path) -> None:
    downloads = []
    for number in range(5):
        for key, value in (
            ("X", np.arange(6).reshape(3, 2) + number),
            ("Bag2", np.array([[1], [1], [2]], np.uint8)),
            ("bagI", np.array([[1], [2]], np.uint8)),
        ):
            downloads.append(tmp_path / f"{number}{key}.mat")
            savemat(downloads[-1], {key: value})
    mil_file.unpack(downloads, folder(tmp_path, "mil"))
    tiger = data.mil(tmp_path)["tiger"]
    assert tiger.instance.tolist() == [[4, 5], [6, 7], [8, 9]]
    assert (tiger.size.tolist(), tiger.label.tolist()) == ([2, 1], [1, 0])


def test_repertoires_out_of_their_archives(tmp_path: Path) -> None:
    head = "junction_aa\tcdr3_aa\tdisease\n"
    quick = zipped({
        "metadata.csv": b"filename,signal_disease\nb.tsv,True\na.tsv,False\n",
        "repertoires/a.tsv": (head + "CAX\tAX\t0\n").encode(),
        "repertoires/b.tsv": (head + "CAY\tAY\t0\nCAZ\tAZ\t1\n").encode(),
    })  # fmt: skip
    simulated = zipped({
        "metadata.csv": b"disease,batch,filename\nTrue,False,b.tsv\n",
        "repertoires/b.tsv": (head + "CAY\tAY\t0\nCAZ\tAZ\t1\n").encode(),
    })  # fmt: skip
    columns = ["species", *immune_file.VDJDB.values()]
    rows = io.StringIO()
    writer = csv.writer(rows, delimiter="\t")
    writer.writerow(columns)
    for species, chain in (("HomoSapiens", "CB"), ("MusMusculus", "CC"), ("HomoSapiens", "CA")):
        writer.writerow([species, chain] + ["x"] * 9)
    vdjdb = tar({
        "vdjdb-db-1/chunks/A.txt": rows.getvalue().encode(),
        "vdjdb-db-1/chunks/PMID_39746936.txt": b"left out",
        "vdjdb-db-1/README.md": b"not read",
    })  # fmt: skip
    assert tarfile.is_tarfile(io.BytesIO(vdjdb))
    downloads = []
    for name, content in (("q", quick), ("s", simulated), ("v", vdjdb)):
        downloads.append(tmp_path / name)
        downloads[-1].write_bytes(content)
    immune_file.unpack(downloads, folder(tmp_path, "immune_repertoire"))
    read = data.immune_repertoire(tmp_path)
    assert (read.sequence, read.size.tolist()) == (["AY", "AZ", "AX"], [2, 1])
    read = data.immune_repertoire(tmp_path, "simulated")
    assert read.sequence == ["CAY", "CAZ"]
    assert read.witness is not None and read.witness.tolist() == [False, True]
    assert [receptor.cdr3 for receptor in data.vdjdb(tmp_path)] == ["CA", "CB"]


def test_tables_out_of_plain_rows_and_weka(tmp_path: Path) -> None:
    downloads = []
    for name in uci_file.UCI:
        rows = "7,1,2,3\n" if name == "hayes-roth" else "1,'a',nan,3\n"
        downloads.append(tmp_path / name)
        downloads[-1].write_text(rows)
    arff = "% note\n@relation x\n@attribute 'one' {'p'}\n@attribute k {a}\n@data\n'p',a\n"
    names = [part for parts in uci_file.WEKA.values() for part in parts]
    downloads.append(tmp_path / "weka.zip")
    downloads[-1].write_bytes(zipped({f"data/{name}.arff": arff.encode() for name in names}))
    place = folder(tmp_path, "uci")
    uci_file.unpack(downloads, place)
    read = {path.name: gzip.decompress(path.read_bytes()).decode() for path in place.iterdir()}
    assert read["hayes-roth.csv.gz"] == "f0,f1,class\n1,2,3\n"
    assert read["iris.csv.gz"] == "f0,f1,f2,class\n1,a,?,3\n"
    assert read["vote.csv.gz"] == "one,class\np,a\n"
    assert read["segment.csv.gz"] == "one,class\np,a\np,a\n"


def test_published_counts(real: Callable[[str], None]) -> None:
    for name in ("mil", "uci", "omniglot", "immune_repertoire"):
        real(name)
        assert "not one of" not in store.version(name)
    bags = data.mil()
    shapes = {name: (*one.instance.shape, len(one.size)) for name, one in bags.items()}
    assert shapes == {
        "musk1": (476, 166, 92),
        "musk2": (6598, 166, 102),
        "elephant": (1391, 230, 200),
        "fox": (1320, 230, 200),
        "tiger": (1220, 230, 200),
    }
    assert {name: int(one.label.sum()) for name, one in bags.items()} == {
        "musk1": 47, "musk2": 39, "elephant": 100, "fox": 100, "tiger": 100,
    }  # fmt: skip
    tables = data.uci()
    assert len(tables) == 24
    assert tables["wine"].feature.shape == (178, 13)
    assert tables["german-credit"].categorical.sum() == 13
    assert tables["vote"].categorical.all()
    assert len(tables["soybean"].classes) == 19
    assert data.omniglot().image.shape == (19280, 1, 105, 105)
    assert data.omniglot(part="evaluation").image.mean() == pytest.approx(0.08428, abs=1e-5)
    assert len(data.vdjdb()) == 38722
    assert data.immune_repertoire().size.tolist() == [1000] * 100
    simulated = data.immune_repertoire(part="simulated")
    assert simulated.witness is not None
    assert (len(simulated.sequence), int(simulated.witness.sum())) == (20755, 1090)
