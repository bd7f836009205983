"""The engines against plain Python, SciPy and maps measured by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import shortest_path

from quire.nn import devices
from quire.papers.pcgrl import LongestPath, Narrow, Turtle, Wide, World, batched, find_problem
from quire.papers.pcgrl import rules as rules_module
from quire.papers.pcgrl.plain import PlainEnv, measure_plainly, range_reward
from quire.papers.pcgrl.render import from_text
from quire.papers.pcgrl.rules import build_rules

NAMES = ("binary", "zelda", "sokoban")
REPRESENTATIONS = (Narrow(), Narrow(scan=True), Turtle(), Turtle(warp=True), Wide())


def engines():
    found = [pytest.param(batched, id="batched")]
    try:
        from quire.papers.pcgrl import compiled
    except ImportError:
        skip = pytest.mark.skip(reason="numba is not installed (extra fast)")
        return [*found, pytest.param(None, marks=skip, id="compiled")]
    return [*found, pytest.param(compiled, id="compiled")]


every_engine = pytest.mark.parametrize("engine", engines())


def measured(engine, problem, maps):
    out = np.full((len(maps), len(problem.metrics)), -7, np.int64)
    engine.measure(build_rules(problem, Wide()), maps, out)
    return out


def names_of(problem, tiles):
    return [[problem.tiles[t] for t in row] for row in tiles]


def drawn(problem, count, seed=0):
    """Random maps; of the richer problems also some that have one of each thing."""
    maps = problem.draw(count, np.random.default_rng(seed))
    if problem.name == "binary":
        return maps
    rng = np.random.default_rng(seed + 1)
    flat = np.where(maps > 1, 0, maps).reshape(count, -1)[: count // 2]
    places = rng.random(flat.shape).argsort(1)
    singles = [2, 3, 4, 5] if problem.name == "zelda" else [2, 3, 4]
    flat[:, :] = np.where(rng.random(flat.shape) < 0.5, 0, flat)
    for j, tile in enumerate(singles):
        flat[np.arange(len(flat)), places[:, j]] = tile
    return np.concatenate([flat.reshape(-1, *maps.shape[1:]), maps])[:count]


@every_engine
def test_mazes_measured_by_hand(engine):
    binary = find_problem("binary").sized(5, 4, path=3)
    maps = from_text(
        binary,
        """
.....
.###.
.#.#.
.#.#.

#####
#####
#####
#####

..#..
..#..
#####
.#.#.

.....
####.
.....
.####
""",
    )
    assert measured(engine, binary, maps).tolist() == [[2, 10], [0, 0], [5, 2], [1, 11]]


@every_engine
def test_dungeons_measured_by_hand(engine):
    zelda = find_problem("zelda").sized(5, 4, path=3, nearest=2)
    maps = from_text(
        zelda,
        """
A...g
wwww.
+....
w.1..

A.g.w
+1www
w.w..
.....

A....
wwww.
+....
gw1..

A....
+wwww
.2...
.gw..

A+...
www..
1..g.
w....

