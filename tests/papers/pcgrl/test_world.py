import numpy as np
import pytest
import torch

from quire.papers.pcgrl import (
    DeviceWorld,
    HillClimber,
    Narrow,
    Painter,
    Turtle,
    Wide,
    World,
    find_problem,
    find_representation,
    roll_out,
    serpentine,
    success_by_budget,
)

SMALL = find_problem("binary").sized(5, 4, path=3)


def test_limits_are_the_papers():
    """0.2 of 14 x 14, 11 x 7 and 5 x 5 tiles, rounded down; n steps a change."""
    limits = {}
    for name in ("binary", "zelda", "sokoban"):
        edges = World(find_problem(name), Wide()).edges
        limits[name] = edges.max_changes, edges.max_iterations
    assert limits == {"binary": (39, 7644), "zelda": (15, 1155), "sokoban": (5, 125)}
    assert World(SMALL, Wide(), change_percentage=0.0).edges.max_changes == 1
    assert World(SMALL, Wide(), change_percentage=1.0).edges.max_changes == 20


def test_writing_what_is_there_is_no_change():
    world = World(SMALL, Wide(), envs=1, seed=0)
    own = int(world.state.maps[0, 1, 2])
    step = world.step([(1 * 5 + 2) * 2 + own])
    assert step.rewards[0] == 0
    assert world.state.counts.tolist() == [[0, 1]]
    world.step([(1 * 5 + 2) * 2 + 1 - own])
    assert world.state.counts.tolist() == [[1, 2]]
    assert world.state.edits[0, 1, 2] == 1
    assert world.state.edits.sum() == 1


def test_an_episode_ends_by_its_goal_its_changes_or_its_steps():
    world = World(SMALL, Wide(), envs=2, change_percentage=0.1, seed=0)
    assert world.edges[:2] == (2, 40)
    world.restart(maps=np.ones((2, 4, 5), np.uint8))
    for _ in range(39):
        step = world.step([1, 1])  # the wall stays
        assert not (step.terminated | step.truncated).any()
    step = world.step([1, 0])
    assert step.truncated.tolist() == [True, True]
    assert not step.terminated.any()
    world.restart(maps=np.ones((2, 4, 5), np.uint8))
    assert not world.step([0, 0]).terminated.any()
    step = world.step([0, 2])
    assert step.terminated.tolist() == [False, True]  # the second used its two changes
    tall = serpentine(SMALL)
    tall[0, :4] = 1
    world.restart(maps=[tall, tall])
    longer = [world.step([action, 1]) for action in (2 * 3, 2 * 2)]
    assert not longer[0].reached.any()
    world = World(SMALL, Wide(), envs=1, change_percentage=1.0)
    world.restart(maps=[tall])
    ends = [world.step([2 * x]) for x in (3, 2, 1)]
    assert [bool(end.reached[0]) for end in ends] == [False, False, True]
    assert bool(ends[-1].terminated[0])


def test_the_path_is_longer_than_at_the_start_in_binary_and_long_in_zelda():
    binary = World(SMALL, Wide(), envs=1)
    binary.restart(maps=[serpentine(SMALL)])
    own = int(binary.state.maps[0, 0, 0])
    assert not binary.step([own]).reached[0]
    zelda = find_problem("zelda").sized(5, 4, path=3, nearest=2)
    world = World(zelda, Wide(), envs=1)
    tiles = np.zeros((1, 4, 5), np.uint8)
    tiles[0, 0, 0], tiles[0, 0, 2], tiles[0, 0, 4], tiles[0, 3, 4] = 2, 3, 4, 5
    world.restart(maps=tiles)
    assert world.step([2]).reached[0]  # a start that is what is asked for is a success at once


def test_all_walls_are_not_one_region():
    world = World(SMALL, Wide(), envs=1)
    world.restart(maps=np.ones((1, 4, 5), np.uint8))
    assert world.state.stats[0].tolist() == [0, 0]
    assert not world.step([1]).reached[0]
    assert world.step([0]).rewards[0] == 5


def test_narrow_scans_each_tile_once_a_sweep_or_draws():
    scan = World(SMALL, Narrow(scan=True), envs=1)
    seen = []
    for _ in range(40):
        seen.append(int(scan.state.cells[0]))
        scan.step([0])
    assert seen == [*range(20), *range(20)]
    drawn = World(SMALL, Narrow(), envs=4000, seed=0)
    drawn.step(np.zeros(4000, int))
    counts = np.bincount(drawn.state.cells, minlength=20)
    assert len(counts) == 20
    assert counts.min() > 120


