"""Convolutional networks: pooling by hand, DCGAN's shapes, sizes, first weights, statistics."""

import pytest
import torch
from torch import nn

from quire.papers.gan import (
    GAN,
    Conditional,
    ConvolutionalDiscriminator,
    DCGANDiscriminator,
    DCGANGenerator,
    MaxoutConvolution,
)


def test_maxout_convolution_pools_up():
    torch.manual_seed(0)
    layer = MaxoutConvolution(2, 3, kernel=3, padding=1, pool=2)
    x = torch.randn(1, 2, 5, 5)
    pieces = layer.convolution(x).view(1, 3, 2, 5, 5).amax(2)
    found = layer(x)
    assert found.shape == (1, 3, 3, 3)
    torch.testing.assert_close(found[..., 0, 0], pieces[..., :2, :2].amax((-1, -2)))
    torch.testing.assert_close(found[..., 2, 2], pieces[..., 4, 4])


def test_half_precision_stays():
    half = ConvolutionalDiscriminator(width=0.125).bfloat16()
    assert half(torch.zeros(1, 3, 32, 32, dtype=torch.bfloat16)).dtype == torch.bfloat16


def count(net):
    return sum(weight.numel() for weight in net.parameters())


def test_sizes_of_the_paper_s_figure():
    """1024 maps of 4 x 4, then 512, 256, 128, and 3 of 64 x 64; kernels of 5."""
    with torch.device("meta"):
        generator = DCGANGenerator(100, (3, 64, 64), maps=128)
        discriminator = DCGANDiscriminator((3, 64, 64), maps=128)
    widths = (1024, 512, 256, 128)
    kernels = 25 * (1024 * 512 + 512 * 256 + 256 * 128)
    normalised = 2 * sum(widths)
    assert count(generator) == 100 * 1024 * 16 + kernels + normalised + 25 * 128 * 3 + 3
    normalised -= 2 * 128
    expected = 25 * 3 * 128 + 128 + kernels + normalised + 1024 * 16 + 1
    assert count(discriminator) == expected


@pytest.mark.parametrize(("size", "side"), [(8, 4), (28, 7), (32, 4), (48, 6), (64, 4)])
def test_maps_double_to_the_size_of_the_images(size, side):
    with torch.device("meta"):
        generator = DCGANGenerator(5, (2, size, size), maps=1)
        samples = generator(torch.empty(3, 5))
        logits = DCGANDiscriminator((2, size, size), maps=1)(samples)
    assert generator.side == side
    assert (samples.shape, logits.shape) == ((3, 2, size, size), (3,))


def test_first_weights_and_where_normalisation_stands():
    torch.manual_seed(0)
    generator, discriminator = DCGANGenerator(50, (1, 28, 28)), DCGANDiscriminator((1, 28, 28))
    for net in (generator, discriminator):
        large = [w.detach() for w in net.parameters() if w.ndim > 1 and w.numel() > 10_000]
        assert large
        for weight in large:
            assert float(weight.std()) == pytest.approx(0.02, rel=0.05)
            assert float(weight.mean()) == pytest.approx(0, abs=0.001)
    slopes = {part.negative_slope for part in discriminator.modules()
              if isinstance(part, nn.LeakyReLU)}  # fmt: skip
    assert slopes == {0.2}
    assert isinstance(discriminator.layers[1], nn.LeakyReLU)  # none after the images
    assert isinstance(generator.layers[-1], nn.ConvTranspose2d)  # none before the samples
    samples = generator(torch.randn(4, 50))
    assert (samples.abs() <= 1).all()


def test_data_and_samples_are_normalised_apart():
    torch.manual_seed(0)
    discriminator = DCGANDiscriminator((1, 8, 8), maps=2)
    # Normalisation stands in the second layer, which images of 8 x 8 do not have.
    gan = GAN(DCGANGenerator(3, (1, 16, 16), maps=2), DCGANDiscriminator((1, 16, 16), maps=2),
              apart=True)  # fmt: skip
    assert not any(isinstance(part, nn.BatchNorm2d) for part in discriminator.modules())
    real, noise = torch.rand(6, 1, 16, 16) + 3, torch.randn(6, 3)
    with torch.no_grad():
        fake = gan(noise)
        expected = nn.functional.softplus(-gan.discriminator(real)).mean()
        expected += nn.functional.softplus(gan.discriminator(fake)).mean()
        found = gan.discriminator_loss(real, noise)
        gan.apart = False
        mixed = gan.discriminator_loss(real, noise)
    torch.testing.assert_close(found, expected)
    assert float((mixed - expected).abs()) > 1e-4


def test_in_evaluation_a_sample_is_of_its_own_noise():
    torch.manual_seed(0)
    net, noise = DCGANGenerator(3, (1, 8, 8), maps=2), torch.randn(5, 3)
    with torch.no_grad():
        assert not torch.allclose(net(noise)[:2], net(noise[:2]))
        net.eval()
        torch.testing.assert_close(net(noise)[:2], net(noise[:2]))


def test_a_conditional_pair_learns_from_images():
    torch.manual_seed(0)
    gan = GAN(
        Conditional(DCGANGenerator(3 + 2, (1, 8, 8), maps=2), 2),
        Conditional(DCGANDiscriminator((1 + 2, 8, 8), maps=2), 2, maps=True),
        apart=True,
    )
    told = gan.given(torch.tensor([0, 1, 1]))
    loss = told.generator_loss(torch.randn(3, 3))
    slopes = torch.autograd.grad(loss, list(gan.generator.parameters()))
    assert all(slope.isfinite().all() for slope in slopes)
    assert told.discriminator_loss(torch.rand(3, 1, 8, 8), torch.randn(3, 3)).isfinite()


@pytest.mark.parametrize("shape", [(1, 7, 7), (1, 36, 36), (1, 28, 32), (28, 28)])
def test_other_shapes_are_refused(shape):
    for make in (lambda: DCGANGenerator(3, shape), lambda: DCGANDiscriminator(shape)):
        with pytest.raises(ValueError, match="4 to 7 times a power of 2"):
            make()
