"""Levels of Sokoban: their shortest solutions, in moves of the player.

A search over positions, breadth first, each met once; crates are never pushed to where no push can
lead them to a target (that loses no solution). It runs compiled where numba is installed and the
floor has at most 64 tiles, else in plain Python. The paper's code limits each of its searches to
5,000 positions taken from the queue, those met before among them, and goes on with A* where that
did not last; here one budget counts different positions, and what is found is the shortest.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quire.papers.pcgrl.representation import MOVES

WALL, PLAYERS, CRATES, TARGETS = "#", "@+", "$*", ".*+"
LETTERS = "lrud"
"""Names of the moves: left, right, up, down; capitals push."""
Place = tuple[int, int]


@dataclass(frozen=True)
class Solution:
    """What a search found out."""

    status: str
    """"solved", "unsolvable", or "budget" where it met too many positions to know."""
    moves: str
    """The moves, capitals where a crate is pushed; empty unless solved."""
    positions: int
    """Different positions that were met."""

    @property
    def length(self) -> int:
        """Moves of the player, 0 unless solved."""
        return len(self.moves)


def read_lines(level: str | Iterable[str]) -> list[str]:
    """The lines of a level in the usual letters: # wall, @ player, $ crate, . target, * and +.

    Raises ValueError unless there is one player and as many crates as targets, one at least.
    """
    lines = level.splitlines() if isinstance(level, str) else list(level)
    lines = [line for line in lines if line]
    text = "".join(lines)
    unknown = set(text) - set("# @$.*+-")
    if unknown:
        raise ValueError(f"a level is written in '# @$.*+', got {min(unknown)!r}")
    players, crates, targets = (sum(map(text.count, kind)) for kind in (PLAYERS, CRATES, TARGETS))
    if players != 1 or crates != targets or not crates:
        raise ValueError("a level has one player and as many crates as targets, got "
                         f"{players}, {crates} and {targets}")  # fmt: skip
    return lines


def solve_level(level: str | Iterable[str], *, budget: int = 1_000_000) -> Solution:
    """The shortest solution of a level in the usual letters.

    Args:
        level: Lines, or one text of them; what is outside of it is wall.
        budget: Different positions that the search may meet.

    Example:
        >>> from quire.papers.pcgrl import replay, solve_level
        >>> level = "@ $ ."
        >>> solve_level(level).moves
        'rRR'
        >>> replay(level, "rRR")
        True
    """
    lines = read_lines(level)
    floor = sum(letter != WALL for line in lines for letter in line)
    try:
        from quire.papers.pcgrl import compiled
    except ImportError as error:
        if error.name != "numba":
            raise
        return solve_plainly(lines, budget=budget)
    if floor > 64:
        return solve_plainly(lines, budget=budget)
    return _solve_compiled(compiled, lines, budget)


def _solve_compiled(compiled: Any, lines: list[str], budget: int) -> Solution:
    width = max(map(len, lines))
    codes = "# @$.*+"
    kinds = [[codes.index(c) if c != "-" else 1 for c in line.ljust(width, WALL)] for line in lines]
    # A crate on a target is a crate and a target: sets of tiles may overlap.
    row = np.array([0, 0b1000100, 0b0101000, 0b1110000, 1, budget], np.int64)
    beside, player, crates, targets = compiled.read_level(np.array(kinds, np.uint8), row)
    if crates == targets:
        return Solution("solved", "", 1)
    end, parents, players, _, met = compiled.search(beside, player, crates, targets, budget)
    if end < 0:
        return Solution("budget" if end == compiled.TOO_LONG else "unsolvable", "", int(met))
    steps = []
    while parents[end] >= 0:
        before = players[parents[end]]
        steps.append(int(np.flatnonzero(beside[before] == players[end])[0]))
        end = parents[end]
    return Solution("solved", _with_pushes(lines, steps[::-1]), int(met))


def solve_plainly(level: str | Iterable[str], *, budget: int = 1_000_000) -> Solution:
    """`solve_level` in plain Python, for floors of any size: the slow twin.

    Args:
        level: Lines, or one text of them.
        budget: Different positions that the search may meet.
    """
    lines = read_lines(level)
    floor, player, crates, targets = _read(lines)
    alive = _alive(floor, targets)
    begin = (player, crates)
    came: dict[tuple[Place, frozenset[Place]], tuple[Any, int]] = {begin: (None, -1)}
    queue = [begin]
    if crates == targets:
        return Solution("solved", "", 1)
    for position in queue:  # grows while it is read
        here, boxes = position
        for d, (dy, dx) in enumerate(MOVES):
            there = here[0] + dy, here[1] + dx
            moved = boxes
            if there not in floor:
                continue
            if there in boxes:
                beyond = there[0] + dy, there[1] + dx
                if beyond not in alive or beyond in boxes:
                    continue
                moved = boxes - {there} | {beyond}
            following = there, moved
            if following in came:
                continue
            if len(came) == budget:
                return Solution("budget", "", len(came))
            came[following] = position, d
            queue.append(following)
            if moved == targets:
                steps = _steps_to(following, came)
                return Solution("solved", _with_pushes(lines, steps), len(came))
    return Solution("unsolvable", "", len(came))


def replay(level: str | Iterable[str], moves: str) -> bool:
    """Whether moves, one after the other, are all possible and leave every crate on a target."""
    floor, here, boxes, targets = _read(read_lines(level))
    for letter in moves.lower():
        dy, dx = MOVES[LETTERS.index(letter)]
        here, beyond = (here[0] + dy, here[1] + dx), (here[0] + 2 * dy, here[1] + 2 * dx)
        if here not in floor:
            return False
        if here in boxes:
            if beyond not in floor or beyond in boxes:
                return False
            boxes = boxes - {here} | {beyond}
    return boxes == targets


def solve_maps(
    maps: NDArray[np.uint8], row: list[int], allowed: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Moves (N,) in the shortest solutions of maps where `allowed` (N,), 0 elsewhere.

    row: The metric's arguments, as in `SolutionLength.row`.
    """
    lengths = np.zeros(len(maps), np.int64)
    for i in np.flatnonzero(allowed):
        lines = _as_lines(maps[i], row)
        crates, targets = (sum(line.count(sign) for line in lines) for sign in "$.")
        if crates and crates == targets:
            lengths[i] = solve_level(lines, budget=row[5]).length
    return lengths


