"""Files of others, and what is no word."""

import gzip
import tracemalloc

import numpy as np
import pytest

from quire.papers.word2vec import (
    Phrases,
    Vocabulary,
    Word2Vec,
    load_vectors,
    read_corpus,
    save_vectors,
)
from quire.papers.word2vec import corpus as corpora


def loaded(path, **options):
    vocabulary, vectors = load_vectors(path, **options)
    return dict(zip(vocabulary.words, vectors.tolist(), strict=True))


HARMLESS = {
    "byte-order mark": b"\xef\xbb\xbf2 2\na 1 2\nb 3 4\n",
    "tabs": b"2\t2\na\t1\t2\nb\t3\t4\n",
    "carriage returns": b"2 2\r\na 1 2\r\nb 3 4\r\n",
    "blank lines at the end": b"2 2\na 1 2\nb 3 4\n\n\n",
    "blanks at the ends": b"2 2 \na 1 2 \nb 3 4 \n",
}


@pytest.mark.parametrize("kind", HARMLESS)
def test_what_does_no_harm_is_read(kind, tmp_path):
    path = tmp_path / "v.txt"
    path.write_bytes(HARMLESS[kind])
    assert loaded(path) == {"a": [1, 2], "b": [3, 4]}


ODD = {
    "a word twice": ("v.txt", b"3 1\na 1\nb 2\na 3\n", {"a": [1], "b": [2]}),
    "not UTF-8": ("v.txt", b"2 1\n\xe4\xb8 1\nb 2", {"\ufffd": [1], "b": [2]}),
    "a blank in a word": ("v.txt", b"2 1\nNew York 1\nb 2", {"New_York": [1], "b": [2]}),
    "no header": ("v.txt", b"a 1 2\nb 3 4\n", {"a": [1, 2], "b": [3, 4]}),
    "a short row": ("v.txt", b"2 2\na 1\nb 3 4\n", {"b": [3, 4]}),
    "not finite": ("v.txt", b"2 1\na nan\nb 2\n", {"b": [2]}),
    "too many rows": ("v.txt", b"1 1\na 1\nb 2\n", {"a": [1], "b": [2]}),
    "too few rows": ("v.txt", b"3 1\na 1\nb 2\n", {"a": [1], "b": [2]}),
    "a blank line within": ("v.txt", b"2 1\na 1\n\nb 2\n", {"a": [1], "b": [2]}),
    "a word twice, binary": ("v.bin", b"2 1\na \0\0\0\0\na \0\0\x80?\n", {"a": [0]}),
    "cut short, binary": ("v.bin", b"2 1\na \0\0\0\0\nb \0\0", {"a": [0]}),
    "bytes left over": ("v.bin", b"1 1\na \0\0\0\0\0\0\0\0", {"a": [0]}),
    "not UTF-8, binary": ("v.bin", b"1 1\n\xff \0\0\0\0\n", {"\ufffd": [0]}),
}


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.filterwarnings("ignore:v.* odd entries")
def test_an_odd_entry_is_refused_or_by_request_read_around(kind, tmp_path):
    name, content, expected = ODD[kind]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"^v\.") as caught:
        load_vectors(path)
    assert "\n" not in str(caught.value)
    assert loaded(path, strict=False) == expected


def test_reading_around_warns_once(tmp_path):
    path = tmp_path / "v.txt"
    path.write_bytes(ODD["a word twice"][1])
    with pytest.warns(UserWarning, match="1 odd entries, the first in line 4: 'a' stands twice"):
        load_vectors(path, strict=False)


@pytest.mark.parametrize("name", ["v.txt", "v.bin", "v.txt.gz", "v.bin.gz"])
def test_a_limit_reads_the_first_words_alone(tmp_path, name):
    words = [f"w{i}" for i in range(50)]
    vectors = np.arange(100, dtype=np.float32).reshape(50, 2)
    save_vectors(tmp_path / name, Vocabulary(words, None), vectors)
    vocabulary, found = load_vectors(tmp_path / name, limit=3)
    assert vocabulary.words == words[:3]
    assert np.array_equal(found, vectors[:3])
    assert len(load_vectors(tmp_path / name, limit=99)[0]) == 50
    with pytest.raises(ValueError, match="limit must be at least 1"):
        load_vectors(tmp_path / name, limit=0)


def test_another_suffix_takes_a_word(tmp_path):
    path = tmp_path / "vectors.model"
    save_vectors(path, Vocabulary(["a"], [1]), np.ones((1, 2), np.float32), binary=True)
    with pytest.raises(ValueError, match="binary=True or binary=False"):
        load_vectors(path)
    assert loaded(path, binary=True) == {"a": [1, 1]}
    with pytest.raises(ValueError, match=r"vectors\.model"):
        load_vectors(path, binary=False)


@pytest.mark.parametrize("name", ["v.txt", "v.bin"])
def test_loading_takes_little_more_than_the_matrix(tmp_path, name):
    size = 4000, 100
    vectors = np.random.default_rng(0).normal(size=size).astype(np.float32)
    save_vectors(tmp_path / name, Vocabulary([f"w{i}" for i in range(size[0])], None), vectors)
    matrix = vectors.nbytes
    del vectors
    tracemalloc.start()
    try:
        load_vectors(tmp_path / name)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1.5 * matrix + 3 * (1 << 20)


