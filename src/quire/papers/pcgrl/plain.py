"""The rules in plain Python, one map at a time, tile by tile: what the engines are tested against.

Written from the paper and the behaviour of its code, without a look at the engines: maps are lists
of rows of names, metrics a dict, and every changed tile measures the whole map anew. It is also
what the races run against.
"""

import math
import random
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quire.papers.pcgrl.problem import (
    Count,
    Difference,
    LongestPath,
    Nearest,
    Problem,
    Regions,
    SolutionLength,
    Walk,
)
from quire.papers.pcgrl.representation import Narrow, Representation, Turtle
from quire.papers.pcgrl.solver import solve_plainly

Grid = list[list[str]]
Place = tuple[int, int]
Metrics = dict[str, float]


def distances(grid: Grid, start: Place, passable: Sequence[str]) -> dict[Place, int]:
    """Steps to each tile that can be reached, in the order in which they are reached."""
    if grid[start[0]][start[1]] not in passable:
        return {}
    found, waiting = {start: 0}, deque([start])
    while waiting:
        y, x = waiting.popleft()
        for place in ((y, x - 1), (y, x + 1), (y - 1, x), (y + 1, x)):
            inside = 0 <= place[0] < len(grid) and 0 <= place[1] < len(grid[0])
            if inside and place not in found and grid[place[0]][place[1]] in passable:
                found[place] = found[y, x] + 1
                waiting.append(place)
    return found


def places_of(grid: Grid, tiles: Sequence[str]) -> list[Place]:
    """Places of some tiles, row by row."""
    return [(y, x) for y, row in enumerate(grid) for x, tile in enumerate(row) if tile in tiles]


def measure_plainly(problem: Problem, grid: Grid) -> Metrics:
    """All metrics of a map by name."""
    found: Metrics = {}
    for metric in problem.metrics:
        met = all(found[name] == value for name, value in metric.needs.items())
        found[metric.name] = MEASURES[type(metric)](metric, grid) if met else 0
    return found


def _count(metric: Count, grid: Grid) -> int:
    return len(places_of(grid, metric.of))


def _difference(metric: Difference, grid: Grid) -> int:
    return abs(len(places_of(grid, metric.a)) - len(places_of(grid, metric.b)))


def _regions_of(grid: Grid, passable: Sequence[str]) -> Iterator[dict[Place, int]]:
    seen: set[Place] = set()
    for place in places_of(grid, passable):
        if place not in seen:
            region = distances(grid, place, passable)
            seen |= region.keys()
            yield region


def _regions(metric: Regions, grid: Grid) -> int:
    return sum(1 for _ in _regions_of(grid, metric.of))


def _longest(metric: LongestPath, grid: Grid) -> int:
    if metric.exact:
        ways = [distances(grid, place, metric.of) for place in places_of(grid, metric.of)]
    else:
        ways = []
        for region in _regions_of(grid, metric.of):
            most = max(region.values())
            farthest = min(place for place, steps in region.items() if steps == most)
            ways.append(distances(grid, farthest, metric.of))
    return max((max(way.values()) for way in ways), default=0)


def _nearest(metric: Nearest, grid: Grid) -> int:
    ends = places_of(grid, metric.to)
    if not ends:
        return 0
    steps = {}
    for start in places_of(grid, (metric.start,)):
        steps = distances(grid, start, metric.through)
    return min((steps[e] for e in ends if steps.get(e, 0) > 0), default=len(grid) * len(grid[0]))


def _walk(metric: Walk, grid: Grid) -> int:
    stops = [places_of(grid, (tile,)) for tile in (metric.start, metric.via, metric.end)]
    if not all(stops):
        return 0
    total = 0
    for a, b, through in zip(stops, stops[1:], metric.through, strict=False):
        total += distances(grid, a[0], through).get(b[0], -1)
    return total


def _solution(metric: SolutionLength, grid: Grid) -> int:
    signs = {metric.player: "@", metric.crate: "$", metric.target: "."}
    signs |= dict.fromkeys(metric.solid, "#")
    lines = ["".join(signs.get(tile, " ") for tile in row) for row in grid]
    crates, targets = (sum(line.count(sign) for line in lines) for sign in "$.")
    if not crates or crates != targets:
        return 0
    return solve_plainly(lines, budget=metric.budget).length


MEASURES: dict[type, Callable[[Any, Grid], int]] = {
    Count: _count,
    Difference: _difference,
    Regions: _regions,
    LongestPath: _longest,
    Nearest: _nearest,
    Walk: _walk,
    SolutionLength: _solution,
}


