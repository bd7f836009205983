"""The authors' schedule, and a game that resumes."""

import pytest
import torch
from torch import nn

from quire.lab.errors import Interrupted
from quire.lab.testing import run_in
from quire.papers.gan import GAN, Conditional, DenseGenerator, MaxoutDiscriminator, Players
from quire.papers.gan.experiments.adversaries import Choice, Schedule, play, set_pace


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


def make(classes=0):
    torch.manual_seed(0)
    generator = DenseGenerator(4 + classes, (8,), (1, 4, 4))
    discriminator = MaxoutDiscriminator(16 + classes, 4)
    if not classes:
        return GAN(generator, discriminator)
    return GAN(Conditional(generator, classes), Conditional(discriminator, classes))


IMAGES = torch.rand(32, 1, 4, 4, generator=torch.Generator().manual_seed(0))


def train(folder, gan=None, schedule=None, *, steps=6, labels=None, choice=None, **options):
    gan = gan or make()
    torch.manual_seed(1)
    run = run_in(folder, **options)
    return play(
        run, gan, IMAGES, schedule or Schedule(inner=2),
        noise=4, batch_size=8, steps=steps, labels=labels, choice=choice,
    )  # fmt: skip


def weights(module):
    return [weight.detach().clone() for weight in module.parameters()]


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def brightness(generator):
    """A score that goes up and down over training."""
    assert not generator.training
    return float(torch.sin(1e4 * generator(torch.ones(3, 4)).mean()).detach())


@pytest.mark.parametrize("average", [0.0, 0.5])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_stopped_game_ends_as_one_that_was_not(tmp_path, average, optimizer):
    """Both players, the average of the weights, and the best moment with its step."""
    schedule = Schedule(inner=2, average=average, optimizer=optimizer)
    options = {"schedule": schedule, "choice": Choice(1, brightness)}
    whole = train(tmp_path / "whole", **options)
    with pytest.raises(Interrupted):
        train(tmp_path / "stopped", **options, stop_after=3)
    resumed = train(tmp_path / "stopped", **options)
    assert same(weights(whole.generator), weights(resumed.generator))
    assert same(weights(whole.last), weights(resumed.last))
    assert whole.kept.series["score"] == resumed.kept.series["score"]
    assert whole.kept.numbers["best_step"] == resumed.kept.numbers["best_step"]


def test_the_moment_with_the_highest_score_is_kept(tmp_path):
    played = train(tmp_path, choice=Choice(2, brightness), steps=9)
    scores, steps = played.kept.series["score"], played.kept.series["score_step"]
    assert steps == [2, 4, 6, 8, 9]
    best = scores.index(max(scores))
    assert played.kept.numbers["best_step"] == steps[best]
    assert brightness(played.generator) == pytest.approx(scores[best])
    assert brightness(played.last) == pytest.approx(scores[-1])


def test_the_average_is_of_the_weights_after_each_step(tmp_path):
    schedule = Schedule(average=0.5)
    ends = [
        weights(train(tmp_path / str(n), gan, schedule, steps=n) and gan.generator)
        for n in (1, 2, 3)
        for gan in [make()]
    ]
    found = weights(train(tmp_path / "again", schedule=schedule, steps=3).generator)
    for first, second, third, average in zip(*ends, found, strict=True):
        torch.testing.assert_close(average, 0.25 * first + 0.25 * second + 0.5 * third)


def test_norms_are_limited_after_every_step(tmp_path):
    gan = make()
    train(tmp_path, gan, Schedule(largest_norm=0.1))
    for part in gan.modules():
        if isinstance(part, nn.Linear):
            assert float(part.weight.detach().norm(dim=1).max()) <= 0.1 + 1e-6


@pytest.mark.parametrize("at_once", [False, True])
def test_a_conditional_game_is_played(tmp_path, at_once):
    gan, labels = make(3), torch.arange(32) % 3
    before = weights(gan)
    played = train(tmp_path, gan, Schedule(at_once=at_once), labels=labels)
    assert not same(before, weights(gan))
    assert played.generator(torch.randn(2, 4), torch.tensor([0, 2])).shape == (2, 1, 4, 4)
