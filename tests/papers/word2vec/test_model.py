"""The model's face: corpora in, vectors out, files, what goes wrong."""

import gzip
import itertools
import lzma
import subprocess
import sys
import warnings
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quire.papers.word2vec import (
    Phrases,
    Rewritten,
    Tokens,
    Training,
    Vocabulary,
    Word2Vec,
    find_phrases,
    load_vectors,
    read_corpus,
    save_vectors,
)
from quire.papers.word2vec import corpus as corpora
from quire.papers.word2vec.experiments.generators import factor_corpus, phrase_corpus
from quire.papers.word2vec.phrases import sentences

CORPUS = factor_corpus(200, 10)
TEXT = "".join(" ".join(sentence) + "\n" for sentence in CORPUS)


def model(vectors, words="abcdefgh"):
    made = Word2Vec(dim=len(vectors[0]))
    made.vocabulary = Vocabulary(list(words[: len(vectors)]), np.arange(len(vectors), 0, -1))
    made.vectors = np.array(vectors, np.float32)
    return made


def rows_of(tokens):
    return np.concatenate([tokens.piece(b, e) for b, e, _ in tokens.pieces(50)]).tolist()


# Corpora


@pytest.mark.parametrize("block", [64, 1 << 20])
def test_every_kind_of_corpus_reads_alike(tmp_path, monkeypatch, block):
    monkeypatch.setattr(corpora, "BLOCK", block)
    (tmp_path / "plain.txt").write_text(TEXT)
    (tmp_path / "no_end.txt").write_text(TEXT.rstrip())
    (tmp_path / "packed.gz").write_bytes(gzip.compress(TEXT.encode(), mtime=0))
    (tmp_path / "packed.xz").write_bytes(lzma.compress(TEXT.encode()))
    expected = Counter(word for sentence in CORPUS for word in sentence)
    found = []
    kinds = [*sorted(tmp_path.iterdir()), CORPUS, (s for s in CORPUS), str(tmp_path / "plain.txt")]
    for number, corpus in enumerate(kinds):
        folder = tmp_path / f"rows{number}"
        folder.mkdir()
        vocabulary, tokens = read_corpus(corpus, min_count=3, folder=folder)
        got = dict(zip(vocabulary.words, vocabulary.counts.tolist(), strict=True))
        assert got == {w: n for w, n in expected.items() if n >= 3}
        assert vocabulary.rare == {w: n for w, n in expected.items() if n < 3}
        rows = [row for row in rows_of(tokens) if row >= 0]
        assert [vocabulary.words[row] for row in rows] == [
            word for sentence in CORPUS for word in sentence if expected[word] >= 3
        ]
        found.append([vocabulary.words, "".join(" |"[r < 0] for r in rows_of(tokens)).rstrip("|")])
    assert all(item == found[0] for item in found)


def test_pieces_end_with_sentences_and_cover_everything():
    rows = np.array([*[1] * 70, -1, *[2] * 30, -1, *[3] * 2500], np.int32)
    tokens = Tokens(rows)
    pieces = tokens.pieces(50)
    assert pieces[0] == (0, 71, 0)
    assert pieces[1] == (71, 71 + 50, 70)
    assert [b for b, _, _ in pieces[1:]] == [e for _, e, _ in pieces[:-1]]
    assert pieces[-1][1] == len(rows)
    assert [n for *_, n in pieces] == [int((rows[:b] >= 0).sum()) for b, *_ in pieces]


def bad_corpora(folder):
    (folder / "empty.txt").write_text(" \n\n")
    (folder / "latin.txt").write_bytes(b"abc\xe9 d\n" * 10)
    (folder / "cut.gz").write_bytes(gzip.compress(TEXT.encode(), mtime=0)[:-20])
    (folder / "cut.xz").write_bytes(lzma.compress(TEXT.encode())[:-20])
    (folder / "no.gz").write_bytes(b"this is not gzip")
    return [
        (folder / "empty.txt", "empty"), ([], "empty"), ([[]], "empty"),
        (folder / "latin.txt", "latin.txt is not UTF-8 text: byte 3"),
        (folder / "cut.gz", "cut.gz is damaged or cut short"),
        (folder / "cut.xz", "cut.xz is damaged or cut short"),
        (folder / "no.gz", "no.gz is damaged or cut short"),
        (folder / "missing.txt", "cannot read the corpus"),
        ([["a", "b"]], "no word appears min_count = 5 times"),
        (["a sentence"], "must be a list of words"),
        ([["a", ["b"]]], "must be a list of words"),
    ]  # fmt: skip


