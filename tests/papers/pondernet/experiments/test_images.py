"""Risk against coverage where many answers take equally many steps."""

import numpy as np
import pytest

from quire.papers.pondernet.experiments.images import accumulate_risk


def test_constant_steps_say_nothing_about_risk() -> None:
    good = np.repeat(np.float32([1, 0]), 50)  # easy ones first, as corruption levels are joined
    risk = accumulate_risk(good, np.full(100, 5, np.float32))
    assert risk == pytest.approx(np.full(100, 50.0))


def test_the_order_of_equal_steps_decides_nothing() -> None:
    rng = np.random.default_rng(0)
    good, steps = rng.integers(0, 2, 60).astype(np.float32), rng.integers(1, 4, 60)
    risk = accumulate_risk(good, steps.astype(np.float32))
    order = rng.permutation(60)
    assert accumulate_risk(good[order], steps[order].astype(np.float32)) == pytest.approx(risk)
    assert risk[-1] == pytest.approx(100 * (1 - good.mean()))
    first = steps == 1
    assert risk[first.sum() - 1] == pytest.approx(100 * (1 - good[first].mean()))


def test_distinct_steps_are_covered_in_their_order() -> None:
    good, steps = np.float32([0, 1, 1]), np.float32([3.5, 1.5, 2.5])
    assert accumulate_risk(good, steps) == pytest.approx([0, 0, 100 / 3])
