"""Alignment: by hand, of feedback that is the gradient, of rows without a signal."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from quire.papers.dfa import DirectFeedback, IndependentFeedback, alignment, mean_cosine


def test_it_is_the_mean_cosine_of_both_signals() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 7), nn.Tanh(), nn.Linear(7, 4))
    model, x, label = DirectFeedback(net, ["1", "3"]), torch.randn(9, 6), torch.randint(4, (9,))
    found = alignment(model, lambda: F.cross_entropy(model(x), label))
    h1 = net[:2](x).detach().requires_grad_()
    h2 = net[2:4](h1)
    out = net[4](h2)
    error, g1, g2 = torch.autograd.grad(F.cross_entropy(out, label), [out, h1, h2])
    for name, true, width in (("1", g1, 8), ("3", g2, 7)):
        signal = (error @ model.feedback.matrix)[:, :width]
        torch.testing.assert_close(found[name], F.cosine_similarity(signal, true, 1).mean())
    assert all(p.grad is None for p in net.parameters())


def test_feedback_that_is_the_gradient_is_aligned() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4)).double()
    model = DirectFeedback(net, ["1"], feedback=IndependentFeedback())
    x = torch.randn(9, 6, dtype=torch.float64)
    model.prepare(x)
    model.feedback.matrix = net[2].weight.detach().clone()
    for rule in ("direct", "backward", "shallow"):
        model.set_rule(rule)
        (cosine,) = alignment(model, lambda: model(x).square().sum()).values()
        assert cosine == pytest.approx(1)
        assert model.rule == rule


def test_rows_without_a_signal_are_left_out() -> None:
    a = torch.tensor([[1.0, 0.0], [0.0, 0.0], [1.0, 1.0], [1e-30, 0.0]])
    b = torch.tensor([[1.0, 1.0], [1.0, 0.0], [0.0, 0.0], [1e-30, 1e-30]])
    assert mean_cosine(a, b) == pytest.approx(0.5**0.5)  # tiny rows count, zero rows do not
    assert mean_cosine(0 * a, b).isnan()
    assert mean_cosine(a.bfloat16(), b.bfloat16()) == pytest.approx(0.5**0.5, abs=0.01)


def test_what_cannot_be_is_refused() -> None:
    net = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4))
    model, x = DirectFeedback(net, ["1"]), torch.randn(9, 6)
    with pytest.raises(ValueError, match=r"loss\(\) does not call the model"):
        alignment(model, lambda: net(x).sum())
    with pytest.raises(ValueError, match="the model was called twice"):
        alignment(model, lambda: (model(x) + model(x)).sum())
    model(x).sum().backward()  # nothing is left recording
    assert net[0].weight.grad is not None