A...w
+1www
w.wg.
....2
""",
    )
    stats = measured(engine, zelda, maps)
    # A door joins nothing: in the first two maps there are two regions, so no search is made.
    assert stats[:, 4].tolist() == [2, 2, 1, 1, 1, 1]
    nearest_and_path = [
        [0, 0],
        [0, 0],
        [4 + 2 + 2 + 1, 4 + 2 + 4 + 1],
        # The key stands in the only way to the enemy, which counts as far away as there are tiles.
        [20, 1 + 3],
        [20, 1 + 4],
        [2, 1 + 6],
    ]
    assert stats[:, 5:].tolist() == nearest_and_path


@every_engine
@pytest.mark.parametrize("name", NAMES)
def test_metrics_are_those_of_plain_python(engine, name):
    problem = find_problem(name)
    maps = drawn(problem, 120)
    ours = measured(engine, problem, maps)
    for tiles, row in zip(maps, ours, strict=True):
        plain = measure_plainly(problem, names_of(problem, tiles))
        assert row.tolist() == list(plain.values())
    if name == "zelda":
        assert (ours[:, 5:] > 0).any(0).all()  # the searches were asked for
    if name == "sokoban":
        assert (ours[:, -1] > 0).any()


def floor_of(maps):
    return maps == 0


def diameters(maps):
    """Longest shortest paths by SciPy, from every tile to every other."""
    for tiles in maps:
        number = np.arange(tiles.size).reshape(tiles.shape)
        floor = floor_of(tiles)
        edges = []
        for a, b in ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:])):
            both = floor[a] & floor[b]
            edges.append(np.stack([number[a][both], number[b][both]]))
        ends = np.concatenate(edges, 1)
        graph = coo_matrix((np.ones(ends.shape[1]), ends), (tiles.size, tiles.size))
        steps = shortest_path(graph.tocsr(), directed=False, unweighted=True)
        yield int(steps[np.isfinite(steps)].max())


@every_engine
def test_regions_and_exact_paths_are_scipys(engine):
    problem = find_problem("binary").sized(9, 7, path=5)
    exact = replace(
        problem, metrics=(problem.metrics[0], LongestPath("path", ("empty",), exact=True))
    )
    maps = problem.draw(150, np.random.default_rng(1))
    ours = measured(engine, exact, maps)
    assert ours[:, 0].tolist() == [ndimage.label(floor_of(tiles))[1] for tiles in maps]
    assert ours[:, 1].tolist() == list(diameters(maps))
    quick = measured(engine, problem, maps)
    assert (quick[:, 1] <= ours[:, 1]).all()
    assert (quick[:, 1] < ours[:, 1]).any()  # the paper's two searches are too short sometimes
    # ... but not where a region has no cycle: as many edges as tiles, less one a region.
    floor = floor_of(maps)
    edges = (floor[:, 1:] & floor[:, :-1]).sum((1, 2)) + (floor[..., 1:] & floor[..., :-1]).sum(
        (1, 2)
    )
    trees = edges == floor.sum((1, 2)) - ours[:, 0]
    assert trees.any()
    assert (quick[trees, 1] == ours[trees, 1]).all()


def worlds(problem, representation, engine, monkeypatch, **options):
    monkeypatch.setattr("quire.papers.pcgrl.world.find_engine", lambda: engine)
    return World(problem, representation, seed=3, **options)


@every_engine
@pytest.mark.parametrize("representation", REPRESENTATIONS, ids=repr)
@pytest.mark.parametrize("name", NAMES)
def test_steps_are_those_of_plain_python(engine, name, representation, monkeypatch):
    """Transitions, rewards, limits: the reference's rules map by map, in the engines' order."""
    problem = find_problem(name)
    if name == "binary":
        problem = problem.sized(6, 5, path=4)
    world = worlds(problem, representation, engine, monkeypatch, envs=6, change_percentage=0.3)
    world.restart(maps=drawn(problem, 6, seed=2))
    plain = [PlainEnv(problem, representation, change_percentage=0.3) for _ in range(6)]
    for i, env in enumerate(plain):
        place = divmod(int(world.state.cells[i]), problem.width)
        env.reset(names_of(problem, world.state.maps[i]), place)
    rng = np.random.default_rng(4)
    for _ in range(25):
        actions = rng.integers(world.actions, size=6)
        step = world.step(actions)
        for i, env in enumerate(plain):
            following = divmod(int(world.state.cells[i]), problem.width)
            reward, over = env.step(int(actions[i]), following)
            assert reward == step.rewards[i]
            assert over == (step.terminated | step.truncated)[i]
            assert env.is_reached() == step.reached[i]
            assert names_of(problem, world.state.maps[i]) == env.grid
            assert [env.changes, env.iterations] == world.state.counts[i].tolist()
            if not isinstance(representation, Wide):
                assert following == (env.y, env.x)
            assert (world.observe([i])[0] == env.observe()).all()
    assert world.state.edits.sum() == world.state.counts[:, 0].sum()


@pytest.mark.parametrize("name", NAMES)
def test_returns_are_differences_of_the_potential(name):
    problem = find_problem(name)
    world = World(problem, Wide(), envs=40, change_percentage=1.0, seed=0)
    before = problem.potential(world.state.stats)
    total, rng = np.zeros(40), np.random.default_rng(0)
    for _ in range(30):
        total += world.step(rng.integers(world.actions, size=40)).rewards
    assert np.array_equal(total, problem.potential(world.state.stats) - before)


@every_engine
def test_a_leap_over_an_interval(engine, monkeypatch):
    """The reference pays minus both distances; the potential their difference."""
    problem = find_problem("binary").sized(5, 3, path=3)
    maps = from_text(problem, "..#..\n#####\n#####")
    rewards = {}
    for kind in ("potential", "reference"):
        world = worlds(problem, Wide(), engine, monkeypatch, controls={"path": (3, 3)},
                       range_reward=kind)  # fmt: skip
        world.restart(maps=maps)
        rewards[kind] = world.step([2 * 2 + 0]).rewards[0]  # path 1 to 4, regions 2 to 1
    assert rewards == {"potential": 5 + (2 - 1), "reference": 5 - (2 + 1)}
    with pytest.raises(ValueError, match="potential or reference, got 'other'"):
        build_rules(problem, Wide(), range_reward="other")


def test_plain_range_rewards_have_signs():
    assert range_reward(3, 1, float("inf"), float("inf")) == 2
    assert range_reward(3, 1, -float("inf"), -float("inf")) == -2
    assert range_reward(0, 4, 1, 3) == 0


@every_engine
@pytest.mark.parametrize("side", [None, 1, 4, 7])
@pytest.mark.parametrize("name", ["zelda", "binary"])
def test_the_crop_is_centred_and_padded(engine, name, side, monkeypatch):
    problem = find_problem(name)
    world = worlds(problem, Narrow(), engine, monkeypatch, envs=50, crop=side)
    seen = world.observe()
    side = side or 2 * max(problem.width, problem.height)
    assert seen.shape == (50, 1 if name == "binary" else 8, side, side)
    assert seen.dtype == np.uint8
    numbers = seen[:, 0] if name == "binary" else seen.argmax(1)
    if name == "zelda":
        assert (seen.sum(1) == 1).all()
    for i, cell in enumerate(world.state.cells):
        y, x = divmod(int(cell), problem.width)
        whole = np.pad(world.state.maps[i], side, constant_values=1)
        top, left = y + side - side // 2, x + side - side // 2
        assert (numbers[i] == whole[top : top + side, left : left + side]).all()
        assert numbers[i, side // 2, side // 2] == world.state.maps[i, y, x]


@every_engine
def test_wide_sees_the_map(engine, monkeypatch):
    world = worlds(find_problem("sokoban"), Wide(), engine, monkeypatch, envs=9)
    assert (world.observe().argmax(1) == world.state.maps).all()
    assert (world.observe([2, 4]) == world.observe()[[2, 4]]).all()


def test_engines_agree_on_longer_runs(monkeypatch):
    compiled = pytest.importorskip("quire.papers.pcgrl.compiled", reason="numba (extra fast)")
    for name in NAMES:
        pair = [
            worlds(find_problem(name), Narrow(), engine, monkeypatch, envs=64)
            for engine in (batched, compiled)
        ]
        rng = np.random.default_rng(0)
        for _ in range(12):
            actions = rng.integers(pair[0].actions, size=64)
            steps = [world.step(actions) for world in pair]
            assert all((a == b).all() for a, b in zip(*steps, strict=True))
            assert (pair[0].observe() == pair[1].observe()).all()
        for a, b in zip(pair[0].state, pair[1].state, strict=True):
            assert (a == b).all()


def test_without_numba_tensors_do_it(monkeypatch):
    import sys

    import quire.papers.pcgrl

    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.delitem(sys.modules, "quire.papers.pcgrl.compiled", raising=False)
    monkeypatch.delattr(quire.papers.pcgrl, "compiled", raising=False)
    assert rules_module.find_engine() is batched


@pytest.mark.parametrize("name", NAMES)
def test_an_accelerators_way_is_a_cpus(name, monkeypatch):
    """It looks every few waves whether all searches have ended, and gives the same."""
    problem = find_problem(name)
    maps = drawn(problem, 40)
    here = measured(batched, problem, maps)
    monkeypatch.setattr(devices, "is_accelerator", lambda x: True)
    assert (measured(batched, problem, maps) == here).all()


def test_on_meta_nothing_is_read():
    rules = build_rules(find_problem("zelda").sized(4, 3, path=2, nearest=2), Wide())
    maps = torch.zeros(3, 3, 4, dtype=torch.uint8, device="meta")
    assert batched.measure_all(rules, maps).shape == (3, 7)