def test_the_turtle_stays_inside_or_warps():
    corner = {False: [(0, 0), (0, 1), (0, 0), (1, 0)], True: [(0, 4), (0, 1), (3, 0), (1, 0)]}
    for warp, expected in corner.items():
        world = World(SMALL, Turtle(warp=warp), envs=4)
        world.state.cells[:] = 0
        world.step([0, 1, 2, 3])  # left, right, up, down
        assert [divmod(int(cell), 5) for cell in world.state.cells] == expected
    world.state.cells[:] = 19
    before = world.state.maps[:, 3, 4].copy()
    world.step([4, 5, 4, 5])
    assert world.state.maps[:, 3, 4].tolist() == [0, 1, 0, 1]
    assert (world.state.counts[:, 0] == (before != [0, 1, 0, 1])).all()


def test_wide_actions_go_there_and_back():
    zelda = find_problem("zelda")
    world = World(zelda, Wide(), envs=7 * 11 * 8, change_percentage=1.0)
    world.restart(maps=np.full((616, 7, 11), 1, np.uint8))
    world.step(np.arange(616))
    written = [
        (y * 11 + x) * 8 + int(tiles[y, x])
        for tiles in world.state.maps
        for y, x in [np.unravel_index((tiles != 1).argmax(), (7, 11))]
        if (tiles != 1).any()
    ]
    assert written == [action for action in range(616) if action % 8 != 1]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: World(SMALL, Wide(), envs=0), "envs must be 1 or more, got 0"),
        (lambda: World(SMALL, Wide(), change_percentage=20), "a share from 0 to 1, got 20"),
        (lambda: World(SMALL, Wide(), crop=4), "wide has none; got 4"),
        (lambda: World(SMALL, Narrow(), crop=0), "a side of 1 or more"),
        (lambda: World(SMALL, Wide(), controls={"pth": (1, 2)}), "did you mean 'path'"),
        (lambda: World(SMALL, Wide(), controls={"path": (3, 2)}), "from low to high, got 3 to 2"),
        (lambda: World(SMALL, Wide()).step([40]), "actions are 0 to 39, got 40"),
        (lambda: World(SMALL, Wide()).step([-1]), "actions are 0 to 39, got -1"),
        (lambda: World(SMALL, Wide()).step([1, 2]), r"1 maps take as many actions, got \(2,\)"),
        (lambda: find_representation("narow"), "did you mean 'narrow'"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_masks_leave_what_changes_something():
    rng = np.random.default_rng(0)
    for representation in (Narrow(), Turtle(), Wide()):
        world = World(find_problem("zelda"), representation, envs=30, seed=1)
        world.state.frozen[:, :2] = True
        masks = world.action_masks()
        assert masks.shape == (30, world.actions)
        actions = np.array([rng.choice(np.flatnonzero(mask)) for mask in masks])
        moves = {"Narrow": 1, "Turtle": 4, "Wide": 0}[type(representation).__name__]
        world.step(actions)
        assert (world.state.counts[:, 0] == (actions >= moves)).all()


def test_frozen_tiles_stay():
    world = World(SMALL, Wide(), envs=1, change_percentage=1.0)
    world.state.frozen[0, 0, 0] = True
    before = int(world.state.maps[0, 0, 0])
    world.step([1 - before])
    assert world.state.maps[0, 0, 0] == before
    assert world.state.counts[0, 0] == 0


def test_controls_draw_targets_that_are_rewarded_and_shown():
    options = {"controls": {"path": (2, 9)}, "show_budget": True}
    world = World(SMALL, Wide(), envs=400, seed=0, **options)
    targets = world.state.low[:, 1]
    assert sorted(set(targets)) == list(range(2, 10))
    assert (world.state.high[:, 1] == targets).all()
    seen = world.observe()
    assert seen.shape == (400, 3, 4, 5)
    assert seen.dtype == np.float32
    distance = ((targets - world.state.stats[:, 1]) / 7).clip(-1, 1)
    assert np.allclose(seen[:, 1], distance[:, None, None])
    assert (seen[:, 2] == 1).all()
    old = world.state.stats.copy()
    step = world.step(np.zeros(400, int))
    new = world.state.stats
    nearer = np.abs(old[:, 1] - targets) - np.abs(new[:, 1] - targets)
    regions = 5 * (np.abs(old[:, 0] - 1) - np.abs(new[:, 0] - 1))
    assert (step.rewards == nearer + regions).all()
    assert (step.reached == (new[:, 1] == targets)).all()
    assert not step.terminated.any()  # no goal ends an episode


def test_a_world_goes_on_from_its_state():
    worlds = [World(find_problem("zelda"), Narrow(), envs=8, seed=seed) for seed in (0, 1)]
    rng = np.random.default_rng(0)
    for _ in range(5):
        worlds[0].step(rng.integers(9, size=8))
    worlds[1].load_state_dict(worlds[0].state_dict())
    for _ in range(5):
        actions = rng.integers(9, size=8)
        assert (worlds[0].step(actions).rewards == worlds[1].step(actions).rewards).all()
    for world in worlds:
        world.restart([1, 3])
    assert (worlds[0].observe() == worlds[1].observe()).all()


@pytest.mark.parametrize("agent", ["painter", "climber"])
def test_one_rollout_has_all_budgets(agent):
    """An episode with a small budget is the beginning of that with all tiles free to change."""
    problem = find_problem("binary").sized(6, 6, path=5)
    acts = Painter(serpentine(problem)) if agent == "painter" else HillClimber()
    starts = problem.draw(60, np.random.default_rng(0))
    whole = roll_out(acts, problem, Wide(), starts)
    curve = success_by_budget(whole, (0.0, 0.1, 0.3, 1.0))
    apart = [
        roll_out(acts, problem, Wide(), starts, change_percentage=share).reached.mean()
        for share in (0.0, 0.1, 0.3, 1.0)
    ]
    assert curve.tolist() == apart
    assert curve[0] < curve[-1]


# On a device


@pytest.mark.parametrize("representation", [Narrow(), Narrow(scan=True), Turtle(), Wide()])
@pytest.mark.parametrize("name", ["binary", "zelda", "sokoban"])
def test_a_device_does_what_a_cpu_does(name, representation):
    problem = find_problem(name)
    world = DeviceWorld(problem, representation, envs=20, device="cpu", change_percentage=0.1)
    twin = World(problem, representation, envs=20, change_percentage=0.1)
    rng, over = np.random.default_rng(0), np.zeros(20, bool)
    for _ in range(12):
        for mine, its in zip(twin.state, world.state, strict=True):
            mine[...] = its.numpy()
        actions = rng.integers(world.actions, size=20)
        step = world.step(torch.from_numpy(actions))
        expected = twin.step(actions)
        on = ~over
        assert (step.rewards.numpy()[on] == expected.rewards[on]).all()
        assert (step.terminated.numpy()[on] == expected.terminated[on]).all()
        assert (step.truncated.numpy()[on] == expected.truncated[on]).all()
        assert (world.state.maps.numpy()[on] == twin.state.maps[on]).all()
        # Who was over has a new map, nothing done, and is not over again.
        assert (step.rewards.numpy()[over] == 0).all()
        assert (world.state.counts.numpy()[over] == 0).all()
        assert not (step.terminated | step.truncated).numpy()[over].any()
        stats = problem.measure(world.state.maps.numpy())
        assert (world.state.stats.numpy() == stats).all()
        over = (step.terminated | step.truncated).numpy()
    assert world.observe().shape == (20, *world.shape)


def test_a_device_begins_at_the_papers_places():
    world = DeviceWorld(SMALL, Narrow(scan=True), envs=6, device="cpu")
    assert world.state.cells.tolist() == [0] * 6
    zelda = DeviceWorld(find_problem("zelda"), Turtle(), envs=500, device="cpu", seed=1)
    assert len(zelda.state.cells.unique()) == 77
    shares = [(zelda.state.maps == t).float().mean().item() for t in range(8)]
    assert np.allclose(shares, list(find_problem("zelda").start.values()), atol=0.02)


def test_on_meta_a_step_reads_nothing():
    world = DeviceWorld(SMALL, Turtle(), envs=3, device="meta")
    step = world.step(torch.zeros(3, dtype=torch.int64, device="meta"))
    assert step.rewards.shape == (3,)
    assert world.observe().shape == (3, 1, 10, 10)
