"""Encoder and decoders against TensorFlow's rules, counts, and what masks must be."""

import pytest
import torch
from torch.nn.functional import conv2d, pad

from quire.papers.slot_attention import (
    BroadcastDecoder,
    ImageEncoder,
    PixelDecoder,
    SetPredictor,
    SlotAttention,
    SlotAutoencoder,
    SlotMLP,
    SoftPositions,
)


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_numbers_of_parameters():
    assert count(SlotAttention()) == 54_336
    discovery = SlotAutoencoder(ImageEncoder(), SlotAttention(), BroadcastDecoder())
    assert count(discovery) == 890_308
    assert count(SetPredictor(ImageEncoder(), SlotAttention(10))) == 380_755


def test_a_transposed_convolution_is_the_adjoint_of_a_convolution_padded_as_same():
    layer = BroadcastDecoder(3, 2, start=4, doublings=1).double().layers
    up, cut = layer[0], layer[1]
    with torch.no_grad():
        up.bias.zero_()
    small = torch.randn(1, 3, 4, 4, dtype=torch.float64)
    large = torch.randn(1, 2, 8, 8, dtype=torch.float64)
    down = conv2d(pad(large, (1, 2, 1, 2)), up.weight, stride=2)
    torch.testing.assert_close((cut(up(small)) * large).sum(), (small * down).sum())


def test_a_pixels_decoder_is_the_network_at_every_pixel():
    decoder = PixelDecoder(5, 4, hidden=6, layers=2)
    slots = torch.randn(2, 3, 5)
    found = decoder(slots)
    y, x = 1 / 3, 2 / 3
    ramps = torch.tensor([y, x, 1 - y, 1 - x])
    first = decoder.slot(slots[1, 2]) + decoder.positions.project(ramps)
    torch.testing.assert_close(found[1, 2, :, 1, 2], decoder.rest(first))


def test_positions_span_the_grid_with_both_ends():
    positions = SoftPositions(4)
    with torch.no_grad():
        positions.project.weight.copy_(torch.eye(4))
        positions.project.bias.zero_()
    added = positions(torch.zeros(1, 3, 5, 4))[0]
    assert added[0, 0].tolist() == [0, 0, 1, 1]
    assert added[2, 4].tolist() == [1, 1, 0, 0]
    assert added[1, 1].tolist() == [0.5, 0.25, 0.5, 0.75]


@pytest.mark.parametrize(("size", "side"), [(8, 4), (9, 5)])
def test_a_stride_halves_the_side_rounded_up(size, side):
    encoder = ImageEncoder(4, layers=2, kernel=3, strides=[1, 2])
    assert encoder(torch.zeros(2, 3, size, size)).shape == (2, side * side, 4)


def test_an_image_is_the_sum_of_its_pictures():
    net = SlotAutoencoder(
        ImageEncoder(8, layers=1, kernel=3), SlotAttention(3, 8), PixelDecoder(8, 6)
    )
    found = net(torch.randn(2, 3, 6, 6))
    torch.testing.assert_close(found.masks.sum(1), torch.ones(2, 6, 6))
    total = sum(found.masks[:, k, None] * found.pictures[:, k] for k in range(3))
    torch.testing.assert_close(found.image, total)
    assert found.attention.shape == (2, 3, 36)
    assert net(torch.randn(2, 3, 6, 6), 5, rounds=1).masks.shape == (2, 5, 6, 6)


def test_the_baseline_refuses_other_sizes():
    baseline = SlotMLP(9, 4, slots=3, dim=5, hidden=7)
    for inputs, slots in ((torch.zeros(2, 8, 4), None), (torch.zeros(2, 9, 4), 4)):
        with pytest.raises(ValueError, match="inputs must be"):
            baseline(inputs, slots)
    with pytest.raises(ValueError, match="kernel must be odd"):
        ImageEncoder(kernel=4)
    with pytest.raises(ValueError, match="start must be"):
        BroadcastDecoder(start=0)
