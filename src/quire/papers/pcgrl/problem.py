"""A problem as data: its tiles, what is measured of a map, what is rewarded, what is asked for.

A map is an array (h, w) of tile numbers, a batch of them (N, h, w) uint8; K is the number of
metrics. A new problem is one file with a `PROBLEM` in it, in the folder `problems` or anywhere
else: `find_problem` takes a name or a path, and everything that takes a name takes a `Problem`.
"""

import difflib
import importlib
import importlib.util
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Tiles = tuple[str, ...]
Maps = NDArray[np.uint8]
Stats = NDArray[np.int64]

COUNT, DIFFERENCE, REGIONS, LONGEST, NEAREST, WALK, SOLUTION = range(7)
"""The kinds of metric, as the engines know them."""
LEAST_SIDE, MOST_TILES = 3, 60


# Metrics


class Metric(Protocol):
    """A number of a map.

    It is 0 where another metric, measured before it, has not the value that `needs` gives.
    """

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def needs(self) -> Mapping[str, int]:
        """Values that metrics before it must have."""

    def row(self, mask: "Masks") -> tuple[int, ...]:
        """Its kind and up to five arguments, sets of tiles as masks of bits."""

    def most(self, height: int, width: int) -> float:
        """A value that no map of this size is above."""


class Masks(Protocol):
    """Gives a set of tiles as a mask of bits."""

    def __call__(self, tiles: Tiles) -> int:
        """Bit t is set for tile number t."""


@dataclass(frozen=True)
class Count:
    """How many tiles of some kinds there are."""

    name: str
    of: Tiles
    needs: Mapping[str, int] = field(default_factory=dict)

    def row(self, mask: Masks) -> tuple[int, ...]:
        """Kind and tiles."""
        return COUNT, mask(self.of)

    def most(self, height: int, width: int) -> float:
        """All tiles."""
        return height * width


@dataclass(frozen=True)
class Difference:
    """How far the counts of two sets of tiles are apart."""

    name: str
    a: Tiles
    b: Tiles
    needs: Mapping[str, int] = field(default_factory=dict)

    def row(self, mask: Masks) -> tuple[int, ...]:
        """Kind and both sets."""
        return DIFFERENCE, mask(self.a), mask(self.b)

    def most(self, height: int, width: int) -> float:
        """All tiles."""
        return height * width


@dataclass(frozen=True)
class Regions:
    """Components of passable tiles, joined over edges; 0 where nothing is passable."""

    name: str
    of: Tiles
    needs: Mapping[str, int] = field(default_factory=dict)

    def row(self, mask: Masks) -> tuple[int, ...]:
        """Kind and passable tiles."""
        return REGIONS, mask(self.of)

    def most(self, height: int, width: int) -> float:
        """A chessboard."""
        return (height * width + 1) // 2


