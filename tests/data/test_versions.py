"""Which version of a dataset is here, fingerprints of files and folders, and what is remembered."""

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import pytest

from data.test_store import Server, mnist_file, offer
from quire import data
from quire.data import DataMissing, hashing, store
from quire.data.catalogue import module


def put(path: Path, content: bytes, *, age: int = 60) -> Path:
    """Writes a file as if it had been written `age` seconds ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    before = os.stat(path).st_mtime_ns - age * 10**9
    os.utime(path, ns=(before, before))
    return path


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files whose content was read for a checksum."""
    found: list[Path] = []
    whole = hashing.sha256
    monkeypatch.setattr(hashing, "sha256", lambda path: found.append(path) or whole(path))
    return found


def test_status_reads_nothing(tmp_path: Path, reads: list[Path]) -> None:
    put(tmp_path / "mnist" / "mnist.npz", b"anything")
    state = data.status("mnist", tmp_path)
    assert (state.present, state.checksum_ok, state.detail) == (True, None, "")
    assert reads == []


def test_versions_are_told_and_remembered(tmp_path: Path, reads: list[Path]) -> None:
    file = put(tmp_path / "mnist" / "mnist.npz", mnist_file())
    said = store.version("mnist", tmp_path)
    assert said == f"not one of the versions with a known checksum (sha256 {sha(file)[:12]})"
    reads.clear()
    assert store.version("mnist", tmp_path) == said
    assert reads == []
    put(file, mnist_file(30))
    assert store.version("mnist", tmp_path) != said
    with pytest.raises(DataMissing, match=r"fashion_mnist\.npz not found"):
        store.version("fashion_mnist", tmp_path)
    assert store.version("digits") == "inside scikit-learn"


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_known_version_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = put(tmp_path / "mnist" / "mnist.npz", mnist_file())
    entry = module("mnist").DATASET
    known = {"mnist.npz": {sha(file): "the test's own"}}
    monkeypatch.setattr(module("mnist"), "DATASET", replace(entry, known=known))
    assert store.version("mnist", tmp_path) == "the test's own"
    assert data.check("mnist", tmp_path).checksum_ok is True


def test_check_reads_again_what_is_remembered(tmp_path: Path, reads: list[Path]) -> None:
    file = put(tmp_path / "mnist" / "mnist.npz", mnist_file())
    store.version("mnist", tmp_path)
    reads.clear()
    data.check("mnist", tmp_path)
    assert reads == [file]


def test_a_record_of_another_form_is_no_error(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(monkeypatch, server, "mnist", [mnist_file()])
    data.get("mnist", tmp_path)
    (tmp_path / "mnist" / "SHA256SUMS").write_bytes(b"\xff\xfe\nword\n")
    assert data.check("mnist", tmp_path).checksum_ok is None


def test_fingerprints_follow_content_not_place(tmp_path: Path) -> None:
    one, other = put(tmp_path / "a" / "x", b"1"), put(tmp_path / "b" / "y", b"1")
    assert store.fingerprint(one) == store.fingerprint(other) == sha(one)
    put(other, b"2")
    assert store.fingerprint(one) != store.fingerprint(other)


def test_large_files_count_by_size_and_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashing, "WHOLE", 100)
    monkeypatch.setattr(hashing, "ENDS", 10)
    base = bytes(1000)
    prints = []
    for number, at in enumerate((None, 0, 9, 10, 500, 989, 990, 999)):
        content = bytearray(base)
        if at is not None:
            content[at] = 1
        prints.append(store.fingerprint(put(tmp_path / str(number), bytes(content))))
    inside = {3, 4, 5}
    assert all((prints[k] == prints[0]) == (k in inside) for k in range(1, 8))
    assert store.fingerprint(put(tmp_path / "longer", bytes(1001))) != prints[0]


def test_folders_count_by_names_and_content(tmp_path: Path) -> None:
    for top in ("one", "two"):
        put(tmp_path / top / "a.txt", b"1")
        put(tmp_path / top / "deep" / "b.txt", b"2")
    first = store.fingerprint(tmp_path / "one")
    assert store.fingerprint(tmp_path / "two") == first
    put(tmp_path / "two" / "deep" / "b.txt", b"3")
    assert store.fingerprint(tmp_path / "two") != first
    put(tmp_path / "two" / "deep" / "b.txt", b"2")
    (tmp_path / "two" / "a.txt").rename(tmp_path / "two" / "c.txt")
    assert store.fingerprint(tmp_path / "two") != first
    assert store.fingerprint(put(tmp_path / "file", b"1")) != first


