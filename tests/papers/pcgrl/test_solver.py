from itertools import combinations

import numpy as np
import pytest

from quire import data
from quire.data.store import DataMissing
from quire.lab.execute import data_root
from quire.papers.pcgrl import find_problem, replay, solve_level
from quire.papers.pcgrl.solver import solve_plainly

MOVES = {"u": (-1, 0), "d": (1, 0), "l": (0, -1), "r": (0, 1)}
MICRO = {
    "rRR": "@ $ .",
    "": "@ *",
    None: "#####\n#@$.#\n#$ .#\n#####",
}


def exhaustive(floor, player, crates, targets):
    """Moves of the shortest solution by layers of whole positions, without any pruning."""
    layer, seen, moves = {(player, crates)}, set(), 0
    while layer:
        if any(boxes == targets for _, boxes in layer):
            return moves
        seen |= layer
        following = set()
        for (y, x), boxes in layer:
            for dy, dx in MOVES.values():
                there, beyond = (y + dy, x + dx), (y + 2 * dy, x + 2 * dx)
                if there not in floor:
                    continue
                if there not in boxes:
                    following.add((there, boxes))
                elif beyond in floor and beyond not in boxes:
                    following.add((there, (boxes - {there}) | {beyond}))
        layer, moves = following - seen, moves + 1
    return None


def written(height, width, walls, player, crates, targets):
    rows = []
    for y in range(height):
        row = ""
        for x in range(width):
            p = (y, x)
            letter = " #@$.*+"[
                1 if p in walls else 5 if p in crates and p in targets else 6 if p == player
                and p in targets else 3 if p in crates else 4 if p in targets else 2 if p == player
                else 0
            ]  # fmt: skip
            row += letter
        rows.append(row)
    return rows


def boards(count, seed):
    rng = np.random.default_rng(seed)
    for _ in range(count):
        height, width = rng.integers(2, 5, size=2)
        cells = [(y, x) for y in range(height) for x in range(width)]
        boxes = int(rng.integers(1, 3))
        if len(cells) < 2 * boxes + 2:
            continue
        order = [cells[i] for i in rng.permutation(len(cells))]
        walls = set(order[: int(rng.integers(0, 3))])
        free = [c for c in order if c not in walls]
        targets = frozenset(free[i] for i in rng.permutation(len(free))[:boxes])
        yield height, width, walls, free[0], frozenset(free[1 : 1 + boxes]), targets


@pytest.mark.parametrize("solve", [solve_level, solve_plainly])
def test_solutions_are_those_of_exhaustive_search(solve):
    solved = 0
    for height, width, walls, player, crates, targets in boards(250, 0):
        lines = written(height, width, walls, player, crates, targets)
        floor = {(y, x) for y in range(height) for x in range(width)} - walls
        shortest = exhaustive(floor, player, crates, targets)
        found = solve(lines)
        assert found.status == ("unsolvable" if shortest is None else "solved"), lines
        if shortest is not None:
            assert found.length == shortest
            assert replay(lines, found.moves)
            solved += 1
    assert 30 < solved < 200


def test_every_board_of_three_by_three_with_one_crate():
    cells = [(y, x) for y in range(3) for x in range(3)]
    for player, crate in combinations(cells, 2):
        for target in cells:
            args = (set(cells), player, frozenset({crate}), frozenset({target}))
            lines = written(3, 3, set(), player, *args[2:])
            shortest = exhaustive(*args)
            assert solve_level(lines).length == (shortest or 0)


@pytest.mark.parametrize("moves", MICRO)
def test_micro_levels(moves):
    found = solve_level(MICRO[moves])
    assert found.moves == (moves or "")
    assert found.status == ("unsolvable" if moves is None else "solved")


def test_a_known_level():
    """The first of the XSokoban-like microban set needs 33 moves."""
    level = "####\n# .#\n#  ###\n#*@  #\n#  $ #\n#  ###\n####"
    found = solve_level(level)
    assert found.length == 33
    assert replay(level, found.moves)
    assert solve_plainly(level).moves == found.moves


def test_the_budget_counts_positions():
    level = "####\n# .#\n#  ###\n#*@  #\n#  $ #\n#  ###\n####"
    whole = solve_level(level).positions
    for solve in (solve_level, solve_plainly):
        assert solve(level).positions == whole
        assert solve(level, budget=whole).status == "solved"
        assert solve(level, budget=whole - 1).status == "budget"
        assert solve(level, budget=whole - 1).length == 0


@pytest.mark.parametrize(
    ("level", "message"),
    [
        ("@@$.", "one player and as many crates as targets, got 2, 1 and 1"),
        ("@$$.", "got 1, 2 and 1"),
        ("@", "got 1, 0 and 0"),
        ("@$.x", "got 'x'"),
    ],
)
def test_what_is_no_level(level, message):
    with pytest.raises(ValueError, match=message):
        solve_level(level)


def test_a_wrong_solution_does_not_pass():
    assert not replay("@ $ .", "rR")
    assert not replay("@ $ .", "rRRR")
    assert not replay("@ $ .", "u")


def test_large_floors_are_solved_in_plain_python():
    level = ["@" + " " * 65, " $." + " " * 63, " " * 66]
    assert solve_level(level).length == 2
    assert solve_level(level).moves == "dR"


def test_solution_lengths_of_maps_use_the_budget():
    sokoban = find_problem("sokoban")
    maps = np.zeros((1, 5, 5), np.uint8)
    maps[0, 2] = [2, 3, 0, 4, 0]
    assert sokoban.measure(maps)[0, -1] == 2
    maps[0, 2] = [2, 3, 3, 4, 4]  # pushing the second crate would take pushing two
    assert sokoban.measure(maps)[0, -1] > 2


@pytest.mark.parametrize("number", range(3))
def test_real_levels(number):
    """Levels of Boxoban: what is found wins; the budget is said where it does not last."""
    try:
        levels = data.sokoban(data_root())["unfiltered_valid"]
    except DataMissing as missing:
        pytest.skip(str(missing))
    pytest.importorskip("numba", reason="numba (extra fast)")
    lines = ["".join(" #$.@*+"[code] for code in row) for row in levels[number]]
    found = solve_level(lines, budget=150_000)
    assert found.status in ("solved", "budget")
    if found.status == "solved":
        assert replay(lines, found.moves)
        assert any(move.isupper() for move in found.moves)
