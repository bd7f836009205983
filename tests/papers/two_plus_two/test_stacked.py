"""Panels against loops: outputs, gradients and training of each member alone."""

import pytest
import torch
from torch import nn

from contract.operators import Operators
from quire.papers.two_plus_two import (
    Lesson,
    StackedLinear,
    count_weights,
    list_cells,
    make_lesson,
    measure_losses,
    only,
    stack_mlp,
    take_member,
    teach,
    witnesses,
)

PAIRS = list_cells()
LEARNED = [name for name, w in witnesses().items() if isinstance(w.swear_in(1), nn.Module)]


@pytest.mark.parametrize("shape", [(7, 4), (3, 7, 4), (3, 2, 5, 4)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_stack_is_its_linear_layers(shape, bias):
    layer = StackedLinear(3, 4, outputs=2, bias=bias).double()
    x = torch.randn(*shape, dtype=torch.float64, requires_grad=True)
    found = layer(x)
    for member in range(3):
        alone = nn.Linear(4, 2, bias=bias).double()
        alone.weight.data = layer.weight[member].T.detach()
        if bias:
            alone.bias.data = layer.bias[member, 0].detach()
        own = x if len(shape) == 2 else x[member]
        torch.testing.assert_close(found[member], alone(own))
        (gradient,) = torch.autograd.grad(found[member].sin().sum(), layer.weight,
                                          retain_graph=True)  # fmt: skip
        (expected,) = torch.autograd.grad(alone(own).sin().sum(), alone.weight)
        torch.testing.assert_close(gradient[member], expected.T)
        assert gradient.abs().sum() == gradient[member].abs().sum()


def test_first_weights_are_those_of_linear_layers():
    layer = StackedLinear(50, 16, outputs=8, generator=torch.Generator().manual_seed(0))
    for drawn in (layer.weight.detach(), layer.bias.detach()):
        assert drawn.abs().max() <= 0.25
        assert float(drawn.std()) == pytest.approx(0.25 / 3**0.5, rel=0.1)
    again = StackedLinear(50, 16, outputs=8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(layer.weight, again.weight)
    assert len({float(w.detach().sum()) for w in layer.weight}) == 50


@pytest.mark.parametrize("name", LEARNED)
def test_a_panel_learns_what_its_members_learn_alone(name):
    """One optimiser over the panel is an optimiser for each member: updates do not mix."""
    net = witnesses()[name].swear_in(3, generator=torch.Generator().manual_seed(1)).double()
    shown = torch.rand(3, 100, generator=torch.Generator().manual_seed(2)) < 0.8
    lesson = make_lesson(shown & ~only(2, 2)(PAIRS), PAIRS)
    lesson = Lesson(lesson.pairs, lesson.sums, lesson.weight.double())
    alone = [take_member(net, member) for member in range(3)]
    losses = teach(net, lesson, steps=4, weight_decay=0.1)
    for member, each in enumerate(alone):
        own = Lesson(*(part[member : member + 1] for part in
                       (lesson.pairs, lesson.sums, lesson.weight)))  # fmt: skip
        loss = teach(each, own, steps=4, weight_decay=0.1)
        torch.testing.assert_close(losses[member : member + 1], loss, rtol=1e-8, atol=1e-10)
        for a, b in zip(net.parameters(), each.parameters(), strict=True):
            torch.testing.assert_close(a[member], b[0], rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", LEARNED)
def test_answers_to_a_members_own_pairs_are_those_to_shared_ones(name):
    net = witnesses()[name].swear_in(3)
    own = PAIRS[torch.tensor([[22, 5], [99, 0], [41, 14]])]
    with torch.no_grad():
        shared = torch.stack([net(own[member])[member] for member in range(3)])
        torch.testing.assert_close(net(own), shared)


@pytest.mark.parametrize("name", LEARNED)
def test_operators_do_not_grow_with_the_members_and_nothing_is_read(name):
    numbers = []
    for members in (1, 100):
        net = witnesses()[name].swear_in(members).to("meta")
        shown = ~only(2, 2)(PAIRS).expand(members, -1)
        lesson = make_lesson(shown, PAIRS).to(torch.device("meta"))
        with Operators() as watched:
            measure_losses(net, lesson).sum().backward()
        assert watched.waits == 0
        numbers.append(watched.number)
    assert numbers[0] == numbers[1]


def test_witnesses_are_small_and_so_is_the_count():
    assert count_weights(stack_mlp(7, [2, 64, 64, 1])) == 2 * 64 + 64 + 64 * 64 + 64 + 64 + 1
    counts = {name: count_weights(witnesses()[name].swear_in(2)) for name in LEARNED}
    assert max(counts.values()) < 30_000
    assert counts["nac"] == 12


def test_refusals():
    with pytest.raises(ValueError, match="at least 1, got 0, 4 and 1"):
        StackedLinear(0, 4)
    with pytest.raises(ValueError, match="begin with 3 members, got"):
        StackedLinear(3, 4)(torch.zeros(2, 5, 4))
    with pytest.raises(ValueError, match="sizes must be"):
        stack_mlp(3, [4])
    with pytest.raises(ValueError, match="index must be 0 to 2, got 3"):
        take_member(stack_mlp(3, [2, 1]), 3)
