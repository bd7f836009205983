"""Corpora, analogies, rated pairs, promoters: from files of each form, and the real ones."""

import gzip
import hashlib
import io
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from data.test_store import Server, change, offer
from quire import data
from quire.data import DATASETS, DataMissing, store
from quire.data.sets import wiki_en as wiki_file

WORDS = ": family\nboy girl king queen\n\n: gram1-adverb\nslow slowly calm calmly\n"
PHRASES = ": airlines\nSpain Iberia Italy Al_Italia\n"


def write(root: Path, name: str, files: dict[str, bytes]) -> Path:
    folder = root / name
    folder.mkdir()
    for file, content in files.items():
        (folder / file).write_bytes(content)
    return root


@pytest.mark.parametrize("ending", ["", ".xz"])
def test_wiki_en_is_cut_at_two_blank_lines(tmp_path: Path, ending: str) -> None:
    content = "Café\n\nA text.\n\n\nTea\n\nAnother.".encode()
    packed = lzma.compress(content) if ending else content
    write(tmp_path, "wiki_en", {"enwiki2015_prefix.txt" + ending: packed})
    assert data.wiki_en(tmp_path) == ["Café\n\nA text.", "Tea\n\nAnother."]
    assert data.text_file("wiki_en", tmp_path).suffix == (ending or ".txt")


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_analogies_by_section(tmp_path: Path, ending: str) -> None:
    pack = gzip.compress if ending else bytes
    files = {
        f"questions-{kind}.txt{ending}": pack(text.encode())
        for kind, text in (("words", WORDS), ("phrases", PHRASES))
    }
    write(tmp_path, "word_analogy", files)
    assert data.word_analogy(tmp_path) == {
        "family": [("boy", "girl", "king", "queen")],
        "gram1-adverb": [("slow", "slowly", "calm", "calmly")],
    }
    assert list(data.word_analogy(tmp_path, "phrases")) == ["airlines"]
    with pytest.raises(ValueError, match="kind must be 'words' or 'phrases', got 'letters'"):
        data.word_analogy(tmp_path, "letters")


@pytest.mark.parametrize("text", ["boy girl king queen\n", ": family\nboy girl king\n"])
def test_a_bad_question_is_named(tmp_path: Path, text: str) -> None:
    files = {"questions-words.txt": text.encode(), "questions-phrases.txt": b""}
    write(tmp_path, "word_analogy", files)
    with pytest.raises(ValueError, match=r"questions-words\.txt, line [12]: four words or"):
        data.word_analogy(tmp_path)


def test_rated_pairs_by_set(tmp_path: Path) -> None:
    (layout,) = DATASETS["word_similarity"].layouts
    write(tmp_path, "word_similarity", dict.fromkeys(layout, b"old\tnew  1.58\n"))
    sets = data.word_similarity(tmp_path)
    names = {"WS-353-ALL", "WS-353-SIM", "WS-353-REL", "SIMLEX-999", "SimVerb-3500"}
    assert set(sets) == names
    assert all(pairs == [("old", "new", 1.58)] for pairs in sets.values())
    (tmp_path / "word_similarity" / "EN-SIMLEX-999.txt").write_text("old new\n")
    with pytest.raises(ValueError, match=r"EN-SIMLEX-999\.txt, line 1: two words and a number"):
        data.word_similarity(tmp_path)


def test_bad_text_is_named(tmp_path: Path) -> None:
    write(tmp_path, "text8", {"text8": b"anarchism \xff"})
    with pytest.raises(ValueError, match="text8 is not UTF-8 text: byte 10"):
        data.text8(tmp_path)
    with pytest.raises(ValueError, match="text_file knows text8 and wiki_en, got 'mnist'"):
        data.text_file("mnist", tmp_path)
    with pytest.raises(DataMissing, match=r"wiki_en: enwiki2015_prefix\.txt not found"):
        data.wiki_en(tmp_path)


def test_promoters_by_species(tmp_path: Path) -> None:
    rows = "species,name,sequence\nhuman,,{}\nmouse,,{}\n".format("ACGT" * 75, "T" * 300)
    file = "epdnew_tata_promoters.csv.gz"
    write(tmp_path, "genomics", {file: gzip.compress(rows.encode(), mtime=0)})
    assert data.genomics(tmp_path) == {"human": ["ACGT" * 75], "mouse": ["T" * 300]}
    (tmp_path / "genomics" / file).write_bytes(
        gzip.compress(rows.replace("TTT", "N").encode(), mtime=0)
    )
    with pytest.raises(ValueError, match="line 3: a species and 300 bases expected"):
        data.genomics(tmp_path)


def test_text8_comes_out_of_its_archive(
    tmp_path: Path, server: Server, no_root: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("text8", " anarchism originated")
    offer(monkeypatch, server, "text8", [target.getvalue()])
    assert data.text8() == " anarchism originated"


def test_a_broken_archive_is_named(
    tmp_path: Path, server: Server, no_root: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(monkeypatch, server, "text8", [b"PK\3\4 and then nothing"])
    with pytest.raises(ValueError, match="text8: the download is not an archive"):
        data.text8()


def test_articles_are_assembled_and_checked(
    tmp_path: Path, server: Server, no_root: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    long, short = "word " * 99 + "end", "too short"
    page = "".join(f'<doc id="1" url="u" title="t">\n{text}\n</doc>\n' for text in (long, short))
    sources = DATASETS["wiki_en"].sources[:2]
    change(monkeypatch, "wiki_en", sources=sources)
    offer(monkeypatch, server, "wiki_en", [page.encode(), page.encode()])
    with pytest.raises(ValueError, match="not those that the repository had"):
        data.wiki_en()
    wanted = hashlib.sha256(f"{long}\n\n\n{long}".encode()).hexdigest()
    monkeypatch.setattr(wiki_file, "WIKI_EN", wanted)
    assert data.wiki_en() == [long, long]


def test_promoters_become_a_table(
    server: Server, no_root: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    human, mouse = "ACGT" * 75, "G" * 300
    offer(monkeypatch, server, "genomics", [f"{human}\n".encode(), f"{mouse}\n".encode()])
    assert data.genomics() == {"human": [human], "mouse": [mouse]}


def test_published_counts(real: Callable[[str], None]) -> None:
    for name in ("wiki_en", "word_analogy", "word_similarity", "genomics"):
        real(name)
        assert "not one of" not in store.version(name)
    assert len(data.wiki_en()) == 3803
    assert sum(map(len, data.word_analogy().values())) == 19544
    assert sum(map(len, data.word_analogy(kind="phrases").values())) == 3218
    assert {name: len(pairs) for name, pairs in data.word_similarity().items()} == {
        "WS-353-ALL": 353,
        "WS-353-SIM": 203,
        "WS-353-REL": 252,
        "SIMLEX-999": 999,
        "SimVerb-3500": 3500,
    }
    assert {species: len(rows) for species, rows in data.genomics().items()} == {
        "human": 2929,
        "mouse": 3086,
    }
