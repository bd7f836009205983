"""What needs no training: random edits, one fixed map, hill climbing and evolution.

An agent is called with a `World` and gives an action for each of its maps. The painter and the hill
climber choose place and tile, so their world is wide. N maps, n tiles, T kinds, P variants.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quire.papers.pcgrl.problem import Maps, Problem, Stats
from quire.papers.pcgrl.world import World

Agent = Callable[[World], NDArray[np.int64]]
ROWS = 200_000
"""Maps that are measured at once."""


@dataclass
class RandomAgent:
    """Any action, each as probable.

    Example:
        >>> from quire.papers.pcgrl import RandomAgent, World, find_problem, find_representation
        >>> world = World(find_problem("binary"), find_representation("turtle"), envs=3, seed=0)
        >>> RandomAgent(np.random.default_rng(0))(world)
        array([5, 3, 3])
    """

    generator: np.random.Generator

    def __call__(self, world: World) -> NDArray[np.int64]:
        """Actions (N,)."""
        return self.generator.integers(world.actions, size=world.envs)


@dataclass
class Painter:
    """Writes one fixed map (h, w), tile by tile in scan order, whatever it meets.

    It is what a designer would be that has learned a single good level. Where the map is written it
    does nothing.
    """

    target: NDArray[np.uint8]

    def __call__(self, world: World) -> NDArray[np.int64]:
        """Actions (N,) of a wide world."""
        check_wide(world)
        wrong = (world.state.maps != self.target).reshape(world.envs, -1)
        place = wrong.argmax(1)
        return place * len(world.problem.tiles) + self.target.ravel()[place].astype(np.int64)


@dataclass
class HillClimber:
    """Looks one edit ahead: takes that of the highest true reward, the first of several.

    It always takes one, also where all make the map worse. An agent that was trained sees no
    reward before it acts.
    """

    def __call__(self, world: World) -> NDArray[np.int64]:
        """Actions (N,) of a wide world."""
        check_wide(world)
        problem, state = world.problem, world.state
        edits, tiles = neighbours(problem, state.maps)
        values = potential_of(problem, edits).reshape(world.envs, -1)
        frozen = state.frozen.reshape(world.envs, -1).repeat(len(problem.tiles) - 1, 1)
        best = np.where(frozen, -np.inf, values).argmax(1)
        place = best // (len(problem.tiles) - 1)
        return place * len(problem.tiles) + tiles.reshape(world.envs, -1)[
            np.arange(world.envs), best
        ].astype(np.int64)


def check_wide(world: World) -> None:
    """Raise ValueError unless the world is wide."""
    if world.representation.crops:
        raise ValueError("this agent chooses place and tile: it takes a wide world")


def neighbours(problem: Problem, maps: Maps) -> tuple[Maps, NDArray[np.uint8]]:
    """All maps one edit away (N, n * (T - 1), h, w), and the tile that was written in each."""
    size, kinds = problem.width * problem.height, len(problem.tiles)
    flat = maps.reshape(len(maps), -1)
    tiles = ((flat[..., None] + np.arange(1, kinds)) % kinds).astype(np.uint8)
    edits = np.repeat(flat[:, None], size * (kinds - 1), 1)
    places = np.arange(size).repeat(kinds - 1)
    edits[:, np.arange(len(places)), places] = tiles.reshape(len(maps), -1)
    return edits.reshape(len(maps), -1, problem.height, problem.width), tiles


def potential_of(problem: Problem, maps: Maps) -> NDArray[np.float64]:
    """The potential (...,) of maps (..., h, w), so many at once as memory allows."""
    flat = maps.reshape(-1, problem.height, problem.width)
    parts = [
        problem.potential(problem.measure(flat[i : i + ROWS])) for i in range(0, len(flat), ROWS)
    ]
    return np.concatenate(parts).reshape(maps.shape[:-2])


def serpentine(problem: Problem, *, floor: int = 0, wall: int = 1) -> NDArray[np.uint8]:
    """One corridor (h, w) that winds through the whole map: rows joined at alternate ends.

    Args:
        problem: Gives the size.
        floor: The tile of the corridor.
        wall: The other.
    """
    tiles = np.full((problem.height, problem.width), wall, np.uint8)
    tiles[::2] = floor
    for y in range(1, problem.height - 1, 2):
        tiles[y, -1 if y % 4 == 1 else 0] = floor
    return tiles


def evolve(
    problem: Problem,
    starts: Maps,
    *,
    change_percentage: float,
    generator: np.random.Generator,
    generations: int = 100,
    population: int = 16,
) -> tuple[Maps, NDArray[np.bool_]]:
    """Variants of each start by mutation and selection; the best (N, h, w), and which succeeded.

    Half of `population` are parents, each with a child of one to three random edits; who has the
    higher potential lives on. No variant differs from its start in more tiles than may be changed.
    A start is left alone once a variant of it is what is asked for.

    Args:
        problem: What is asked for.
        starts: (N, h, w).
        change_percentage: The share of tiles that may differ.
        generator: What draws.
        generations: How often children are made.
        population: P, parents and children.
    """
    count, parents = len(starts), max(1, population // 2)
    most = max(1, int(change_percentage * problem.width * problem.height))
    origin = starts.reshape(count, 1, -1)
    begun = problem.measure(starts)
    pool = np.repeat(origin, parents, 1)
    fitness, met = _judge(problem, pool, begun)
    for _ in range(generations):
        rows = np.flatnonzero(~met.any(1))
        if not len(rows):
            break
        children = _limited(_mutated(problem, pool[rows], generator), origin[rows], most, generator)
        better, hits = _judge(problem, children, begun[rows])
        everyone = np.concatenate([pool[rows], children], 1)
        # Who succeeds comes first, whatever its potential.
        values = np.concatenate([fitness[rows], better], 1)
        goal = np.concatenate([met[rows], hits], 1)
        order = np.lexsort((-values, ~goal))[:, :parents]
        pool[rows] = np.take_along_axis(everyone, order[..., None], 1)
        fitness[rows] = np.take_along_axis(values, order, 1)
        met[rows] = np.take_along_axis(goal, order, 1)
    best: Maps = pool[:, 0].reshape(starts.shape)
    reached: NDArray[np.bool_] = np.asarray(met.any(1))
    return best, reached


def _judge(
    problem: Problem, pool: NDArray[np.uint8], begun: Stats
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    flat = pool.reshape(-1, problem.height, problem.width)
    stats = problem.measure(flat).reshape(*pool.shape[:2], -1)
    return problem.potential(stats), problem.reached(stats, begun[:, None])


def _mutated(
    problem: Problem, pool: NDArray[np.uint8], generator: np.random.Generator
) -> NDArray[np.uint8]:
    children = pool.copy()
    count, each, size = pool.shape
    edits = generator.integers(1, 4, size=(count, each))
    for turn in range(3):
        place = generator.integers(size, size=(count, each, 1))
        tile = generator.integers(len(problem.tiles), size=(count, each, 1)).astype(np.uint8)
        own = np.take_along_axis(children, place, 2)
        written = np.where((turn < edits)[..., None], tile, own)
        np.put_along_axis(children, place, written, 2)
    return children


def _limited(
    children: NDArray[np.uint8],
    origin: NDArray[np.uint8],
    most: int,
    generator: np.random.Generator,
) -> NDArray[np.uint8]:
    """Children in which differences beyond `most` are taken back, at random."""
    differs = children != origin
    rank = np.where(differs, generator.random(children.shape), 2.0).argsort(2).argsort(2)
    return np.where(differs & (rank >= most), origin, children)
