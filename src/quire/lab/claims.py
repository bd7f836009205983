"""Checks and verdicts: a comparison of arithmetic over `arm.metric`, decided over seeds.

Imports neither torch nor scipy before a verdict is asked for.
"""

import ast
import functools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Literal

Verdict = Literal["holds", "fails", "undecided", "one seed", "not run"]
Results = Mapping[str, Mapping[int, Mapping[str, float]]]
"""Metrics of finished runs: arm, then seed, then metric."""

FUNCTIONS: dict[str, Callable[..., float]] = {
    "abs": abs, "sqrt": math.sqrt, "log": math.log, "exp": math.exp,
    "min": lambda *values: min(values), "max": lambda *values: max(values),
}  # fmt: skip
_EVERY = re.compile(r"\*\.(?=[a-z])")
"""``*.metric``: the metric of every arm that runs."""
_LARGEST_POWER = 64
_OPERATORS = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "=="}
_ARITHMETIC = (
    ast.BinOp, ast.UnaryOp, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Pow, ast.USub, ast.UAdd,
    ast.Load, ast.Name, ast.Attribute, ast.Constant, ast.Call,
)  # fmt: skip


@dataclass(frozen=True)
class Check:
    """A comparison such as ``plain56.train_error > plain20.train_error + 1``.

    ``max(*.leak)`` and ``min(*.leak)`` are over every arm that runs; such a check names the arms
    once `over` has told it which they are.
    """

    text: str
    left: str
    operator: str
    right: str
    names: frozenset[tuple[str, str]]

    @classmethod
    @functools.cache
    def parse(cls, text: str) -> "Check":
        """Read a check. Raises `ValueError` with one line on anything but one comparison."""
        try:
            tree = ast.parse(_EVERY.sub("_every.", text), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise ValueError(f"check '{text}' is not an expression") from None
        if not isinstance(tree, ast.Compare) or len(tree.ops) != 1:
            raise ValueError(f"check '{text}' must be one comparison with < <= > >= or ==")
        operator = _OPERATORS.get(type(tree.ops[0]))
        if operator is None:
            raise ValueError(f"check '{text}' must compare with < <= > >= or ==")
        names = frozenset(_names(tree.left, text) | _names(tree.comparators[0], text))
        if not names:
            raise ValueError(f"check '{text}' names no arm.metric")
        sides = ast.unparse(tree.left), ast.unparse(tree.comparators[0])
        return cls(text, sides[0], operator, sides[1], names)

    def over(self, arms: Sequence[str]) -> "Check":
        """The check with ``*.metric`` written out for the arms that run."""
        if not _EVERY.search(self.text):
            return self
        named = re.sub(
            r"\*\.([a-z]\w*)", lambda m: ", ".join(f"{arm}.{m[1]}" for arm in arms), self.text
        )
        return Check.parse(named)

    @property
    def arms(self) -> frozenset[str]:
        """The arms that must have run before the check can be decided."""
        return frozenset(arm for arm, _ in self.names)

    def sides(self, metrics: Mapping[str, Mapping[str, float]]) -> tuple[float, float]:
        """Both sides' values for one seed; `metrics` holds each arm's metrics.

        Raises `KeyError` with ``arm.metric`` where a run did not report the metric.
        """
        for arm, metric in sorted(self.names):  # the same one is named every time
            if metric not in metrics[arm]:
                raise KeyError(f"{arm}.{metric}")
        evaluator = _evaluator({arm: SimpleNamespace(**metrics[arm]) for arm in self.arms})
        return float(evaluator.eval(self.left)), float(evaluator.eval(self.right))

    def holds(self, left: float, right: float) -> bool:
        """Whether the comparison is true of two numbers."""
        return {
            "<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right,
            "==": left == right,
        }[self.operator]  # fmt: skip


def _evaluator(names: dict[str, SimpleNamespace]) -> Any:
    from simpleeval import SimpleEval

    return SimpleEval(names=names, functions=FUNCTIONS)


def _names(tree: ast.expr, text: str) -> set[tuple[str, str]]:
    names = set()
    grouped = {
        id(argument)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("min", "max")
        for argument in node.args
    }
    for node in ast.walk(tree):
        is_every = isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "_every"
        if is_every and id(node) not in grouped:
            raise ValueError(f"check '{text}': *.metric stands in max() or min() only")
        if (
            isinstance(node, ast.BinOp)
            and isinstance(node.op, ast.Pow)
            and not _is_small(node.right)
        ):
            raise ValueError(f"check '{text}': an exponent is a number up to {_LARGEST_POWER}")
        if not isinstance(node, _ARITHMETIC):
            raise ValueError(f"check '{text}' may hold arithmetic only, not '{ast.unparse(node)}'")
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            names.add((node.value.id, node.attr))
        elif isinstance(node, ast.Attribute):
            raise ValueError(f"check '{text}': '{ast.unparse(node)}' is not an arm.metric name")
        elif isinstance(node, ast.Constant) and not isinstance(node.value, int | float):
            raise ValueError(f"check '{text}': {node.value!r} is not a number")
        elif isinstance(node, ast.Call) and (
            not isinstance(node.func, ast.Name) or node.func.id not in FUNCTIONS
        ):
            allowed = ", ".join(FUNCTIONS)
            raise ValueError(f"check '{text}': only {allowed} may be called")
    bare = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    stray = bare - {arm for arm, _ in names} - set(FUNCTIONS)
    if stray:
        raise ValueError(f"check '{text}': '{min(stray)}' is not an arm.metric name")
    return names


def _is_small(node: ast.expr) -> bool:
    if isinstance(node, ast.UnaryOp):
        node = node.operand
    return isinstance(node, ast.Constant) and (
        isinstance(node.value, int | float) and abs(node.value) <= _LARGEST_POWER
    )


@dataclass(frozen=True)
class Decision:
    """A verdict with what was measured.

    `left` and `right` are means over seeds of the check's two sides, `interval` Student's 95 %
    interval of the mean of left - right (paired by seed), `seeds` how many there were. Where people
    judge, raters take the place of seeds (see `decide_judgement` for their interval).
    """

    verdict: Verdict
    left: float | None = None
    right: float | None = None
    interval: tuple[float, float] | None = None
    seeds: int = 0
    reason: str = ""


def decide(check: Check, kind: str, results: Results) -> Decision:
    """The verdict of `check` over the seeds that every arm it names has finished.

    An identity holds when it holds for each seed. A trend or a number holds or fails where the
    interval of the paired difference excludes zero, and is undecided elsewhere; from one seed a
    number is decided as it stands and a trend is not ("one seed").
    """
    missing = sorted(arm for arm in check.arms if not results.get(arm))
    if missing:
        return Decision("not run", reason=f"no finished run of {', '.join(missing)}")
    seeds = sorted(set.intersection(*(set(results[arm]) for arm in check.arms)))
    if not seeds:
        return Decision("not run", reason="the arms share no seed")
    try:
        sides = [check.sides({arm: results[arm][seed] for arm in check.arms}) for seed in seeds]
    except KeyError as error:
        return Decision("not run", reason=f"a run reports no {error.args[0]}")
    except (ArithmeticError, ValueError, TypeError) as error:
        return Decision("undecided", seeds=len(seeds), reason=f"arithmetic: {error}")
    left = sum(a for a, _ in sides) / len(sides)
    right = sum(b for _, b in sides) / len(sides)
    differences = [a - b for a, b in sides]
    interval = student(differences) if len(seeds) > 1 else None
    if any(not math.isfinite(d) for d in differences):
        return Decision("undecided", left, right, None, len(seeds), "a value is not finite")
    if kind == "identity":
        verdict: Verdict = "holds" if all(check.holds(*pair) for pair in sides) else "fails"
    elif interval is None:
        one: Verdict = "holds" if check.holds(left, right) else "fails"
        verdict = one if kind == "number" else "one seed"
    else:
        verdict = _by_interval(check, interval)
    return Decision(verdict, left, right, interval, len(seeds))


RATERS = 3
"""From so many raters on they are a sample of their own."""


def decide_judgement(check: Check, scores: Sequence[tuple[float, int]]) -> Decision:
    """The verdict of people who chose between two exhibits, pair by pair.

    `scores` holds for each rater how often the first of ``sorted(check.names)`` was chosen, and of
    how many pairs; a pair that a rater could not tell counts as a half. The values of the check's
    two names are these shares, which sum to one. The claim holds or fails where left - right is on
    one side of zero for every share in `clopper_pearson` over the pairs of all raters. Pairs of one
    rater are alike, so from three raters on Student's interval over raters counts as well: the
    verdict's interval reaches as far as either.
    """
    if not scores:
        return Decision("not run", reason="nobody has rated it")

    def sides(share: float) -> tuple[float, float]:
        values: dict[str, dict[str, float]] = {}
        for (arm, exhibit), value in zip(sorted(check.names), (share, 1 - share), strict=True):
            values.setdefault(arm, {})[exhibit] = value
        return check.sides(values)

    shares = [wins / pairs for wins, pairs in scores]
    low, high = clopper_pearson(sum(wins for wins, _ in scores), sum(pairs for _, pairs in scores))
    try:
        left, right = sides(sum(shares) / len(shares))
        # A check may bend, as abs() does: all shares of the interval are looked at, not its ends.
        reached = [a - b for a, b in (sides(low + (high - low) * k / 200) for k in range(201))]
        if len(scores) >= RATERS:
            reached += student([a - b for a, b in map(sides, shares)])
    except (ArithmeticError, ValueError, TypeError) as error:
        return Decision("undecided", seeds=len(scores), reason=f"arithmetic: {error}")
    interval = min(reached), max(reached)
    return Decision(_by_interval(check, interval), left, right, interval, len(scores))


def _by_interval(check: Check, interval: tuple[float, float]) -> Verdict:
    low, high = interval
    if check.operator in (">", ">="):
        low, high = -high, -low
    # Now the check reads: difference below zero.
    if high < 0 or (high == 0 and check.operator in ("<=", ">=")):
        return "holds"
    if low > 0 or (low == high == 0 and check.operator in ("<", ">")):
        return "fails"
    return "undecided"


def student(differences: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Student's interval of the mean of `differences`, with n - 1 degrees of freedom.

    Differences that are all the same give an interval of no width: nothing varies with the seed.
    """
    import numpy as np
    from scipy.special import stdtrit  # scipy.stats would take a second to import

    sample = np.asarray(differences, dtype=float)
    mean = float(sample.mean())
    if not np.isfinite(sample).all() or np.ptp(sample) == 0:
        return mean, mean
    error = float(sample.std(ddof=1)) / math.sqrt(len(sample))
    half = float(stdtrit(len(sample) - 1, (1 + level) / 2)) * error
    return mean - half, mean + half


def clopper_pearson(wins: float, pairs: int, level: float = 0.95) -> tuple[float, float]:
    """Clopper and Pearson's exact interval of a share, `wins` of `pairs`.

    Halves may be among the wins: a score of 0, a half or 1 scatters less than one of 0 or 1 with
    the same mean, so the interval is then wider than it need be.
    """
    from scipy.special import betaincinv

    tail = (1 - level) / 2
    low = betaincinv(wins, pairs - wins + 1, tail) if wins > 0 else 0.0
    high = betaincinv(wins + 1, pairs - wins, 1 - tail) if wins < pairs else 1.0
    return float(low), float(high)