def test_a_bad_corpus_is_one_line_and_loses_nothing(tmp_path):
    fitted = Word2Vec(8, epochs=1, seed=1).fit(CORPUS)
    before = fitted.vectors.copy()
    for corpus, line in bad_corpora(tmp_path):
        with pytest.raises(ValueError, match=line) as caught:
            fitted.fit(corpus)
        assert "\n" not in str(caught.value)
        assert np.array_equal(fitted.vectors, before)


# Training


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"dim": 0}, "dim must be a whole number"),
        ({"window": 1.5}, "window must be a whole number"),
        ({"sample": -0.1}, "sample must lie"),
        ({"architecture": "skipgram"}, "'skip-gram' or 'cbow'"),
        ({"loss": "ns"}, "'negative', 'hierarchical'"),
        ({"threads": 0}, "threads"),
        ({"seed": -1}, "seed"),
        ({"dim": True}, "dim must be a whole number"),
        ({"negative": 0}, "negative must be a whole number of at least 1"),
    ],
)
def test_settings_are_checked(settings, line):
    with pytest.raises(ValueError, match=line):
        Word2Vec(**settings)


@pytest.mark.parametrize(
    "values",
    [
        {"learning_rate": 0}, {"start": 0}, {"floor": 2}, {"noise_exponent": float("nan")},
        {"subsampling": "none"},
    ],
)  # fmt: skip
def test_training_is_checked(values):
    with pytest.raises(ValueError, match=next(iter(values))):
        Training(**values)


def test_partial_fit_adds_words_and_keeps_what_was_learned():
    first = Word2Vec(8, epochs=1, min_count=3, sample=0).fit([["a", "b", "c"]] * 9 + [["new"]] * 2)
    before = {word: first[word].copy() for word in first.vocabulary}
    rate = Training(learning_rate=1e-9)
    first.partial_fit([["b", "new", "d"]] * 4 + [["c", "d"]], training=rate)
    counts = dict(zip(first.vocabulary.words, first.vocabulary.counts.tolist(), strict=True))
    assert counts == {"a": 9, "b": 13, "c": 10, "new": 6, "d": 5}
    assert list(first.vocabulary) == ["b", "c", "a", "new", "d"]
    for word, vector in before.items():
        np.testing.assert_allclose(first[word], vector, atol=1e-6)
    assert first.output[first.vocabulary["a"]].any()


def test_partial_fit_rebuilds_the_tree():
    made = Word2Vec(8, epochs=1, min_count=1, loss="hierarchical").fit(CORPUS)
    words = len(made.vocabulary)
    made.partial_fit([["something", "new"]] * 5)
    assert made.output.shape == (words + 1, 8)


def test_an_interrupted_fit_keeps_what_there_is():
    made = Word2Vec(8, epochs=400, min_count=1)

    def interrupt(progress):
        assert 0 <= progress.words <= progress.total
        assert "words/s" in str(progress)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made.fit(CORPUS, progress=interrupt)
    assert made.vectors.shape == (len(made.vocabulary), 8)
    assert np.isfinite(made.vectors).all()
    assert made.most_similar(made.vocabulary.words[0], n=1)


def test_progress_can_end_training():
    calls = []
    made = Word2Vec(8, epochs=20_000, min_count=1)
    made.fit(CORPUS, progress=lambda progress: calls.append(progress) or True)
    assert calls[0].words < calls[0].total


def test_a_rate_that_explodes_is_said():
    with pytest.raises(ValueError, match="lower the learning rate"):
        Word2Vec(8, epochs=3, min_count=1, loss="full").fit(
            CORPUS, training=Training(learning_rate=1e9)
        )


def test_without_numba_pytorch_trains_and_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.delitem(sys.modules, "quire.papers.word2vec.training.kernel", raising=False)
    with pytest.warns(UserWarning, match="numba is missing"):
        made = Word2Vec(8, epochs=1, min_count=1).fit(CORPUS)
    assert np.isfinite(made.vectors).all()


WITHOUT_TORCH = """
import sys, tempfile
import quire.papers.word2vec as package
from quire.papers.word2vec import Phrases, Word2Vec
corpus = [["new", "york", "is", "a", "city"]] * 60
corpus = list(Phrases(threshold=1).fit(corpus).transform(corpus))
model = Word2Vec(4, epochs=1).fit(corpus)
with tempfile.TemporaryDirectory() as folder:
    model.save(f"{folder}/v.bin")
    Word2Vec.load(f"{folder}/v.bin").most_similar("city")
print([name for name in ("torch", "scipy.stats") if name in sys.modules])
print(set(package.__all__) <= set(dir(package)), package.NegativeSampling.__name__)
print("torch" in sys.modules, hasattr(package, "Nothing"))
"""


