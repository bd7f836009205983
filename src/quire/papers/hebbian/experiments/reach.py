"""Reaching with a hidden map of the actuators: the smallest case, and a path through all parts."""

from typing import Literal

import torch
from pydantic import PositiveInt

from quire.lab import Metrics, Run
from quire.papers.hebbian.experiments.learner import (
    TEST,
    Evolving,
    build,
    evaluate_together,
    evolve,
    only_start,
)
from quire.papers.hebbian.policy import HebbianPolicy, Policy
from quire.papers.hebbian.reach import Reach
from quire.papers.hebbian.rollout import Draws, draw_lives, roll_out

MAPS: dict[str, tuple[float, ...] | None] = {
    "known": (0,), "flipped": (0, 180), "quarters": (0, 90, 180, 270), "circle": None,
}  # fmt: skip


class Reaching(Evolving):
    """A point in the plane, whose pushes are turned by an angle that is hidden in each life."""

    maps: Literal["known", "flipped", "quarters", "circle"] = "flipped"
    """The angles: none, 0 and 180 degrees, four of them, any."""
    lives: PositiveInt = 4
    """Of each individual in a generation."""
    steps: PositiveInt = 50
    """Of a life."""
    tests: PositiveInt = 512
    """Fresh lives that the result is measured in."""


def reach(config: Reaching, run: Run) -> Metrics:
    """Evolve, then measure the mean genome in fresh lives."""
    env = Reach(MAPS[config.maps])
    policy = build(config, env.inputs, env.actions).to(run.device)
    begun = policy.genome()
    evaluate = evaluate_together(config, run, policy, env, each=config.lives, steps=config.steps)
    learned = evolve(config, run, policy, evaluate)
    metrics = {
        **learned.metrics,
        "numbers": float(policy.size),
        "score": measure(config, run, policy, learned.genome),
        "score_before": measure(config, run, policy, begun),
    }
    if config.fixed_start:
        metrics["score_own"] = measure(config, run, policy, learned.genome, own=True)
    if isinstance(policy, HebbianPolicy) and policy.size:
        shuffled = policy.shuffled(learned.genome, run.rng("shuffle"))
        metrics["shuffled"] = measure(config, run, policy, shuffled)
    return metrics


def measure(
    config: Reaching, run: Run, policy: Policy, genome: torch.Tensor, *, own: bool = False
) -> float:
    """What is left of the way in the second half of a life, off 1: 0 is what doing nothing gets.

    Args:
        config: Says which maps and how many lives.
        run: Gives the seeds.
        policy: Who lives.
        genome: Its numbers, (n,).
        own: Whether lives begin with the one draw of weights that evolution had.
    """
    env = Reach(MAPS[config.maps])
    rows = torch.arange(config.tests, device=run.device)
    seed = run.rng("tests").initial_seed()
    draws = draw_lives(policy, env, rows, seed=seed, generation=TEST)
    if own:
        born = only_start(policy, env, rows, run.rng("lives").initial_seed())
        draws = Draws(born, draws.scenes)
    rollout = roll_out(policy, env, draws, steps=config.steps, brain=policy.express(genome))
    return 1 + float(rollout.rewards[config.steps // 2 :].mean())
