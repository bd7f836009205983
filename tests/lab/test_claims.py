import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quire.lab.claims import Check, decide, student

number = st.floats(-100, 100)


def results(**arms):
    return {
        arm: {seed: {"m": value} for seed, value in enumerate(values)}
        for arm, values in arms.items()
    }


def test_names_and_sides():
    check = Check.parse("a.m + 2 * abs(b.m) <= max(a.m, 7) - sqrt(4)")
    assert check.names == {("a", "m"), ("b", "m")}
    assert check.sides({"a": {"m": 3.0}, "b": {"m": -4.0}}) == (11.0, 5.0)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a.m", "one comparison"),
        ("a.m < b.m < c.m", "one comparison"),
        ("a.m != b.m", "must compare with"),
        ("1 < 2", "names no arm.metric"),
        ("a.m < b", "'b' is not an arm.metric name"),
        ("a.m < __import__('os').system('x')", "only|arithmetic|number"),
        ("a.m.n < 1", "is not an arm.metric name"),
        ("a.m < 'x'", "not a number"),
        ("a.m < [1][0]", "arithmetic only"),
        ("a.m <", "not an expression"),
        ("open(a.m) < 1", "may be called"),
    ],
)
def test_anything_but_arithmetic_is_refused(text, fault):
    with pytest.raises(ValueError, match=fault):
        Check.parse(text)


@pytest.mark.parametrize(
    ("check", "a", "b", "verdict"),
    [
        ("a.m > b.m", [3, 4, 5], [1, 1, 1], "holds"),
        ("a.m > b.m", [1, 1, 1], [3, 4, 5], "fails"),
        ("a.m > b.m", [1, 5, 2], [2, 1, 3], "undecided"),
        ("a.m < b.m", [1, 1, 1], [3, 4, 5], "holds"),
        ("a.m < b.m", [1, 1, 1], [1, 1, 1], "fails"),
        ("a.m <= b.m", [1, 1, 1], [1, 1, 1], "holds"),
        ("a.m > b.m + 3", [3, 4, 5], [1, 1, 1], "undecided"),
    ],
)
def test_trend(check, a, b, verdict):
    assert decide(Check.parse(check), "trend", results(a=a, b=b)).verdict == verdict


def test_one_seed_is_never_evidence_for_a_trend():
    check = Check.parse("a.m > b.m")
    assert decide(check, "trend", results(a=[9], b=[1])).verdict == "one seed"
    assert decide(check, "number", results(a=[9], b=[1])).verdict == "holds"


def test_seeds_are_paired():
    # Unpaired, the spread over seeds would hide the difference of one half.
    decision = decide(Check.parse("a.m > b.m"), "trend", results(a=[1.5, 50.5, 9.5], b=[1, 50, 9]))
    assert decision.verdict == "holds"
    assert decision.interval == pytest.approx((0.5, 0.5))


def test_only_common_seeds_count():
    found = results(a=[1, 2, 3], b=[0, 0])
    assert decide(Check.parse("a.m > b.m"), "trend", found).seeds == 2


def test_identity_must_hold_for_every_seed():
    check = Check.parse("a.m == b.m")
    assert decide(check, "identity", results(a=[1, 2], b=[1, 2])).verdict == "holds"
    assert decide(check, "identity", results(a=[1, 2], b=[1, 3])).verdict == "fails"


def test_what_did_not_run():
    check = Check.parse("a.m > b.m")
    assert decide(check, "trend", results(a=[1])).verdict == "not run"
    missing = decide(check, "trend", {"a": {0: {"m": 1}}, "b": {0: {"other": 1}}})
    assert (missing.verdict, missing.reason) == ("not run", "a run reports no b.m")


def test_what_is_not_finite_is_undecided():
    found = results(a=[math.nan, 1, 1], b=[0, 0, 0])
    assert decide(Check.parse("a.m > b.m"), "trend", found).verdict == "undecided"
    zero = results(a=[1, 1], b=[0, 0])
    assert decide(Check.parse("a.m / b.m > 1"), "trend", zero).verdict == "undecided"


@given(st.lists(number, min_size=2, max_size=8))
def test_interval_is_students_and_mirrors(values):
    low, high = student(values)
    mean = sum(values) / len(values)
    scale = 1e-9 + 1e-9 * max(map(abs, values))
    assert low - scale <= mean <= high + scale
    mirrored = student([-v for v in values])
    assert mirrored == (pytest.approx(-high, abs=scale), pytest.approx(-low, abs=scale))


def test_interval_by_hand():
    # Mean 2, standard error 1 / sqrt(3), t of 2 degrees of freedom 4.30265.
    low, high = student([1.0, 2.0, 3.0])
    assert low == pytest.approx(2 - 4.302652729911275 / 3**0.5)
    assert high == pytest.approx(2 + 4.302652729911275 / 3**0.5)
    assert student([2.0, 2.0]) == (2.0, 2.0)


def test_three_seeds_that_agree_are_not_yet_evidence():
    found = results(a=[1.0, 2.0, 9.0], b=[0.0, 0.0, 0.0])
    assert decide(Check.parse("a.m > b.m"), "trend", found).verdict == "undecided"
    found = results(a=[1.0, 1.1, 0.9], b=[0.0, 0.0, 0.0])
    assert decide(Check.parse("a.m > b.m"), "trend", found).verdict == "holds"


def test_every_arm_that_runs():
    check = Check.parse("max(*.m) - min(*.m) < 2")
    assert check.over(("a", "b")).names == {("a", "m"), ("b", "m")}
    found = results(a=[1.0, 1.0], b=[2.0, 2.0])
    assert decide(check.over(("a", "b")), "identity", found).verdict == "holds"
    assert decide(check.over(("a",)), "identity", found).left == 0.0
    for bad in ("*.m < 2", "abs(*.m) < 2", "max(1, 2 + *.m) < 2", "max(*.) < 2"):
        with pytest.raises(ValueError, match=r"check '"):
            Check.parse(bad)


@pytest.mark.parametrize("check", ["a.m ** 99999999 < 1", "a.m ** b.m < 1", "a.m ** -1e9 < 1"])
def test_a_power_that_never_ends_is_refused(check):
    with pytest.raises(ValueError, match="an exponent is a number up to 64"):
        Check.parse(check)


def test_a_root_of_what_is_negative_is_undecided():
    found = results(a=[-1.0, -2.0], b=[0.0, 0.0])
    assert decide(Check.parse("a.m ** 0.5 > b.m"), "trend", found).verdict == "undecided"


@given(st.lists(number, min_size=3, max_size=3), st.lists(number, min_size=3, max_size=3))
def test_a_check_and_its_opposite_never_both_hold(a, b):
    found = results(a=a, b=b)
    verdicts = {decide(Check.parse(f"a.m {op} b.m"), "trend", found).verdict for op in "<>"}
    assert verdicts != {"holds"}
