import numpy as np
import pytest
import torch

from quire.papers.pcgrl import (
    HillClimber,
    MapNet,
    Narrow,
    NetAgent,
    Painter,
    RandomAgent,
    Wide,
    World,
    changed_share,
    diversity,
    evolve,
    find_problem,
    roll_out,
    serpentine,
)
from quire.papers.pcgrl.search import neighbours

SMALL = find_problem("binary").sized(5, 4, path=3)


def test_neighbours_are_all_maps_one_edit_away():
    sokoban = find_problem("sokoban")
    maps = sokoban.draw(3, np.random.default_rng(0))
    edits, tiles = neighbours(sokoban, maps)
    assert edits.shape == (3, 25 * 4, 5, 5)
    assert ((edits != maps[:, None]).sum((2, 3)) == 1).all()
    assert len(np.unique(edits[0].reshape(100, -1), axis=0)) == 100
    assert (tiles.reshape(3, -1) == edits[edits != maps[:, None]].reshape(3, -1)).all()


def test_the_climber_takes_the_best_edit():
    world = World(SMALL, Wide(), envs=20, seed=0, change_percentage=1.0)
    for _ in range(3):
        scores = np.stack([
            World.take(world, np.arange(20)).step(np.full(20, action)).rewards
            for action in range(world.actions)
        ])  # fmt: skip
        own = world.state.maps.reshape(20, -1)
        for cell in range(20):
            for i in range(20):
                scores[2 * cell + own[i, cell], i] = -np.inf  # it always changes something
        step = world.step(HillClimber()(world))
        assert (step.rewards == scores.max(0)).all()


def test_the_climber_leaves_frozen_tiles():
    world = World(SMALL, Wide(), envs=5, seed=0)
    world.state.frozen[:] = True
    world.state.frozen[:, 2, 3] = False
    assert (HillClimber()(world) // 2 == 2 * 5 + 3).all()


def test_the_painter_writes_one_map():
    target = serpentine(SMALL)
    assert SMALL.measure(target[None])[0].tolist() == [1, 5 + 1 + 5 - 1 + 1 - 1]
    rollout = roll_out(Painter(target), SMALL, Wide(), SMALL.draw(50, np.random.default_rng(0)))
    same = (rollout.ends == target).all((1, 2))
    assert rollout.reached.mean() > 0.6
    assert same.any()
    assert diversity(rollout.ends) < diversity(rollout.starts)
    with pytest.raises(ValueError, match="takes a wide world"):
        Painter(target)(World(SMALL, Narrow()))


def test_a_serpentine_is_the_longest_way_there_is_here():
    for height, width in ((8, 8), (14, 14), (7, 5)):
        problem = find_problem("binary").sized(width, height, path=8)
        regions, path = problem.measure(serpentine(problem)[None])[0]
        assert regions == 1
        rows = (height + 1) // 2
        assert path == rows * width + rows - 2 + (height % 2 == 0 and 0)


def test_evolution_keeps_within_the_budget():
    problem = find_problem("zelda").sized(7, 5, path=6, nearest=2)
    starts = problem.draw(30, np.random.default_rng(0))
    best, reached = evolve(
        problem, starts, change_percentage=0.2, generator=np.random.default_rng(1), generations=40
    )
    assert ((best != starts).sum((1, 2)) <= 7).all()
    first = problem.measure(starts)
    stats = problem.measure(best)
    assert (problem.reached(stats, first) == reached).all()
    assert reached.mean() > 0.4
    assert (problem.potential(stats)[~reached] >= problem.potential(first)[~reached]).all()


def test_a_rollout_remembers_where_the_goal_was_met():
    starts = SMALL.draw(80, np.random.default_rng(0))
    agent = RandomAgent(np.random.default_rng(0))
    rollout = roll_out(agent, SMALL, Wide(), starts, change_percentage=0.5, horizon=60)
    assert 0 < rollout.reached.mean() < 1
    first = SMALL.measure(starts)
    assert (SMALL.reached(rollout.stats, first) == rollout.reached).all()
    assert (SMALL.measure(rollout.ends) == rollout.stats).all()
    assert (rollout.changes[~rollout.reached] <= 10).all()
    assert (rollout.iterations <= 60).all()
    differs = (rollout.ends != starts).sum((1, 2))
    assert (differs <= rollout.changes).all()
    assert np.allclose(changed_share(rollout), differs / 20)
    assert not rollout.already.any()


def test_a_network_acts_and_repeats():
    torch.manual_seed(0)
    net = MapNet(1, (4, 5), tiles=2, widths=(4,))
    starts = SMALL.draw(9, np.random.default_rng(0))
    ends = [
        roll_out(NetAgent(net, seed=seed), SMALL, Wide(), starts, change_percentage=0.2).ends
        for seed in (0, 0, 1)
    ]
    assert (ends[0] == ends[1]).all()
    assert (ends[0] != ends[2]).any()


def test_diversity_is_the_mean_over_pairs():
    maps = find_problem("sokoban").draw(7, np.random.default_rng(0))
    pairs = [(a != b).mean() for i, a in enumerate(maps) for b in maps[:i]]
    assert diversity(maps) == pytest.approx(np.mean(pairs))
    assert diversity(maps[:1]) == 0
    assert diversity(np.repeat(maps[:1], 3, 0)) == pytest.approx(0)
