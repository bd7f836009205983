"""Mixtures of discretised logistics against closed forms."""

import pytest
import torch

from quire.papers.linear_transformer.experiments.mixture import (
    mixture_log_probability,
    sample_mixture,
)


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_a_mixture_sums_to_one(levels):
    parameters = 4 * torch.randn(20, 1, 12, dtype=torch.float64)
    chance = mixture_log_probability(
        parameters.expand(-1, levels, -1), torch.arange(levels), levels
    ).exp()
    torch.testing.assert_close(chance.sum(-1), torch.ones(20, dtype=torch.float64))


def test_a_mixture_equals_differences_of_sigmoids():
    parameters = torch.randn(30, 9, dtype=torch.float64)
    logits, mean, log_scale = parameters.view(30, 3, 3).unbind(1)
    level = torch.arange(1, 31)
    x = level[:, None].double() / 127.5 - 1
    upper, lower = (
        torch.sigmoid((x + side - mean) / log_scale.exp()) for side in (1 / 255, -1 / 255)
    )
    expected = (logits.softmax(-1) * (upper - lower)).sum(-1).log()
    torch.testing.assert_close(mixture_log_probability(parameters, level, 256), expected)


def test_a_wide_logistic_is_almost_uniform():
    level = torch.arange(1, 255)
    parameters = torch.tensor([0.0, 0.0, 8.0], dtype=torch.float64).expand(254, 3)
    inside = mixture_log_probability(parameters, level, 256).exp()
    torch.testing.assert_close(inside, inside[:1].expand(254), rtol=1e-6, atol=0)
    uniform = torch.tensor([0.0, 0.0, -0.6], dtype=torch.float64).expand(256, 3)
    bits = -mixture_log_probability(uniform, torch.arange(256), 256).mean() / torch.tensor(2).log()
    assert 8 < bits < 8.5


def test_extreme_parameters_have_finite_gradients():
    parameters = torch.tensor([[0.0, 50.0, -90.0], [0.0, -50.0, 90.0], [0.0, 0.0, 0.0]])
    parameters = parameters.repeat(3, 1).requires_grad_()
    level = torch.tensor([0, 128, 255]).repeat_interleave(3)
    value = mixture_log_probability(parameters, level, 256)
    value.sum().backward()
    assert value.isfinite().all()
    assert parameters.grad.isfinite().all()


def test_samples_follow_the_mixture():
    parameters = torch.tensor([0.5, -0.5, -0.6, 0.7, -1.5, -2.0]).view(6)
    drawn = sample_mixture(parameters.expand(40_000, 6), 17, torch.Generator().manual_seed(0))
    counts = drawn.bincount(minlength=17) / 40_000
    chance = mixture_log_probability(parameters.expand(17, 6), torch.arange(17), 17).exp()
    assert (counts - chance).abs().max() < 4 * (0.25 / 40_000) ** 0.5