def _as_lines(tiles: NDArray[np.uint8], row: list[int]) -> list[str]:
    def letter(tile: int) -> str:
        for sign, mask in zip("@$.#", row[1:5], strict=True):
            if mask >> tile & 1:
                return sign
        return " "

    return ["".join(letter(int(tile)) for tile in line) for line in tiles]


def _read(lines: list[str]) -> tuple[set[Place], Place, frozenset[Place], frozenset[Place]]:
    places = [((y, x), c) for y, line in enumerate(lines) for x, c in enumerate(line)]
    floor = {place for place, letter in places if letter != WALL}
    player = next(place for place, letter in places if letter in PLAYERS)
    crates = frozenset(place for place, letter in places if letter in CRATES)
    return floor, player, crates, frozenset(place for place, c in places if c in TARGETS)


def _alive(floor: set[Place], targets: frozenset[Place]) -> set[Place]:
    alive, waiting = set(targets), list(targets)
    while waiting:
        y, x = waiting.pop()
        for dy, dx in MOVES:
            crate, pusher = (y - dy, x - dx), (y - 2 * dy, x - 2 * dx)
            if crate in floor and pusher in floor and crate not in alive:
                alive.add(crate)
                waiting.append(crate)
    return alive


def _steps_to(position: Any, came: dict[Any, tuple[Any, int]]) -> list[int]:
    steps = []
    while (before := came[position])[1] >= 0:
        steps.append(before[1])
        position = before[0]
    return steps[::-1]


def _with_pushes(lines: list[str], steps: list[int]) -> str:
    _, here, boxes, _ = _read(lines)
    moves = ""
    for d in steps:
        dy, dx = MOVES[d]
        here = here[0] + dy, here[1] + dx
        pushed = here in boxes
        if pushed:
            boxes = boxes - {here} | {(here[0] + dy, here[1] + dx)}
        moves += LETTERS[d].upper() if pushed else LETTERS[d]
    return moves
