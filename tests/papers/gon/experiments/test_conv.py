"""The convolutional experiment: every method stands around the same decoder."""

import pytest
import torch

from quire.papers.gon import LearnedLatents, count_parameters
from quire.papers.gon.experiments.conv import Convolutional, make_net
from quire.papers.gon.experiments.pictures import Pictures


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_every_method_has_the_same_decoder(norm: str) -> None:
    x, none = torch.rand(6, 3, 32, 32), torch.zeros(6, dtype=torch.long)
    pictures = Pictures(x, x, none, none)
    sizes = {}
    for method in ("gon", "autoencoder", "tied", "learned"):
        config = Convolutional.build({"method": method, "norm": norm, "width": 4, "latent": 5})
        net = make_net(config, pictures)
        sizes[method] = count_parameters(net)
        assert count_parameters(net.decoder) == sizes["gon"]
        batch = (torch.arange(6), x) if isinstance(net, LearnedLatents) else (x,)
        losses = net.measure_loss(*batch)
        assert losses.shape == (6,)
        losses.mean().backward()
        assert all(p.grad is not None for p in net.parameters())
    assert sizes["learned"] == sizes["gon"] + 6 * 5
    assert sizes["gon"] < sizes["tied"] < sizes["autoencoder"]
