"""Sets of sentences and documents: from files of each form, damaged ones, and the real ones."""

import gzip
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest

from data.samples import json_lines
from data.test_store import Server, offer
from quire import data
from quire.data import DATASETS, DataMissing, store
from quire.data.lines import read_csv, read_json_lines
from quire.data.sets.ag_news import TOPICS, Article
from quire.data.sets.dialogsum import Conversation
from quire.data.sets.imdb import Review
from quire.data.sets.scitldr import Abstract

PAIR = {"sentence1": "a", "sentence2": "b", "label": 1}
GLUE = {
    "cola": {"sentence": "a", "label": 0, "source": "gj04"},
    "mrpc": PAIR,
    "rte": {"premise": "a", "hypothesis": "b", "label": "entailment"},
    "sst2": {"sentence": "a", "label": 1},
    "stsb": {"sentence1": "a", "sentence2": "b", "score": 2.5},
    "wnli": PAIR,
}
SUPERGLUE = {
    "boolq": {"question": "q", "passage": "p", "label": True},
    "cb": {"premise": "a", "hypothesis": "b", "label": "neutral"},
    "copa": {"premise": "a", "choice1": "b", "choice2": "c", "question": "cause", "label": 1},
    "multirc": {"passage": {"text": "t", "questions": []}},
    "rte": {"premise": "a", "hypothesis": "b", "label": "entailment"},
    "wic": {"word": "w", "sentence1": "a", "sentence2": "b", "label": False},
    "wsc": {"text": "t", "target": {"span1_text": "a"}, "label": True},
}
DIALOGUE = {"fname": "dev_0", "dialogue": "#Person1#: Hi.", "summary": "s", "topic": "t"}
THREE = {"fname": "test_0", "dialogue": "#Person1#: Hi."} | {
    kind + end: kind[0] + end for kind in ("summary", "topic") for end in "123"
}
PAPER = {"paper_id": "p", "title": "t", "source": ["One.", "Two."], "target": ["Short."]}


def put(root: Path, name: str, files: dict[str, bytes]) -> Path:
    for file, content in files.items():
        path = root / name / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def tasks(name: str, rows: dict[str, dict]) -> dict[str, bytes]:
    """All files of a set of tasks, each with the one row of its task."""
    files = {}
    for file in DATASETS[name].layouts[0]:
        row = dict(rows[file.split("/")[0]])
        if "unlabelled" in file:
            del row["label"]
        files[file] = json_lines(row)
    return files


@pytest.mark.parametrize(("name", "rows"), [("glue", GLUE), ("superglue", SUPERGLUE)])
def test_tasks_by_part(name: str, rows: dict[str, dict], tmp_path: Path) -> None:
    files = tasks(name, rows)
    put(tmp_path, name, files)
    load = getattr(data, name)
    for task, row in rows.items():
        parts = load(tmp_path, task)
        expected = [file.split("/")[1].split(".")[0] for file in files if file.startswith(task)]
        assert list(parts) == expected
        for part, read in parts.items():
            lacking = "label" if "unlabelled" in part else ""
            assert read == [{key: value for key, value in row.items() if key != lacking}]
    with pytest.raises(ValueError, match=r"task must be one of .*rte.*, got 'qqp'"):
        load(tmp_path, "qqp")
    file = next(iter(files))
    put(tmp_path, name, {file: json_lines({"text": "x"})})
    with pytest.raises(ValueError, match=r"line 1: an object with .*label.* expected"):
        load(tmp_path, file.split("/")[0])


def test_news_by_part(tmp_path: Path) -> None:
    row = {"label": 3, "title": "T", "description": "D"}
    put(tmp_path, "ag_news", {"test.jsonl.gz": json_lines(row)})
    assert data.ag_news(tmp_path) == {"test": [Article("T", "D", 3)]}
    put(tmp_path, "ag_news", {"train.jsonl.gz": json_lines(row, row)})
    assert {part: len(rows) for part, rows in data.ag_news(tmp_path).items()} == {
        "train": 2,
        "test": 1,
    }
    put(tmp_path, "ag_news", {"test.jsonl.gz": json_lines(row | {"label": 4})})
    with pytest.raises(ValueError, match=r"test\.jsonl\.gz: labels must be 0\.\.3"):
        data.ag_news(tmp_path)


