"""Designers that are told how long a path to make: controllable generators, after the paper."""

from typing import Literal

import numpy as np
from pydantic import PositiveInt
from scipy.stats import spearmanr
from torch import nn

from quire.lab import Metrics, Run
from quire.lab.training import save_weights
from quire.papers.pcgrl.evaluate import NetAgent, changed_share, roll_out
from quire.papers.pcgrl.experiments.designers import (
    LONG,
    Designing,
    draw_starts,
    numpy_generator,
)
from quire.papers.pcgrl.nets import build_net
from quire.papers.pcgrl.problem import Problem
from quire.papers.pcgrl.representation import find_representation
from quire.papers.pcgrl.search import Agent, RandomAgent
from quire.papers.pcgrl.world import Controls, World


class Control(Designing):
    """Lengths are drawn for each episode; no goal ends it."""

    designer: Literal["ppo", "random"] = "ppo"
    """Who edits."""
    shortest: PositiveInt = 10
    """The shortest length that is asked for, steps."""
    longest: PositiveInt = 60
    """The longest."""


def control(config: Control, run: Run) -> Metrics:
    """Train on drawn lengths; how near levels come to those that are asked for."""
    problem = config.level.build()
    long = LONG[problem.name]
    controls = {long: (float(config.shortest), float(config.longest))}
    starts = draw_starts(run, problem, config.starts)
    agent: Agent
    if config.designer == "ppo":
        net = train(config, run, problem, controls)
        agent = NetAgent(net, seed=run.rng("agent").initial_seed())
    else:
        agent = RandomAgent(numpy_generator(run, "agent"))
    rollout = roll_out(
        agent, problem, find_representation(config.representation), starts,
        seed=run.rng("rollout").initial_seed(), change_percentage=config.change_percentage,
        horizon=config.horizon, controls=controls,
    )  # fmt: skip
    k = problem.index(long)
    asked, made = rollout.targets[:, k], rollout.stats[:, k]
    before = problem.measure(starts)[:, k]
    run.series("asked", *binned(asked, made), x_label="length asked for", y_label="length made")
    return {
        "error": float(np.abs(made - asked).mean()),
        "error_before": float(np.abs(before - asked).mean()),
        "correlation": rank_correlation(asked, made),
        "one_region": 100 * float((rollout.stats[:, problem.index("regions")] == 1).mean()),
        "changed": 100 * float(changed_share(rollout).mean()),
    }


def train(config: Control, run: Run, problem: Problem, controls: Controls) -> nn.Module:
    """PPO on lengths that are drawn anew for each episode and seen in a channel of their own."""
    from quire.papers.pcgrl.ppo import Learner

    world = World(
        problem, find_representation(config.representation), envs=config.training.envs,
        change_percentage=config.change_percentage, controls=controls,
        seed=run.rng("world").initial_seed(),
    )  # fmt: skip
    with run.device:
        net = build_net(world, **config.net.model_dump())
    learner = Learner(world, net, device=run.device, learning_rate=config.training.learning_rate)
    for _ in run.steps(config.training.updates, state=(learner,)):
        told = learner.update()
        told.pop("success", None)
        run.log(**told)
    save_weights(run.directory, "designer", net)
    return net


def rank_correlation(asked: np.ndarray, made: np.ndarray) -> float:
    """Spearman's; 0 where all levels are alike."""
    if len(set(made.tolist())) < 2 or len(set(asked.tolist())) < 2:
        return 0.0
    return float(spearmanr(asked, made).statistic)


def binned(asked: np.ndarray, made: np.ndarray, bins: int = 6) -> tuple[list[float], list[float]]:
    """Means of both, where lengths that were asked for are cut in equal parts."""
    edges = np.linspace(asked.min(), asked.max() + 1, bins + 1)
    part = np.digitize(asked, edges) - 1
    filled = [part == b for b in range(bins) if (part == b).any()]
    return (
        [float(asked[rows].mean()) for rows in filled],
        [float(made[rows].mean()) for rows in filled],
    )