def range_reward(new: float, old: float, low: float, high: float) -> float:
    """What a change from `old` to `new` is worth where `low` to `high` is rewarded."""
    if low == math.inf:
        return new - old
    if high == -math.inf:
        return old - new
    return max(low - old, 0, old - high) - max(low - new, 0, new - high)


class PlainEnv:
    """One map that is edited, as `World` does it with many.

    Args:
        problem: What is asked for.
        representation: How the map is edited.
        change_percentage: The share of tiles that may be changed.

    Example:
        >>> from quire.papers.pcgrl.problem import find_problem
        >>> from quire.papers.pcgrl.representation import Wide
        >>> env = PlainEnv(find_problem("binary"), Wide())
        >>> env.reset([["solid"] * 14 for _ in range(14)])
        >>> env.step(0)  # tile 0, empty, at the upper left: one region more
        (5.0, False)
    """

    def __init__(
        self, problem: Problem, representation: Representation, *, change_percentage: float = 0.2
    ) -> None:
        self.problem, self.representation = problem, representation
        size = problem.width * problem.height
        self.max_changes = max(1, int(change_percentage * size))
        self.max_iterations = self.max_changes * size

    def reset(self, grid: Grid, place: Place = (0, 0)) -> None:
        """Begin with a map of names and a place of the agent."""
        self.grid = [list(row) for row in grid]
        self.y, self.x = place
        self.changes = self.iterations = 0
        self.stats = self.start = measure_plainly(self.problem, self.grid)

    def reset_randomly(self, generator: random.Random) -> None:
        """Begin with a random map, each tile by itself, and a random place."""
        tiles, chances = zip(*self.problem.start.items(), strict=True)
        size = self.problem.height, self.problem.width
        grid = [generator.choices(tiles, chances, k=size[1]) for _ in range(size[0])]
        self.reset(grid, (generator.randrange(size[0]), generator.randrange(size[1])))

    def step(self, action: int, following: Place | None = None) -> tuple[float, bool]:
        """One action; gives the reward and whether the episode is over.

        following: Where narrow goes next unless it scans.
        """
        tile = self._act(action, following)
        self.iterations += 1
        reward, old = 0.0, self.stats
        y, x = self._where
        if tile is not None and self.grid[y][x] != tile:
            self.grid[y][x] = tile
            self.changes += 1
            self.stats = measure_plainly(self.problem, self.grid)
            for part in self.problem.rewards:
                new, before = self.stats[part.metric], old[part.metric]
                reward += part.weight * range_reward(new, before, part.low, part.high)
        over = self.changes >= self.max_changes or self.iterations >= self.max_iterations
        return reward, over or self.is_reached()

    def observe(self, side: int | None = None) -> NDArray[np.uint8]:
        """What the agent sees, (C, s, s) or for wide (C, h, w), as the paper's wrappers make it.

        side: s; twice the longer side where None.
        """
        tiles = self.problem.tiles
        seen = np.array([[tiles.index(tile) for tile in row] for row in self.grid], np.uint8)
        if self.representation.crops:
            side = side or 2 * max(self.problem.width, self.problem.height)
            seen = np.pad(seen, side, constant_values=tiles.index(self.problem.border))
            top, left = self.y + side - side // 2, self.x + side - side // 2
            seen = seen[top : top + side, left : left + side]
        if len(tiles) == 2:
            return seen[None]
        return np.eye(len(tiles), dtype=np.uint8)[seen].transpose(2, 0, 1)

    def is_reached(self) -> bool:
        """Whether the map is what is asked for."""
        for goal in self.problem.goals:
            begun = self.start[goal.metric] if goal.relative else 0
            if not goal.low <= self.stats[goal.metric] - begun <= goal.high:
                return False
        return True

    def _act(self, action: int, following: Place | None) -> str | None:
        height, width, tiles = self.problem.height, self.problem.width, self.problem.tiles
        self._where = self.y, self.x
        if isinstance(self.representation, Narrow):
            if self.representation.scan:
                place = (self.y * width + self.x + 1) % (height * width)
                self.y, self.x = divmod(place, width)
            elif following is not None:
                self.y, self.x = following
            return tiles[action - 1] if action else None
        if isinstance(self.representation, Turtle):
            if action >= 4:
                return tiles[action - 4]
            self.y += (0, 0, -1, 1)[action]
            self.x += (-1, 1, 0, 0)[action]
            if self.representation.warp:
                self.y, self.x = self.y % height, self.x % width
            self.y = min(max(self.y, 0), height - 1)
            self.x = min(max(self.x, 0), width - 1)
            return None
        place, t = divmod(action, len(tiles))
        self._where = divmod(place, width)
        return tiles[t]
