"""What the experiments share: problems at their sizes, settings, what is said of levels."""

from dataclasses import replace
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveInt

from quire.lab import Config, Group, Metrics, Run
from quire.papers.pcgrl.evaluate import BUDGETS, Rollout, changed_share, diversity
from quire.papers.pcgrl.problem import Maps, Problem
from quire.papers.pcgrl.problems.binary import PROBLEM as BINARY
from quire.papers.pcgrl.problems.sokoban import PROBLEM as SOKOBAN
from quire.papers.pcgrl.problems.zelda import PROBLEM as ZELDA
from quire.papers.pcgrl.search import evolve, serpentine

PROBLEMS = {"binary": BINARY, "zelda": ZELDA, "sokoban": SOKOBAN}
LONG = {"binary": "path", "zelda": "path", "sokoban": "solution"}
"""The metric whose length is asked for."""


class Level(Group):
    """The problem and the size of its maps."""

    problem: Literal["binary", "zelda", "sokoban"] = "binary"
    """What is asked for."""
    width: PositiveInt = 14
    """Tiles in a row."""
    height: PositiveInt = 14
    """Tiles in a column."""
    length: PositiveInt = 20
    """Steps: of the path's growth in Binary, of the walk in Zelda, of the solution in Sokoban."""
    enemy: PositiveInt = 4
    """Steps from the player to the nearest enemy that Zelda asks for."""

    def build(self) -> Problem:
        """The problem."""
        asked: dict[str, float] = {LONG[self.problem]: self.length}
        if self.problem == "zelda":
            asked["nearest"] = self.enemy
        return PROBLEMS[self.problem].sized(self.width, self.height, **asked)


class Net(Group):
    """The network; the paper's where nothing is said."""

    widths: tuple[PositiveInt, ...] | None = None
    """Channels of the convolutions."""
    strides: tuple[PositiveInt, ...] = (1, 1, 1)
    """Of narrow's and turtle's convolutions."""
    hidden: PositiveInt = 512
    """Units before narrow's and turtle's heads."""
    rectify: bool = True
    """Whether wide's logits pass a ReLU, as in the released code."""


class Training(Group):
    """PPO; what is not here is PPO2's default."""

    updates: PositiveInt = 15_625
    """Updates, each of `envs` times 128 steps: 1e8 steps in the paper."""
    envs: PositiveInt = 50
    """Maps that are edited side by side."""
    learning_rate: float = Field(default=2.5e-4, gt=0)
    """Adam's."""


class Designing(Config):
    """Base of the experiments that train."""

    level: Level = Level()
    """Problem and size."""
    representation: Literal["narrow", "turtle", "wide"] = "narrow"
    """How maps are edited."""
    change_percentage: float = Field(default=0.2, gt=0, le=1)
    """The share of tiles that may be changed in training."""
    net: Net = Net()
    """The network."""
    training: Training = Training()
    """PPO."""
    starts: PositiveInt = 120
    """First maps of the evaluation; the same for every designer of a seed."""
    horizon: PositiveInt | None = None
    """The most steps of an evaluated episode; n a change where none is given."""


def draw_starts(run: Run, problem: Problem, count: int) -> Maps:
    """First maps (count, h, w) that follow from the run's seed."""
    return problem.draw(count, numpy_generator(run, "starts"))


def numpy_generator(run: Run, name: str) -> np.random.Generator:
    """A NumPy generator that follows from the run's seed and a name."""
    return np.random.default_rng(run.rng(name).initial_seed())


def choose_painting(problem: Problem, generator: np.random.Generator) -> NDArray[np.uint8]:
    """One good map for the painter: Binary's serpentine, else what evolution makes of floor."""
    if problem.name == "binary":
        return serpentine(problem)
    floor = np.zeros((16, problem.height, problem.width), np.uint8)
    maps, reached = evolve(
        problem, floor, change_percentage=1.0, generator=generator, generations=1000
    )
    best: NDArray[np.uint8] = maps[reached.argmax()]
    return best


class Judged(NamedTuple):
    """Success by budget, and the rollout with all tiles free to change."""

    success: NDArray[np.float64]
    rollout: Rollout


def describe(judged: Judged, run: Run) -> Metrics:
    """The metrics of a designer, in per cent, and its curve."""
    rollout, problem = judged.rollout, judged.rollout.problem
    percent = 100 * judged.success
    run.series(
        "success", [100 * b for b in BUDGETS], percent.tolist(),
        x_label="tiles that may be changed, %", y_label="success, %",
    )  # fmt: skip
    at = dict(zip(BUDGETS, percent.tolist(), strict=True))
    changed = 100 * changed_share(rollout)
    failed = ~rollout.reached
    long = problem.index(LONG[problem.name])
    others = problem_without(problem, LONG[problem.name])
    short = others.reached(rollout.stats, rollout.stats) & (rollout.stats[:, long] > 0)
    apart = diversity(rollout.starts)
    metrics = {
        "success_20": at[0.2],
        "success_40": at[0.4],
        "success_60": at[0.6],
        "success_100": at[1.0],
        "changed": float(changed.mean()),
        "changed_spread": float(changed.std()),
        "diversity": diversity(rollout.ends) / apart if apart else 0.0,
        "already": 100 * float(rollout.already.mean()),
        "short": 100 * float(short[failed].mean()) if failed.any() else 0.0,
        "gain": float(gains(rollout).mean()),
    }
    if problem.name == "sokoban":
        metrics["solvable"] = 100 * float((rollout.stats[:, long] > 0).mean())
    return metrics


def gains(rollout: Rollout) -> NDArray[np.float64]:
    """How much the potential (N,) rose from the start to the end."""
    problem = rollout.problem
    first = problem.potential(problem.measure(rollout.starts))
    gained: NDArray[np.float64] = problem.potential(rollout.stats) - first
    return gained


def problem_without(problem: Problem, metric: str) -> Problem:
    """The problem without its goals for one metric."""
    return replace(problem, goals=tuple(g for g in problem.goals if g.metric != metric))
