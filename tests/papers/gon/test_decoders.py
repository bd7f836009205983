"""Convolutional nets: published sizes, what batch normalisation does to latents; the classifier."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from quire.papers.gon import (
    GON,
    ConvDecoder,
    ConvEncoder,
    OriginClassifier,
    VariationalGON,
    batch_norm,
    count_parameters,
    group_norm,
    origin,
    resize,
)


@pytest.mark.parametrize(
    "norm", [group_norm, batch_norm, nn.BatchNorm2d], ids=["group", "batch", "torch"]
)
def test_published_sizes(norm: object) -> None:
    make = lambda latent, width: ConvDecoder(latent, width=width, norm=norm)  # type: ignore[arg-type]
    assert count_parameters(make(32, 16)) == 74_321
    assert count_parameters(VariationalGON(make(48, 32))) == 268_033


def test_only_the_batchs_statistics_join_latents() -> None:
    torch.manual_seed(0)
    x = torch.rand(4, 1, 32, 32)
    other = torch.cat([x[:1], 1 - x[1:]])
    apart = GON(ConvDecoder(4, width=4)).eval()
    torch.testing.assert_close(apart.encode(x)[:1], apart.encode(other)[:1], rtol=1e-4, atol=1e-5)
    joined = GON(ConvDecoder(4, width=4, norm=batch_norm)).eval()
    assert (joined.encode(x)[0] - joined.encode(other)[0]).abs().max() > 1e-2


def test_the_release_is_a_scale_away() -> None:
    torch.manual_seed(0)
    net, x = ConvDecoder(4, width=4, norm=nn.BatchNorm2d), torch.rand(8, 1, 32, 32)
    zero = torch.zeros(8, 4, requires_grad=True)
    loss = (net(zero) - x).square().sum(1).mean()
    (slope,) = torch.autograd.grad(loss, zero)
    ours = origin(net, x, scale=1 / (8 * 32 * 32))
    torch.testing.assert_close(ours, -slope, rtol=1e-4, atol=1e-9)


def test_the_mirror_fits_and_says_what_does_not() -> None:
    encoder = ConvEncoder(5, width=4, channels=3)
    assert encoder(torch.rand(2, 3, 32, 32)).shape == (2, 5)
    with pytest.raises(ValueError, match=r"images must be \(B, C, 32, 32\)"):
        encoder(torch.rand(2, 3, 28, 28))
    assert resize(torch.rand(2, 1, 28, 28), 32).shape == (2, 1, 32, 32)


def test_a_classifier_learns_from_origin_gradients() -> None:
    torch.manual_seed(0)
    x = torch.rand(64, 6)
    label = (x[:, 0] > x[:, 1]).long()
    trunk = nn.Sequential(nn.Linear(3, 16), nn.SiLU())
    net = OriginClassifier(trunk, nn.Linear(16, 6), nn.Linear(16, 2), latent=3)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(150):
        optimizer.zero_grad()
        net.measure_loss(x, label, weight=0.1).mean().backward()
        optimizer.step()
    assert (net(x).argmax(1) == label).float().mean() > 0.9
    plain = net.measure_loss(x, label)
    torch.testing.assert_close(plain, F.cross_entropy(net(x), label, reduction="none"))
    drawing = net.measure_loss(x, label, weight=2.0) - plain
    torch.testing.assert_close(drawing, 2 * net.loss(net.decode(net.encode(x)), x))
    with pytest.raises(ValueError, match="latent must be at least 1"):
        OriginClassifier(trunk, nn.Linear(16, 6), nn.Linear(16, 2), latent=0)
