"""The output's size, predicted before the search: rules on the input's size, or a state's size."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

Size = tuple[int, int]
RATIOS = (
    Fraction(1), Fraction(0), Fraction(2), Fraction(1, 2), Fraction(3), Fraction(1, 3),
    Fraction(4), Fraction(1, 4), Fraction(5), Fraction(1, 5), Fraction(6), Fraction(1, 6),
)  # fmt: skip
"""Slopes that a rule may have, likeliest first."""


@dataclass(frozen=True)
class SizeRule:
    """Output height = rows[0] * side + rows[1], output width = columns[0] * side + columns[1].

    The side is the input's own, or the other one where `turned`. `same` says whether the output
    has the input's frame, so that objects keep their places.

    Example:
        >>> from quire.papers.arc.solver.sizes import size_rules
        >>> rule = size_rules([(3, 3), (4, 5)], [(6, 6), (8, 10)])[0]
        >>> rule.predict((2, 7))
        (4, 14)
        >>> str(rule)
        'height x 2, width x 2'
    """

    rows: tuple[Fraction, Fraction]
    columns: tuple[Fraction, Fraction]
    turned: bool = False

    @property
    def same(self) -> bool:
        """Whether the output has the input's size."""
        plain = (Fraction(1), Fraction(0))
        return self.rows == plain and self.columns == plain and not self.turned

    def predict(self, size: Size) -> Size | None:
        """The output's size for an input's; None where it is no whole number from 1 to 30."""
        height, width = size[::-1] if self.turned else size
        down = self.rows[0] * height + self.rows[1]
        across = self.columns[0] * width + self.columns[1]
        for side in (down, across):
            if side.denominator != 1 or not 1 <= side <= 30:
                return None
        return int(down), int(across)

    def __str__(self) -> str:
        names = ("width", "height") if self.turned else ("height", "width")
        texts = []
        for name, (slope, shift) in zip(names, (self.rows, self.columns), strict=True):
            text = name if slope == 1 else f"{name} x {slope}"
            texts.append(
                f"{shift}"
                if slope == 0
                else text + (f" {'+' if shift > 0 else '-'} {abs(shift)}" if shift else "")
            )
        return ", ".join(texts)


def size_rules(inputs: Sequence[Size], outputs: Sequence[Size]) -> list[SizeRule]:
    """The linear rules that hold in every demonstration, likeliest first."""

    def lines(given: list[int], wanted: list[int]) -> list[tuple[Fraction, Fraction]]:
        found = []
        for slope in RATIOS:
            shifts = {w - slope * g for g, w in zip(given, wanted, strict=True)}
            if len(shifts) == 1:
                found.append((slope, shifts.pop()))
        # A constant before a slope with a remainder; proportions before both.
        return sorted(found, key=lambda line: (line[1] != 0) + (line[1] != 0 and line[0] != 0))

    rules = []
    for turned in (False, True):
        sides = [size[::-1] if turned else size for size in inputs]
        rows = lines([s[0] for s in sides], [s[0] for s in outputs])
        columns = lines([s[1] for s in sides], [s[1] for s in outputs])
        rules += [SizeRule(r, c, turned) for r in rows[:3] for c in columns[:3]]
    return sorted(rules, key=_weight)


def _weight(rule: SizeRule) -> tuple[int, int, int]:
    remainders = [s for _, s in (rule.rows, rule.columns) if s != 0]
    constant = rule.rows[0] == 0 and rule.columns[0] == 0
    unequal = 0 if rule.rows == rule.columns or constant else 1
    return (0 if rule.same else 1 + unequal, len(remainders) - constant, rule.turned)
