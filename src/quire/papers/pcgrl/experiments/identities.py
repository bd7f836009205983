"""What holds exactly: metrics, rewards and steps against plain Python and SciPy; sizes."""

from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from pydantic import PositiveInt
from scipy import ndimage
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import shortest_path

from quire.lab import Config, Metrics, Run
from quire.papers.pcgrl import batched
from quire.papers.pcgrl.evaluate import roll_out, success_by_budget
from quire.papers.pcgrl.experiments.designers import PROBLEMS, numpy_generator
from quire.papers.pcgrl.nets import build_net, count_parameters
from quire.papers.pcgrl.plain import PlainEnv, measure_plainly
from quire.papers.pcgrl.problem import LongestPath, Maps, Problem
from quire.papers.pcgrl.representation import REPRESENTATIONS, Wide
from quire.papers.pcgrl.rules import build_rules
from quire.papers.pcgrl.search import HillClimber
from quire.papers.pcgrl.solver import replay, solve_level
from quire.papers.pcgrl.world import World


class Identities(Config):
    """One problem of the paper, at the paper's size."""

    problem: Literal["binary", "zelda", "sokoban"] = "binary"
    """Which."""
    maps: PositiveInt = 2000
    """Random maps."""
    steps: PositiveInt = 60
    """Random steps in each of eight maps and three representations."""


def identities(config: Identities, run: Run) -> Metrics:
    """The largest differences, and numbers that are published."""
    problem = PROBLEMS[config.problem]
    maps = draw_richly(problem, config.maps, numpy_generator(run, "maps"))
    stats = problem.measure(maps)
    plain = np.array([list(measure_plainly(problem, grid_of(problem, m)).values()) for m in maps])
    tensors = batched.measure_all(build_rules(problem, Wide()), torch.from_numpy(maps)).numpy()
    edges = World(problem, Wide()).edges
    metrics = {
        "plain_difference": float(np.abs(stats - plain).max()),
        "engines_difference": float(np.abs(stats - tensors).max()),
        "regions_difference": measure_regions(problem, maps, stats),
        "step_difference": step_difference(config, run, problem),
        "telescoping_error": telescoping_error(problem, numpy_generator(run, "walk")),
        "budget_difference": budget_difference(problem, numpy_generator(run, "budgets")),
        "max_changes": float(edges.max_changes),
        "max_iterations": float(edges.max_iterations),
        **count_networks(problem),
    }
    if config.problem == "binary":
        metrics |= measure_paths(problem, maps, stats)
    if config.problem == "sokoban":
        metrics |= measure_solutions(problem, maps, stats)
    return metrics


def grid_of(problem: Problem, tiles: np.ndarray) -> list[list[str]]:
    """A map as rows of names."""
    return [[problem.tiles[t] for t in row] for row in tiles]


def draw_richly(problem: Problem, count: int, generator: np.random.Generator) -> Maps:
    """Random maps; where there are singles to be placed, half of them with one of each."""
    maps = problem.draw(count, generator)
    singles = range(2, len(problem.tiles))
    if not singles:
        return maps
    flat = np.where(maps > 1, 0, maps).reshape(count, -1)[: count // 2]
    flat *= generator.random(flat.shape) < 0.5  # fewer walls, so that there is one region
    places = generator.random(flat.shape).argsort(1)
    for j, tile in enumerate(singles):
        flat[np.arange(len(flat)), places[:, j]] = tile
    maps[: count // 2] = flat.reshape(-1, *maps.shape[1:])
    return maps


def measure_regions(problem: Problem, maps: Maps, stats: np.ndarray) -> float:
    """Largest difference from SciPy's components."""
    metric = problem.metrics[problem.index("regions")]
    mask = metric.row(problem.mask)[1]
    table = np.array([mask >> t & 1 for t in range(len(problem.tiles))])
    counts = np.array([ndimage.label(table[tiles])[1] for tiles in maps])
    return float(np.abs(counts - stats[:, problem.index("regions")]).max())


def measure_paths(problem: Problem, maps: Maps, stats: np.ndarray) -> Metrics:
    """The exact longest path against SciPy's, and how often two searches find a shorter one."""
    few = maps[:200]
    exact = replace(
        problem, metrics=(problem.metrics[0], LongestPath("path", ("empty",), exact=True))
    )
    longest = exact.measure(few)[:, 1]
    slow = np.array([diameter(tiles == 0) for tiles in few])
    floor = few == 0
    edges = (floor[:, 1:] & floor[:, :-1]).sum((1, 2))
    edges += (floor[..., 1:] & floor[..., :-1]).sum((1, 2))
    trees = edges == floor.sum((1, 2)) - stats[:200, 0]
    missed = longest - stats[:200, 1]
    return {
        "path_difference": float(np.abs(longest - slow).max()),
        "tree_difference": float(np.abs(missed[trees]).max()) if trees.any() else 0.0,
        "path_short": 100 * float((missed > 0).mean()),
    }


def diameter(floor: np.ndarray) -> int:
    """The longest of the shortest paths between floor tiles (h, w), by SciPy from every tile."""
    number = np.arange(floor.size).reshape(floor.shape)
    ends = []
    for a, b in ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:])):
        both = floor[a] & floor[b]
        ends.append(np.stack([number[a][both], number[b][both]]))
    pairs = np.concatenate(ends, 1)
    graph = coo_matrix((np.ones(pairs.shape[1]), pairs), (floor.size, floor.size)).tocsr()
    steps = shortest_path(graph, directed=False, unweighted=True)
    return int(steps[np.isfinite(steps)].max())


