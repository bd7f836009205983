"""Losses against sigmoids and logarithms, penalties against closed forms."""

import math

import pytest
import torch
from torch import nn

from quire.papers.gan import (
    HINGE,
    RELATIVISTIC,
    WASSERSTEIN,
    discriminator_loss,
    interpolated_penalty,
    non_saturating_loss,
    saturating_loss,
    zero_centred_penalty,
)


def logits(seed=0, count=32):
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(count, generator=generator, dtype=torch.float64)


def test_losses_are_the_papers_logarithms():
    real, fake = logits(0), logits(1)
    d, g = real.sigmoid(), fake.sigmoid()
    expected = -(d.log().mean() + (1 - g).log().mean())
    torch.testing.assert_close(discriminator_loss(real, fake), expected)
    torch.testing.assert_close(saturating_loss(fake), (1 - g).log().mean())
    torch.testing.assert_close(non_saturating_loss(fake), -g.log().mean())


def test_equilibrium_is_twice_log_2():
    zero = torch.zeros(4, dtype=torch.float64)
    assert float(discriminator_loss(zero, zero)) == pytest.approx(2 * math.log(2))


def test_extreme_logits_stay_finite_and_one_loss_keeps_its_gradient():
    fake = torch.tensor([-200.0], requires_grad=True)
    (weak,) = torch.autograd.grad(saturating_loss(fake), fake)
    (strong,) = torch.autograd.grad(non_saturating_loss(fake), fake)
    assert float(weak) == 0
    assert float(strong) == -1
    assert discriminator_loss(-fake, fake).isfinite()


def test_other_objectives_by_hand():
    real, fake = torch.tensor([2.0, 0.5]), torch.tensor([-2.0, 0.0])
    assert float(HINGE.discriminator(real, fake)) == pytest.approx(0.25 + 0.5)
    assert float(HINGE.generator(fake, None)) == pytest.approx(1.0)
    assert float(WASSERSTEIN.discriminator(real, fake)) == pytest.approx(-1.0 - 1.25)
    pairs = [math.log1p(math.exp(f - r)) for r, f in ((2, -2), (0.5, 0))]
    assert float(RELATIVISTIC.discriminator(real, fake)) == pytest.approx(sum(pairs) / 2)
    back = [math.log1p(math.exp(r - f)) for r, f in ((2, -2), (0.5, 0))]
    assert float(RELATIVISTIC.generator(fake, real)) == pytest.approx(sum(back) / 2)


def test_penalties_of_a_linear_discriminator():
    linear = nn.Linear(3, 1).double()
    score = nn.Sequential(linear, nn.Flatten(0))
    norm = linear.weight.norm()
    x, y = torch.randn(2, 5, 3, dtype=torch.float64)
    found = zero_centred_penalty(score, x)
    torch.testing.assert_close(found, norm.square())
    found = interpolated_penalty(score, x, y, torch.rand(5).double())
    torch.testing.assert_close(found, (norm - 1).square(), atol=1e-9, rtol=0)
    found.backward()
    assert float(linear.weight.grad.abs().max()) > 0


def test_penalty_of_a_flat_discriminator_has_a_gradient():
    linear = nn.Linear(2, 1)
    nn.init.zeros_(linear.weight)
    score = nn.Sequential(linear, nn.Flatten(0))
    interpolated_penalty(score, torch.ones(2, 2), torch.ones(2, 2), torch.ones(2)).backward()
    assert linear.weight.grad.isfinite().all()


def test_what_does_not_fit_is_refused():
    none = torch.zeros(0)
    for call in (
        lambda: discriminator_loss(none, none),
        lambda: saturating_loss(none),
        lambda: non_saturating_loss(none),
        lambda: RELATIVISTIC.discriminator(torch.zeros(2), torch.zeros(3)),
        lambda: RELATIVISTIC.generator(torch.zeros(2), None),
        lambda: interpolated_penalty(nn.Identity(), torch.zeros(2, 3), torch.zeros(2, 2), none),
    ):
        with pytest.raises(ValueError, match=r"minibatch|as many|of one shape") as caught:
            call()
        assert "\n" not in str(caught.value)