@dataclass(frozen=True)
class LongestPath:
    """The longest of the shortest paths between two passable tiles, in steps.

    As in the paper's code it is found by two searches a region: to the tile that is farthest from
    its first one, and from there. That is exact where a region has no cycles and may be too short
    elsewhere; `exact` searches from every tile, which costs h * w / 2 times as much.
    """

    name: str
    of: Tiles
    exact: bool = False
    needs: Mapping[str, int] = field(default_factory=dict)

    def row(self, mask: Masks) -> tuple[int, ...]:
        """Kind, passable tiles, whether it is exact."""
        return LONGEST, mask(self.of), int(self.exact)

    def most(self, height: int, width: int) -> float:
        """Four tiles in a square are a cycle, so that a shortest path has three of them at most."""
        return min(height * width, 3 * ((height + 1) // 2) * ((width + 1) // 2)) - 1


@dataclass(frozen=True)
class Nearest:
    """Steps from the only tile `start` to the nearest of `to`.

    0 where there is none of them, h * w where there are but none can be reached.
    """

    name: str
    start: str
    to: Tiles
    through: Tiles
    needs: Mapping[str, int] = field(default_factory=dict)

    def row(self, mask: Masks) -> tuple[int, ...]:
        """Kind, start, ends, passable tiles."""
        return NEAREST, mask((self.start,)), mask(self.to), mask(self.through)

    def most(self, height: int, width: int) -> float:
        """The value where none can be reached."""
        return height * width


@dataclass(frozen=True)
class Walk:
    """Steps from the only tile `start` to the only `via`, and from there to the only `end`.

    Each leg is through tiles of its own, its first and last one among them; a leg that is blocked
    counts as -1 step.
    """

    name: str
    start: str
    via: str
    end: str
    through: tuple[Tiles, Tiles]
    needs: Mapping[str, int] = field(default_factory=dict)

    def row(self, mask: Masks) -> tuple[int, ...]:
        """Kind, the three tiles, passable tiles of both legs."""
        ends = (mask((tile,)) for tile in (self.start, self.via, self.end))
        return WALK, *ends, mask(self.through[0]), mask(self.through[1])

    def most(self, height: int, width: int) -> float:
        """Two longest paths."""
        return 2 * LongestPath("", ()).most(height, width)


@dataclass(frozen=True)
class SolutionLength:
    """Moves in the shortest solution of the map as a level of Sokoban.

    0 where crates and targets differ in number or are none, where it cannot be solved, and where
    the search met `budget` different positions before it knew.
    """

    name: str
    player: str
    crate: str
    target: str
    solid: Tiles
    budget: int = 5000
    needs: Mapping[str, int] = field(default_factory=dict)

    def row(self, mask: Masks) -> tuple[int, ...]:
        """Kind, player, crate, target, walls, budget."""
        tiles = (mask((tile,)) for tile in (self.player, self.crate, self.target))
        return SOLUTION, *tiles, mask(self.solid), self.budget

    def most(self, height: int, width: int) -> float:
        """Nothing is known."""
        return math.inf


# What is rewarded, what is asked for


@dataclass(frozen=True)
class Reward:
    """A metric's part in the reward: how much nearer it came to an interval, times a weight.

    An interval at infinity rewards every rise, one at minus infinity every fall.
    """

    metric: str
    weight: float
    low: float = math.inf
    high: float = math.inf


@dataclass(frozen=True)
class Goal:
    """Asks for a metric within an interval; `relative` asks for its change since the start."""

    metric: str
    low: float = -math.inf
    high: float = math.inf
    relative: bool = False


@dataclass(frozen=True)
class Problem:
    """A kind of level, and how good a map is as one.

    Example:
        >>> from quire.papers.pcgrl import find_problem
        >>> binary = find_problem("binary").sized(8, 8, path=8)
        >>> maps = binary.draw(3, np.random.default_rng(0))
        >>> binary.measure(maps).shape  # regions, path
        (3, 2)
    """

    name: str
    """What it is called."""
    tiles: Tiles
    """Kinds of tile; a map holds their places in this list."""
    width: int
    """Tiles in a row."""
    height: int
    """Tiles in a column."""
    start: Mapping[str, float]
    """How probable each tile is in a map that is drawn."""
    border: str
    """The tile that lies around the map."""
    metrics: tuple[Metric, ...]
    """What is measured; `needs` of one are metrics before it."""
    rewards: tuple[Reward, ...]
    """What is rewarded."""
    goals: tuple[Goal, ...]
    """What a level must be, all of it."""
    letters: str
    """A letter for each tile, in files."""
    looks: tuple[str, ...] = ()
    """A picture for each tile: names of `quire.papers.pcgrl.render.PICTURES`."""
    varied: str | None = None
    """The tile whose probability is drawn anew for each map, the others in proportion."""

    def __post_init__(self) -> None:
        self._check_tiles()
        self._check_names()
        cells = f"a map of {self.width} x {self.height} tiles"
        for goal in self.goals:
            metric = self.metrics[self.index(goal.metric)]
            most = metric.most(self.height, self.width)
            if goal.low > most:
                raise ValueError(f"{self.name}: an impossible goal: {goal.metric} of {goal.low:g} "
                                 f"or more, but {cells} has {most:g} at most")  # fmt: skip
            if goal.low > goal.high or (goal.high < 0 and not goal.relative):
                raise ValueError(f"{self.name}: an impossible goal: {goal.metric} from "
                                 f"{goal.low:g} to {goal.high:g}")  # fmt: skip

    def _check_tiles(self) -> None:
        if min(self.width, self.height) < LEAST_SIDE:
            raise ValueError(f"{self.name}: a map of {self.width} x {self.height} tiles is too "
                             f"small: each side takes {LEAST_SIDE} or more")  # fmt: skip
        count = len(self.tiles)
        if not 2 <= count <= MOST_TILES or len(set(self.tiles)) < count:
            raise ValueError(f"{self.name}: a problem has 2 to {MOST_TILES} different tiles, "
                             f"got {count}")  # fmt: skip
        if len(set(self.letters)) != count or len(self.letters) != count:
            raise ValueError(f"{self.name}: one letter a tile, got {self.letters!r}")
        if self.looks and len(self.looks) != count:
            raise ValueError(f"{self.name}: one look a tile, got {len(self.looks)}")
        if set(self.start) != set(self.tiles) or abs(sum(self.start.values()) - 1) > 1e-6:
            raise ValueError(f"{self.name}: start needs a probability for each tile, 1 in all")
        self.mask((self.border,))
        if self.varied and self.mask((self.varied,)) and self.start[self.varied] >= 1:
            raise ValueError(f"{self.name}: {self.varied} is varied, so others need a probability")

    def _check_names(self) -> None:
        before: list[str] = []
        for metric in self.metrics:
            for needed in metric.needs:
                if needed not in before:
                    raise ValueError(f"{self.name}: {metric.name} needs {needed}, which is not "
                                     "measured before it")  # fmt: skip
            metric.row(self.mask)
            if metric.row(self.mask)[0] == SOLUTION and self.width * self.height > 64:
                raise ValueError(f"{self.name}: {metric.name} takes maps of 64 tiles at most, got "
                                 f"{self.width} x {self.height}")  # fmt: skip
            before.append(metric.name)
        for reward in self.rewards:
            self.index(reward.metric)

    # Variants

    def sized(self, width: int, height: int, **low: float) -> "Problem":
        """The same problem on maps of another size.

        Args:
            width: Tiles in a row.
            height: Tiles in a column.
            low: Other lower ends of intervals that are asked for, by metric; a reward for nearing
                the old one is for nearing the new one.
        """
        goals = {goal.metric: goal for goal in self.goals}
        for name in low:
            if name not in goals:
                raise ValueError(unknown(f"goal of {self.name}", name, list(goals)))
        old = {name: goals[name].low for name in low}
        return replace(
            self, width=width, height=height,
            goals=tuple(replace(g, low=low.get(g.metric, g.low)) for g in self.goals),
            rewards=tuple(
                replace(r, low=low[r.metric]) if r.low == old.get(r.metric) else r
                for r in self.rewards
            ),
        )  # fmt: skip

    def asking(self, **low: float) -> "Problem":
        """The same problem with other lower ends of the intervals that are asked for."""
        return self.sized(self.width, self.height, **low)

    # Names and numbers

    @property
    def names(self) -> list[str]:
        """The metrics' names, in their order."""
        return [metric.name for metric in self.metrics]

    def index(self, metric: str) -> int:
        """Which metric is called so. Raises ValueError for one that is not there."""
        if metric not in self.names:
            raise ValueError(unknown(f"metric of {self.name}", metric, self.names))
        return self.names.index(metric)

    def mask(self, tiles: Tiles) -> int:
        """A set of tiles as a mask of bits. Raises ValueError for an unknown tile."""
        bits = 0
        for tile in tiles:
            if tile not in self.tiles:
                raise ValueError(unknown(f"tile of {self.name}", tile, list(self.tiles)))
            bits |= 1 << self.tiles.index(tile)
        return bits

    # Maps

    def draw(self, count: int, generator: np.random.Generator, *, first: bool = False) -> Maps:
        """Random maps (N, h, w), each tile by itself.

        Args:
            count: N.
            generator: What draws.
            first: Leave `varied` at its first probability, as for the first map of all in the
                paper's code.
        """
        weights = np.array([self.start[tile] for tile in self.tiles])
        chance = generator.random((count, self.height, self.width))
        ends = weights.cumsum()
        if self.varied and not first:
            t = self.tiles.index(self.varied)
            share = generator.random((count, 1))
            weights = weights / (1 - weights[t]) * (1 - share)
            weights[:, t] = share[:, 0]
            ends = weights.cumsum(1).T[:, :, None, None]
        maps = np.zeros(chance.shape, np.uint8)
        for end in ends[:-1]:
            maps += chance >= end
        return maps

    def measure(self, maps: Maps) -> Stats:
        """All metrics (N, K) of maps (N, h, w). Raises ValueError for tiles that are not there."""
        from quire.papers.pcgrl.rules import measure_maps

        return measure_maps(self, self.as_maps(maps))

    def as_maps(self, maps: Any) -> Maps:
        """`maps` (N, h, w) as they are measured. Raises ValueError where they do not fit."""
        found = np.asarray(maps)
        if found.ndim != 3 or found.shape[1:] != (self.height, self.width):
            raise ValueError(f"{self.name}: maps must be (N, {self.height}, {self.width}), "
                             f"got {found.shape}")  # fmt: skip
        if found.size and (found.min() < 0 or found.max() >= len(self.tiles)):
            raise ValueError(f"{self.name}: tiles must be 0 to {len(self.tiles) - 1}, got "
                             f"{found.min()} to {found.max()}")  # fmt: skip
        return np.ascontiguousarray(found, dtype=np.uint8)

    def potential(self, stats: Stats) -> NDArray[np.float64]:
        """What rewards add up to (...,): minus the weighted distances from what is rewarded.

        The reward of a step is how much it rises, for metrics (..., K) before and after.
        """
        total = np.zeros(stats.shape[:-1])
        for reward in self.rewards:
            value = stats[..., self.index(reward.metric)]
            total += reward.weight * nearness(value, reward.low, reward.high)
        return total

    def reached(self, stats: Stats, start: Stats) -> NDArray[np.bool_]:
        """Whether metrics (..., K) are what is asked for, with `start` those of the first map."""
        met = np.ones(stats.shape[:-1], bool)
        for goal in self.goals:
            k = self.index(goal.metric)
            value = stats[..., k] - (start[..., k] if goal.relative else 0)
            met &= (goal.low <= value) & (value <= goal.high)
        return met


def nearness(value: NDArray[Any], low: float, high: float) -> NDArray[Any]:
    """Minus the distance from an interval; where that is infinite the value, or minus it."""
    if low == math.inf:
        return value
    if high == -math.inf:
        return -value
    return -np.maximum(np.maximum(low - value, value - high), 0)


# Problems by name

FOLDER = Path(__file__).parent / "problems"


def problem_names() -> list[str]:
    """Names of the problems in the folder `problems`."""
    return sorted(path.stem for path in FOLDER.glob("[a-z]*.py"))


def find_problem(problem: "str | Path | Problem") -> Problem:
    """The problem of a name, of a Python file that holds a `PROBLEM`, or the problem itself.

    Raises ValueError with one line for an unknown name, with the nearest known one, and for a file
    without a problem.
    """
    if isinstance(problem, Problem):
        return problem
    text = str(problem)
    if text in problem_names():
        module = importlib.import_module(f"quire.papers.pcgrl.problems.{text}")
        found: Problem = module.PROBLEM
        return found
    if not text.endswith(".py"):
        raise ValueError(unknown("problem", text, problem_names()))
    if not Path(text).is_file():
        raise ValueError(f"no file {text}: name a problem ({', '.join(problem_names())}) or a file")
    spec = importlib.util.spec_from_file_location(Path(text).stem, text)
    if spec is None or spec.loader is None:
        raise ValueError(f"{text} is no Python file")
    own = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(own)
    if not isinstance(getattr(own, "PROBLEM", None), Problem):
        raise ValueError(f"{text} holds no PROBLEM")
    return own.PROBLEM


def unknown(kind: str, name: str, known: list[str]) -> str:
    """One line for a name that nobody knows, with the nearest one that somebody does."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f" did you mean '{near[0]}'?" if near else ""
    return f"unknown {kind} '{name}':{hint} known: {', '.join(known)}"