@pytest.mark.parametrize("packed", [False, True])
def test_counts_of_the_authors_program(tmp_path, packed):
    """`</s> 0` is its first line; the file may be packed."""
    (tmp_path / "v.txt").write_text("3 1\n</s> 0\na 1\nb 2\n")
    lines, path = b"</s> 0\na 5\nb 7\n", tmp_path / ("c.txt.gz" if packed else "c.txt")
    path.write_bytes(gzip.compress(lines, mtime=0) if packed else lines)
    vocabulary, vectors = load_vectors(tmp_path / "v.txt", counts=path)
    assert vocabulary.words == ["b", "a", "</s>"]
    assert vocabulary.counts.tolist() == [7, 5, 1]
    assert vectors.tolist() == [[2], [1], [0]]
    save_vectors(tmp_path / "w.bin", vocabulary, vectors, counts=path)
    assert load_vectors(tmp_path / "w.bin", counts=path)[0].counts.tolist() == [7, 5, 1]


@pytest.mark.parametrize(
    ("lines", "line"),
    [
        (b"a 1\n", "has no count of 'b'"),
        (b"a one\nb 1\n", "no file of `word count` lines: line 1"),
        (b"a -1\nb 1\n", "below 0"),
    ],
    ids=["missing", "no number", "negative"],
)
def test_counts_that_do_not_fit_are_one_line(tmp_path, lines, line):
    (tmp_path / "v.txt").write_text("2 1\na 1\nb 2\n")
    (tmp_path / "c.txt").write_bytes(lines)
    with pytest.raises(ValueError, match=line):
        load_vectors(tmp_path / "v.txt", counts=tmp_path / "c.txt")


def test_what_is_loaded_goes_on_with_the_corpus_s_counts(tmp_path):
    """Without a file of counts nothing was counted: ranks are no counts to add to."""
    (tmp_path / "v.txt").write_text("4 2\n</s> 5 6\nthe 1 2\nof 3 4\nrare 7 8\n")
    made = Word2Vec.load(tmp_path / "v.txt", epochs=1, sample=0, loss="negative", negative=3)
    assert (made.epochs, made.negative, made.dim) == (1, 3, 2)
    made.partial_fit([["the", "cat", "</s>", "of"]] * 9)
    counts = dict(zip(made.vocabulary.words, made.vocabulary.counts.tolist(), strict=True))
    assert counts == {"the": 9, "cat": 9, "of": 9, "</s>": 1, "rare": 1}
    assert made["</s>"].tolist() == [5, 6]
    assert made["rare"].tolist() == [7, 8]
    assert not made.vocabulary.ranked
    with pytest.raises(ValueError, match="holds 2 dimensions, not 3"):
        Word2Vec.load(tmp_path / "v.txt", dim=3)


def test_known_counts_add_up_beside_the_end_of_a_sentence(tmp_path):
    known = Vocabulary(["x", "</s>", "y"], [9, 8, 7], {"z": 1})
    vocabulary, _ = read_corpus([["y", "z", "z"]] * 3, min_count=5, folder=tmp_path, known=known)
    counts = dict(zip(vocabulary.words, vocabulary.counts.tolist(), strict=True))
    assert counts == {"y": 10, "x": 9, "</s>": 8, "z": 7}


# Words

NO_WORDS = {
    "bytes as a sentence": [b"the cat"],
    "bytes": [[b"the", b"cat"]],
    "numbers": [[1, 2]],
    "an array of numbers": [np.array([1, 2])],
    "None": [["a", None]],
    "a blank": [["New York", "is"]],
    "a newline": [["a\nb"]],
    "a tab": [["a\tb"]],
    "nothing": [["a", ""]],
    "half a character": [["a\ud800"]],
    "no sentence": [None],
    "a number for a corpus": 5,
}


@pytest.mark.parametrize("kind", NO_WORDS)
def test_what_is_no_word_is_said_at_once(kind):
    corpus = NO_WORDS[kind]
    corpus = corpus * 9 if isinstance(corpus, list) else corpus
    for fit in (Word2Vec(2, min_count=1).fit, Phrases().fit):
        with pytest.raises(ValueError, match=r"word") as caught:
            fit(corpus)
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="word"):
        Vocabulary(["a b"], [1])


def test_arrays_of_words_and_other_whitespace_train_and_are_saved(tmp_path):
    corpus = [np.array(["New\u00a0York", "b"]), ("c", "b")] * 9
    made = Word2Vec(2, min_count=1, epochs=1, sample=0).fit(corpus)
    assert all(type(word) is str for word in made.vocabulary)
    for name in ("v.txt", "v.bin"):
        made.save(tmp_path / name, counts=tmp_path / "counts")
        back = Word2Vec.load(tmp_path / name, counts=tmp_path / "counts")
        assert back.vocabulary.words == made.vocabulary.words
        assert np.array_equal(back.vectors, made.vectors)


@pytest.mark.parametrize(
    "blank", ["\t", "\r", "\u3000", "\u00a0", " \n"], ids=["tab", "CR", "wide", "no-break", "line"]
)
def test_whitespace_of_every_kind_cuts_a_text(tmp_path, monkeypatch, blank):
    monkeypatch.setattr(corpora, "BLOCK", 64)
    words = [f"wört{i}" for i in range(60)]
    (tmp_path / "c.txt").write_text(blank.join(words), newline="", encoding="utf-8-sig")
    found = list(corpora.blocks(tmp_path / "c.txt"))
    assert [word for block in found for word in block if word != "</s>"] == words
    assert max(map(len, found)) < 40


def test_a_text_without_whitespace_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(corpora, "BLOCK", 64)
    (tmp_path / "c.txt").write_text("a" * 500)
    with pytest.raises(ValueError, match=r"c\.txt holds over 64 characters without whitespace"):
        list(corpora.blocks(tmp_path / "c.txt"))
    (tmp_path / "d.txt").write_bytes(b"ab " * 40 + "ä".encode()[:1])
    with pytest.raises(ValueError, match=r"d\.txt is not UTF-8 text: byte 120"):
        list(corpora.blocks(tmp_path / "d.txt"))
