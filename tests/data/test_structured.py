"""Graphs, clicks, views, levels, cells and proteins: small files, damaged ones, the real ones."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from data.test_store import Server, offer
from quire import data
from quire.data import DATASETS, store
from quire.data.arrays import read_npz
from quire.data.sets.criteo import index_log
from quire.data.sets.nasbench201 import EDGES, OPERATIONS
from quire.data.sets.protein import FAMILIES, LETTERS
from quire.data.sets.sokoban import LEGEND


def folder(root: Path, name: str) -> Path:
    (root / name).mkdir(exist_ok=True)
    return root / name


def graph(root: Path, **changes: object) -> None:
    """Three documents, four words, one citation; the third document has no features."""
    mask = np.array([True, False, False])
    arrays = {
        "x_data": np.array([1, 2], np.float32), "x_indices": np.array([0, 3], np.int32),
        "x_indptr": np.array([0, 1, 2, 2], np.int32), "x_shape": np.array([3, 4]),
        "y": np.array([0, 1, 1]), "edge_index": np.array([[0, 1], [1, 0]], np.int32),
        "train_mask": mask, "val_mask": mask[[1, 0, 2]], "test_mask": mask[[1, 2, 0]],
    }  # fmt: skip
    for name in ("cora", "citeseer", "pubmed_partial"):
        np.savez(folder(root, "planetoid") / f"{name}.npz", **{**arrays, **changes})


def test_graphs(tmp_path: Path) -> None:
    graph(tmp_path)
    read = data.planetoid(tmp_path, "citeseer")
    assert read.feature.tolist() == [[1, 0, 0, 0], [0, 0, 0, 2], [0, 0, 0, 0]]
    assert (read.feature.dtype, read.label.dtype, read.edge.dtype) == (
        np.float32,
        np.int64,
        np.int64,
    )
    assert read.edge.tolist() == [[0, 1], [1, 0]]
    assert [mask.argmax() for mask in (read.train, read.val, read.test)] == [0, 1, 2]
    assert read.has_feature.all()
    graph(tmp_path, has_features=np.array([True, True, False]))
    assert not data.planetoid(tmp_path, "pubmed_partial").has_feature[2]
    with pytest.raises(ValueError, match=r"graph must be one of cora, citeseer, .* got 'reddit'"):
        data.planetoid(tmp_path, "reddit")


def test_a_graph_that_is_put_there_by_hand(tmp_path: Path) -> None:
    graph(tmp_path)
    with pytest.raises(
        store.DataMissing, match=r"planetoid: pubmed\.npz not found in .* by hand npz"
    ):
        data.planetoid(tmp_path, "pubmed")
    where = folder(tmp_path, "planetoid")
    (where / "cora.npz").rename(where / "pubmed.npz")
    assert data.planetoid(tmp_path, "pubmed").feature.shape == (3, 4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_indices": np.array([0, 4])}, "the features are not compressed rows"),
        ({"x_indptr": np.array([0, 1])}, "the features are not compressed rows"),
        ({"edge_index": np.array([[0, 3], [1, 0]])}, "do not fit together"),
        ({"edge_index": np.array([0, 1])}, "do not fit together"),
        ({"val_mask": np.array([True])}, "do not fit together"),
    ],
)
def test_graphs_of_another_form(changes: dict, message: str, tmp_path: Path) -> None:
    graph(tmp_path, **changes)
    with pytest.raises(ValueError, match=r"cora\.npz: .*" + message):
        data.planetoid(tmp_path)


CRITEO = "\t".join(["1", *["5"] * 12, "", *["0a"] * 25, ""]) + "\n"
AVAZU = "id,click,hour,C1\n"


def test_clicks_out_of_their_tables(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = [CRITEO, CRITEO, CRITEO * 2, AVAZU + "7,1,14,x\n", "8,0,14,y\n", "9,0,14,x\n"]
    offer(monkeypatch, server, "ctr", [content.encode() for content in contents])
    data.get("ctr", tmp_path)
    criteo = data.ctr(tmp_path)
    assert criteo.label.tolist() == [1] * 4
    assert (criteo.number.shape, criteo.category.shape) == ((4, 13), (4, 26))
    assert criteo.number[0, 0] == 5
    assert np.isnan(criteo.number[0, 12])
    assert criteo.category[0, [0, 25]].tolist() == ["0a", ""]
    assert criteo.split.tolist() == ["train", "dev", "test", "test"]
    assert (criteo.numbers[-1], criteo.categories[0]) == ("I13", "C1")
    avazu = data.ctr(tmp_path, "avazu")
    assert avazu.label.tolist() == [1, 0, 0]
    assert avazu.number.shape == (3, 0)
    assert avazu.categories == ("hour", "C1")
    assert avazu.category[:, 1].tolist() == ["x", "y", "x"]
    with pytest.raises(ValueError, match="log must be 'criteo' or 'avazu', got 'bing'"):
        data.ctr(tmp_path, "bing")


@pytest.mark.parametrize(
    ("rows", "message"),
    [("split,click\ntrain,yes\n", "invalid literal"), ("click\n1\n", "columns split are missing")],
)
def test_clicks_of_another_form(rows: str, message: str, tmp_path: Path) -> None:
    for name in ("criteo", "avazu"):
        path = folder(tmp_path, "ctr") / f"{name}_sample.csv.gz"
        path.write_bytes(gzip.compress(rows.encode(), mtime=0))
    with pytest.raises(ValueError, match=r"avazu_sample\.csv\.gz: .*" + message):
        data.ctr(tmp_path, "avazu")


def test_views(tmp_path: Path) -> None:
    path = folder(tmp_path, "nerf") / "lego_100x100.npz"
    image, pose = np.ones((2, 3, 3, 4), np.uint8), np.stack([np.eye(4)] * 2)
    np.savez(path, images_rgba_premultiplied=image, poses=pose, focal=np.float32(2.5))
    views = data.nerf(tmp_path)
    assert views.image.shape == (2, 3, 3, 4)
    assert views.pose.dtype == np.float32
    assert (views.focal, views.near, views.far) == (2.5, 2, 6)
    assert views.test.tolist() == [True, False]
    np.savez(path, images_rgba_premultiplied=image, poses=pose[:1], focal=np.float32(2.5))
    with pytest.raises(ValueError, match="expected V uint8 images of 4 channels, V poses"):
        data.nerf(tmp_path)


def test_a_scene_that_is_put_there_by_hand(tmp_path: Path) -> None:
    path = folder(tmp_path, "nerf") / "fern.npz"
    with pytest.raises(store.DataMissing, match=r"nerf: fern\.npz not found"):
        data.nerf(tmp_path, "fern")
    image, pose = np.ones((2, 3, 3, 4), np.uint8), np.stack([np.eye(4)] * 2)
    np.savez(
        path, images_rgba_premultiplied=image, poses=pose, focal=np.float32(2.5),
        test=np.array([False, True]), near=np.float32(1), far=np.float32(9),
    )  # fmt: skip
    views = data.nerf(tmp_path, "fern")
    assert (views.test.tolist(), views.near, views.far) == ([False, True], 1, 9)
    with pytest.raises(ValueError, match="scene must be a name of letters"):
        data.nerf(tmp_path, "../fern")


def test_a_whole_log_of_clicks(tmp_path: Path) -> None:
    row = "\t".join(["{}", "{}", *["5"] * 11, "", *["{}"] * 26]) + "\n"
    source = tmp_path / "train.txt"
    source.write_text(
        "".join(row.format(i % 2, i % 3, *["ab" if i < 3 else "cd"] * 26) for i in range(8))
    )
    where = folder(tmp_path, "criteo")
    with pytest.raises(store.DataMissing, match=r"criteo: label\.npy, place\.npy, sizes\.npy"):
        data.criteo(tmp_path)
    index_log(source, where, least=3)
    log = data.criteo(tmp_path)
    assert log.label.tolist() == [0, 1] * 4
    assert log.place.shape == (8, 39)
    assert log.sizes.tolist() == [3, *[2] * 12, *[3] * 26]
    assert log.place[:, 0].tolist() == [1, 2, 0, 1, 2, 0, 1, 2]  # 2 is seen twice: too rarely
    assert log.place[:, 13].tolist() == [1] * 3 + [2] * 5
    for line, message in (("1\t2\n", "a label and 39 fields expected"),
                          (row.format(1, "x", *["ab"] * 26), "a number is none")):  # fmt: skip
        source.write_text(line)
        with pytest.raises(ValueError, match=rf"line 1: {message}"):
            index_log(source, where)
    np.save(where / "label.npy", np.zeros(3, np.uint8))
    with pytest.raises(ValueError, match="do not fit together"):
        data.criteo(tmp_path)
    (where / "label.npy").write_bytes(b"no")
    with pytest.raises(ValueError, match="holds no whole npy files"):
        data.criteo(tmp_path)


def test_parts_of_wikitext(tmp_path: Path) -> None:
    for part in ("train", "valid", "test"):
        (folder(tmp_path, "wikitext103") / f"wiki.{part}.tokens").write_text(f" = {part} =\n")
    assert data.wikitext103(tmp_path).valid == " = valid =\n"


def test_faces(tmp_path: Path) -> None:
    path = folder(tmp_path, "tfd") / "tfd.npz"
    image, fold = np.zeros((4, 48, 48), np.uint8), np.tile(np.arange(4)[:, None], 5)
    image[2] = 7
    np.savez(path, images=image, folds=fold)
    faces = data.tfd(tmp_path)
    assert faces.image.shape == (4, 1, 48, 48)
    assert faces.fold.dtype == np.int64
    assert faces.take(2, fold=4).tolist() == image[2:3, None].tolist()
    for bad, said in (
        ({"images": image[:, :40]}, "images must be N x 48 x 48 uint8"),
        ({"images": image.astype(np.float32)}, "images must be N x 48 x 48 uint8"),
        ({"folds": fold[:, :4]}, "folds must be N x 5 numbers from 0 to 3"),
        ({"folds": fold + 1}, "folds must be N x 5 numbers from 0 to 3"),
        ({"folds": np.minimum(fold, 2)}, "every fold needs images of part 3"),
    ):
        np.savez(path, **{"images": image, "folds": fold} | bad)
        with pytest.raises(ValueError, match=said):
            data.tfd(tmp_path)


def test_levels(tmp_path: Path) -> None:
    path = folder(tmp_path, "sokoban") / "boxoban.npz"
    names = ("unfiltered_train", "unfiltered_valid", "unfiltered_test", "medium_train",
             "medium_valid", "hard")  # fmt: skip
    levels = {name: np.zeros((2, 10, 10), np.uint8) for name in names}
    np.savez(path, legend=np.array(LEGEND), **levels)
    assert list(data.sokoban(tmp_path)) == list(names)
    np.savez(path, legend=np.array(LEGEND), **levels | {"hard": np.full((1, 10, 10), 7, np.uint8)})
    with pytest.raises(ValueError, match="hard must be uint8 levels"):
        data.sokoban(tmp_path)
    np.savez(path, legend=np.array(LEGEND[::-1]), **levels)
    with pytest.raises(ValueError, match="the legend must be"):
        data.sokoban(tmp_path)


def cells(root: Path, *, latencies: int = 2, **changes: str) -> None:
    place = folder(root, "nasbench201")
    columns = {"index": "0", "arch_str": "|a|"}
    columns |= {f"op_{start}to{end}": "3" for start, end in EDGES}
    for images in ("c10", "c100", "in16"):
        columns[f"{images}_test_200"] = "90.5"
        columns |= {f"{images}_{part}_12": "50.5" for part in ("valid", "test")}
    columns |= {"params_c10": "7", "flops_c10": "9", "flops_in16": "4"} | changes
    second = columns | {"index": "1"}
    lines = [",".join(row) for row in (columns, columns.values(), second.values())]
    (place / "nasbench201.csv.gz").write_bytes(gzip.compress("\n".join(lines).encode(), mtime=0))
    np.savez(place / "latency.npz", fpga=np.ones(latencies, np.float32))


def test_cells(tmp_path: Path) -> None:
    cells(tmp_path)
    read = data.nasbench201(tmp_path)
    assert read.architecture == ("|a|", "|a|")
    assert read.operation.tolist() == [[3] * 6] * 2
    assert OPERATIONS[read.operation[0, 0]] == "nor_conv_3x3"
    assert read.accuracy["in16_test_200"].tolist() == [90.5, 90.5]
    assert (read.parameters[0], read.flops["c10"][0], read.flops["in16"][0]) == (7, 9, 4)
    assert read.latency["fpga"].shape == (2,)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"op_0to1": "5"}, r"operations 0\.\.4 expected"),
        ({"index": "1"}, "rows in the order of their index"),
        ({"c10_test_200": "good"}, "could not convert string to float"),
        ({"latencies": 3}, "2 latencies a device expected"),
    ],
)
def test_cells_of_another_form(changes: dict, message: str, tmp_path: Path) -> None:
    cells(tmp_path, **changes)
    with pytest.raises(ValueError, match=message):
        data.nasbench201(tmp_path)


def proteins(root: Path, *, site: int = 2, **changes: object) -> Path:
    place = folder(root, "protein")
    flat = np.zeros(5, bool)
    arrays = {
        "ids": np.array(["1abc.A", "2abc.B"]), "cluster": np.array([0, 7]),
        "offsets": np.array([0, 3, 5]), "seq": np.frombuffer(b"ACDEF", np.uint8),
        "ca": np.ones((5, 3), np.float32), "cb": np.ones((5, 3), np.float32),
        "ss": np.frombuffer(b"HH-E?", np.uint8), "ligand_site": flat, "metal_site": ~flat,
    }  # fmt: skip
    np.savez(place / "structures.npz", **{**arrays, **changes})
    row = {"id": "x", "seq": "ACD", "binding_sites": [0, site], "modifications": []}
    packed = gzip.compress(json.dumps([row]).encode(), mtime=0)
    (place / "binding_sites_provis_valid.json.gz").write_bytes(packed)
    for family in FAMILIES:
        square = np.zeros((4, 4), np.float32)
        msa = np.full((6, 4), LETTERS.index("W"), np.int8)
        np.savez(place / f"msa_{family}.npz", msa=msa, cb_dist=square, heavy_dist=square)
    (place / "BLOSUM62.txt").write_text("# note\n   A  W\nA  4 -3\nW -3 11\n")
    return place


def test_proteins(tmp_path: Path) -> None:
    place = proteins(tmp_path)
    read = data.protein(tmp_path)
    first, second = read.structures
    assert (first.name, first.sequence, first.secondary) == ("1abc.A", "ACD", "HH-")
    assert (second.cluster, second.sequence, second.ca.shape) == (7, "EF", (2, 3))
    assert second.metal_site.all()
    assert read.annotated[0].binding_sites == (0, 2)
    assert list(read.families) == list(FAMILIES)
    assert read.families["DHFR"].alignment.shape == (6, 4)
    assert (read.blosum62["A", "W"], read.blosum62["W", "W"]) == (-3, 11)
    (place / "BLOSUM62.txt").write_text("   A  W\nA  4\n")
    with pytest.raises(ValueError, match=r"BLOSUM62\.txt is not a table of scores"):
        data.protein(tmp_path)
    proteins(tmp_path, site=3)
    with pytest.raises(ValueError, match="x has a site outside its sequence"):
        data.protein(tmp_path)
    proteins(tmp_path, offsets=np.array([0, 3, 6]))
    with pytest.raises(ValueError, match="has offsets that do not fit its chains"):
        data.protein(tmp_path)
    place = proteins(tmp_path)
    np.savez(place / "msa_DHFR.npz", msa=np.zeros((2, 3)), cb_dist=np.eye(2), heavy_dist=np.eye(3))
    with pytest.raises(ValueError, match=r"an alignment \(M, L\) and distances"):
        data.protein(tmp_path)
    (place / "binding_sites_provis_valid.json.gz").write_bytes(
        gzip.compress(b'[{"id": "x"}]', mtime=0)
    )
    with pytest.raises(ValueError, match=r"a list of \{id, seq, binding_sites, modifications\}"):
        data.protein(tmp_path)


def test_damaged_npz_files(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez_compressed(path, a=np.arange(1000))
    assert list(read_npz(path, ("a",))) == ["a"]
    with pytest.raises(ValueError, match=r"x\.npz has no b; it has a"):
        read_npz(path, ("a", "b"))
    whole = path.read_bytes()
    broken = bytearray(whole)
    broken[len(whole) // 3] ^= 0xFF
    for content in (b"", b"foreign", whole[: len(whole) // 2], whole[:-5], bytes(broken)):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"x\.npz is not a whole npz file"):
            read_npz(path, ("a",))
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(ValueError, match=r"x\.npz is not a whole npz file"):
        read_npz(path, ("a",))


def test_published_counts(real: Callable[[str], None]) -> None:
    for name in ("planetoid", "ctr", "nerf", "sokoban", "nasbench201", "protein"):
        real(name)
        assert "not one of" not in store.version(name)
    cora, citeseer = data.planetoid(), data.planetoid(graph="citeseer")
    assert (cora.feature.shape, int(cora.feature.sum())) == ((2708, 1433), 49216)
    assert (citeseer.feature.shape, citeseer.edge.shape) == ((3327, 3703), (2, 9104))
    assert [int(mask.sum()) for mask in (cora.train, cora.val, cora.test)] == [140, 500, 1000]
    homophily = (cora.label[cora.edge[0]] == cora.label[cora.edge[1]]).mean()
    assert homophily == pytest.approx(0.81, abs=1e-3)
    assert data.planetoid(graph="pubmed_partial").has_feature.sum() == 1060
    assert np.unique(data.ctr().split, return_counts=True)[1].tolist() == [409, 391, 7200]
    assert data.ctr(log="avazu").label.mean() == pytest.approx(0.1737, abs=1e-4)
    views = data.nerf()
    assert views.image.shape == (100, 100, 100, 4)
    radius = np.linalg.norm(views.pose[:, :3, 3], axis=1)
    np.testing.assert_allclose(radius, 4.0311, atol=1e-3)
    for levels in data.sokoban().values():
        boxes = (levels == LEGEND.index("$")) | (levels == LEGEND.index("*"))
        assert (boxes.sum((1, 2)) == 4).all()
    table = data.nasbench201()
    assert table.accuracy["c10_test_200"].argmax() == 6111
    assert len({tuple(row) for row in table.operation.tolist()}) == 15625 == 5 ** len(EDGES)
    assert len(table.latency) == 27
    read = data.protein()
    assert (len(read.structures), len(read.annotated)) == (125, 1418)
    steps = np.linalg.norm(np.diff(read.structures[0].ca, axis=0), axis=1)
    assert np.median(steps) == pytest.approx(3.8, abs=0.1)
    assert {name: family.alignment.shape for name, family in read.families.items()} == {
        "DHFR": (3629, 159),
        "1atzA": (3068, 75),
        "PF00014": (4914, 53),
        "PF00096": (38996, 23),
    }
    assert read.blosum62["W", "W"] == 11
    assert all(read.blosum62[b, a] == score for (a, b), score in read.blosum62.items())


@pytest.mark.parametrize("name", [name for name in DATASETS if DATASETS[name].layouts])
def test_a_foreign_file_is_one_line(name: str, tmp_path: Path) -> None:
    for layout in DATASETS[name].layouts:
        for file in layout:
            path = tmp_path / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"\x00<html>moved</html>\n")
    if name in ("text8", "wiki_en"):  # any text is a text
        assert data.check(name, tmp_path).present
        return
    with pytest.raises((ValueError, ImportError)) as caught:
        data.check(name, tmp_path)
    assert "\n" not in str(caught.value)
