"""Success against the budget of changes, as the paper measures it, and how alike the levels are.

An episode with a small budget is the beginning of the same episode with a large one, unless the
agent sees its budget. So one rollout with all tiles free to change gives the whole curve: a budget
of m changes succeeds where the goal was first reached after at most m changes and m * n steps.
N maps, n = h * w tiles.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from quire.papers.pcgrl.nets import sample_actions
from quire.papers.pcgrl.problem import Maps, Problem, Stats
from quire.papers.pcgrl.representation import Representation
from quire.papers.pcgrl.search import Agent
from quire.papers.pcgrl.world import Controls, World

BUDGETS = tuple(share / 10 for share in range(11))
"""The paper's inference budgets, shares of all tiles."""


class Rollout(NamedTuple):
    """One episode a map, to its goal or its end."""

    problem: Problem
    starts: Maps
    """(N, h, w): the first maps."""
    ends: Maps
    """(N, h, w): where the goal was first reached, or the last ones."""
    stats: Stats
    """(N, K): metrics of the ends."""
    targets: NDArray[np.float64]
    """(N, K): the lower ends of the intervals that were rewarded."""
    reached: NDArray[np.bool_]
    """(N,)."""
    changes: NDArray[np.int64]
    """(N,): changes until then."""
    iterations: NDArray[np.int64]
    """(N,): steps until then."""
    already: NDArray[np.bool_]
    """(N,): whether the start is what is asked for. It still takes a step to be a success."""


class NetAgent:
    """A network that acts: draws from its logits as in the paper, with random numbers of its own.

    Args:
        net: Gives logits and values.
        seed: Of what is drawn.
    """

    def __init__(self, net: nn.Module, *, seed: int = 0) -> None:
        self.net = net
        self.device = next(net.parameters()).device
        self.generator = torch.Generator(self.device).manual_seed(seed)

    def __call__(self, world: World) -> NDArray[np.int64]:
        """Actions (N,)."""
        seen = torch.from_numpy(world.observe()).to(self.device)
        actions: NDArray[np.int64] = sample_actions(self.net, seen, self.generator).cpu().numpy()
        return actions


def roll_out(
    agent: Agent,
    problem: Problem,
    representation: Representation,
    starts: Maps,
    *,
    seed: int = 0,
    change_percentage: float = 1.0,
    horizon: int | None = None,
    show_budget: bool = False,
    controls: Controls | None = None,
) -> Rollout:
    """One episode from each start (N, h, w), to the goal or the end of the budget.

    Args:
        agent: What acts.
        problem: What is asked for.
        representation: How maps are edited.
        starts: The first maps.
        seed: Of the world's random numbers.
        change_percentage: The largest budget.
        horizon: The most steps, where the rule of n a change takes too long.
        show_budget: As the agent was trained.
        controls: As the agent was trained.
    """
    world = World(
        problem, representation, envs=len(starts), change_percentage=change_percentage,
        show_budget=show_budget, controls=controls, seed=seed,
    )  # fmt: skip
    world.restart(maps=starts)
    targets, first = world.state.low.copy(), world.state.stats.copy()
    ends, stats = world.state.maps.copy(), first.copy()
    reached, counts = np.zeros(len(starts), bool), np.zeros((len(starts), 2), np.int64)
    rows = np.arange(len(starts))
    for _ in range(min(horizon or world.edges.max_iterations, world.edges.max_iterations)):
        step = world.step(agent(world))
        ends[rows], stats[rows] = world.state.maps, world.state.stats
        counts[rows], reached[rows] = world.state.counts, step.reached
        on = np.flatnonzero(~(step.terminated | step.truncated))
        if len(on) < len(rows):
            rows = rows[on]
            if not len(rows):
                break
            world = world.take(on)
    already = problem.reached(first, first)
    return Rollout(problem, starts, ends, stats, targets, reached, counts[:, 0], counts[:, 1],
                   already)  # fmt: skip


def success_by_budget(rollout: Rollout, budgets: Sequence[float] = BUDGETS) -> NDArray[np.float64]:
    """The share of maps, one number a budget, that reach the goal within it.

    As in the environment a budget of 0 allows one change.
    """
    size = rollout.problem.width * rollout.problem.height
    limits = [max(1, int(budget * size)) for budget in budgets]
    shares = [
        (rollout.reached & (rollout.changes <= m) & (rollout.iterations <= m * size)).mean()
        for m in limits
    ]
    return np.array(shares)


def changed_share(rollout: Rollout) -> NDArray[np.float64]:
    """The share of tiles (N,) in which each end differs from its start."""
    differs: NDArray[np.float64] = (rollout.starts != rollout.ends).mean((1, 2))
    return differs


def diversity(maps: Maps) -> float:
    """The mean share of tiles in which two different maps of (N, h, w) differ; 0 for one map."""
    count, flat = len(maps), maps.reshape(len(maps), -1)
    if count < 2:
        return 0.0
    alike = sum(float(((flat == t).sum(0, dtype=np.int64) ** 2).sum()) for t in np.unique(flat))
    # Ordered pairs, each map's with itself among them, that agree in a tile.
    pairs = count * (count - 1) * flat.shape[1]
    return 1.0 - (alike - count * flat.shape[1]) / pairs
