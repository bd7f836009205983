"""Questions to vectors: against brute force and gensim."""

import numpy as np
import pytest

from quire.papers.word2vec import (
    UnitVectors,
    Vocabulary,
    Word2Vec,
    analogies,
    most_similar,
    similarity,
)


def model(vectors, words="abcdefgh"):
    made = Word2Vec(dim=len(vectors[0]))
    made.vocabulary = Vocabulary(list(words[: len(vectors)]), np.arange(len(vectors), 0, -1))
    made.vectors = np.array(vectors, np.float32)
    return made


def test_most_similar_is_brute_force():
    rng = np.random.default_rng(0)
    made = model(rng.normal(size=(8, 3)))
    units = made.vectors / np.linalg.norm(made.vectors, axis=1, keepdims=True)
    target = units[0] + units[1] - units[2]
    cosine = units @ target / np.linalg.norm(target)
    expected = [w for w in np.array(list("abcdefgh"))[np.argsort(-cosine)] if w not in "abc"]
    found = made.most_similar(["a", "b"], ["c"], n=8)
    assert [word for word, _ in found] == expected
    assert found[0][1] == pytest.approx(cosine["abcdefgh".index(expected[0])], abs=1e-6)
    assert {w for w, _ in most_similar(made, "h", n=8, top=4)} == set("abcd")
    for arguments, line in [
        ({}, "name at least one"), ({"positive": "z"}, "'z' is not in the vocabulary of 8"),
        ({"positive": "a", "n": 0}, "n must be at least 1"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=line):
            most_similar(made, **arguments)


def test_unit_vectors_answer_as_the_model_does():
    rng = np.random.default_rng(0)
    made = model(5 * rng.normal(size=(8, 3)))
    made.vectors[3] = 0
    ready = UnitVectors(made)
    for asked in ({"positive": ["a", "b"], "negative": "c"}, {"positive": "h", "top": 4}):
        expected = most_similar(made, **asked, n=3)
        found = ready.most_similar(**asked, n=3)
        assert [word for word, _ in found] == [word for word, _ in expected]
        assert [c for _, c in found] == pytest.approx([c for _, c in expected], abs=1e-6)
    # A vector asks as its word does, which is then not left out.
    expected = [("a", pytest.approx(1)), *most_similar(made, "a", n=2)]
    assert ready.most_similar(made["a"], n=3) == [
        (word, pytest.approx(cosine, abs=1e-6)) for word, cosine in [("a", 1.0), *expected[1:]]
    ]
    assert made.most_similar([made["a"], "b"], n=1)[0][0] != "b"
    u = made.vectors / np.maximum(np.linalg.norm(made.vectors, axis=1, keepdims=True), 1e-12)
    assert ready.cosine("a", "b") == pytest.approx(float(u[0] @ u[1]), abs=1e-6)
    assert "a" in ready and "z" not in ready
    with pytest.raises(KeyError):
        ready["z"]
    with pytest.raises(ValueError, match="top must be at least 1"):
        ready.most_similar("a", top=0)


def test_equal_cosines_come_in_the_vocabulary_s_order():
    made = model([[1, 0], [0, 1], [0, 2], [0, 3], [1, 1]])
    assert [word for word, _ in made.most_similar("e", n=3)] == ["a", "b", "c"]


def test_numpy_s_whole_numbers_will_do():
    made = Word2Vec(np.int64(8), np.int32(2), negative=0, loss="hierarchical", seed=np.uint8(3))
    assert (made.dim, made.window, made.negative, made.seed) == (8, 2, 0, 3)
    assert type(made.dim) is int


def test_evaluators_agree_with_gensim(tmp_path):
    gensim = pytest.importorskip("gensim.models")
    rng = np.random.default_rng(10)
    names = [f"w{i}" for i in range(60)]
    made = Word2Vec(4)
    made.vocabulary = Vocabulary(names, np.arange(60, 0, -1))
    made.vectors = rng.normal(size=(60, 4)).astype(np.float32)
    peer = gensim.KeyedVectors(4)
    peer.add_vectors(names, made.vectors)
    asked = {"one": [], "gram two": []}
    for section, questions in asked.items():
        for _ in range(150):
            a, b, c = rng.choice(60, 3, replace=False)
            near = made.most_similar([names[b], names[c]], [names[a]], n=2)
            d = near[int(rng.integers(2))][0] if section == "one" else f"w{rng.integers(70)}"
            questions.append((names[a].upper(), names[b], names[c], d))
    lines = [f": {s}\n" + "".join(" ".join(q) + "\n" for q in asked[s]) for s in asked]
    (tmp_path / "questions").write_text("".join(lines))
    score, sections = peer.evaluate_word_analogies(str(tmp_path / "questions"), restrict_vocab=50)
    ours = analogies(made, asked, top=50)
    assert ours.accuracy["total"] == pytest.approx(100 * score)
    for section in sections[:2]:
        good, bad = len(section["correct"]), len(section["incorrect"])
        assert ours.accuracy[section["section"]] == pytest.approx(100 * good / (good + bad))
    assert ours.accuracy["semantic"] == ours.accuracy["one"]
    assert 0 < ours.coverage < 1
    assert ours.total_of_all == pytest.approx(ours.accuracy["total"] * ours.coverage)
    pairs = [(f"W{i}", f"w{i + 7}", float(rng.random())) for i in range(58)]
    (tmp_path / "pairs").write_text("".join(f"{a}\t{b}\t{s}\n" for a, b, s in pairs))
    _, spearman, unknown = peer.evaluate_word_pairs(str(tmp_path / "pairs"))
    found = similarity(made, pairs)
    assert found.correlation == pytest.approx(spearman.statistic, abs=1e-6)
    assert found.coverage == pytest.approx(1 - unknown / 100)


def test_cosmul_is_its_formula():
    made = model(np.random.default_rng(3).normal(size=(8, 3)))
    u = made.vectors / np.linalg.norm(made.vectors, axis=1, keepdims=True)
    near = (u @ u.T + 1) / 2
    score = near[1] * near[2] / (near[0] + 1e-3)
    score[:3] = -1
    best = "abcdefgh"[int(score.argmax())]
    answers = analogies(made, {"s": [("a", "b", "c", best)]}, rule="mul")
    assert answers.accuracy["total"] == 100
    with pytest.raises(ValueError, match="'add' or 'mul'"):
        analogies(made, {}, rule="sub")
    assert np.isnan(analogies(made, {"s": [("a", "b", "c", "z")]}).accuracy["total"])
    assert np.isnan(similarity(made, [("a", "z", 1.0)]).correlation)
