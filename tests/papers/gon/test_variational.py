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
