"""What is said of weights and of speed, on trails whose answer is known."""

import math

import pytest
import torch

from quire.papers.hebbian import Orbit, contrast, onset, recover, spread
from quire.papers.hebbian.orbit import speed


def circle(radius, *, turns=3, steps=90, dims=20, seed=0):
    """A circle in a plane of many dimensions, off the origin, (T, S)."""
    generator = torch.Generator().manual_seed(seed)
    axes = torch.linalg.qr(torch.randn(dims, 2, generator=generator))[0]
    angle = torch.linspace(0, 2 * math.pi * turns, steps + 1)[:-1]
    return radius * torch.stack([angle.cos(), angle.sin()], -1) @ axes.T + 5


def test_a_circle_lies_in_two_directions():
    trail = circle(2.0)
    orbit = Orbit.fit(trail, 2)
    assert orbit.share == pytest.approx(1)
    places = orbit.project(trail)
    assert places.norm(dim=-1).tolist() == pytest.approx([2.0] * 90)
    assert Orbit.fit(trail, 1).share == pytest.approx(0.5, abs=0.01)
    assert orbit.captured(circle(7.0)) == pytest.approx(1)
    assert orbit.captured(circle(7.0, seed=1)) < 0.5
    assert orbit.captured(torch.ones(9, 20)) == 1  # nothing varies


def test_lives_that_meet_are_near_and_random_ones_are_not():
    drawn = torch.randn(30, 5000)
    assert spread(drawn) == pytest.approx(2**0.5, rel=0.02)
    assert spread(100 * drawn) == pytest.approx(spread(drawn))
    assert spread(torch.ones(4, 9)) == 0
    assert spread(torch.zeros(4, 9)) == 0


def test_bodies_that_tell_are_apart():
    generator = torch.Generator().manual_seed(0)
    alike = torch.randn(20, 3, 50, generator=generator)
    assert contrast(alike) == pytest.approx(1, abs=0.05)
    told = alike + 5 * torch.randn(3, 50, generator=generator)
    assert contrast(told) > 3


def test_speed_is_a_mean_over_lives_and_windows():
    rewards = torch.arange(6.0)[:, None, None].expand(6, 2, 3)
    assert speed(rewards, 3).tolist() == [1, 2, 3, 4]
    with pytest.raises(ValueError, match="7 steps does not fit into 6"):
        speed(rewards, 7)


def test_the_onset_is_where_half_the_later_speed_is_reached():
    rewards = torch.cat([torch.zeros(30), torch.ones(70)])[:, None]
    assert onset(rewards, window=10) == 25
    assert onset(torch.ones(100, 1)) == 0
    assert onset(-torch.ones(100, 1)) == 100
    assert onset(torch.zeros(100, 1)) == 100


def test_recovery_is_a_share_and_a_time():
    rewards = torch.ones(200, 3)
    rewards[100:130] = 0
    recovery = recover(rewards, window=10)
    assert recovery == (1.0, 25)
    rewards[100:] = 0
    assert recover(rewards, window=10) == (0.0, 100)
    assert recover(-torch.ones(200, 1)) == (0.0, 100)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"\(T, S\) with T above 3"):
        Orbit.fit(torch.zeros(3, 5))
    with pytest.raises(ValueError, match="two lives or more"):
        spread(torch.zeros(1, 5))