def test_folders_of_many_files_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reads: list[Path]
) -> None:
    monkeypatch.setattr(hashing, "MANY", 2)
    for name in "abc":
        put(tmp_path / "many" / name, b"12")
    first = store.fingerprint(tmp_path / "many")
    assert reads == []
    put(tmp_path / "many" / "a", b"34")
    assert store.fingerprint(tmp_path / "many") == first
    put(tmp_path / "many" / "a", b"345")
    assert store.fingerprint(tmp_path / "many") != first


def test_links_are_followed_but_not_in_rings(tmp_path: Path) -> None:
    put(tmp_path / "elsewhere" / "b.txt", b"2")
    put(tmp_path / "top" / "a.txt", b"1")
    alone = store.fingerprint(tmp_path / "top")
    (tmp_path / "top" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "ring").symlink_to(tmp_path / "top")
    linked = store.fingerprint(tmp_path / "top")
    assert linked != alone
    put(tmp_path / "elsewhere" / "b.txt", b"3")
    assert store.fingerprint(tmp_path / "top") != linked


def test_fingerprints_are_remembered(tmp_path: Path, reads: list[Path], own_cache: Path) -> None:
    file = put(tmp_path / "x", b"1")
    first = store.fingerprint(file)
    assert store.fingerprint(file) == first
    assert reads == [file]
    for note in (own_cache / "checksums").iterdir():
        note.write_bytes(b"\xff half a note")
    assert store.fingerprint(file) == first
    assert len(reads) == 2


def test_a_file_written_just_now_is_not_remembered(tmp_path: Path, reads: list[Path]) -> None:
    file = put(tmp_path / "x", b"1", age=-3600)
    store.fingerprint(file)
    store.fingerprint(file)
    assert len(reads) == 2


def test_a_cache_that_cannot_be_written_is_no_error(
    tmp_path: Path, own_cache: Path, reads: list[Path]
) -> None:
    own_cache.parent.mkdir()
    own_cache.write_text("a file where the cache's folder should be")
    file = put(tmp_path / "x", b"1")
    assert store.fingerprint(file) == store.fingerprint(file) == sha(file)
    assert len(reads) == 2


def test_what_cannot_be_read_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataMissing, match=r"nowhere cannot be read \(No such file or directory\)"):
        store.fingerprint(tmp_path / "nowhere")
    put(tmp_path / "mnist" / "mnist.npz", mnist_file())

    def refuse(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(hashing, "sha256", refuse)
    for function in (data.check, store.version):
        with pytest.raises(DataMissing, match=r"mnist\.npz cannot be read \(Permission denied\)"):
            function("mnist", tmp_path)


def test_a_root_that_is_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = put(tmp_path / "file", b"")
    for root, message in ((file, "a file: name a folder"), (tmp_path / "no", "does not exist")):
        monkeypatch.setenv("QUIRE_DATA", str(root))
        state = data.status("mnist")
        assert not state.present
        assert "\n" not in state.detail
        assert message in state.detail
        for function in (data.mnist, lambda: data.check("mnist"), store.check_root):
            with pytest.raises(DataMissing, match=f"QUIRE_DATA is .*{message}"):
                function()
    with pytest.raises(DataMissing, match=r"mnist: .* cannot be written \(Not a directory\)"):
        data.get("mnist", file)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(DataMissing, match=r"root is .* which cannot be read"):
        store.check_root(tmp_path)


def test_a_dataset_without_a_download_says_what_to_put_where(tmp_path: Path) -> None:
    for function in (data.nerf, lambda root: data.get("nerf", root)):
        with pytest.raises(DataMissing) as caught:
            function(tmp_path)
        message = str(caught.value)
        assert "\n" not in message
        for part in ("lego_100x100.npz", str(tmp_path / "nerf"), "images_rgba", "github.com"):
            assert part in message


def test_sources_may_end_in_the_same_name(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def level(tile: str) -> bytes:
        return ("; 0\n" + "##########\n" * 9 + "#########" + tile + "\n\n").encode()

    offer(monkeypatch, server, "sokoban", [level(tile) for tile in " #$.@*+"])
    data.get("sokoban", tmp_path)
    corners = {name: levels[:, -1, -1].tolist() for name, levels in data.sokoban(tmp_path).items()}
    assert list(corners.values()) == [[0, 1], [2], [3], [4], [5], [6]]


def test_a_download_of_another_form(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(monkeypatch, server, "uci", [b"\n"] * 20)
    with pytest.raises(ValueError, match=r"uci: the download has another form .*IndexError") as bad:
        data.get("uci", tmp_path)
    assert "\n" not in str(bad.value)


def test_whatever_a_loader_raises_check_says_one_line(tmp_path: Path) -> None:
    file = "epdnew_tata_promoters.csv.gz"
    put(tmp_path / "genomics" / file, b"\x1f\x8b\x08\x00 cut off")
    with pytest.raises(ValueError, match=r"genomics: the files in .* cannot be read \(") as caught:
        data.check("genomics", tmp_path)
    assert "\n" not in str(caught.value)
