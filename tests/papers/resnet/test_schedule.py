"""The learning-rate rules: what they do, and that a restored rule continues the same."""

import random

import pytest
import torch
from torch import nn

from quire.papers.resnet import DivideOnPlateau, WarmUp


def test_warm_up_ends_for_good_below_80_percent():
    rule = WarmUp(window=10)
    factors = [rule.update(error) for error in [0.9] * 30]
    assert set(factors) == {0.1}
    factors = [rule.update(error) for error in [0.5] * 10]
    # The mean of 0.9 and 0.5 passes 0.8 after 3 steps: 0.9 ** 3 < 0.75 < 0.9 ** 2.
    assert factors == [0.1] * 2 + [1.0] * 8
    assert rule.update(1.0) == 1.0


def test_warm_up_does_not_believe_one_lucky_minibatch():
    assert WarmUp(window=100).update(0.0) == 0.1


def test_plateau_agrees_with_torchs_rule():
    source = random.Random(0)
    errors = [1 / (1 + k) + 0.3 * source.random() for k in range(80)]
    weight = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    peer = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=0.1, patience=4, threshold=0.01, threshold_mode="abs", eps=0.0
    )
    rule = DivideOnPlateau(patience=4, margin=0.01)
    for error in errors:
        peer.step(error)
        assert rule.update(error) == pytest.approx(optimizer.param_groups[0]["lr"])
    assert rule.factor < 0.01


def test_plateau_compares_means_of_a_window():
    rule = DivideOnPlateau(patience=0, window=2)
    errors = (1.0, 0.0, 0.9, 0.3)  # means 0.5 and 0.6
    assert [rule.update(e) for e in errors] == [1.0, 1.0, 1.0, 0.1]


@pytest.mark.parametrize("make", [lambda: WarmUp(window=20), lambda: DivideOnPlateau(window=3)])
def test_restored_rule_continues_the_same(make):
    source = random.Random(1)
    errors = [0.9 - k / 100 + 0.1 * source.random() for k in range(60)] + [0.5] * 60
    straight, first = make(), make()
    expected = [straight.update(error) for error in errors]
    for error in errors[:25]:
        first.update(error)
    second = make()
    second.load_state_dict(first.state_dict())
    assert [second.update(error) for error in errors[25:]] == expected[25:]
    assert len(set(expected)) > 1


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: WarmUp(window=0), "window must be at least 1"),
        (lambda: WarmUp(factor=2.0), r"factor must be a fraction in 0\.\.1"),
        (lambda: WarmUp(below=80), r"below must be a fraction in 0\.\.1, not per cent; got 80"),
        (
            lambda: WarmUp().update(90.0),
            r"error must be a fraction in 0\.\.1, not per cent; got 90",
        ),
        (lambda: WarmUp().update(float("nan")), "got nan"),
        (lambda: DivideOnPlateau(patience=-1), "patience must be"),
        (lambda: DivideOnPlateau(by=1.0), "0 < by < 1"),
        (lambda: DivideOnPlateau(margin=-0.1), "margin >= 0"),
        (lambda: DivideOnPlateau(margin=float("nan")), "margin >= 0"),
        (lambda: DivideOnPlateau().update(float("nan")), "error must be a finite number; got nan"),
    ],
)
def test_bad_input_is_refused(act, message):
    with pytest.raises(ValueError, match=message):
        act()
