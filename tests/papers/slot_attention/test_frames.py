"""Slots with frames: nothing but the frames changes where places are moved or scaled."""

import pytest
import torch
from torch import nn

from quire.papers.slot_attention import (
    FrameDecoder,
    ImageEncoder,
    InvariantSlotAttention,
    SlotAutoencoder,
)
from quire.papers.slot_attention.frames import make_grid


def prepared():
    torch.manual_seed(0)
    module = InvariantSlotAttention(3, 8, input_dim=6, hidden=10).double()
    inputs = torch.randn(2, 25, 6, dtype=torch.float64)
    state = torch.randn(2, 3, 8, dtype=torch.float64)
    position = 2 * torch.rand(2, 3, 2, dtype=torch.float64) - 1
    scale = 0.1 + torch.rand(2, 3, 2, dtype=torch.float64)
    return module, inputs, (state, position, scale)


def test_moved_and_scaled_places_move_and_scale_the_frames():
    module, inputs, (state, position, scale) = prepared()
    grid = make_grid(5, inputs)
    slots, attention = module._attend(inputs, grid, (state, position, scale), 3)
    shift, factor = torch.tensor([0.2, -0.1]).double(), torch.tensor([0.5, 0.8]).double()
    moved, routed = module._attend(
        inputs, factor * grid + shift, (state, factor * position + shift, factor * scale), 3
    )
    torch.testing.assert_close(routed, attention)
    torch.testing.assert_close(moved[..., :8], slots[..., :8])
    torch.testing.assert_close(moved[..., 8:10], factor * slots[..., 8:10] + shift)
    torch.testing.assert_close(moved[..., 10:], factor * slots[..., 10:])
    # They are seen: with other frames slots differ.
    other, _ = module._attend(inputs, grid, (state, -position, scale), 3)
    assert (other[..., :8] - slots[..., :8]).abs().max() > 1e-3


def test_a_single_slot_has_the_frame_of_the_whole_image():
    module, inputs, (state, position, scale) = prepared()
    grid = make_grid(5, inputs)
    slots, attention = module._attend(
        inputs, grid, (state[:, :1], position[:, :1], scale[:, :1]), 0
    )
    assert torch.equal(slots[..., :8], state[:, :1])
    assert torch.equal(attention, torch.ones(2, 1, 25).double())
    torch.testing.assert_close(slots[..., 8:10], torch.zeros(2, 1, 2).double())
    deviation = grid.square().mean(0).sqrt().expand(2, 1, 2)
    torch.testing.assert_close(slots[..., 10:], deviation)


def test_a_round_is_that_of_loops():
    module, inputs, (state, position, scale) = prepared()
    grid, core = make_grid(5, inputs), module.core
    x = core.norm_inputs(inputs)
    keys, values = core.key(x), core.value(x)
    logits, seen = torch.zeros(2, 3, 25).double(), torch.zeros(2, 3, 25, 8).double()
    for b in range(2):
        for k in range(3):
            query = core.query(core.norm_slots(state[b, k])) / 8**0.5
            for n in range(25):
                place = module.place((grid[n] - position[b, k]) / (5 * scale[b, k]))
                logits[b, k, n] = query @ module.mix(keys[b, n] + place)
                seen[b, k, n] = module.mix(values[b, n] + place)
    attention = logits.softmax(1)
    weights = attention / attention.sum(2, keepdim=True)
    expected = core.renew((weights[..., None] * seen).sum(2), state)
    slots, _ = module._attend(inputs, grid, (state, position, scale), 1)
    torch.testing.assert_close(slots[..., :8], expected, atol=1e-6, rtol=1e-6)
    mean = (weights[..., None] * grid).sum(2)
    frames, _ = module._attend(inputs, grid, (state, position, scale), 0)
    torch.testing.assert_close(frames[..., 8:10], mean, atol=1e-6, rtol=1e-6)


def test_a_slot_that_is_moved_by_a_pixel_draws_the_same_a_pixel_further():
    torch.manual_seed(0)
    decoder, slots = FrameDecoder(8, 6).double(), torch.rand(1, 2, 12).double()
    moved = slots.clone()
    moved[..., 8] += 2 / 5  # six places from -1 to 1
    drawn = decoder(slots)
    torch.testing.assert_close(decoder(moved)[..., 1:, :], drawn[..., :-1, :])


def test_the_autoencoder_takes_them():
    encoder = ImageEncoder(8, layers=1, kernel=3, positions=nn.Identity())
    net = SlotAutoencoder(encoder, InvariantSlotAttention(3, 8), FrameDecoder(8, 6))
    found = net(torch.randn(2, 3, 6, 6), 4, rounds=1)
    assert found.masks.shape == (2, 4, 6, 6)
    assert found.slots.shape == (2, 4, 12)
    found.image.square().mean().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


def test_one_place_has_finite_gradients():
    module = InvariantSlotAttention(2, 4)
    inputs = torch.randn(1, 1, 4, requires_grad=True)
    module(inputs)[0].sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in module.parameters())
    assert inputs.grad.isfinite().all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda module: module(torch.zeros(2, 8, 4)), "of a square grid"),
        (lambda module: module(torch.zeros(2, 9, 5)), r"inputs must be \(B, N, 4\)"),
        (lambda module: module(torch.zeros(2, 9)), "of a square grid"),
        (lambda module: module(torch.zeros(2, 9, 4), 0), "slots must be at least 1"),
        (lambda module: module(torch.zeros(2, 9, 4), rounds=-1), "rounds 0"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call(InvariantSlotAttention(2, 4))
