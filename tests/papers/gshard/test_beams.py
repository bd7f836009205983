import itertools

import pytest
import torch

from quire.papers.gshard import Dropless, Translator, every_other, search_beams


def make(vocabulary=7):
    torch.manual_seed(3)
    parts = every_other(8, hidden=12, experts=4, expert_hidden=6, router=Dropless())
    model = Translator(vocabulary, 8, heads=2, parts=parts, layers=2).double().eval()
    with torch.no_grad():
        model.table.weight.mul_(3.0)  # sure enough that hypotheses differ
    return model


def score_of(model, source, tokens):
    """Log-probability of tokens up to the first padding, one sequence a row."""
    shown = torch.tensor([[t if t else 1 for t in tokens]])
    logp = model(source, shown)[0].log_softmax(-1)
    total = 0.0
    for place, token in enumerate(tokens):
        total += float(logp[place, token])
        if token == 0:
            return total, place + 1
    return total, len(tokens)


def by_lists(model, source, length, beams):
    """Beam search with a sequence for each hypothesis."""
    kept = [((), 0.0)]
    for _ in range(length):
        options = []
        for tokens, score in kept:
            if 0 in tokens:
                options.append(((*tokens, 0), score))
                continue
            for token in range(7):
                longer = (*tokens, token)
                options.append((longer, score_of(model, source, longer)[0]))
        kept = sorted(options, key=lambda option: -option[1])[:beams]
    return [tokens for tokens, _ in kept]


@torch.no_grad()
@pytest.mark.parametrize("beams", [1, 3])
def test_one_sequence_with_a_mask_is_a_sequence_for_each_beam(beams):
    model = make()
    source = torch.randint(1, 7, (2, 5))
    found = search_beams(model, source, 4, beams=beams, penalty=0.0)
    for row in range(2):
        wanted = by_lists(model, source[row : row + 1], 4, beams)
        assert [tuple(tokens) for tokens in found.tokens[row].tolist()] == wanted
        for tokens, score in zip(wanted, found.score[row], strict=True):
            total, _ = score_of(model, source[row : row + 1], tokens)
            assert float(score) == pytest.approx(total, abs=1e-5)


def test_one_beam_is_greedy():
    model = make()
    source = torch.randint(1, 7, (3, 5))
    found = search_beams(model, source, 5, beams=1)
    assert torch.equal(found.tokens[:, 0], model.translate(source, 5))


@torch.no_grad()
def test_enough_beams_find_the_best_of_all():
    model = make()
    source = torch.randint(1, 7, (1, 4))
    scores = {}
    for tokens in itertools.product(range(7), repeat=2):
        total, size = score_of(model, source, tokens)
        scores[tokens[:size]] = total / ((5 + size) / 6) ** 0.6
    best = max(scores, key=scores.get)
    found = search_beams(model, source, 2, beams=49)
    assert tuple(found.tokens[0, 0].tolist())[: len(best)] == best
    assert float(found.score[0, 0]) == pytest.approx(scores[best], abs=1e-5)


def test_bad_input():
    with pytest.raises(ValueError, match="beams and length must be at least 1, got 0 and 3"):
        search_beams(make(), torch.ones(1, 2, dtype=torch.int64), 3, beams=0)
