"""Output sizes from the demonstrations."""

from fractions import Fraction

import pytest

from quire.papers.arc.solver.sizes import SizeRule, size_rules


@pytest.mark.parametrize(
    ("inputs", "outputs", "size", "wanted"),
    [
        ([(3, 4), (5, 6)], [(3, 4), (5, 6)], (7, 2), (7, 2)),
        ([(3, 4), (5, 6)], [(1, 1), (1, 1)], (7, 2), (1, 1)),
        ([(3, 4), (5, 6)], [(6, 8), (10, 12)], (7, 2), (14, 4)),
        ([(3, 4), (5, 6)], [(4, 3), (6, 5)], (7, 2), (2, 7)),
        ([(3, 4), (5, 6)], [(5, 6), (7, 8)], (7, 2), (9, 4)),
        ([(9, 4), (6, 6)], [(3, 4), (2, 6)], (3, 2), (1, 2)),
        ([(5, 3), (7, 3)], [(2, 3), (3, 3)], (9, 3), (4, 3)),
    ],
)
def test_the_likeliest_rule(inputs, outputs, size, wanted):
    rules = size_rules(inputs, outputs)
    for rule in rules:
        assert [rule.predict(given) for given in inputs] == outputs
    assert rules[0].predict(size) == wanted


def test_no_rule_and_impossible_sizes():
    assert size_rules([(3, 3), (3, 3)], [(1, 2), (2, 1)]) == []
    double = SizeRule((Fraction(2), Fraction(0)), (Fraction(1, 2), Fraction(0)))
    assert double.predict((16, 4)) is None
    assert double.predict((3, 3)) is None
    assert double.predict((3, 4)) == (6, 2)
    assert str(double) == "height x 2, width x 1/2"
