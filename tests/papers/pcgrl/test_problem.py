import math
from dataclasses import replace

import numpy as np
import pytest

from quire.papers.pcgrl import Goal, find_problem, problem_names
from quire.papers.pcgrl.problem import nearness

OWN = """
from quire.papers.pcgrl import Count, Goal, Problem, Reward

PROBLEM = Problem(
    name="garden", tiles=("grass", "flower"), width=4, height=3, border="grass", letters=".*",
    start={"grass": 0.9, "flower": 0.1},
    metrics=(Count("flowers", ("flower",)),),
    rewards=(Reward("flowers", 1, low=3, high=5),),
    goals=(Goal("flowers", low=3, high=5),),
)
"""


def test_the_papers_problems_are_found_by_looking():
    assert problem_names() == ["binary", "sokoban", "zelda"]
    sizes = {
        name: (find_problem(name).width, find_problem(name).height) for name in problem_names()
    }
    assert sizes == {"binary": (14, 14), "zelda": (11, 7), "sokoban": (5, 5)}


def test_an_unknown_name_gets_the_nearest_one():
    with pytest.raises(ValueError, match="unknown problem 'zleda': did you mean 'zelda'"):
        find_problem("zleda")
    with pytest.raises(ValueError, match=r"no file nowhere\.py"):
        find_problem("nowhere.py")


def test_a_new_problem_is_one_file(tmp_path):
    path = tmp_path / "garden.py"
    path.write_text(OWN)
    garden = find_problem(path)
    assert garden.name == "garden"
    maps = np.zeros((1, 3, 4), np.uint8)
    maps[0, 0] = 1
    assert garden.measure(maps).tolist() == [[4]]
    assert garden.reached(garden.measure(maps), garden.measure(maps)).all()
    path.write_text("PROBLEM = 3")
    with pytest.raises(ValueError, match="holds no PROBLEM"):
        find_problem(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p.sized(2, 8), "2 x 8 tiles is too small: each side takes 3 or more"),
        (lambda p: p.sized(4, 4), "an impossible goal: path of 20 or more.* has 11 at most"),
        (lambda p: p.asking(path=200), "an impossible goal: path of 200"),
        (lambda p: p.asking(paths=3), "unknown goal of binary 'paths': did you mean 'path'"),
        (lambda p: replace(p, goals=(Goal("regions", high=-1),)), "an impossible goal"),
        (
            lambda p: replace(p, border="sold"),
            "unknown tile of binary 'sold': did you mean 'solid'",
        ),
        (lambda p: replace(p, letters=".."), "one letter a tile"),
        (lambda p: replace(p, start={"empty": 1.0}), "a probability for each tile"),
        (lambda p: replace(p, metrics=p.metrics[::-1], goals=()), None),
        (lambda p: p.measure(np.zeros((2, 3, 3), np.uint8)), r"maps must be \(N, 14, 14\)"),
        (lambda p: p.measure(np.full((2, 14, 14), 2)), "tiles must be 0 to 1, got 2 to 2"),
        (lambda p: p.measure(np.full((2, 14, 14), -1)), "tiles must be 0 to 1, got -1"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(change, message):
    binary = find_problem("binary")
    if message is None:
        change(binary)
        return
    with pytest.raises(ValueError, match=message) as caught:
        change(binary)
    assert "\n" not in str(caught.value)


def test_metrics_need_what_was_measured_before():
    zelda = find_problem("zelda")
    with pytest.raises(ValueError, match="path needs player, which is not measured before it"):
        replace(zelda, metrics=zelda.metrics[::-1])
    with pytest.raises(ValueError, match="maps of 64 tiles at most, got 9 x 8"):
        find_problem("sokoban").sized(9, 8)


def test_asking_moves_what_is_rewarded_as_well():
    zelda = find_problem("zelda").asking(nearest=2, path=9)
    assert [goal.low for goal in zelda.goals] == [2, 9]
    assert {r.metric: r.low for r in zelda.rewards}["nearest"] == 2
    assert {r.metric: r.low for r in zelda.rewards}["path"] == math.inf


def test_a_distance_from_an_interval():
    values = np.array([-3, 1, 2, 5, 9])
    assert nearness(values, 1, 5).tolist() == [-4, 0, 0, 0, -4]
    assert nearness(values, math.inf, math.inf).tolist() == values.tolist()
    assert nearness(values, -math.inf, -math.inf).tolist() == (-values).tolist()
    assert nearness(values, 4, math.inf).tolist() == [-7, -3, -2, 0, 0]


def test_maps_are_drawn_with_the_papers_probabilities():
    zelda = find_problem("zelda")
    maps = zelda.draw(2000, np.random.default_rng(0))
    shares = [(maps == t).mean() for t in range(8)]
    assert np.allclose(shares, list(zelda.start.values()), atol=0.01)


def test_binarys_share_of_floor_varies_but_for_the_first_maps():
    binary = find_problem("binary")
    spread = [
        (binary.draw(3000, np.random.default_rng(0), first=first) == 0).mean((1, 2)).std()
        for first in (True, False)
    ]
    assert spread[0] == pytest.approx(0.5 / 14, abs=0.003)
    assert spread[1] == pytest.approx((1 / 12) ** 0.5, abs=0.01)  # nearly uniform from 0 to 1


def test_no_maps_are_no_error():
    binary = find_problem("binary")
    assert binary.measure(np.zeros((0, 14, 14), np.uint8)).shape == (0, 2)
    assert binary.draw(0, np.random.default_rng(0)).shape == (0, 14, 14)
