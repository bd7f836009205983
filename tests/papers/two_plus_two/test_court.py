"""The court: masses, mixtures, abstention, the jury, temperatures, calibration, conformal sets."""

import math

import pytest
import torch

from quire.papers.two_plus_two import (
    calibration_error,
    conformal_set,
    fit_temperature,
    mix,
    poll,
    pool,
    verdict,
    weigh_classes,
    weigh_numbers,
)
from quire.papers.two_plus_two.court import Mass


def normal(x):
    return 0.5 * math.erfc(-x / 2**0.5)


@pytest.mark.parametrize("mean", [4.0, 4.2, 4.9, 6.0, -3.0])
@pytest.mark.parametrize("deviation", [0.05, 0.7, 30.0])
def test_a_regressors_mass_is_the_normals(mean, deviation):
    found = weigh_numbers(torch.tensor(mean), deviation)
    for mass, low in ((found.first, 3.5), (found.second, 4.5)):
        mean_ = float(torch.tensor(mean))
        expected = normal((low + 1 - mean_) / deviation) - normal((low - mean_) / deviation)
        assert float(mass) == pytest.approx(expected, abs=1e-12)
    assert float(found.first + found.second + found.outside) == pytest.approx(1)


@pytest.mark.parametrize("deviation", [1e-9, 0.01, 0.3, 5.0])
def test_half_way_there_is_no_preference(deviation):
    assert float(weigh_numbers(torch.tensor(4.5), deviation).share) == pytest.approx(0.5)


def test_far_away_the_nearer_number_is_still_preferred():
    share = weigh_numbers(torch.tensor([0.0, 9.0]), 0.3).share.tolist()
    assert share[0] == pytest.approx(1)
    assert share[1] == pytest.approx(0, abs=1e-6)
    # Beyond the smallest number there is nothing to prefer.
    assert float(weigh_numbers(torch.tensor(-500.0), 0.01).share) == 0.5


def test_a_classifiers_mass_is_its_softmax():
    logits = torch.randn(5, 19, generator=torch.Generator().manual_seed(0))
    p = (logits / 2).softmax(-1).double()
    found = weigh_classes(logits, temperature=2.0)
    torch.testing.assert_close(found.first, p[:, 4], rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(found.second, p[:, 5], rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(found.outside, 1 - p[:, 4] - p[:, 5], rtol=1e-5, atol=1e-7)


def test_a_mixtures_moments_are_those_of_samples():
    mean, deviation = torch.tensor([3.5, 4.0, 6.0]), torch.tensor([0.2, 0.1, 1.0])
    generator = torch.Generator().manual_seed(0)
    drawn = mean + deviation * torch.randn(300_000, 3, generator=generator)
    found = mix(mean, deviation)
    assert float(found[0]) == pytest.approx(float(drawn.mean()), abs=0.01)
    assert float(found[1]) == pytest.approx(float(drawn.std()), abs=0.01)
    formula = (deviation**2 + mean**2).mean() - mean.mean() ** 2
    assert float(found[1]) ** 2 == pytest.approx(float(formula), rel=1e-5)


def one(first, second):
    first, second = torch.tensor(first).double(), torch.tensor(second).double()
    return Mass(first, second, 1 - first - second)


@pytest.mark.parametrize(
    ("first", "second", "says"),
    [
        (0.9, 0.1, 4),
        (0.1, 0.9, 5),
        (0.55, 0.45, 0),  # undecided
        (0.30, 0.10, 0),  # neither is likelier
        (0.40, 0.10, 4),  # exactly half outside is no abstention
        (0.0, 0.0, 0),
        (0.39, 0.61, 5),
    ],
)
def test_a_verdict_or_an_abstention(first, second, says):
    assert int(verdict(one(first, second)).says) == says


def test_not_a_number_abstains():
    assert int(verdict(weigh_numbers(torch.tensor(math.nan), 0.1)).says) == 0


def test_a_jury_needs_more_votes_than_all_else():
    voters = verdict(one([0.9, 0.9, 0.1, 0.5], [0.1, 0.1, 0.9, 0.5]))
    assert poll([voters]).votes == {0: 1, 4: 2, 5: 1}
    assert poll([voters]).says == 0
    assert poll([voters, verdict(one([0.9], [0.1]))]).says == 4
    assert poll([]).says == 0


def test_a_panel_pools_probabilities():
    found = pool(one([0.9, 0.1], [0.1, 0.1]))
    assert [float(x) for x in (found.first, found.second, found.outside)] == pytest.approx(
        [0.5, 0.1, 0.4]
    )


def test_the_temperature_is_the_best_of_a_grid():
    generator = torch.Generator().manual_seed(0)
    logits = 6 * torch.randn(200, 5, generator=generator, dtype=torch.float64)
    label = torch.multinomial((logits / 3).softmax(-1), 1, generator=generator)[:, 0]
    found = float(fit_temperature(logits, label))

    def loss(temperature):
        return torch.nn.functional.cross_entropy(logits / temperature, label).item()

    assert found == pytest.approx(3, rel=0.25)
    assert loss(found) <= min(loss(0.05 * step) for step in range(1, 200)) + 1e-9


def test_a_witness_that_is_always_wrong_gets_the_hottest_temperature():
    logits = torch.eye(3)[:2] * 5
    assert float(fit_temperature(logits, torch.tensor([2, 2]))) == pytest.approx(1000, rel=1e-3)
    assert float(fit_temperature(logits, torch.tensor([0, 1]))) == pytest.approx(1e-3, rel=1e-3)


def test_the_calibration_error_by_hand():
    confidence = torch.tensor([0.95, 0.95, 0.91, 0.15])
    right = torch.tensor([True, False, True, False])
    by_hand = abs(2 - (0.95 + 0.95 + 0.91)) / 4 + 0.15 / 4
    assert float(calibration_error(confidence, right)) == pytest.approx(by_hand, abs=1e-6)
    assert float(calibration_error(torch.ones(3), torch.ones(3).bool())) == 0
    assert float(calibration_error(torch.ones(0), torch.ones(0).bool())) == 0


def test_conformal_sets_cover_as_often_as_they_say():
    generator = torch.Generator().manual_seed(0)
    covered = []
    for _ in range(2000):
        scores = torch.rand(20, generator=generator)
        truth = torch.rand(1, generator=generator)
        covered.append(bool(conformal_set(scores[:19], truth, level=0.8)))
    assert sum(covered) / len(covered) == pytest.approx(0.8, abs=0.03)
    assert conformal_set(torch.rand(3), torch.tensor([9.0]), level=0.9).all()


def test_refusals():
    with pytest.raises(ValueError, match="choices must be two numbers other than 0"):
        verdict(one(0.5, 0.5), choices=(4, 4))
    with pytest.raises(ValueError, match="unsure must be two ascending shares"):
        verdict(one(0.5, 0.5), unsure=(0.6, 0.4))
    with pytest.raises(ValueError, match="at least one cell"):
        fit_temperature(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64))