def test_news_come_out_of_their_tables(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(
        monkeypatch, server, "ag_news", [b'"1","A ""b""","x, y"\n"4","C","d\\e"\n', b'"2","E","f"']
    )
    data.get("ag_news", tmp_path)
    parts = data.ag_news(tmp_path)
    assert parts["train"] == [Article('A "b"', "x, y", 0), Article("C", "d\\e", 3)]
    assert TOPICS[parts["test"][0].label] == "Sports"


@pytest.mark.parametrize("ending", ["", ".xz"])
def test_reviews_by_part(ending: str, tmp_path: Path) -> None:
    row = {"id": 1, "rating": 9, "label": 1, "text": "Line\u0085break"}
    content = gzip.decompress(json_lines(row, row))
    packed = lzma.compress(content) if ending else content
    put(tmp_path, "imdb", {f"{part}.jsonl{ending}": packed for part in ("train", "test")})
    review = Review("Line\u0085break", 1, 9)
    assert data.imdb(tmp_path) == {"train": [review, review], "test": [review, review]}
    bad = gzip.decompress(json_lines(row | {"label": 2}))
    put(tmp_path, "imdb", {"test.jsonl": bad, "train.jsonl": content})
    with pytest.raises(ValueError, match="labels must be 0 or 1"):
        data.imdb(tmp_path)


def test_a_separator_inside_a_text_ends_no_line(tmp_path: Path) -> None:
    line = '{"text": "one\u2028two\u0085three"}\n'
    path = tmp_path / "x.jsonl"
    path.write_bytes(line.encode() * 2)
    assert read_json_lines(path, {"text": str}) == [{"text": "one\u2028two\u0085three"}] * 2


def test_captions_correspond(tmp_path: Path) -> None:
    files = {
        file: gzip.compress(f"{file} 1\n{file} 2\n".encode(), mtime=0)
        for file in DATASETS["multi30k"].layouts[0]
    }
    put(tmp_path, "multi30k", files)
    parts = data.multi30k(tmp_path)
    assert parts["val"] == [("val.en.gz 1", "val.de.gz 1"), ("val.en.gz 2", "val.de.gz 2")]
    assert len(parts) == 6
    assert set(parts) - set(data.multi30k(tmp_path, ["fr", "cs"])) == {
        "test_2017_flickr",
        "test_2017_mscoco",
    }
    with pytest.raises(ValueError, match="languages must be some of cs, de, en, fr, got 'it'"):
        data.multi30k(tmp_path, "it")
    put(tmp_path, "multi30k", {"val.de.gz": gzip.compress(b"one\n", mtime=0)})
    with pytest.raises(ValueError, match=r"must correspond, got val\.en\.gz 2, val\.de\.gz 1"):
        data.multi30k(tmp_path)


def test_conversations_by_part(tmp_path: Path) -> None:
    files = {"dev.jsonl.gz": json_lines(DIALOGUE), "test.jsonl.gz": json_lines(THREE)}
    put(tmp_path, "dialogsum", files)
    assert data.dialogsum(tmp_path) == {
        "dev": [Conversation("dev_0", "#Person1#: Hi.", ("s",), ("t",))],
        "test": [Conversation("test_0", "#Person1#: Hi.", ("s1", "s2", "s3"), ("t1", "t2", "t3"))],
    }
    put(tmp_path, "dialogsum", {"test.jsonl.gz": json_lines(DIALOGUE)})
    with pytest.raises(ValueError, match=r"summary1, .* missing or of another type"):
        data.dialogsum(tmp_path)


def test_conversations_are_kept_as_published(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = [gzip.decompress(json_lines(row)) for row in (DIALOGUE, DIALOGUE, THREE)]
    offer(monkeypatch, server, "dialogsum", contents)
    data.get("dialogsum", tmp_path)
    assert list(data.dialogsum(tmp_path)) == ["train", "dev", "test"]
    kept = (tmp_path / "dialogsum" / "test.jsonl.gz").read_bytes()
    assert gzip.decompress(kept) == contents[2]


def test_abstracts_keep_four_fields(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = gzip.decompress(json_lines(PAPER | {"rouge_scores": [1.0]}))
    offer(monkeypatch, server, "scitldr", [content] * 3)
    data.get("scitldr", tmp_path)
    abstract = Abstract("p", "t", ("One.", "Two."), ("Short.",))
    assert data.scitldr(tmp_path) == {part: [abstract] for part in ("train", "dev", "test")}
    kept = gzip.decompress((tmp_path / "scitldr" / "dev.jsonl.gz").read_bytes())
    assert b"_scores" not in kept


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"x\.gz is not a whole text file|line 1: not JSON"),
        (gzip.compress(b'{"a": 1}\n', mtime=0)[:-9], r"x\.gz is not a whole text file"),
        (b"plain", r"x\.gz is not a whole text file"),
        (gzip.compress(b"\xff", mtime=0), r"x\.gz is not a whole text file"),
        (gzip.compress(b'{"a": 1}\n{"a"\n', mtime=0), r"x\.gz, line 2: not JSON"),
        (gzip.compress(b'{"a": 1}\n[1]\n', mtime=0), r"x\.gz, line 2: an object with a expected"),
        (gzip.compress(b'{"a": "1"}\n', mtime=0), r"line 1: .* a missing or of another type"),
    ],
)
def test_bad_lines_are_named(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "x.gz").write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_json_lines(tmp_path / "x.gz", {"a": int})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the columns a, b are missing"),
        ("a,b\n", "holds no row"),
        ("a,c\n1,2\n", "the columns b are missing"),
        ("a,b\n1,2\n1\n", "line 3: 2 entries expected"),
    ],
)
def test_bad_tables_are_named(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(ValueError, match=r"x\.csv.*" + message):
        read_csv(tmp_path / "x.csv", ("a", "b"))


def test_published_counts(real: Callable[[str], None]) -> None:
    names = ("glue", "superglue", "ag_news", "imdb", "multi30k", "dialogsum", "scitldr")
    for name in names:
        real(name)
        assert "not one of" not in store.version(name)

    def counts(parts: dict[str, list]) -> dict[str, int]:
        return {part: len(rows) for part, rows in parts.items()}

    assert counts(data.glue()) == {"train": 67349, "dev": 872, "test": 1821}
    assert sum(row["label"] for row in data.glue(task="cola")["train"]) == 6023
    assert {row["label"] for row in data.glue(task="rte")["dev"]} == {
        "entailment",
        "not_entailment",
    }
    assert sum(row["label"] for row in data.superglue()["val"]) == 2033
    for task in ("cb", "copa", "multirc", "rte", "wic", "wsc"):
        assert len(data.superglue(task=task)["train32"]) == 32
    news = data.ag_news()["test"]
    assert [sum(article.label == topic for article in news) for topic in range(4)] == [1900] * 4
    assert counts(data.imdb()) == {"train": 5000, "test": 5000}
    assert sum(review.label for review in data.imdb()["test"]) == 2500
    assert all((review.rating > 5) == review.label for review in data.imdb()["train"])
    assert list(counts(data.multi30k()).values()) == [29000, 1014, 1000, 1000, 461, 1071]
    dialogues = data.dialogsum()
    assert (len(dialogues["dev"]), len(dialogues["test"][0].summaries)) == (500, 3)
    assert counts(data.scitldr()) == {"train": 1992, "dev": 619, "test": 618}


def test_what_is_not_here(tmp_path: Path) -> None:
    with pytest.raises(DataMissing, match=r"multi30k: train\.cs\.gz and 21 more files not found"):
        data.multi30k(tmp_path)
    with pytest.raises(DataMissing, match=r"imdb: train\.jsonl, test\.jsonl not found .* by hand"):
        data.imdb(tmp_path)
