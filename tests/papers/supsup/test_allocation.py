"""When a mask is allocated: the rule by hand, and its edges."""

import math

import pytest
import torch

from quire.papers.supsup import choose_mask, count_columns


def test_the_rule_by_hand() -> None:
    # Of five columns the largest share is 1.125 / 5 where one slope is lower by this.
    edge = math.log(1.125 / 5 / ((1 - 1.125 / 5) / 4))
    for push, is_new in ((1.01, False), (0.99, True)):
        choice = choose_mask(torch.tensor([0.0, -push * edge, 0, 0, 0]), 3)
        assert bool(choice.is_new) is is_new
        assert int(choice.mask) == (3 if is_new else 1)
    assert float(choose_mask(torch.zeros(5), 3).peak) == pytest.approx(1)


def test_an_untrained_mask_that_is_steepest_is_a_new_task() -> None:
    choice = choose_mask(torch.tensor([0.0, 0, -5, 0, 0]), 2)
    assert bool(choice.is_new)
    assert int(choice.mask) == 2


def test_one_column_always_allocates() -> None:
    """Which is why at least five take part."""
    assert bool(choose_mask(torch.tensor([-100.0]), 1).is_new)
    assert [count_columns(k) for k in (1, 4, 5, 6)] == [5, 5, 5, 6]


def test_half_precision_and_what_does_not_fit() -> None:
    slopes = torch.tensor([-3.0, 0, 0, 0, 0])
    assert int(choose_mask(slopes.bfloat16(), 1).mask) == 0
    with pytest.raises(ValueError, match="C at least known = 6"):
        choose_mask(slopes, 6)
    with pytest.raises(ValueError, match="margin must be positive, got 0"):
        choose_mask(slopes, 1, margin=0)
