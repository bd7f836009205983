"""Three ways to make editing a map a decision problem (section 3.1): narrow, turtle and wide.

n = h * w tiles, T kinds of tile. Every action is one number.
"""

from dataclasses import dataclass
from typing import ClassVar

from quire.papers.pcgrl.problem import Problem, unknown

NARROW, TURTLE, WIDE = range(3)
MOVES = ((0, -1), (0, 1), (-1, 0), (1, 0))
"""Rows and columns that the turtle's actions 0 to 3 move: left, right, up, down."""


@dataclass(frozen=True)
class Narrow:
    """The place is given and the agent chooses the tile: action 0 leaves it, k writes tile k - 1.

    The next place is drawn anew each step, as in the paper, or comes row by row (`scan`).
    """

    scan: bool = False
    kind: ClassVar[int] = NARROW
    crops: ClassVar[bool] = True

    def actions(self, problem: Problem) -> int:
        """T + 1."""
        return len(problem.tiles) + 1


@dataclass(frozen=True)
class Turtle:
    """The agent walks: actions 0 to 3 move left, right, up, down; 4 + t writes tile t where it is.

    At the border it stays where it is, or comes in at the other side (`warp`).
    """

    warp: bool = False
    kind: ClassVar[int] = TURTLE
    crops: ClassVar[bool] = True

    def actions(self, problem: Problem) -> int:
        """4 + T."""
        return len(MOVES) + len(problem.tiles)


@dataclass(frozen=True)
class Wide:
    """The agent chooses place and tile: action (y * w + x) * T + t."""

    kind: ClassVar[int] = WIDE
    crops: ClassVar[bool] = False

    def actions(self, problem: Problem) -> int:
        """n * T."""
        return problem.height * problem.width * len(problem.tiles)


Representation = Narrow | Turtle | Wide
REPRESENTATIONS: dict[str, Representation] = {
    "narrow": Narrow(),
    "turtle": Turtle(),
    "wide": Wide(),
}


def find_representation(representation: str | Representation) -> Representation:
    """The representation of a name, as in the paper, or itself. Raises ValueError otherwise."""
    if isinstance(representation, Narrow | Turtle | Wide):
        return representation
    if representation not in REPRESENTATIONS:
        raise ValueError(unknown("representation", str(representation), list(REPRESENTATIONS)))
    return REPRESENTATIONS[representation]
