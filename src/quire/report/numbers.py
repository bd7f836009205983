"""Numbers as text: three significant digits, fixed point where that stays readable."""

import math

NOT_FINITE = "not finite"


def number(value: float | None) -> str:
    """`value` as text; whole numbers keep their digits, and None is a value that was not finite.

    >>> [number(x) for x in (0.123456, 6.97, 0.4, 272474, 1.2e-9, None)]
    ['0.123', '6.97', '0.4', '272,474', '1.2e-09', 'not finite']
    """
    if value is None or not math.isfinite(value):
        return NOT_FINITE
    if value == int(value) and abs(value) < 1e9:
        return f"{int(value):,}"
    if not 1e-4 <= abs(value) < 1e9:
        return f"{value:.3g}"
    text = _fixed(value, _decimals(value, 3))
    # Zeros at the end are dropped where they are exact, and kept where they were rounded to.
    exact = math.isclose(float(text.replace(",", "")), value, rel_tol=1e-12)
    return text.rstrip("0").rstrip(".") if exact and "." in text else text


def mean_and_std(mean: float | None, std: float | None) -> str:
    """A mean with its standard deviation, rounded where the deviation makes digits idle.

    Without a deviation, or with one of zero, the mean stands alone.

    >>> mean_and_std(98.3456, 0.0123), mean_and_std(98.3456, 5.678), mean_and_std(7, None)
    ('98.346 ± 0.012', '98.3 ± 5.7', '7')
    """
    if mean is None or not math.isfinite(mean) or std is None or not math.isfinite(std):
        return number(mean)
    if std <= 1e-12 * abs(mean):
        return number(mean)
    if mean == 0 or not 1e-4 <= abs(mean) < 1e9:
        return f"{number(mean)} ± {_short(std)}"
    decimals = min(max(_decimals(std, 2), _decimals(mean, 3)), _decimals(mean, 5))
    return f"{_fixed(mean, decimals)} ± {_short(std)}"


def seconds(value: float) -> str:
    """A duration in seconds, minutes or hours.

    >>> [seconds(x) for x in (0.25, 59.2, 600, 9000)]
    ['0.25 s', '59.2 s', '10.0 min', '2.50 h']
    """
    for unit, size in (("h", 3600.0), ("min", 60.0)):
        if value >= 1.5 * size:
            return f"{_fixed(value / size, max(0, _decimals(value / size, 3)))} {unit}"
    return f"{number(round(value, 2))} s"


def count(amount: int, noun: str) -> str:
    """An amount with its noun.

    >>> count(1, "seed"), count(3, "seed")
    ('1 seed', '3 seeds')
    """
    return f"{amount:,} {noun}" if amount == 1 else f"{amount:,} {noun}s"


def _short(value: float) -> str:
    if not 1e-4 <= value < 1e9:
        return f"{value:.2g}"
    return _fixed(value, _decimals(value, 2))


def _decimals(value: float, significant: int) -> int:
    """Decimals that leave `significant` digits of `value`, which is rounded first: 99.96 is 100."""
    exponent = int(f"{value:.{significant - 1}e}".partition("e")[2])
    return max(0, significant - 1 - exponent)


def _fixed(value: float, decimals: int) -> str:
    return f"{value:,.{decimals}f}"
