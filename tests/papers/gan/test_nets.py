"""Networks: published sizes, maxout by a loop, starts, norms."""

import pytest
import torch
from torch import nn

from quire.nn import devices
from quire.papers.gan import (
    Conditional,
    DCGANDiscriminator,
    DenseGenerator,
    Maxout,
    MaxoutDiscriminator,
    MinibatchDiscrimination,
    cifar10_convolutional_networks,
    cifar10_networks,
    face_networks,
    limit_column_norms,
    mnist_networks,
    start_at_marginals,
    start_sparse,
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


def test_a_class_stands_beside_the_input():
    torch.manual_seed(0)
    x, labels = torch.randn(4, 1, 3, 3), torch.tensor([2, 0, 1, 2])
    codes = nn.functional.one_hot(labels, 3).float()
    net = nn.Linear(9 + 3, 2)
    expected = net(torch.cat([x.flatten(1), codes], 1))
    torch.testing.assert_close(Conditional(net, 3)(x, labels), expected)
    maps = torch.ones(4, 3, 8, 8) * codes[:, :, None, None]
    images = torch.randn(4, 1, 8, 8)
    net = DCGANDiscriminator((1 + 3, 8, 8), maps=2)
    expected = net(torch.cat([images, maps], 1))
    torch.testing.assert_close(Conditional(net, 3, maps=True)(images, labels), expected)


def test_minibatch_discrimination_pair_by_pair():
    torch.manual_seed(0)
    layer, x = MinibatchDiscrimination(4, kernels=3, dim=2), torch.randn(5, 4)
    m = layer.tensor(x).detach().view(5, 3, 2)
    near = torch.tensor(
        [
            [sum(float((-(m[i, k] - m[j, k]).abs().sum()).exp()) for j in range(5))
             for k in range(3)]
            for i in range(5)
        ]
    )  # fmt: skip
    torch.testing.assert_close(layer(x), torch.cat([x, near], 1))
    alike = layer(x[:1].expand(5, 4))
    torch.testing.assert_close(alike[:, 4:], torch.full((5, 3), 5.0))


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


def test_a_sparse_start_has_as_many_weights_into_each_unit():
    torch.manual_seed(0)
    layer = nn.Linear(300, 50)
    biases = layer.bias.detach().clone()
    start_sparse(layer, 20)
    assert ((layer.weight != 0).sum(1) == 20).all()
    drawn = layer.weight[layer.weight != 0].detach()
    assert float(drawn.std()) == pytest.approx(1, abs=0.1)
    assert (layer.weight != 0).any(0).float().mean() > 0.9  # other inputs for each unit
    assert torch.equal(layer.bias, biases)
    few = nn.Linear(3, 2)
    start_sparse(few)
    assert (few.weight != 0).all()


def test_faces_start_as_the_authors_do():
    generator, discriminator = face_networks(0.01)
    lower, upper = generator
    assert (lower.last.bias == -2).all()
    assert (upper.layers[1].bias == -2).all()
    assert (upper.layers[0].bias == 0).all()
    assert ((upper.last.weight != 0).sum(1) == 80).all()
    assert generator(torch.randn(2, 100)).shape == upper(torch.randn(2, 100)).shape
    assert discriminator.logit.in_features == 12


def test_values_are_looked_at_without_waiting_for_an_accelerator(monkeypatch):
    """There they are an assertion of the device, which a CPU raises at once."""
    monkeypatch.setattr(devices, "is_accelerator", lambda x: True)
    net = DenseGenerator(4, (8,), (1, 4, 4))
    start_at_marginals(net, torch.full((3, 1, 4, 4), 0.5))
    player, x = Conditional(nn.Linear(4 + 2, 1), 2), torch.zeros(1, 4)
    player(x, torch.tensor([1]))
    with pytest.raises(RuntimeError):
        start_at_marginals(net, torch.full((3, 1, 4, 4), 2.0))
    with pytest.raises(RuntimeError):
        player(x, torch.tensor([2]))


def test_what_does_not_fit_is_refused():
    net = DenseGenerator(4, (8,), (1, 4, 4))
    player, x = Conditional(nn.Linear(4 + 2, 1), 2), torch.zeros(3, 4)
    for call, said in (
        (lambda: start_at_marginals(net, torch.zeros(3, 1, 5, 5)), r"images must be \(N, 1, 4, 4"),
        (lambda: start_at_marginals(net, torch.full((3, 1, 4, 4), 2.0)), "values outside"),
        (lambda: limit_column_norms(net, 0.0), "must be positive"),
        (lambda: start_sparse(net.last, 0), "at least one weight"),
        (lambda: player(x, torch.tensor([0, 1])), "3 rows need as many labels"),
        (lambda: player(x, torch.zeros(3)), "whole numbers"),
        (lambda: player(x, torch.tensor([0, 1, 2])), "labels must be in 0..1, got 0..2"),
        (lambda: player(x, torch.tensor([0, -1, 1])), "labels must be in 0..1, got -1..1"),
        (lambda: DenseGenerator(4, (8, 8), (2,), activations=[torch.relu]), "got 1"),
    ):
        with pytest.raises(ValueError, match=said):
            call()
