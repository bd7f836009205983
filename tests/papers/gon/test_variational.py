"""The variational GON and the VAE: divergence, bound by brute force, what the inner pass sees."""

import math

import pytest
import torch
from torch import nn

from quire.papers.gon import (
    DenseDecoder,
    DenseEncoder,
    VariationalAutoencoder,
    VariationalGON,
    kl_to_standard,
    sum_cross_entropy,
    sum_discretised_logistic,
    to_bits_per_dimension,
)


def make() -> VariationalGON:
    torch.manual_seed(0)
    return VariationalGON(DenseDecoder(3, (5,), hidden=(6,), logits=True))


def test_the_divergence_is_torchs() -> None:
    mean, log_variance = torch.randn(2, 4, 3)
    posterior = torch.distributions.Normal(mean, (log_variance / 2).exp())
    standard = torch.distributions.Normal(torch.zeros(4, 3), torch.ones(4, 3))
    wanted = torch.distributions.kl_divergence(posterior, standard).sum(-1)
    torch.testing.assert_close(kl_to_standard(mean, log_variance), wanted)


def test_the_inner_pass_starts_from_the_biases() -> None:
    net, x = make().eval(), torch.rand(4, 5).round()
    u = torch.zeros(4, 3, requires_grad=True)
    mean, log_variance = net.mean(u), net.log_variance(u)
    loss = sum_cross_entropy(net.decoder(mean), x) + kl_to_standard(mean, log_variance)
    (slope,) = torch.autograd.grad(loss.sum(), u)
    torch.testing.assert_close(net.encode(x), -slope)
    torch.testing.assert_close(net(x).mean, net.mean(-slope))


def test_without_its_maps_every_posterior_is_the_biases() -> None:
    net, x = make(), torch.rand(4, 5).round()
    with torch.no_grad():
        net.mean.weight.zero_()
        net.log_variance.weight.zero_()
    posterior = net.eval()(x)
    torch.testing.assert_close(posterior.mean, net.mean.bias.expand(4, 3))
    torch.testing.assert_close(posterior.log_variance, net.log_variance.bias.expand(4, 3))


@pytest.mark.parametrize("kind", ["gon", "autoencoder"])
def test_a_bound_is_no_lower_than_the_evidence(kind: str) -> None:
    net: VariationalGON | VariationalAutoencoder = make()
    if kind == "autoencoder":
        net = VariationalAutoencoder(DenseEncoder(6, (5,), hidden=(4,)), net.decoder)
    net.eval()
    torch.manual_seed(1)
    x = torch.rand(3, 5).round()
    with torch.no_grad():
        bound = net.bound(x, draws=3000)
        z = torch.randn(60_000, 3)
        likelihood = torch.stack(
            [-sum_cross_entropy(net.decoder(z), row.expand(len(z), 5)) for row in x]
        )
        evidence = -(likelihood.logsumexp(1) - math.log(len(z)))
    assert (bound > evidence - 0.02).all()
    assert (bound < evidence + 20).all()


def test_noise_is_drawn_in_training_and_in_every_bound() -> None:
    net, x = make(), torch.rand(4, 5).round()
    assert not torch.equal(net.encode(x), net.encode(x))
    net.eval()
    assert torch.equal(net(x).reconstruction, net(x).reconstruction)
    assert not torch.equal(net.bound(x), net.bound(x))
    assert net.sample(7).shape == (7, 5)


def test_training_lowers_the_bound() -> None:
    net = make()
    torch.manual_seed(0)
    x = (torch.rand(64, 1) > 0.5).float().expand(64, 5)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(300):
        optimizer.zero_grad()
        net.bound(x).mean().backward()
        optimizer.step()
    # One bit a picture is all there is; independent pixels would need five.
    assert net.eval().bound(x, draws=20).mean().item() < 2.5 * math.log(2)


def test_bits_and_refusals() -> None:
    nats = torch.tensor([math.log(2) * 8])
    torch.testing.assert_close(to_bits_per_dimension(nats, 8), torch.ones(1))
    with pytest.raises(ValueError, match="dimensions must be at least 1"):
        to_bits_per_dimension(nats, 0)
    with pytest.raises(ValueError, match="draws must be at least 1"):
        make().bound(torch.rand(2, 5), draws=0)
    with pytest.raises(ValueError, match="latent must be a number of dimensions"):
        VariationalGON(nn.Linear(3, 5))


def test_a_discretised_logistic_is_a_distribution_over_levels() -> None:
    torch.manual_seed(0)
    levels = 16
    parameters = torch.randn(5, 2, 1).double()
    steps = torch.arange(levels).double() / (levels - 1)
    masses = torch.stack([
        (-sum_discretised_logistic(parameters, step.expand(5, 1, 1), levels=levels)).exp()
        for step in steps
    ])  # fmt: skip
    torch.testing.assert_close(masses.sum(0), torch.ones(5).double())
    mean, scale = parameters[:, 0, 0].sigmoid(), parameters[:, 1, 0].exp()
    edges = (steps[3] + torch.tensor([0.5, -0.5]).double() / (levels - 1))[:, None]
    upper, lower = torch.sigmoid((edges - mean) / scale)
    torch.testing.assert_close(masses[3], upper - lower)


def test_a_discretised_logistic_is_finite_and_twice_differentiable() -> None:
    sharp = torch.tensor([8.0, -50.0]).view(1, 2, 1)
    for value in (0.0, 0.5, 1.0):
        assert sum_discretised_logistic(sharp, torch.full((1, 1, 1), value)).isfinite().all()
    torch.manual_seed(0)
    decoder = DenseDecoder(3, (2, 2, 2), hidden=(6,), logits=True)
    net = VariationalGON(decoder, likelihood=sum_discretised_logistic, scale=0.01)
    net.bound((255 * torch.rand(4, 1, 2, 2)).round() / 255).mean().backward()
    assert all(p.grad.isfinite().all() for p in net.parameters())
    assert net.mean.weight.grad.abs().max() > 0
    with pytest.raises(ValueError, match="twice the channels"):
        sum_discretised_logistic(torch.zeros(2, 3, 4), torch.zeros(2, 3, 4))
    with pytest.raises(ValueError, match="levels must be at least 2"):
        sum_discretised_logistic(sharp, torch.zeros(1, 1, 1), levels=1)