def step_difference(config: Identities, run: Run, problem: Problem) -> float:
    """Steps, in all representations, whose map, reward or end is not that of plain Python."""
    wrong = 0
    for name, representation in REPRESENTATIONS.items():
        generator = numpy_generator(run, f"steps {name}")
        world = World(problem, representation, envs=8, change_percentage=0.5, seed=run.seed)
        world.restart(maps=draw_richly(problem, 8, generator))
        twins = [PlainEnv(problem, representation, change_percentage=0.5) for _ in range(8)]
        for i, twin in enumerate(twins):
            place = divmod(int(world.state.cells[i]), problem.width)
            twin.reset(grid_of(problem, world.state.maps[i]), place)
        for _ in range(config.steps):
            actions = generator.integers(world.actions, size=8)
            step = world.step(actions)
            over = step.terminated | step.truncated
            for i, twin in enumerate(twins):
                following = divmod(int(world.state.cells[i]), problem.width)
                reward, end = twin.step(int(actions[i]), following)
                same = twin.grid == grid_of(problem, world.state.maps[i])
                wrong += not (same and reward == step.rewards[i] and end == over[i])
    return float(wrong)


def telescoping_error(problem: Problem, generator: np.random.Generator) -> float:
    """Largest distance of returns from the change of the potential, over random edits."""
    world = World(problem, Wide(), envs=100, change_percentage=1.0, seed=0)
    world.restart(maps=draw_richly(problem, 100, generator))
    before, total = problem.potential(world.state.stats), np.zeros(100)
    for _ in range(40):
        total += world.step(generator.integers(world.actions, size=100)).rewards
    return float(np.abs(total - problem.potential(world.state.stats) + before).max())


def budget_difference(problem: Problem, generator: np.random.Generator) -> float:
    """Success of hill climbing by one rollout, less that of a rollout for each budget."""
    starts, budgets = problem.draw(30, generator), (0.05, 0.1, 0.2)
    together = success_by_budget(
        roll_out(HillClimber(), problem, Wide(), starts, change_percentage=0.2), budgets
    )
    apart = [
        roll_out(HillClimber(), problem, Wide(), starts, change_percentage=budget).reached.mean()
        for budget in budgets
    ]
    return float(np.abs(together - apart).max())


def count_networks(problem: Problem) -> Metrics:
    """Parameters of the paper's network for each representation."""
    counts = {}
    with torch.device("meta"):
        for name, representation in REPRESENTATIONS.items():
            counts[f"{name}_parameters"] = float(
                count_parameters(build_net(World(problem, representation)))
            )
    return counts


def measure_solutions(problem: Problem, maps: Maps, stats: np.ndarray) -> Metrics:
    """Solutions that do not win when they are played, and lengths that an exhaustive search denies.

    That search goes through whole positions layer by layer and leaves out nothing.
    """
    lost, wrong = 0, 0
    for tiles in maps[stats[:, -1] > 0][:100]:
        lines = ["".join(problem.letters[t] for t in row) for row in tiles]
        found = solve_level(lines)
        lost += not replay(lines, found.moves)
    small = problem.sized(3, 4, solution=1)
    boards = draw_richly(small, 400, np.random.default_rng(0))
    lengths = small.measure(boards)[:, -1]
    asked = small.measure(boards)[:, :5]
    ready = (asked[:, 0] == 1) & (asked[:, 3] == 1) & (asked[:, 4] == 0) & (asked[:, 1] > 0)
    for tiles, length in zip(boards[ready], lengths[ready], strict=True):
        wrong += exhaustive(tiles) != length
    return {"lost": float(lost), "length_difference": float(wrong), "boards": float(ready.sum())}


def exhaustive(tiles: np.ndarray) -> int:
    """Moves of the shortest solution of a map (h, w), 0 where there is none."""
    places = [(y, x) for y in range(tiles.shape[0]) for x in range(tiles.shape[1])]
    floor = {place for place in places if tiles[place] != 1}
    of = {t: frozenset(place for place in places if tiles[place] == t) for t in (2, 3, 4)}
    layer, seen, moves = {(next(iter(of[2])), of[3])}, set(), 0
    while layer:
        if any(crates == of[4] for _, crates in layer):
            return moves
        seen |= layer
        following = set()
        for (y, x), crates in layer:
            for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0)):
                there, beyond = (y + dy, x + dx), (y + 2 * dy, x + 2 * dx)
                if there in floor and there not in crates:
                    following.add((there, crates))
                elif there in floor and beyond in floor and beyond not in crates:
                    following.add((there, crates - {there} | {beyond}))
        layer, moves = following - seen, moves + 1
    return 0
