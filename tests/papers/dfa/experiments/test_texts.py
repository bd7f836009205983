"""Texts as tokens, and what the schedules do."""

import math

import pytest
import torch

from quire.data.sets.wikitext103 import Texts
from quire.papers.dfa.experiments.language_models import LanguageModels, Plateau, rate_at
from quire.papers.dfa.experiments.texts import Corpus, bigram_perplexity, encode_pieces, spell


def test_characters_are_numbered_and_parts_stay_where_they_are() -> None:
    text = "ba" * 5 + "ab" * 5 + "abc" * 40 + "é"
    (train, val, test), kinds = spell(text, 200, 10)
    assert kinds == 5  # a, b, c, é and all others
    assert test.tolist() == [1, 0] * 5
    assert val.tolist() == [0, 1] * 5
    assert train[:4].tolist() == [0, 1, 2, 0]
    assert len(train) == 121
    (fewer, again, _), _ = spell(text, 30, 10)
    assert len(fewer) == 30
    assert again.tolist() == val.tolist()


def test_rare_characters_are_one() -> None:
    text = "x" * 20 + "".join(chr(200 + i) * (200 - i) for i in range(150))
    (train, _, test), kinds = spell(text, 10**6, 10)
    assert kinds == 97
    assert (test == 96).all()  # x was never in the training part
    assert train.max() == 96


def test_pieces_of_words() -> None:
    pytest.importorskip("tokenizers", reason="tokenizers is not installed")
    line = " the cat sat on the mat \n \n"
    parts, kinds = encode_pieces(Texts(line * 50, line * 2, line), 100, 9)
    assert [len(part) for part in parts] == [100, 9, 6]
    assert parts[0][:6].tolist() == parts[2].tolist()  # six words, a piece each
    assert parts[2][0] == parts[2][4]
    assert max(part.max() for part in parts) < kinds < 40


def test_bigrams_by_hand() -> None:
    train, test = torch.tensor([0, 1, 0, 1, 1]), torch.tensor([0, 1, 1])
    corpus = Corpus(train, test, test, 2)
    # After 0: 0 never, 1 twice; after 1: 0 once, 1 once; one is added to each.
    assert bigram_perplexity(corpus) == pytest.approx((3 / 4 * 2 / 4) ** -0.5)
    assert math.isnan(bigram_perplexity(corpus._replace(vocabulary=20_000)))


def test_a_plateau_divides_the_rate_after_two_bad_looks() -> None:
    plateau = Plateau()
    shares = []
    for loss in (3.0, 2.0, 2.1, 2.2, 1.9, 1.95, 1.96):
        plateau.see(loss)
        shares.append(round(plateau.share, 6))
    assert shares == [1, 1, 1, 0.2, 0.2, 0.2, 0.04]
    other = Plateau()
    other.load_state_dict(plateau.state_dict())
    assert other.share == plateau.share


def test_noams_rate_is_the_transformers() -> None:
    config = LanguageModels(schedule="noam", learning_rate=1.0)
    for step in (1, 10, 4000, 100_000):
        wanted = 512**-0.5 * min(step**-0.5, step * 4000**-1.5)
        assert rate_at(config, step - 1) == pytest.approx(wanted)
    assert rate_at(LanguageModels(), 17) == 5e-5
