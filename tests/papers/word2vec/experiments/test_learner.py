"""What the experiments share: misleading corpora, sums of Table 5, a clock that is kept."""

import math

import numpy as np
import pytest
import torch

from quire.papers.word2vec import Vocabulary, Word2Vec
from quire.papers.word2vec.experiments.generators import factor_corpus
from quire.papers.word2vec.experiments.learner import Model, train
from quire.papers.word2vec.experiments.text import SUMS, found_sums


def strays(corpus):
    """Share of relation words and of entity words that are not the factor word's."""
    wrong, total = [0, 0], 0
    for sentence in corpus:
        a, b = next(word for word in sentence if word[0] == "w")[1:].split(".")
        for kind, (letter, own) in enumerate((("r", a), ("e", b))):
            wrong[kind] += sum(w[0] == letter and w[1:].split(".")[0] != own for w in sentence)
        total += 3
    return [count / total for count in wrong]


def test_a_share_of_pool_words_misleads():
    assert strays(factor_corpus(500, 10)) == [0, 0]
    # Of what is drawn anew one in four relations and one in forty entities is right by chance.
    relation, entity = strays(factor_corpus(2000, 10, mixing=0.4))
    assert relation == pytest.approx(0.4 * 3 / 4, abs=0.03)
    assert entity == pytest.approx(0.4 * 39 / 40, abs=0.03)
    assert [len(s) for s in factor_corpus(3, 10, mixing=1.0)] == [12] * 3


def test_sums_are_counted_against_the_better_part():
    """A word along the sum of two others is found by both, its neighbours crowd out the parts."""
    words, vectors = [], []
    for number, ((first, second), answers) in enumerate(list(SUMS.items())[:2]):
        axes = np.eye(4)[2 * number : 2 * number + 2]
        for word, axis in zip((first, second), axes, strict=True):
            words += [word, *(f"{word}{i}" for i in range(10))]
            vectors += [axis * 3] * 11
        words.append(min(answers))
        vectors.append(axes.sum(0))
    made = Word2Vec(4)
    made.vocabulary = Vocabulary(words, None)
    made.vectors = np.array(vectors, np.float32)
    assert found_sums(made) == (100, 0)
    made.vocabulary, made.vectors = Vocabulary(["a"], [1]), np.ones((1, 4), np.float32)
    assert all(math.isnan(share) for share in found_sums(made))


class Resumed:
    """A run whose loop had ended before it was taken up again."""

    seed, device, config = 0, torch.device("cpu"), None

    def __init__(self, directory, saved=None):
        self.directory, self.saved = directory, saved

    def steps(self, total, *, state, name):
        if self.saved is not None:
            for part, kept in zip(state, self.saved, strict=True):
                part.load_state_dict(kept)
            return
        yield from range(total)
        self.saved = [part.state_dict() for part in state]

    def log(self, **numbers):
        assert numbers["words_per_second"] > 0


def test_a_run_resumed_after_its_last_step_knows_its_speed(tmp_path):
    corpus, config = factor_corpus(50, 10), Model(dim=4, epochs=2)
    first = Resumed(tmp_path)
    _, measured = train(config, first, corpus, tmp_path, min_count=1)
    _, again = train(config, Resumed(tmp_path, first.saved), corpus, tmp_path, min_count=1)
    assert again["words_per_second"] == pytest.approx(measured["words_per_second"])
    assert again["pairs"] == measured["pairs"] > 0
