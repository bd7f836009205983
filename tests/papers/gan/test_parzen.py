"""Parzen windows against scikit-learn, SciPy and closed forms."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import gaussian_kde

from quire.nn import devices
from quire.papers.gan import SIGMAS, parzen_log_likelihood, score_by_parzen


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_against_scikit_learn():
    neighbours = pytest.importorskip("sklearn.neighbors")
    samples, test = draw(50, 6).double(), draw(20, 6, seed=1).double()
    peer = neighbours.KernelDensity(bandwidth=0.3).fit(samples.numpy())
    expected = peer.score_samples(test.numpy())
    assert parzen_log_likelihood(samples, test, 0.3).numpy() == pytest.approx(expected, abs=1e-8)


def test_against_scipy_on_a_line():
    samples, test = draw(40, 1).double(), draw(10, 1, seed=1).double()
    spread = float(samples.std())
    peer = gaussian_kde(samples.T.numpy(), bw_method=0.2 / spread)
    found = parzen_log_likelihood(samples, test, 0.2).exp().numpy()
    assert found == pytest.approx(peer(test.T.numpy()), rel=1e-8)


def test_one_sample_is_one_normal_density():
    sample, x = draw(1, 3).double(), draw(4, 3, seed=1).double()
    expected = torch.distributions.Normal(sample, 0.5).log_prob(x).sum(1)
    torch.testing.assert_close(parzen_log_likelihood(sample, x, 0.5), expected)


def test_several_widths_at_once_blocks_and_shapes(monkeypatch):
    samples, test = draw(30, 1, 2, 2), draw(11, 1, 2, 2, seed=1)
    whole = parzen_log_likelihood(samples, test, torch.tensor([0.1, 0.5], dtype=torch.float64))
    assert whole.shape == (2, 11)
    monkeypatch.setattr("quire.papers.gan.parzen.ROOM", 100)
    for row, sigma in zip(whole, (0.1, 0.5), strict=True):
        torch.testing.assert_close(row, parzen_log_likelihood(samples, test, sigma))


def test_far_from_the_origin_and_at_small_widths_no_digit_is_lost():
    samples, test = draw(20, 4).double() + 1e4, draw(5, 4, seed=1).double() + 1e4
    apart = (test[:, None] - samples).square().sum(-1)
    expected = torch.logsumexp(-apart / (2 * 0.01**2), 1)
    expected -= 4 * math.log(0.01 * math.sqrt(2 * math.pi)) + math.log(20)
    found = parzen_log_likelihood(samples, test, 0.01)
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-5)


def test_protocol_chooses_on_the_validation_set_and_says_its_error():
    samples, validation, test = draw(400, 2), draw(50, 2, seed=1), draw(60, 2, seed=2)
    score = score_by_parzen(samples, validation, test)
    by_hand = [float(parzen_log_likelihood(samples, validation, s).mean()) for s in SIGMAS]
    assert score.validation == pytest.approx(by_hand)
    assert score.sigma == SIGMAS[int(np.argmax(by_hand))]
    scores = parzen_log_likelihood(samples, test, score.sigma)
    assert score.mean == pytest.approx(float(scores.mean()))
    assert score.error == pytest.approx(float(scores.std()) / math.sqrt(60))
    assert not score.on_edge
    assert score_by_parzen(samples, validation, test, (3.0, 4.0)).on_edge
    assert len(SIGMAS) == 10
    assert (SIGMAS[0], SIGMAS[-1]) == pytest.approx((0.1, 1.0))


def test_more_samples_of_the_same_score_higher():
    """The caveat: nothing changes but their number."""
    validation, test = draw(100, 16, seed=1), draw(200, 16, seed=2)
    scores = [score_by_parzen(draw(n, 16, seed=3), validation, test).mean for n in (100, 3000)]
    assert scores[1] > scores[0] + 1


def test_gradients_and_empty_test_sets():
    samples, test = draw(6, 3).double(), draw(4, 3, seed=1).double()
    samples.requires_grad_()
    assert torch.autograd.gradcheck(lambda s: parzen_log_likelihood(s, test, 0.7), samples)
    assert parzen_log_likelihood(samples, test[:0], 0.7).shape == (0,)
    assert parzen_log_likelihood(samples.bfloat16(), test.bfloat16(), 0.7).isfinite().all()


@pytest.mark.parametrize(
    ("samples", "test", "sigma", "said"),
    [
        (draw(0, 2), draw(3, 2), 0.1, "N >= 1"),
        (draw(4, 2), draw(3, 3), 0.1, "rows of one shape"),
        (draw(4), draw(4), 0.1, "rows of one shape"),
        (draw(4, 2), draw(3, 2), 0.0, "sigma must be positive"),
        (draw(4, 2), draw(3, 2), torch.ones(1, 2), "sigma must be positive"),
    ],
)
def test_what_does_not_fit_is_refused(samples, test, sigma, said):
    with pytest.raises(ValueError, match=said):
        parzen_log_likelihood(samples, test, sigma)


def test_widths_are_looked_at_without_waiting_for_an_accelerator(monkeypatch):
    monkeypatch.setattr(devices, "is_accelerator", lambda x: True)
    widths = torch.tensor([0.5, 1.0])
    assert parzen_log_likelihood(draw(4, 2), draw(3, 2), widths).shape == (2, 3)
    with pytest.raises(RuntimeError):  # the device's assertion, which a CPU raises at once
        parzen_log_likelihood(draw(4, 2), draw(3, 2), widths - 0.5)
    samples = torch.empty(4, 2, device="meta")
    assert parzen_log_likelihood(samples, samples, 0.5).shape == (4,)


def test_empty_sets_are_refused_by_the_protocol():
    x = draw(4, 2)
    for parts in ((x, x[:0], x), (x, x, x[:0])):
        with pytest.raises(ValueError, match="at least one sigma"):
            score_by_parzen(*parts)
    with pytest.raises(ValueError, match="at least one sigma"):
        score_by_parzen(x, x, x, ())
