"""Feedback alignment: with the weights themselves it is back-propagation, else it is not."""

import pytest
import torch
from torch import nn

from quire.papers.dfa import FeedbackAlignment


def net_and_input():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.Tanh(),
        nn.Conv2d(4, 6, 3, stride=2, groups=2, bias=False), nn.Tanh(),
        nn.Flatten(), nn.Linear(54, 5), nn.Tanh(), nn.Linear(5, 3),
    ).double()  # fmt: skip
    return net, torch.randn(3, 2, 8, 8, dtype=torch.float64)


def gradients(net, out):
    net.zero_grad()
    out.square().sum().backward()
    return [p.grad.clone() for p in net.parameters()]


def test_with_the_weights_themselves_it_is_back_propagation() -> None:
    net, x = net_and_input()
    plain = gradients(net, net(x))
    model = FeedbackAlignment(net)
    assert model.layers == ("2", "5", "7")
    fixed = gradients(net, model(x))
    torch.testing.assert_close(fixed[-2:], plain[-2:])  # the last layer's own
    assert not torch.allclose(fixed[0], plain[0])
    for number, name in enumerate(model.layers):
        setattr(model, f"matrix_{number}", net.get_submodule(name).weight.detach().clone())
    for mine, its in zip(gradients(net, model(x)), plain, strict=True):
        torch.testing.assert_close(mine, its)
    for mine, its in zip(gradients(net, net(x)), plain, strict=True):
        assert torch.equal(mine, its)


def test_it_is_the_formula_and_follows_from_the_seed() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    x = torch.randn(5, 6, dtype=torch.float64)
    model = FeedbackAlignment(net, ["2"], seed=4)
    found = gradients(net, model(x))
    with torch.no_grad():
        h = net[:2](x)
        wanted = ((2 * net(x) @ model.matrix_0) * (1 - h**2)).T @ x
    torch.testing.assert_close(found[0], wanted)
    assert torch.equal(FeedbackAlignment(net, seed=4).matrix_0, model.matrix_0)
    other = FeedbackAlignment(nn.Sequential(*net), seed=9)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.matrix_0, model.matrix_0)


def test_what_cannot_be_is_refused() -> None:
    net, _ = net_and_input()
    for name in ("1", "9"):
        with pytest.raises(ValueError, match=f"'{name}' must be nn.Linear or nn.Conv2d"):
            FeedbackAlignment(net, [name])
    with pytest.raises(ValueError, match="padding of zeros"):
        FeedbackAlignment(nn.Sequential(nn.Conv2d(1, 1, 3, padding="same")), ["0"])
    with pytest.raises(ValueError, match="has no second linear or convolutional layer"):
        FeedbackAlignment(nn.Sequential(nn.Linear(2, 2)))
    model = FeedbackAlignment(nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 2)))
    loss = model(torch.ones(1, 2)).sin().sum()
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(loss, list(model.parameters()), create_graph=True)
