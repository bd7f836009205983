"""Measures against closed forms and against the formulas as experiments write them out."""

import math

import numpy as np
import pytest
import torch

from quire.lab import measure
from quire.lab.measure import (
    crossing,
    exponent,
    largest,
    largest_difference,
    measure_costs,
    overtaking,
    seconds,
    slope,
)

CPU = torch.device("cpu")


@pytest.fixture
def clock(monkeypatch):
    """A clock that a call moves: `clock.append(seconds)`."""
    ticks = []
    monkeypatch.setattr(measure.time, "process_time", lambda: sum(ticks))
    return ticks


def test_seconds_are_the_median_after_the_warm_up(clock):
    waits = iter([100, 1, 5, 2])
    assert seconds(lambda: clock.append(next(waits)), CPU, repeats=3) == 2
    waits = iter([1, 5])
    assert seconds(lambda: clock.append(next(waits)), CPU, repeats=2, warmup=0) == 3
    with pytest.raises(ValueError, match="at least 1, got 0"):
        seconds(list, CPU, repeats=0)


def test_the_wall_clock_is_another_one(clock, monkeypatch):
    wall = iter(range(0, 1000, 7))
    monkeypatch.setattr(measure.time, "perf_counter", lambda: next(wall))
    assert seconds(list, CPU, wall=True) == 7
    assert seconds(list, CPU) == 0


@pytest.mark.filterwarnings("ignore")
def test_costs_against_length(clock):
    calls = []

    def calls_at(length):
        def quadratic():
            calls.append(length)
            clock.append(length**2)
            return torch.ones(1000 * length, dtype=torch.uint8)

        found = {"quadratic": quadratic}
        return found if length > 20 else found | {"constant": lambda: clock.append(3)}

    lengths = measure.doublings(10, 45)
    assert lengths == [10, 20, 40]
    costs = measure_costs(lengths, calls_at, CPU, repeats=2)
    assert costs["quadratic"].seconds == [100, 400, 1600]
    assert costs["constant"].lengths == [10, 20]
    assert exponent(lengths, costs["quadratic"].seconds) == pytest.approx(2)
    assert exponent(lengths, costs["quadratic"].megabytes) == pytest.approx(1, abs=0.02)
    assert calls == [10] * 4 + [20] * 4 + [40] * 4  # one to warm up, two repeats, the memory
    assert measure_costs([10], calls_at, CPU, repeats=0)["quadratic"].seconds == []


def test_slopes_to_the_last_bit():
    lengths, costs = [128, 256, 512, 1000], [0.31, 0.77, 1.92, 4.4]
    x, y = (torch.tensor(v, dtype=torch.float64).log() for v in (lengths, costs))
    x = x - x.mean()
    assert exponent(lengths, costs) == float((x * y).sum() / x.square().sum())
    dims, powers = [8, 10, 12], [math.log(n) for n in (30.0, 61.5, 190.0)]
    xs, ys = (torch.tensor(v, dtype=torch.float64) for v in (dims, powers))
    xs = xs - xs.mean()
    assert slope(dims, powers) == float((xs * ys).sum() / xs.square().sum())
    assert slope(dims, powers) == pytest.approx(np.polyfit(dims, powers, 1)[0])
    assert exponent(lengths, [3 * n**1.7 for n in lengths]) == pytest.approx(1.7)
    assert math.isnan(exponent([3], [4.0]))


def first_below(numbers, percent, level=95.0):
    """As an experiment writes it: 1 where the curve begins below the level."""
    if percent[0] < level:
        return 1.0
    for at in range(1, len(numbers)):
        if percent[at] < level:
            share = (percent[at - 1] - level) / (percent[at - 1] - percent[at])
            return float(numbers[at - 1] * (numbers[at] / numbers[at - 1]) ** share)
    return float(numbers[-1])


def a_fall(numbers, found, level):
    """As another one writes it: any fall through the level."""
    for left, right, high, low in zip(numbers, numbers[1:], found, found[1:], strict=False):
        if low < level <= high:
            share = (high - level) / (high - low)
            return float(left * (right / left) ** share)
    return float(numbers[-1] if found[-1] >= level else numbers[0])


def test_crossings_to_the_last_bit():
    numbers, rng = [2, 4, 8, 16, 32], np.random.default_rng(0)
    curves = [[99.0] * 5, [1.0] * 5, [90.0, 99.0, 90.0, 99.0, 1.0], *rng.uniform(80, 105, (300, 5))]
    for curve in curves:
        assert crossing(numbers, curve, 95.0, below=1.0) == first_below(numbers, curve)
        assert crossing(numbers, curve, 95.0) == a_fall(numbers, curve, 95.0)
    assert crossing([1, 2, 4], [100.0, 95.0, 85.0], 90.0) == pytest.approx(2 * 2**0.5)
    assert crossing([2, 8], [100.0, 90.0], 95.0) == pytest.approx(4)


def test_where_a_ratio_stays_above_one():
    assert overtaking([2, 4, 8], [1.5, 2.0, 3.0]) == 2
    assert overtaking([2, 4, 8], [1.5, 2.0, 1.0]) == 16
    assert overtaking([2, 8, 16], [0.5, 2.0, 3.0]) == pytest.approx(4)
    assert overtaking([2, 4, 8, 16], [3.0, 0.5, 0.25, 4.0]) == pytest.approx(8 * 2**0.5)


def test_the_largest_difference_of_trees():
    a, b = torch.tensor([1.0, -5.0], requires_grad=True), torch.tensor([1.5, -7.0])
    assert largest_difference(a, b) == 2
    assert largest_difference({"x": (a, b), "y": [b]}, {"y": [b], "x": (a, a)}) == 2
    assert largest([a, b]) == 7
    nan = torch.tensor([math.nan, 0.0])
    assert math.isnan(largest_difference([a, nan], [b, b]))
    with pytest.raises(ValueError, match=r"shapes \[\(2,\)\] and \[\(1,\)\]"):
        largest_difference(a, torch.zeros(1))
    with pytest.raises(ValueError, match="shapes"):
        largest_difference((a, b), (a,))
    with pytest.raises(TypeError, match="got float"):
        largest(1.0)
