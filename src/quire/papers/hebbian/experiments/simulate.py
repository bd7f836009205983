"""The ant, CarRacing and other environments of Gymnasium, over processes or a Ray cluster.

Carries out `ant`, `car` and `classic`.
"""

import copy
from functools import partial
from typing import Any, Literal

import torch
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor

from quire.lab import Metrics, Run
from quire.lab.job import cores
from quire.papers.hebbian.experiments.learner import (
    TEST,
    Evaluate,
    Evolving,
    build,
    evolve,
    maker,
    redraw,
)
from quire.papers.hebbian.orbit import onset, recover
from quire.papers.hebbian.pixels import FEATURES, drive
from quire.papers.hebbian.policy import Policy, identity
from quire.papers.hebbian.rollout import Change, Draws
from quire.papers.hebbian.simulators import ANT, CAR, Simulators, World, versions
from quire.papers.hebbian.workers import (
    Here,
    Order,
    Processes,
    RayWorkers,
    Settled,
    Trial,
    live_all,
)

Leg = Literal["front left", "front right", "rear left", "rear right"]


class Simulating(Evolving):
    """An environment of Gymnasium; an ant is evolved with two bodies and tested with a third."""

    world: str = ANT
    """The environment's name."""
    seen: Leg = "front right"
    """The ant's damaged leg in evolution."""
    unseen: Leg = "front left"
    """The ant's damaged leg in the test."""
    steps: PositiveInt = 1000
    """Of a life, at most."""
    tests: PositiveInt = 100
    """Fresh lives in each body."""
    over: Literal["here", "processes", "ray"] = "processes"
    """Who carries lives out; it changes no result."""
    workers: NonNegativeInt = 0
    """How many; 0 is one for each core."""
    lanes: PositiveInt = 8
    """Individuals that a worker lets live side by side."""


def simulate(config: Simulating, run: Run) -> Metrics:
    """Evolve, then measure the mean genome in fresh lives."""
    run.note(f"simulators: {', '.join(f'{k} {v}' for k, v in versions().items())}")
    worlds = name_worlds(config)
    first = Simulators(worlds[:1])
    inputs = FEATURES if first.is_image else first.inputs
    options: dict[str, Any] = {"squash": identity, "learns_from_action": False}
    if config.world == ANT:
        options = {}
    elif config.world == CAR:
        options = {"squash": drive, "learns_from_action": False, "has_pixels": True}
    first.close()
    policy = build(config, inputs, first.actions, **options)
    trial = Trial(
        maker(config, inputs, first.actions, **options), worlds[:2], config.steps, config.lanes
    )
    workers = open_workers(config)
    try:
        learned = evolve(config, run, policy, evaluate_over(config, run, trial, workers))
        judge = Judge(config, run, workers, trial, learned.genome.cpu())
        return {**learned.metrics, "numbers": float(policy.size), **judge.measure()}
    finally:
        workers.close()


def name_worlds(config: Simulating) -> tuple[World, ...]:
    """Those of evolution, and after them an ant's third one; lives end as in the authors' code."""
    if config.world == ANT:
        legs = (None, config.seen, config.unseen)
        return tuple(World(ANT, leg, patience=30, patience_from=200) for leg in legs)
    return (World(config.world, patience=20 if config.world == CAR else None),)


def open_workers(config: Simulating) -> Here | Processes | RayWorkers:
    """Whoever carries lives out."""
    if config.over == "here":
        return Here()
    count = config.workers or cores()
    return RayWorkers(count) if config.over == "ray" else Processes(count)


def evaluate_over(
    config: Simulating, run: Run, trial: Trial, workers: Here | Processes | RayWorkers
) -> Evaluate:
    """A generation's lives over workers. config: which lives individuals share."""
    sealed, seed = trial.sealed(), run.rng("lives").initial_seed()

    def evaluate(strategy: Any) -> tuple[Tensor, Tensor]:
        # Workers have no accelerator.
        twin = copy.copy(strategy)
        twin.mean = strategy.mean.cpu()
        order = Order(sealed, twin, seed, strategy.generation, config.common)
        lived = live_all(workers, order, config.population)
        device = strategy.mean.device
        return lived.rewards.sum(0).mean(-1).to(device), lived.penalty.to(device)

    return evaluate


class Judge:
    """Measures one genome in fresh lives."""

    def __init__(
        self,
        config: Simulating,
        run: Run,
        workers: Here | Processes | RayWorkers,
        trial: Trial,
        genome: Tensor,
    ) -> None:
        self.config, self.run, self.workers = config, run, workers
        self.trial, self.genome = trial, genome
        self.seed = run.rng("tests").initial_seed()

    def measure(self) -> Metrics:
        """Returns in each world, how soon there is speed, and what comes after a blow."""
        worlds = name_worlds(self.config)
        rewards = self.live(worlds)
        returns = rewards.sum(0).double()
        found = dict(zip(("score", "seen", "unseen"), returns.mean(0).tolist(), strict=False))
        found["score_std"] = float(returns[:, 0].std()) if len(returns) > 1 else 0.0
        if self.config.world not in (ANT, CAR):
            return found
        found["onset"] = float(onset(rewards[:, :, 0]))
        if self.config.method in ("hebbian", "static"):
            blow = partial(blow_at_half, bound=self.config.start, seed=self.seed)
            recovery = recover(self.live(worlds[:1], alter=blow))
            found |= {"redrawn": recovery.share, "redrawn_steps": float(recovery.steps)}
        if self.config.world == ANT:
            half = self.config.steps // 2
            lame = partial(lame_at_half, leg=self.config.unseen)
            found["lamed"] = float(self.live(worlds[:1], alter=lame)[half:].sum(0).mean())
            found["known"] = (found["score"] + found["seen"]) / 2
        return found

    def live(self, worlds: tuple[World, ...], alter: Any = None) -> Tensor:
        """Rewards (T, tests, E)."""
        trial = Trial(self.trial.build, worlds, self.config.steps, self.config.lanes, alter)
        order = Order(trial.sealed(), Settled(self.genome), self.seed, TEST, False)
        rewards = live_all(self.workers, order, self.config.tests).rewards
        missing = self.config.steps - len(rewards)
        return torch.cat([rewards, rewards.new_zeros(missing, *rewards.shape[1:])])


def blow_at_half(
    draws: Draws, env: Simulators, policy: Policy, steps: int, *, bound: float, seed: int
) -> dict[int, Change]:
    """Weights are drawn again at half of the time. See `Trial.alter`."""
    return {steps // 2: partial(redraw, bound=bound, seed=seed)}


def lame_at_half(
    draws: Draws, env: Simulators, policy: Policy, steps: int, *, leg: str
) -> dict[int, Change]:
    """An ant's leg is damaged at half of the time. See `Trial.alter`."""

    def lame(state: Any) -> Any:
        env.change([World(ANT, leg, w.patience, w.patience_from) for w in env.worlds])
        return state

    return {steps // 2: lame}
