"""The closed form: each rule against a loop over layers, and back-propagation against autograd."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from quire.papers.dfa import (
    LINEAR,
    RELU,
    SIGMOID,
    TANH,
    DirectSignals,
    FixedChain,
    HadamardFeedback,
    IndirectSignals,
    Perceptron,
    backpropagate,
    cross_entropy_error,
    freeze,
)


def case(widths=(6, 8, 8, 8, 4), **options):
    torch.manual_seed(0)
    net = Perceptron(widths, **options).double()
    x = torch.randn(9, widths[0], dtype=torch.float64)
    return net, x, torch.randint(widths[-1], (9,))


def slopes(net, x):
    *hidden, _ = net.pass_through(x)
    return [net.activation.slope(h).detach().numpy() for h in hidden]


def found(net, x, label, rule):
    net.write_gradients(x, cross_entropy_error(label), rule)
    return [None if p.grad is None else p.grad.numpy() for p in net.parameters()]


@pytest.mark.parametrize("activation", [TANH, RELU, SIGMOID, LINEAR])
@pytest.mark.parametrize("widths", [(6, 8, 4), (6, 8, 7, 4), (6, 8, 8, 8, 4)])
def test_back_propagation_is_autograds(activation, widths) -> None:
    for bias in (True, False):
        net, x, label = case(widths, activation=activation, bias=bias)
        F.cross_entropy(net(x), label).backward()
        wanted = [p.grad.numpy() for p in net.parameters()]
        for mine, its in zip(found(net, x, label, backpropagate), wanted, strict=True):
            np.testing.assert_allclose(mine, its, atol=1e-15)


def signals(net, x, label, rule):
    *hidden, logits = net.pass_through(x)
    error = cross_entropy_error(label)(logits.detach().clone())
    return error.numpy(), [d.detach().numpy() for d in rule(net, error, hidden)]


def test_direct_feedback_is_the_formula() -> None:
    net, x, label = case()
    rule = DirectSignals(net, seed=2)
    error, sent = signals(net, x, label, rule)
    matrices = rule.feedback.matrix.numpy().reshape(4, 3, 8)
    for layer, slope in enumerate(slopes(net, x)):
        np.testing.assert_allclose(sent[layer], (error @ matrices[:, layer]) * slope, atol=1e-15)
    structured = DirectSignals(net, feedback=HadamardFeedback(), seed=2)
    assert [d.shape for d in signals(net, x, label, structured)[1]] == [(9, 8)] * 3


def test_chained_feedback_goes_down() -> None:
    net, x, label = case()
    rule = FixedChain(net, seed=2)
    error, sent = signals(net, x, label, rule)
    wanted = error
    for layer in (2, 1, 0):
        wanted = (wanted @ rule.matrices[layer].numpy()) * slopes(net, x)[layer]
        np.testing.assert_allclose(sent[layer], wanted, atol=1e-15)


def test_indirect_feedback_goes_up() -> None:
    net, x, label = case()
    rule = IndirectSignals(net, seed=2)
    error, sent = signals(net, x, label, rule)
    wanted = (error @ rule.feedback.matrix.numpy()) * slopes(net, x)[0]
    np.testing.assert_allclose(sent[0], wanted, atol=1e-15)
    for layer in (1, 2):
        weight = net.layers[layer].weight.detach().numpy()
        wanted = (wanted @ weight.T) * slopes(net, x)[layer]
        np.testing.assert_allclose(sent[layer], wanted, atol=1e-15)


def test_frozen_layers_get_nothing() -> None:
    net, x, label = case()
    mine = found(net, x, label, freeze)
    assert [g is None for g in mine] == [True] * 6 + [False] * 2
    assert all(g is not None for g in found(net, x, label, backpropagate))
    assert [g is None for g in found(net, x, label, freeze)] == [True] * 6 + [False] * 2


def test_from_zero_feedback_starts_and_learns() -> None:
    net, x, label = case(initialize=nn.init.zeros_)
    assert all(not g.any() for g in found(net, x, label, backpropagate)[:-1])
    rule = DirectSignals(net)
    optimizer = torch.optim.RMSprop(net.parameters(), lr=0.01)
    for _ in range(300):
        logits = net.write_gradients(x, cross_entropy_error(label), rule)
        optimizer.step()
    assert (logits.argmax(1) == label).all()


def test_what_cannot_be_is_refused() -> None:
    for widths in ((6, 4), (6, 0, 4)):
        with pytest.raises(ValueError, match="widths need inputs, hidden layers and outputs"):
            Perceptron(widths)
