"""Radiance fields: rays, samples and integrals by hand."""

import math

import pytest
import torch

from quire.papers.dfa import (
    DirectFeedback,
    Field,
    Rays,
    cast_rays,
    render,
    sample_again,
    sample_depths,
    to_decibels,
    to_device_coordinates,
)
from quire.papers.dfa.scenes import encode


def rays(count=4):
    torch.manual_seed(0)
    return Rays(torch.zeros(count, 3), torch.tensor([0.0, 0.0, -1.0]).repeat(count, 1))


def test_encoding_doubles_its_frequencies() -> None:
    x = torch.rand(2, 3)
    found = encode(x, 2)
    assert found.shape == (2, 15)
    wanted = [x, x.sin(), x.cos(), (2 * x).sin(), (2 * x).cos()]
    torch.testing.assert_close(found, torch.cat(wanted, 1))


def test_rays_go_through_the_pixels() -> None:
    pose = torch.eye(4)
    pose[:3, 3] = torch.tensor([1.0, 2.0, 3.0])
    found = cast_rays(pose, 4, 6, 2.0)
    assert found.origin.shape == found.direction.shape == (24, 3)
    assert found.origin[7].tolist() == [1, 2, 3]
    assert found.direction[2 * 6 + 3].tolist() == [0, 0, -1]  # the middle
    assert found.direction[0].tolist() == [-1.5, 1, -1]  # top left
    turned = torch.tensor([[0.0, 0, 1, 0], [0, 1, 0, 0], [-1, 0, 0, 0], [0, 0, 0, 1]])
    assert cast_rays(turned, 4, 6, 2.0).direction[15].tolist() == [-1, 0, 0]


def test_device_coordinates_hold_all_that_is_in_front() -> None:
    given = cast_rays(torch.eye(4), 4, 6, 2.0)
    origin, direction = to_device_coordinates(given, 4, 6, 2.0)
    torch.testing.assert_close(origin[:, 2], torch.full((24,), -1.0))
    torch.testing.assert_close((origin + direction)[:, 2], torch.ones(24))  # infinity
    assert origin[:, :2].abs().max() <= 1
    # A point of the ray is the projection of a point of the world.
    world = given.origin + 3 * given.direction
    depth = -world[:, 2:]
    scale = torch.tensor([2 * 2.0 / 6, 2 * 2.0 / 4])
    wanted = torch.cat([scale * world[:, :2] / depth, 1 - 2 / depth], 1)
    share = 1 - 1 / depth
    torch.testing.assert_close(origin + share * direction, wanted)


def test_depths_are_in_order_and_in_their_pieces() -> None:
    middle = sample_depths(rays(), 2.0, 6.0, 4)
    assert middle[0].tolist() == [2.5, 3.5, 4.5, 5.5]
    generator = torch.Generator().manual_seed(0)
    found = sample_depths(rays(50), 2.0, 6.0, 4, generator=generator)
    assert ((found - torch.tensor([2.0, 3, 4, 5])) >= 0).all()
    assert ((found - torch.tensor([3.0, 4, 5, 6])) <= 0).all()


def test_further_depths_are_where_something_was() -> None:
    depth = torch.arange(10.0).repeat(3, 1)
    share = torch.zeros(3, 10)
    share[:, 6] = 1.0
    found = sample_again(depth, share, 20)
    assert found.shape == (3, 30)
    assert (found.diff(dim=1) >= 0).all()
    assert ((found > 5.4) & (found < 6.6)).sum(1).min() >= 20
    assert not found.requires_grad


def test_a_wall_shows_its_colour_and_nothing_shows_what_is_behind() -> None:
    depth = sample_depths(rays(), 2.0, 6.0, 8)

    def wall(point, direction):
        raw = torch.zeros(*point.shape[:-1], 4)
        raw[..., 0] = 10.0
        raw[..., 3] = torch.where(point[..., 2] < -4, 1e4, 0.0)
        return raw

    found = render(wall, rays(), depth)
    torch.testing.assert_close(found.colour[0], torch.tensor([1.0, 0.5, 0.5]), atol=1e-4, rtol=0)
    torch.testing.assert_close(found.share.sum(1), torch.ones(4))
    assert found.share.argmax(1).tolist() == [4] * 4
    empty = lambda point, direction: torch.zeros(*point.shape[:-1], 4) - 1
    torch.testing.assert_close(render(empty, rays(), depth).colour, torch.ones(4, 3))
    torch.testing.assert_close(render(empty, rays(), depth, white=False).colour, torch.zeros(4, 3))


def test_shares_are_those_of_the_sum() -> None:
    torch.manual_seed(0)
    depth, raw = sample_depths(rays(1), 2.0, 6.0, 5), torch.randn(1, 5, 4)
    found = render(lambda point, direction: raw, rays(1), depth, white=False)
    clear, colour = 1.0, torch.zeros(3)
    for place in range(5):
        length = 0.8 if place < 4 else 1e10
        opaque = 1 - math.exp(-max(float(raw[0, place, 3]), 0) * length)
        colour += clear * opaque * raw[0, place, :3].sigmoid()
        clear *= 1 - opaque
    torch.testing.assert_close(found.colour[0], colour, atol=1e-5, rtol=0)
    noisy = render(lambda point, direction: raw, rays(1), depth, noise=1.0,
                   generator=torch.Generator().manual_seed(0))  # fmt: skip
    assert not torch.allclose(noisy.share, found.share)


def test_a_field_learns_under_feedback_at_every_sample() -> None:
    torch.manual_seed(0)
    field = Field(16, layers=4, skip=2, frequencies=(4, 2))
    assert field.stack[2].in_features == 16 + 27
    model = DirectFeedback(field, [f"activations.{place}" for place in range(6)])
    depth = sample_depths(rays(), 2.0, 6.0, 8)
    render(model, rays(), depth).colour.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in field.parameters())
    assert field.stack[0].weight.grad.abs().max() > 0
    assert model.feedback.error_width == 4


def test_decibels_and_what_cannot_be() -> None:
    assert to_decibels(torch.tensor(0.01)) == pytest.approx(20)
    with pytest.raises(ValueError, match=r"skip must be in 0\.\.3, got 4 of 4 layers"):
        Field(8, layers=4)
