"""Networks: published sizes, maxout by a loop, starts, norms."""

import pytest
import torch
from torch import nn

from quire.papers.gan import (
    ConvolutionalDiscriminator,
    DenseGenerator,
    Maxout,
    MaxoutConvolution,
    MaxoutDiscriminator,
    cifar10_convolutional_networks,
    cifar10_networks,
    face_networks,
    limit_column_norms,
    mnist_networks,
    start_at_marginals,
)


@pytest.mark.parametrize(
    ("make", "counts", "shape"),
    [
        (mnist_networks, (2_503_984, 1_231_441), (1, 28, 28)),
        (face_networks, (84_858_404, 21_037_201), (1, 48, 48)),
        (cifar10_networks, (89_395_072, 37_393_601), (3, 32, 32)),
        (cifar10_convolutional_networks, (64_825_072, 12_454_073), (3, 32, 32)),
    ],
)
def test_sizes_of_the_paper(make, counts, shape):
    with torch.device("meta"):
        networks = make()
        samples = networks[0](torch.empty(2, 100))
    assert samples.shape == (2, *shape)
    assert networks[1](samples).shape == (2,)
    assert tuple(sum(w.numel() for w in net.parameters()) for net in networks) == counts


def test_maxout_is_the_largest_piece_of_each_unit():
    torch.manual_seed(0)
    maxout, x = Maxout(4, 3, pieces=5), torch.randn(7, 4)
    weight, bias = maxout.linear.weight.view(3, 5, 4), maxout.linear.bias.view(3, 5)
    expected = torch.stack(
        [
            torch.stack([(x @ weight[u, j]) + bias[u, j] for j in range(5)]).amax(0)
            for u in range(3)
        ],
        1,
    )
    torch.testing.assert_close(maxout(x), expected)


def test_maxout_convolution_pools_up():
    torch.manual_seed(0)
    layer = MaxoutConvolution(2, 3, kernel=3, padding=1, pool=2)
    x = torch.randn(1, 2, 5, 5)
    pieces = layer.convolution(x).view(1, 3, 2, 5, 5).amax(2)
    found = layer(x)
    assert found.shape == (1, 3, 3, 3)
    torch.testing.assert_close(found[..., 0, 0], pieces[..., :2, :2].amax((-1, -2)))
    torch.testing.assert_close(found[..., 2, 2], pieces[..., 4, 4])


def test_dropout_keeps_the_expectation_of_the_input():
    torch.manual_seed(0)
    net = MaxoutDiscriminator(4, 8)
    dropped = net.hidden[1](torch.ones(100_000, 4))
    assert float(dropped.mean()) == pytest.approx(1, abs=0.01)
    assert sorted(dropped.unique().tolist()) == [0, 1.25]


def test_first_samples_are_near_the_mean_image():
    torch.manual_seed(0)
    images = torch.rand(50, 1, 8, 8) ** 3
    images[:, :, 0] = 0
    net = DenseGenerator(20, (64, 64), (1, 8, 8))
    start_at_marginals(net, images)
    found = net(torch.randn(200, 20)).mean(0).detach()
    assert float((found - images.mean(0)).abs().max()) < 0.05


def test_column_norms_are_limited_and_small_ones_stay():
    net = nn.Linear(6, 2)
    with torch.no_grad():
        net.weight[0] = 3.0
        net.weight[1] = 0.1
    limit_column_norms(net)
    assert float(net.weight[0].detach().norm()) == pytest.approx(1.9365, rel=1e-4)
    assert float(net.weight[1].detach().norm()) == pytest.approx(0.1 * 6**0.5)


def test_what_does_not_fit_is_refused():
    net = DenseGenerator(4, (8,), (1, 4, 4))
    for call, said in (
        (lambda: start_at_marginals(net, torch.zeros(3, 1, 5, 5)), r"images must be \(N, 1, 4, 4"),
        (lambda: start_at_marginals(net, torch.full((3, 1, 4, 4), 2.0)), "values outside"),
        (lambda: limit_column_norms(net, 0.0), "must be positive"),
        (lambda: DenseGenerator(4, (8, 8), (2,), activations=[torch.relu]), "got 1"),
    ):
        with pytest.raises(ValueError, match=said):
            call()
    half = ConvolutionalDiscriminator(width=0.125).bfloat16()
    assert half(torch.zeros(1, 3, 32, 32, dtype=torch.bfloat16)).dtype == torch.bfloat16
