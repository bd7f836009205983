import contextlib
import importlib.util

import numpy as np
import pytest

from quire.lab.errors import Interrupted, UserError
from quire.lab.papers import find_paper
from quire.lab.testing import run_in, try_run
from quire.papers.pcgrl import HillClimber, Wide, find_problem, read_levels, roll_out
from quire.papers.pcgrl.experiments.control import binned, rank_correlation
from quire.papers.pcgrl.experiments.designers import (
    PROBLEMS,
    Judged,
    Level,
    choose_painting,
    describe,
    draw_starts,
)
from quire.papers.pcgrl.experiments.generate import is_valid
from quire.papers.pcgrl.experiments.identities import diameter, draw_richly

needs_rl = pytest.mark.skipif(
    importlib.util.find_spec("stable_baselines3") is None,
    reason="stable-baselines3 is not installed (extra rl)",
)


@needs_rl
@pytest.mark.parametrize(("experiment", "arm"), [("binary", "narrow"), ("control", "wide")])
def test_a_run_that_was_killed_ends_with_the_same_numbers(experiment, arm, tmp_path):
    setting = {"training": {"updates": 3, "envs": 3}, "starts": 6, "horizon": 20}
    whole = try_run("pcgrl", experiment, arm=arm, directory=tmp_path / "a", overrides=setting)
    for stop in (1, 1):
        with contextlib.suppress(Interrupted):
            try_run("pcgrl", experiment, arm=arm, directory=tmp_path / "b", overrides=setting,
                    stop_after=stop)  # fmt: skip
    assert (
        try_run("pcgrl", experiment, arm=arm, directory=tmp_path / "b", overrides=setting) == whole
    )


@needs_rl
def test_a_trained_designer_generates(tmp_path):
    small = {"level": {"width": 5, "height": 5, "length": 1}, "training": {"updates": 1, "envs": 2}}
    try_run("pcgrl", "binary", arm="wide", directory=tmp_path, overrides=small)
    (folder,) = (tmp_path / "pcgrl" / "binary" / "smoke-custom" / "wide").iterdir()
    told = try_run("pcgrl", "generate", directory=tmp_path,
                   overrides={"policy": str(folder), "n": 3})  # fmt: skip
    assert told["levels"] == 3
    assert told["valid"] == 100


def test_what_cannot_be_generated_is_said(tmp_path):
    with pytest.raises(UserError, match="unknown problem 'zleda': did you mean 'zelda'"):
        try_run("pcgrl", "generate", directory=tmp_path, overrides={"problem": "zleda"})
    with pytest.raises(UserError, match="no folder of a run that trained"):
        try_run("pcgrl", "generate", directory=tmp_path, overrides={"policy": str(tmp_path)})


@needs_rl
def test_an_impossible_goal_is_said(tmp_path):
    with pytest.raises(UserError, match="an impossible goal: path of 147"):
        try_run("pcgrl", "binary", arm="painter", directory=tmp_path,
                overrides={"level": {"length": 147}})  # fmt: skip


@pytest.mark.parametrize("problem", ["zelda", "sokoban"])
def test_the_generator_writes_levels(problem, tmp_path):
    if problem == "sokoban":
        pytest.importorskip("numba", reason="40 s in plain Python (extra fast)")
    told = try_run("pcgrl", "generate", directory=tmp_path, overrides={"problem": problem, "n": 4})
    assert told["levels"] == 4
    assert told["valid"] == 100
    (folder,) = tmp_path.rglob("levels/seed*/levels")
    maps = read_levels(find_problem(problem), sorted(folder.glob("*.txt")))
    assert len(np.unique(maps, axis=0)) == 4
    assert (folder / "sheet.png").is_file()
    assert len(list(folder.glob("*.tmj"))) == 4


def test_a_level_that_is_none_is_not_valid():
    zelda = find_problem("zelda")
    assert not is_valid(zelda, *np.zeros((2, 7, 11), np.uint8))


def test_starts_follow_from_the_seed(tmp_path):
    problem = PROBLEMS["zelda"]
    drawn = [draw_starts(run_in(tmp_path / str(i), seed=s), problem, 5)
             for i, s in enumerate((1, 1, 2))]  # fmt: skip
    assert (drawn[0] == drawn[1]).all()
    assert (drawn[0] != drawn[2]).any()


@pytest.mark.parametrize(
    "level",
    [
        Level(width=8, height=8, length=8),
        Level(problem="zelda", width=7, height=5, length=8, enemy=3),
        Level(problem="sokoban", width=4, height=4, length=5),
    ],
)
def test_the_painting_is_what_is_asked_for(level):
    problem = level.build()
    painting = choose_painting(problem, np.random.default_rng(0))[None]
    nothing = problem.measure(np.zeros_like(painting)) * 0
    assert problem.reached(problem.measure(painting), nothing).all()


def test_what_is_said_of_a_designer(tmp_path):
    problem = Level(width=6, height=6, length=5).build()
    starts = problem.draw(30, np.random.default_rng(0))
    rollout = roll_out(HillClimber(), problem, Wide(), starts)
    run = run_in(tmp_path)
    told = describe(Judged(np.linspace(0, 1, 11), rollout), run)
    assert (told["success_20"], told["success_100"]) == (20.0, 100.0)
    assert told["changed"] == pytest.approx(100 * (starts != rollout.ends).mean())
    assert run.results["success"]["x"] == pytest.approx(list(range(0, 101, 10)))
    failed = ~rollout.reached
    ones = rollout.stats[failed, 0] == 1
    assert told["short"] == pytest.approx(100 * ones.mean())
    assert told.keys() <= find_paper("pcgrl").experiments["binary"].metrics.keys()


def test_correlations_and_bins():
    asked = np.arange(12.0)
    assert rank_correlation(asked, asked**2) == pytest.approx(1)
    assert rank_correlation(asked, asked * 0) == 0
    means = binned(asked, 2 * asked, bins=3)
    assert means == ([1.5, 5.5, 9.5], [3.0, 11.0, 19.0])


def test_a_diameter_by_hand_and_rich_maps():
    assert diameter(np.array([[1, 1, 1], [0, 0, 1], [1, 1, 1]], bool)) == 6
    maps = draw_richly(PROBLEMS["zelda"], 10, np.random.default_rng(0))
    assert ((maps[:5] == 2).sum((1, 2)) == 1).all()
