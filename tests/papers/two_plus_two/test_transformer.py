"""The transformer that writes digits: a distribution, causal, with the answer's own tokens."""

import pytest
import torch

from quire.papers.two_plus_two import DigitTransformer, list_cells
from quire.papers.two_plus_two.transformer import END, write_answers

PAIRS = list_cells()


def make(members=2, **options):
    torch.manual_seed(0)
    return DigitTransformer(members, dim=8, heads=2, **options).double()


@pytest.mark.parametrize(
    ("number", "reverse", "tokens"),
    [(4, False, [4, END, END]), (17, False, [1, 7, END]), (17, True, [7, 1, END]),
     (10, True, [0, 1, END])],
)  # fmt: skip
def test_answers_are_written_digit_by_digit(number, reverse, tokens):
    found, written = write_answers(20, reverse=reverse)
    assert found[number].tolist() == tokens
    assert int(written[number].sum()) == 2 + (number > 9)


def test_all_that_can_be_written_sums_to_one():
    """Over every string of tokens up to the end: the answers are some of them."""
    net = make()
    net.tokens, net.written = write_answers(100)
    p = net(PAIRS[:3]).exp()
    assert p.shape == (2, 3, 100)
    assert (p.sum(-1) < 1).all()
    # One digit and the end, over all first tokens and ends: at most the mass that starts so.
    assert (p[..., :10].sum(-1) > 0).all()
    single = DigitTransformer(1, 19, dim=8, heads=2)
    assert (single(PAIRS).exp().sum(-1) < 1).all()


@pytest.mark.parametrize("reverse", [False, True])
def test_the_score_is_the_product_of_token_probabilities(reverse):
    """By hand: what follows each prefix does not depend on what comes later."""
    net = make(reverse=reverse, answers=20)
    pairs, sums = torch.tensor([[2, 2], [9, 8]]), torch.tensor([4, 17])
    score = net.score(pairs, sums)
    every = net(pairs)
    torch.testing.assert_close(score, every[:, torch.arange(2), sums])
    torch.testing.assert_close(net.losses(pairs, sums), -score)
    # With what is written after the end changed nothing changes.
    later = make(reverse=reverse, answers=20)
    later.tokens = later.tokens.clone()
    later.tokens[4, 2] = 7
    torch.testing.assert_close(later.score(pairs, sums), score)


def test_order_counts():
    net = make()
    assert not torch.allclose(net(torch.tensor([[1, 3]])), net(torch.tensor([[3, 1]])))


def test_refusals():
    with pytest.raises(ValueError, match="multiple of heads, got 10 and 4"):
        DigitTransformer(1, dim=10)
    with pytest.raises(ValueError, match="1 to 100"):
        write_answers(101)
