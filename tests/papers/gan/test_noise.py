"""Noise of variance 1, and ways between two points."""

import math

import pytest
import torch

from quire.papers.gan import draw_normal, draw_uniform, interpolate, interpolate_on_sphere


def test_noise_has_variance_1():
    generator = torch.Generator().manual_seed(0)
    for draw in (draw_uniform, draw_normal):
        noise = draw(20_000, 4, generator)
        assert float(noise.var()) == pytest.approx(1, abs=0.02)
    assert float(draw_uniform(5000, 4, generator).abs().max()) <= math.sqrt(3)


def test_both_ways_join_the_ends_and_one_keeps_the_norm():
    a, b = torch.randn(2, 5, 100, generator=torch.Generator().manual_seed(0)).double()
    for way in (interpolate, interpolate_on_sphere):
        points = way(a, b, 11)
        assert points.shape == (11, 5, 100)
        torch.testing.assert_close(points[0], a)
        torch.testing.assert_close(points[-1], b)
    middle = interpolate_on_sphere(a, b, 3)[1]
    torch.testing.assert_close(middle.norm(dim=-1), (a.norm(dim=-1) + b.norm(dim=-1)) / 2)
    assert float((interpolate(a, b, 3)[1].norm(dim=-1) / middle.norm(dim=-1)).max()) < 0.9


def test_the_great_circle_goes_at_one_speed():
    a, b = torch.tensor([1.0, 0.0]).double(), torch.tensor([0.0, 1.0]).double()
    points = interpolate_on_sphere(a, b, 4)
    angles = torch.atan2(points[:, 1], points[:, 0])
    torch.testing.assert_close(angles, torch.linspace(0, math.pi / 2, 4).double())


def test_points_without_one_circle_take_the_line():
    a = torch.tensor([1.0, 2.0])
    for b in (a, -a, 3 * a, torch.zeros(2)):
        torch.testing.assert_close(
            interpolate_on_sphere(a, b, 5), interpolate(a, b, 5), atol=1e-5, rtol=0
        )


def test_what_does_not_fit_is_refused():
    for way in (interpolate, interpolate_on_sphere):
        with pytest.raises(ValueError, match="one shape and at least 2 steps"):
            way(torch.zeros(2), torch.zeros(3), 4)
        with pytest.raises(ValueError, match="one shape and at least 2 steps"):
            way(torch.zeros(2), torch.zeros(2), 1)
