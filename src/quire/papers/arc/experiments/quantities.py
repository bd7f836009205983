"""The quantities of section II.2 on a language whose programs can be enumerated."""

import math

from quire.lab import Config, Metrics, Run
from quire.papers.arc.measure import (
    Curriculum,
    Expression,
    Function,
    Language,
    Measured,
    ScopeTask,
    ToyTask,
    intelligence,
    measure,
)


class Quantities(Config):
    """The toy language's search."""

    most: float = 8.0
    """Longest program looked at, bits."""


SUCC = Function("succ", ("number",), "number", lambda n: n + 1)
DOUBLE = Function("double", ("number",), "number", lambda n: 2 * n)
NUMBERS = Language("number", (SUCC, DOUBLE))
"""succ, double and x: three choices, so log2(3) = 1.585 bits a node."""


def make_program(*names: str) -> Expression:
    """Functions one after another on x, the last applied first."""
    made = Expression("x")
    for name in reversed(names):
        made = Expression(name, (made,))
    return made


def quantities(config: Quantities, run: Run) -> Metrics:
    """Planted programs recovered; GD, P, E and I against values worked out by hand."""
    node = math.log2(3)
    programs = NUMBERS.programs(config.most)
    planted = [p for bits, p in programs if bits > node]
    lost = 0
    for one in planted:
        wanted = [NUMBERS.run(one, x) for x in (3, 5, 11)]
        same = [p for _, p in programs if [NUMBERS.run(p, x) for x in (3, 5, 11)] == wanted]
        lost += not same or NUMBERS.bits(same[0]) > NUMBERS.bits(one) + 1e-9
    errors = compare_with_hand(config.most, node, run)
    way = Curriculum(probability=1.0, difficulty=0.5, priors=0.25, experience=0.25)
    scope = [ScopeTask(1.0, 0.8, (way,)), ScopeTask(2.0, 1.0, (way, way))]
    errors["intelligence_error"] = abs(intelligence(scope) - (0.8 + 4.0) / 2)
    return errors | {
        "planted": len(planted),
        "not_recovered": lost,
        "kraft": sum(2.0**-bits for bits, _ in programs),
    }


def compare_with_hand(most: float, node: float, run: Run) -> Metrics:
    """Distances of GD, P and E of toy tasks from values worked out by hand.

    Sol is succ(double(x)), three nodes of log2(3) bits.
    """
    odd, known = make_program("succ", "double"), make_program("double")
    evaluation = ((3, 7), (5, 11))

    def of(*curriculum: tuple[int, int], system: tuple[Expression, ...] = ()) -> Measured:
        return measure(NUMBERS, ToyTask(curriculum, evaluation), most=most, system=system)

    honest, useless = of((3, 7), (4, 9)), of((3, 7), (3, 7))
    able, half = of((3, 7), system=(odd,)), of((3, 7), system=(known,))
    # 2 -> 3 is done by succ(x), which is no part of Sol: nothing is shared. 1 -> 2 is done by
    # double(x) first: as a word it leaves two nodes with four choices each.
    shortcut, near = of((2, 3)), of((1, 2))
    # Within two nodes: x (1/3), succ(x) and double(x) (1/9 each); 3 -> 4 leaves succ(x) alone.
    pinned = measure(NUMBERS, ToyTask(((3, 4),), ((3, 4), (5, 6))), most=2 * node)
    for name, value in (("H(Sol)", honest.h_solution), ("GD after a shortcut", near.difficulty),
                        ("P, double(x) known", half.priors), ("E", pinned.experience)):  # fmt: skip
        run.note(f"{name}: {value}")
    shared = 4 / (3 * node)
    return {
        "gd_error": max(
            abs(honest.difficulty), abs(shortcut.difficulty - 1), abs(near.difficulty - shared)
        ),
        "priors_error": max(
            abs(able.priors - 1), abs(honest.priors), abs(half.priors - (1 - shared))
        ),
        "experience_error": max(
            abs(pinned.experience - math.log2(5) / (2 * node)),
            abs(useless.experience - of((3, 7)).experience),
            abs(able.experience),
        ),
    }