def test_the_compiled_path_imports_no_torch():
    pytest.importorskip("numba")
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH], capture_output=True, text=True, timeout=120
    )
    expected = ["[]", "True NegativeSampling", "True False"]
    assert done.stdout.splitlines() == expected, done.stderr[-500:]


@pytest.mark.parametrize("loss", ["negative", "hierarchical", "nce", "full"])
@pytest.mark.parametrize("architecture", ["skip-gram", "cbow"])
def test_batches_lower_every_loss(loss, architecture, tmp_path):
    made = Word2Vec(8, epochs=1, min_count=1, loss=loss, architecture=architecture)
    training = Training(device="cpu", learning_rate=0.1)
    session = made.begin(CORPUS * 10, tmp_path, training=training)
    first, last = session.step(0), session.step(0)
    assert last < first


@pytest.mark.parametrize("device", [None, "cpu"])
def test_sessions_resume_bit_for_bit(tmp_path, device):
    made = [Word2Vec(8, epochs=4, min_count=1) for _ in range(2)]
    training = Training(device=device)
    whole, part = (m.begin(CORPUS * 20, tmp_path, training=training) for m in made)
    for step in range(len(whole)):
        whole.step(step)
    part.step(0), part.step(1)
    again = made[1].begin(CORPUS * 20, tmp_path, training=training)
    again.load_state_dict(part.state_dict())
    for step in range(2, len(again)):
        again.step(step)
    assert np.array_equal(again.tables.input, whole.tables.input)
    assert (again.done, again.pairs) == (whole.done, whole.pairs)
    with pytest.raises(ValueError, match="saved vectors are"):
        Word2Vec(9, min_count=1).begin(CORPUS, tmp_path).load_state_dict(part.state_dict())


