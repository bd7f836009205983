"""The step of algorithm 1: who learns from what, and options against slow twins."""

import copy

import pytest
import torch
from torch import nn

from quire.papers.gan import (
    GAN,
    RELATIVISTIC,
    Conditional,
    MaxoutDiscriminator,
    Players,
    discriminator_loss,
    train_alternately,
    train_at_once,
    train_discriminator,
    train_generator,
    zero_centred_penalty,
)


def make(loss="non-saturating", pack=1, **options):
    torch.manual_seed(0)
    score = nn.Sequential(nn.Linear(2 * pack, 8), nn.Tanh(), nn.Linear(8, 1), nn.Flatten(0))
    return GAN(nn.Linear(3, 2), score, loss, pack=pack, **options).double()


def players(gan, learning_rate=0.1):
    parts = (gan.discriminator, gan.generator)
    return Players(*(torch.optim.SGD(part.parameters(), lr=learning_rate) for part in parts))


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def weights(module):
    return [weight.detach().clone() for weight in module.parameters()]


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_each_player_changes_alone():
    gan, real, noise = make(), draw(6, 2), draw(6, 3, seed=1)
    both = players(gan)
    d, g = weights(gan.discriminator), weights(gan.generator)
    train_discriminator(gan, both, real, noise)
    assert same(g, weights(gan.generator))
    assert not same(d, weights(gan.discriminator))
    assert all(weight.grad is None for weight in gan.generator.parameters())
    d = weights(gan.discriminator)
    before = [weight.grad.clone() for weight in gan.discriminator.parameters()]
    train_generator(gan, both, noise)
    assert same(d, weights(gan.discriminator))
    assert same(before, [weight.grad for weight in gan.discriminator.parameters()])
    assert not same(g, weights(gan.generator))


