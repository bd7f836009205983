"""Designers of levels, trained and not, judged by success against the budget of changes.

Carries out `binary`, `zelda` and `sokoban`.
"""

from typing import Literal

import numpy as np
from torch import nn

from quire.lab import Metrics, Run
from quire.lab.training import save_weights
from quire.papers.pcgrl.evaluate import BUDGETS, NetAgent, Rollout, roll_out, success_by_budget
from quire.papers.pcgrl.experiments.designers import (
    Designing,
    Judged,
    choose_painting,
    describe,
    draw_starts,
    numpy_generator,
)
from quire.papers.pcgrl.experiments.figures import draw_before_and_after
from quire.papers.pcgrl.nets import build_net
from quire.papers.pcgrl.problem import Maps, Problem
from quire.papers.pcgrl.representation import Wide, find_representation
from quire.papers.pcgrl.search import Agent, HillClimber, Painter, RandomAgent, evolve
from quire.papers.pcgrl.world import World


class Design(Designing):
    """One designer on one problem."""

    designer: Literal["ppo", "random", "painter", "hill_climbing", "evolution"] = "ppo"
    """Who edits. The painter and the climber choose place and tile; evolution changes maps."""


def design(config: Design, run: Run) -> Metrics:
    """Train the designer if it learns; how often it succeeds from the same first maps."""
    problem = config.level.build()
    starts = draw_starts(run, problem, config.starts)
    if config.designer == "evolution":
        judged = judge_evolution(run, problem, starts)
    else:
        representation = find_representation(config.representation)
        agent: Agent
        if config.designer == "ppo":
            agent = NetAgent(train(config, run, problem), seed=run.rng("agent").initial_seed())
        elif config.designer == "random":
            agent = RandomAgent(numpy_generator(run, "agent"))
        else:
            representation = Wide()
            painting = choose_painting(problem, numpy_generator(run, "painting"))
            agent = Painter(painting) if config.designer == "painter" else HillClimber()
        rollout = roll_out(
            agent, problem, representation, starts,
            seed=run.rng("rollout").initial_seed(), horizon=config.horizon,
        )  # fmt: skip
        judged = Judged(success_by_budget(rollout), rollout)
    run.figure("levels", draw_before_and_after(judged.rollout))
    return describe(judged, run)


def train(config: Design, run: Run, problem: Problem) -> nn.Module:
    """PPO as the paper has it; the network of the last update, which is kept with the run."""
    # Here, so that the designers that learn nothing need no extra.
    from quire.papers.pcgrl.ppo import Learner

    world = World(
        problem, find_representation(config.representation), envs=config.training.envs,
        change_percentage=config.change_percentage, seed=run.rng("world").initial_seed(),
    )  # fmt: skip
    with run.device:
        net = build_net(world, **config.net.model_dump())
    learner = Learner(world, net, device=run.device, learning_rate=config.training.learning_rate)
    for _ in run.steps(config.training.updates, state=(learner,)):
        run.log(**learner.update())
    save_weights(run.directory, "designer", net)
    return net


def judge_evolution(run: Run, problem: Problem, starts: Maps) -> Judged:
    """A search of its own for each budget: evolution does not go through a map tile by tile."""
    success = []
    for budget in BUDGETS:
        maps, reached = evolve(
            problem, starts, change_percentage=budget, generator=numpy_generator(run, "agent")
        )
        success.append(float(reached.mean()))
    stats, first = problem.measure(maps), problem.measure(starts)
    changes = (maps != starts).sum((1, 2))
    already = problem.reached(first, first)
    targets = np.zeros(stats.shape)
    rollout = Rollout(problem, starts, maps, stats, targets, reached, changes, changes, already)
    return Judged(np.array(success), rollout)
