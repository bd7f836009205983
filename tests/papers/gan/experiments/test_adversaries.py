"""The authors' schedule, and a game that resumes."""

import pytest
import torch
from torch import nn

from quire.lab.errors import Interrupted
from quire.lab.testing import run_in
from quire.papers.gan import GAN, DenseGenerator, MaxoutDiscriminator, Players
from quire.papers.gan.experiments.adversaries import Schedule, play, set_pace


def test_rate_and_momentum_follow_the_authors():
    weight = nn.Linear(1, 1)
    players = Players(*(torch.optim.SGD(weight.parameters(), lr=1.0) for _ in range(2)))
    schedule = Schedule(momentum_steps=100)
    set_pace(players, schedule, 50)
    group = players.generator.param_groups[0]
    assert group["momentum"] == pytest.approx(0.6)
    assert group["lr"] == pytest.approx(0.1 / 1.000004**50)
    set_pace(players, schedule, 10**9)
    assert (group["momentum"], group["lr"]) == (pytest.approx(0.7), 1e-6)
    set_pace(players, Schedule(at_once=True), 0)
    assert players.discriminator.param_groups[0]["lr"] == pytest.approx(0.05)
    assert group["lr"] == pytest.approx(0.1)


def make():
    torch.manual_seed(0)
    return GAN(DenseGenerator(4, (8,), (1, 4, 4)), MaxoutDiscriminator(16, 4))


def train(folder, **options):
    images = torch.rand(32, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    gan = make()
    torch.manual_seed(1)
    run = run_in(folder, **options)
    play(run, gan, images, Schedule(inner=2), noise=4, batch_size=8, steps=6)
    return gan


def test_a_stopped_game_ends_as_one_that_was_not(tmp_path):
    whole = train(tmp_path / "whole")
    with pytest.raises(Interrupted):
        train(tmp_path / "stopped", stop_after=3)
    resumed = train(tmp_path / "stopped")
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)