def test_a_whole_iteration_is_the_paper_s_written_out():
    gan = make("saturating")
    twin = copy.deepcopy(gan)
    reals, noises = draw(2, 6, 2).unbind(), draw(3, 6, 3, seed=1).unbind()
    train_alternately(gan, players(gan), reals, noises)
    for real, noise in zip(reals, noises, strict=False):
        fake = twin.generator(noise).detach()
        d, e = twin.discriminator(real).sigmoid(), twin.discriminator(fake).sigmoid()
        value = d.log().mean() + (1 - e).log().mean()
        slopes = torch.autograd.grad(value, list(twin.discriminator.parameters()))
        with torch.no_grad():
            for weight, slope in zip(twin.discriminator.parameters(), slopes, strict=True):
                weight += 0.1 * slope
    loss = (1 - twin.discriminator(twin.generator(noises[-1])).sigmoid()).log().mean()
    slopes = torch.autograd.grad(loss, list(twin.generator.parameters()))
    with torch.no_grad():
        for weight, slope in zip(twin.generator.parameters(), slopes, strict=True):
            weight -= 0.1 * slope
    for ours, expected in zip(gan.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(ours, expected)


def test_at_once_takes_both_gradients_at_the_same_point():
    gan = make()
    first, second = copy.deepcopy(gan), copy.deepcopy(gan)
    real, noise = draw(6, 2), draw(6, 3, seed=1)
    train_at_once(gan, players(gan), real, noise)
    train_discriminator(first, players(first), real, noise)
    train_generator(second, players(second), noise)
    assert same(weights(gan.discriminator), weights(first.discriminator))
    assert same(weights(gan.generator), weights(second.generator))


def test_together_and_apart_are_the_same():
    real, noise = draw(6, 2), draw(4, 3, seed=1)
    together, apart = make().discriminator_loss(real, noise), make(apart=True)
    torch.testing.assert_close(together, apart.discriminator_loss(real, noise))
    expected = discriminator_loss(apart.score(real), apart.score(apart(noise)))
    torch.testing.assert_close(together, expected)


def test_packing_puts_neighbours_side_by_side():
    gan, x = make(pack=2), draw(6, 2)
    expected = gan.discriminator(torch.stack([torch.cat([x[i], x[i + 1]]) for i in (0, 2, 4)]))
    torch.testing.assert_close(gan.score(x), expected)
    with pytest.raises(ValueError, match="multiple of pack = 2, got 5"):
        gan.score(x[:5])


def test_unrolling_looks_ahead_and_leaves_the_discriminator_alone():
    gan, real, noise = make(), draw(6, 2), draw(6, 3, seed=1)
    plain = gan.unrolled_generator_loss(noise, real, steps=0, learning_rate=0.1)
    torch.testing.assert_close(plain, gan.generator_loss(noise))
    before = weights(gan.discriminator)
    ahead = gan.unrolled_generator_loss(noise, real, steps=2, learning_rate=0.1)
    assert same(before, weights(gan.discriminator))
    twin = copy.deepcopy(gan)
    both = players(twin)
    for _ in range(2):
        train_discriminator(twin, both, real, noise)
    torch.testing.assert_close(ahead, twin.generator_loss(noise))
    # The gradient is that of the loss as a function of G, through D's steps.
    weight = gan.generator.weight
    (slope,) = torch.autograd.grad(ahead, weight)
    with torch.no_grad():
        weight[0, 0] += 1e-6
    more = gan.unrolled_generator_loss(noise, real, steps=2, learning_rate=0.1)
    assert float((more - ahead).detach()) / 1e-6 == pytest.approx(float(slope[0, 0]), rel=1e-3)


def conditional(**options):
    torch.manual_seed(0)
    score = nn.Sequential(nn.Linear(2 + 3, 8), nn.Tanh(), nn.Linear(8, 1), nn.Flatten(0))
    players = Conditional(nn.Linear(3 + 3, 2), 3), Conditional(score, 3)
    return GAN(*players, **options).double()


def beside(x, labels):
    return torch.cat([x, nn.functional.one_hot(labels, 3).double()], 1)


@pytest.mark.parametrize("apart", [False, True])
def test_a_conditional_game_is_that_of_its_players_told_the_classes(apart):
    gan, real, noise = conditional(apart=apart), draw(6, 2), draw(6, 3, seed=1)
    labels = torch.tensor([0, 1, 2, 2, 1, 0])
    told, d = gan.given(labels), gan.discriminator.player
    fake = gan.generator.player(beside(noise, labels)).detach()
    torch.testing.assert_close(told(noise), fake)
    torch.testing.assert_close(told.score(real), d(beside(real, labels)))
    expected = discriminator_loss(d(beside(real, labels)), d(beside(fake, labels)))
    torch.testing.assert_close(told.discriminator_loss(real, noise), expected)
    ahead = told.unrolled_generator_loss(noise, real, steps=0, learning_rate=0.1)
    torch.testing.assert_close(told.generator_loss(noise), ahead)


def test_penalties_and_k_steps_know_the_classes():
    def on_both(discriminator, real, fake):
        return zero_centred_penalty(discriminator, torch.cat([real, fake]))

    gan, labels = conditional(penalty=on_both), torch.tensor([[0, 1, 2, 0], [2, 2, 1, 1]])
    reals, noises = draw(2, 4, 2).unbind(), draw(3, 4, 3, seed=1).unbind()
    twin = copy.deepcopy(gan)
    both = players(twin)
    train_alternately(gan, players(gan), reals, noises, labels=labels.unbind())
    for chosen, real, noise in zip(labels, reals, noises, strict=False):
        train_discriminator(twin.given(chosen), both, real, noise)
    train_generator(twin.given(labels[1]), both, noises[2])
    assert same(weights(gan), weights(twin))


def test_augmentation_changes_data_and_samples_in_both_steps():
    seen = []

    def double(x):
        seen.append(x)
        return 2 * x

    gan, twin, real, noise = make(augment=double), make(), draw(6, 2), draw(6, 3, seed=1)
    expected = discriminator_loss(twin.score(2 * real), twin.score(2 * twin(noise)))
    torch.testing.assert_close(gan.discriminator_loss(real, noise), expected)
    assert [len(x) for x in seen] == [6, 6]
    loss = gan.generator_loss(noise)
    torch.testing.assert_close(loss, twin.objective.generator(twin.score(2 * twin(noise)), None))
    assert torch.autograd.grad(loss, gan.generator.weight)[0].abs().sum() > 0
    seen.clear()
    torch.testing.assert_close(gan.score(real), twin.score(real))
    assert not seen  # it is for training alone


def test_a_penalty_is_added():
    plain, real, noise = make(), draw(6, 2), draw(6, 3, seed=1)
    more = make(penalty=lambda discriminator, real, fake: torch.tensor(0.5))
    difference = more.discriminator_loss(real, noise) - plain.discriminator_loss(real, noise)
    assert float(difference.detach()) == pytest.approx(0.5)


def test_pairs_need_data():
    gan, real, noise = make(RELATIVISTIC), draw(6, 2), draw(6, 3, seed=1)
    with pytest.raises(ValueError, match="minibatch of data too"):
        gan.generator_loss(noise)
    assert gan.generator_loss(noise, real).isfinite()


def test_gradients_of_the_generator_pass_dropout():
    torch.manual_seed(0)
    gan = GAN(nn.Linear(3, 4), MaxoutDiscriminator(4, 8, spread=None))
    noise = torch.randn(64, 3)
    first, second = gan.generator_loss(noise), gan.generator_loss(noise)
    assert not torch.equal(first, second)
    assert torch.equal(gan.eval().generator_loss(noise), gan.generator_loss(noise))


def test_a_game_of_two_scalars_turns_towards_the_data():
    """A normal with a learned mean against a logistic discriminator finds the mean."""
    torch.manual_seed(0)

    class Shift(nn.Module):
        def __init__(self):
            super().__init__()
            self.mean = nn.Parameter(torch.tensor([-2.0]))

        def forward(self, noise):
            return noise + self.mean

    gan = GAN(Shift(), nn.Sequential(nn.Linear(1, 1), nn.Flatten(0)))
    both = Players(
        torch.optim.SGD(gan.discriminator.parameters(), lr=0.2, weight_decay=0.1),
        torch.optim.SGD(gan.generator.parameters(), lr=0.02),
    )
    for _ in range(400):
        noises = [torch.randn(128, 1) for _ in range(2)]
        train_alternately(gan, both, [torch.randn(128, 1) + 1], noises)
    assert float(gan.generator.mean.detach()) == pytest.approx(1, abs=0.4)


def of_four():
    return conditional().given(torch.zeros(4, dtype=torch.int64))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: make("hinge"), "non-saturating, saturating or an Objective, got 'hinge'"),
        (lambda: GAN(nn.Identity(), nn.Identity(), pack=0), "pack must be at least 1"),
        (lambda: make().discriminator_loss(draw(4, 5), draw(4, 3)), "shape of the samples"),
        (lambda: make().discriminator_loss(draw(0, 2), draw(0, 3)), "at least one example"),
        (lambda: make().generator_loss(draw(0, 3)), "at least one example"),
        (lambda: train_alternately(make(), players(make()), [], [draw(4, 3)]), "k >= 1"),
        (lambda: make(pack=2).given(torch.zeros(4, dtype=torch.int64)), "got pack 2"),
        (lambda: of_four().discriminator_loss(draw(3, 2), draw(4, 3)), "each of 4 labels"),
        (lambda: of_four().discriminator_loss(draw(6, 2), draw(2, 3)), "4 labels do not fit"),
        (lambda: of_four().score(draw(6, 2)), "4 labels do not fit a minibatch of 6"),
        (
            lambda: train_alternately(
                make(), players(make()), [draw(4, 2)], [draw(4, 3)] * 2, labels=[]
            ),
            "each of 1 minibatches has labels, got 0",
        ),
    ],
)
def test_what_does_not_fit_is_refused(call, said):
    with pytest.raises(ValueError, match=said) as caught:
        call()
    assert "\n" not in str(caught.value)