STREAM = """
import resource, sys
from quire.papers.word2vec import Word2Vec
def fit(repeats):
    line = [f"w{i}" for i in range(1000)]
    Word2Vec(2, 1, negative=1, epochs=1, min_count=1).fit(line for _ in range(repeats))
fit(100)
virtual = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
room = 24 << 20
resource.setrlimit(resource.RLIMIT_AS, (virtual + room, virtual + room))
fit(int(sys.argv[1]))
print("done")
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS and /proc")
def test_a_corpus_of_ten_times_the_memory_streams_through(tmp_path):
    """60 million words are 240 MB as rows; the process may take 24 MB more than it has."""
    pytest.importorskip("numba")
    script = tmp_path / "stream.py"
    script.write_text(STREAM)
    done = subprocess.run(
        [sys.executable, script, "60000"], capture_output=True, text=True, timeout=500
    )
    assert done.stdout.strip() == "done", done.stderr[-500:]


# Files

words = st.text(st.characters(exclude_categories=("Z", "C")), min_size=1, max_size=6)


@pytest.mark.parametrize("suffix", [".txt", ".vec", ".bin", ".txt.gz", ".bin.gz"])
@given(st.lists(words, min_size=1, max_size=8, unique=True), st.integers(1, 5), st.integers(0, 9))
@settings(deadline=None, max_examples=15)
def test_vectors_survive_their_files(suffix, tmp_path_factory, names, dim, seed):
    path = tmp_path_factory.mktemp("vectors") / f"v{suffix}"
    vectors = np.random.default_rng(seed).normal(size=(len(names), dim)).astype(np.float32)
    counts = np.sort(np.arange(7, 7 + len(names)))[::-1]
    save_vectors(path, Vocabulary(names, counts), vectors, counts=path.parent / "counts")
    vocabulary, loaded = load_vectors(path, counts=path.parent / "counts")
    assert vocabulary.words == names
    assert vocabulary.counts.tolist() == counts.tolist()
    assert np.array_equal(loaded, vectors)


@pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])
def test_gensim_reads_our_files_and_we_read_its(tmp_path, binary):
    gensim = pytest.importorskip("gensim.models")
    made = Word2Vec(8, epochs=1, min_count=1).fit(CORPUS)
    ours, theirs = (tmp_path / f"{name}{'.bin' if binary else '.txt'}" for name in ("a", "b"))
    made.save(ours, counts=tmp_path / "counts")
    peer = gensim.KeyedVectors.load_word2vec_format(
        str(ours), binary=binary, fvocab=str(tmp_path / "counts")
    )
    assert peer.index_to_key == made.vocabulary.words
    assert np.array_equal(peer.vectors, made.vectors)
    assert peer.get_vecattr("f0", "count") == made.vocabulary.counts[made.vocabulary["f0"]]
    peer.save_word2vec_format(str(theirs), binary=binary)
    back = Word2Vec.load(theirs)
    assert back.vocabulary.words == made.vocabulary.words
    np.testing.assert_allclose(back.vectors, made.vectors, atol=1e-6)
    assert back.partial_fit(CORPUS).vectors.shape == made.vectors.shape


PACKED = gzip.compress(b"1 1\na 1\n", mtime=0)


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("a.txt", b"2 3\na 1 2 3\n", "1 words, the header says 2"),
        ("a.txt", b"2 3\na 1 2 3\nb 1 2\n", "line 3: 2 numbers, the header says 3"),
        ("a.txt", b"1 2\na 1 x\n", "line 2: numbers expected"),
        ("a.txt", b"1 2\na 1 nan\n", "not finite"),
        ("a.txt", b"2 1\na 1\na 2\n", "stands twice"),
        ("a.txt", b"hello\n", "first line must say"),
        ("a.txt", b"", "first line must say"),
        ("a.txt", b"1 1\n\xff 1\n", "not UTF-8"),
        ("a.bin", b"2 1\na \0\0\0\0\nb \0\0", "a.bin is cut short, .* 1 of 2 words"),
        ("a.bin", b"1 1\na \0\0\0\0\0\0\0\0", "bytes are left over"),
        ("a.txt.gz", PACKED[:-9], "damaged or cut short"),
        ("a.npy", b"", "suffix must be"),
    ],
    ids=range(12),
)
def test_a_bad_file_is_one_line(tmp_path, name, content, line):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=line) as caught:
        Word2Vec.load(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_written_or_read(tmp_path):
    with pytest.raises(ValueError, match="cannot read"):
        Word2Vec.load(tmp_path / "none.bin")
    with pytest.raises(ValueError, match="cannot write"):
        model([[1.0]]).save(tmp_path / "no folder" / "v.bin")
    with pytest.raises(ValueError, match="1 words but 2 vectors"):
        save_vectors(tmp_path / "v.txt", Vocabulary(["a"], [1]), np.ones((2, 1), np.float32))
    assert not list(tmp_path.iterdir())


# Phrases


def test_phrase_scores_are_brute_force_and_gensims():
    planted = phrase_corpus(300, 10)
    found = Phrases(2, 5, min_count=2).fit(planted.corpus).scores
    words = Counter(w for s in planted.corpus for w in s)
    pairs = Counter(p for s in planted.corpus for p in itertools.pairwise(s))
    total = sum(words.values())
    expected = {
        (a, b): (n - 2) / (words[a] * words[b]) * total
        for (a, b), n in pairs.items()
        if n >= 2 and (n - 2) / (words[a] * words[b]) * total > 5
    }
    assert found == pytest.approx(expected)
    peer = pytest.importorskip("gensim.models.phrases")
    # gensim counts distinct words and pairs where the authors count words.
    theirs = peer.Phrases(planted.corpus, min_count=2, threshold=1e-9, delimiter="_")
    scale = total / len(theirs.vocab)
    peers = {tuple(k.split("_")): v * scale for k, v in theirs.export_phrases().items()}
    assert {k: v for k, v in peers.items() if v > 5} == pytest.approx(found)


def test_joining_is_greedy_from_the_left_without_overlap():
    phrases = Phrases()
    phrases.scores = {("a", "b"): 1.0, ("b", "c"): 1.0, ("a_b", "c"): 1.0}
    assert phrases.join(["a", "b", "c", "b", "c"]) == ["a_b", "c", "b_c"]
    assert phrases.join([]) == []


def test_passes_make_longer_phrases(tmp_path):
    corpus = [[f"x{i}", "new", "york", "city", f"y{i}"] for i in range(40)]
    path = tmp_path / "c.txt"
    path.write_text("".join(" ".join(s) + "\n" for s in corpus))
    passes = find_phrases(path, [3, 3])
    joined = list(Rewritten(path, passes))
    assert joined == [[f"x{i}", "new_york_city", f"y{i}"] for i in range(40)]
    assert list(sentences(path)) == corpus
    made = Word2Vec(8, min_count=5, epochs=1).fit(Rewritten(path, passes))
    assert any("_" in word for word in made.vocabulary)


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"delta": -1}, "delta"), ({"threshold": 0}, "threshold"), ({"min_count": 0}, "min_count"),
        ({"joiner": " "}, "joiner"),
    ],
)  # fmt: skip
def test_phrases_are_checked(settings, line):
    with pytest.raises(ValueError, match=line):
        Phrases(**settings)


def test_an_empty_corpus_has_no_phrases():
    with pytest.raises(ValueError, match="empty"):
        Phrases().fit([])


def test_nothing_warns_on_a_plain_fit():
    pytest.importorskip("numba")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Word2Vec(8, epochs=1, min_count=1).fit(CORPUS)
