"""A problem in a representation as arrays, which both engines read, and the state that they change.

The engines are `compiled` (numba, on a CPU) and `batched` (PyTorch, on any device). Each has
`measure`, `advance` and `observe`, and they give the same numbers. N maps, K metrics, n = h * w.
"""

import math
from types import ModuleType
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quire.papers.pcgrl.problem import Maps, Problem, Stats
from quire.papers.pcgrl.representation import Narrow, Representation, Turtle, Wide

ARGUMENTS = 6
(HEIGHT, WIDTH, TILES, KIND, FLAG, SIDE, BORDER, SIGNED, CHANGES, STEPS, STOPS) = range(11)
"""Places in `Rules.sizes`."""
RangeReward = Literal["potential", "reference"]


class Rules(NamedTuple):
    """What does not change: arrays of numbers that compiled code takes as they are."""

    program: NDArray[np.int64]
    """(K, 6): each metric's kind and arguments."""
    needs: NDArray[np.int64]
    """(K, K): the value that metric k needs metric j to have, -1 for none."""
    weights: NDArray[np.float64]
    """(K,): of the rewards, 0 for none."""
    goals: NDArray[np.float64]
    """(K, 3): lowest and highest value that is asked for, and whether since the start."""
    sizes: NDArray[np.int64]
    """Height, width, tiles, kind of representation, its flag, side of the crop (0: the map as it
    is), border tile, whether rewards are those of the reference where an interval is crossed, the
    most changes and steps of an episode, whether its goal ends it."""


class State(NamedTuple):
    """What changes: of N maps, NumPy arrays for the compiled engine, tensors for the other."""

    maps: Any
    """(N, h, w) uint8."""
    cells: Any
    """(N,) int64: the place y * w + x of the agent."""
    counts: Any
    """(N, 2) int64: changes and iterations so far."""
    stats: Any
    """(N, K) int64: metrics of the maps."""
    start: Any
    """(N, K) int64: metrics of the first maps."""
    low: Any
    """(N, K) float64: the intervals that are rewarded."""
    high: Any
    """(N, K) float64."""
    edits: Any
    """(N, h, w) int32: how often each tile was changed, the paper's heatmap."""
    frozen: Any
    """(N, h, w) bool: tiles that cannot be changed."""


def build_rules(
    problem: Problem,
    representation: Representation,
    *,
    crop: int | None = None,
    range_reward: RangeReward = "potential",
    limits: tuple[int, int] = (0, 0),
    stops: bool = True,
) -> Rules:
    """The arrays of a problem in a representation.

    Args:
        problem: What is asked for.
        representation: How maps are edited.
        crop: Side of the square that is seen around the agent; twice the longer side where None.
        range_reward: "potential" pays the change of the distance to an interval; "reference", as
            the paper's code, minus the sum of both distances where one edit leaps over it.
        limits: The most changes and steps of an episode.
        stops: Whether the goal ends it.

    Raises ValueError for a crop that is not positive or of a representation that has none.
    """
    if range_reward not in ("potential", "reference"):
        raise ValueError(f"range_reward is potential or reference, got {range_reward!r}")
    if crop is not None and (crop < 1 or not representation.crops):
        raise ValueError(f"a crop has a side of 1 or more, and wide has none; got {crop}")
    count = len(problem.metrics)
    program = np.zeros((count, ARGUMENTS), np.int64)
    needs = np.full((count, count), -1, np.int64)
    for k, metric in enumerate(problem.metrics):
        row = metric.row(problem.mask)
        program[k, : len(row)] = row
        for name, value in metric.needs.items():
            needs[k, problem.index(name)] = value
    weights = np.zeros(count)
    for reward in problem.rewards:
        weights[problem.index(reward.metric)] = reward.weight
    goals = np.tile([-math.inf, math.inf, 0.0], (count, 1))
    for goal in problem.goals:
        goals[problem.index(goal.metric)] = goal.low, goal.high, goal.relative
    side = 0
    if representation.crops:
        side = crop or 2 * max(problem.width, problem.height)
    sizes = [
        problem.height, problem.width, len(problem.tiles), representation.kind,
        flag_of(representation), side, problem.tiles.index(problem.border),
        int(range_reward == "reference"), *limits, int(stops),
    ]  # fmt: skip
    return Rules(program, needs, weights, goals, np.array(sizes, np.int64))


def flag_of(representation: Representation) -> int:
    """Whether narrow scans or the turtle warps."""
    if isinstance(representation, Narrow):
        return int(representation.scan)
    return int(isinstance(representation, Turtle) and representation.warp)


def reward_bounds(problem: Problem) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The intervals that are rewarded, (K,) each."""
    low, high = np.full((2, len(problem.metrics)), math.inf)
    for reward in problem.rewards:
        k = problem.index(reward.metric)
        low[k], high[k] = reward.low, reward.high
    return low, high


def channels_of(problem: Problem) -> int:
    """Channels of an observation: one for each tile, and one alone for two kinds."""
    count = len(problem.tiles)
    return 1 if count == 2 else count


def find_engine() -> ModuleType:
    """`compiled` where numba is installed, else `batched`."""
    try:
        from quire.papers.pcgrl import compiled
    except ImportError as error:
        if error.name != "numba":
            raise
        from quire.papers.pcgrl import batched

        return batched
    return compiled


def measure_maps(problem: Problem, maps: Maps) -> Stats:
    """All metrics (N, K) of maps (N, h, w)."""
    stats = np.zeros((len(maps), len(problem.metrics)), np.int64)
    find_engine().measure(build_rules(problem, Wide()), maps, stats)
    return stats
