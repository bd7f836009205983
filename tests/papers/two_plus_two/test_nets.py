"""Readings and heads: one-hot digits, an embedding without order, losses by hand."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from quire.papers.two_plus_two import (
    NAU,
    Classes,
    Net,
    Number,
    OneHot,
    Scalar,
    SharedEmbedding,
    list_cells,
    stack_mlp,
)

PAIRS = list_cells()


def test_one_hot_digits_say_both_numbers():
    found = OneHot()(PAIRS)
    assert found.shape == (100, 20)
    assert torch.equal(found[:, :10].argmax(1), PAIRS[:, 0])
    assert torch.equal(found[:, 10:].argmax(1), PAIRS[:, 1])
    assert torch.equal(found.sum(1), torch.full((100,), 2.0))
    with pytest.raises(IndexError):
        OneHot()(torch.tensor([[2, 10]]))


def test_numbers_are_scaled():
    assert Scalar()(torch.tensor([[2, 5]])).tolist() == [pytest.approx([0.2, 0.5])]
    assert Number()(torch.tensor([[[0.4]]])).item() == pytest.approx(4)


def test_an_embedding_is_the_sum_of_its_rows_and_knows_no_order():
    table = SharedEmbedding(3, 10, dim=8)
    found = table(PAIRS)
    torch.testing.assert_close(found, table.weight[:, PAIRS[:, 0]] + table.weight[:, PAIRS[:, 1]])
    assert torch.equal(found, table(PAIRS.flip(1)))
    net = Net(table, stack_mlp(3, [8, 16, 19]), Classes())
    assert torch.equal(net(PAIRS), net(PAIRS.flip(1)))


def test_losses_are_squares_and_cross_entropies():
    number = Net(Scalar(), stack_mlp(2, [2, 8, 1]), Number())
    sums = PAIRS.sum(-1)
    expected = ((number(PAIRS) - sums) / 10) ** 2
    torch.testing.assert_close(number.losses(PAIRS, sums), expected)
    classes = Net(OneHot(), stack_mlp(2, [20, 8, 19]), Classes())
    logits = classes(PAIRS)
    for member in range(2):
        torch.testing.assert_close(
            classes.losses(PAIRS, sums)[member],
            cross_entropy(logits[member], sums, reduction="none"),
        )


def test_a_net_sums_the_penalties_of_its_units():
    plain = Net(Scalar(), stack_mlp(2, [2, 8, 1]), Number())
    assert float(plain.penalty()) == 0
    unit = NAU(2, 2)
    net = Net(Scalar(1.0), torch.nn.Sequential(unit, torch.nn.Identity()), Number(1.0))
    torch.testing.assert_close(net.penalty(), unit.penalty())


def test_a_relu_net_is_affine_far_out():
    net = Net(Scalar(), stack_mlp(4, [2, 32, 32, 1]).double(), Number())
    ray = torch.tensor([[0.3, 1.0]], dtype=torch.float64)
    far = net(torch.cat([ray * s for s in (1e6, 2e6, 3e6)])).detach()
    assert ((far[:, 0] - 2 * far[:, 1] + far[:, 2]).abs() / far.abs().amax(1)).max() < 1e-12
