"""A walker evolved with a sound body and a damaged one, tested with damage that it never had."""

from functools import partial
from typing import Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from quire.lab import Metrics, Run
from quire.papers.hebbian.experiments.figures import draw_orbits, draw_speeds
from quire.papers.hebbian.experiments.learner import (
    TEST,
    Evolving,
    build,
    erase,
    evaluate_together,
    evolve,
    only_start,
    redraw,
    saturate,
)
from quire.papers.hebbian.orbit import Orbit, contrast, onset, recover, spread
from quire.papers.hebbian.policy import HebbianPolicy, Policy
from quire.papers.hebbian.rollout import (
    Change,
    Draws,
    Rollout,
    draw_lives,
    roll_out,
)
from quire.papers.hebbian.walker import INTACT, Body, Walker, damaged

Leg = Literal["front left", "front right", "rear left", "rear right"]
SATURATED = 5
"""Steps in a row after which weights are pushed to 1 and -1."""
DRAWN = 8
"""Lives whose weights are kept, in each body."""


class Walking(Evolving):
    """Walk along x; fitness is the way, in lengths of the trunk, averaged over bodies."""

    seen: Leg = "front right"
    """The damaged leg in evolution."""
    unseen: Leg = "front left"
    """The damaged leg in the test."""
    length: float = Field(default=0.25, gt=0)
    """Of a damaged leg, as a share."""
    strength: float = Field(default=1.0, gt=0)
    """Of a damaged leg, as a share."""
    steps: PositiveInt = 1000
    """Of a life."""
    tests: PositiveInt = 100
    """Fresh lives in each body."""


def walker(config: Walking, run: Run) -> Metrics:
    """Evolve, then measure the mean genome in fresh lives, with blows and without."""
    env = Walker([INTACT, hurt(config, config.seen)])
    policy = build(config, env.inputs, env.actions).to(run.device)
    evaluate = evaluate_together(config, run, policy, env, each=2, steps=config.steps)
    learned = evolve(config, run, policy, evaluate)
    judge = Judge(config, run, policy, learned.genome)
    metrics = {
        **learned.metrics,
        "numbers": float(policy.size),
        **judge.measure_bodies(),
        **judge.measure_lamed(),
    }
    if config.method in ("hebbian", "static"):
        metrics |= judge.measure_blows()
    if config.method == "hebbian":
        metrics |= judge.measure_weights()
    return metrics


def hurt(config: Walking, leg: str) -> Body:
    """The body with that leg damaged."""
    return damaged(leg, length=config.length, strength=config.strength)


class Judge:
    """Measures one genome in fresh lives. Bodies: sound, damaged as in evolution, and as never."""

    def __init__(self, config: Walking, run: Run, policy: Policy, genome: Tensor) -> None:
        self.config, self.run, self.policy, self.genome = config, run, policy, genome
        self.seed = run.rng("tests").initial_seed()
        self.bodies = [INTACT, hurt(config, config.seen), hurt(config, config.unseen)]

    def live(
        self,
        bodies: list[Body],
        *,
        genome: Tensor | None = None,
        lives: int | None = None,
        changes: dict[int, Change] | None = None,
        env: Walker | None = None,
        own: bool = False,
        **options: object,
    ) -> Rollout:
        """Lives (tests, E), the same ones in every call.

        Args:
            bodies: E.
            genome: Another one than the evolved.
            lives: How many in each body; None is as many as there are tests.
            changes: See `roll_out`.
            env: Where, if the changes know it.
            own: Whether lives begin with the one draw of weights that evolution had.
            options: Of `roll_out`.
        """
        env = env or Walker(bodies)
        count = (lives or self.config.tests) * len(bodies)
        rows = torch.arange(count, device=self.run.device).reshape(-1, len(bodies))
        draws = draw_lives(self.policy, env, rows, seed=self.seed, generation=TEST)
        if own:
            born = only_start(self.policy, env, rows, self.run.rng("lives").initial_seed())
            draws = Draws(born, draws.scenes)
        brain = self.policy.express(self.genome if genome is None else genome)
        return roll_out(
            self.policy, env, draws, steps=self.config.steps, brain=brain, changes=changes,
            **options,  # type: ignore[arg-type]
        )  # fmt: skip

    def measure_bodies(self) -> Metrics:
        """The way in each body, how soon there is speed, and what controls get."""
        whole = self.live(self.bodies)
        ways = whole.returns.double().cpu()
        found = dict(zip(("intact", "seen", "unseen"), ways.mean(0).tolist(), strict=True))
        found["unseen_std"] = float(ways[:, 2].std())
        found["known"] = (found["intact"] + found["seen"]) / 2
        found["onset"] = float(onset(whole.rewards[:, :, 0].cpu()))
        if self.config.fixed_start:
            own = self.live(self.bodies[:2], own=True)
            found["known_own"] = float(own.returns.mean())
        return found

    def measure_lamed(self) -> Metrics:
        """The way in the second half of lives whose leg is damaged as never before at half time."""
        env, half = Walker([INTACT]), self.config.steps // 2

        def lame(state: object) -> object:
            env.change([self.bodies[2]])
            return state

        rollout = self.live([INTACT], env=env, changes={half: lame})
        return {"lamed": float(rollout.rewards[half:].sum(0).mean())}

    def measure_blows(self) -> Metrics:
        """How lives go on after their weights were drawn again, erased or saturated."""
        half = self.config.steps // 2
        again = partial(redraw, bound=self.config.start, seed=self.seed)
        blows: dict[str, dict[int, Change]] = {
            "redrawn": {half: again},
            "erased": {half: erase},
            "saturated": dict.fromkeys(range(half, half + SATURATED), saturate),
        }
        found: Metrics = {}
        rewards: dict[str, Tensor] = {}
        for name, changes in blows.items():
            rewards[name] = self.live(self.bodies[:1], changes=changes).rewards.cpu()
            recovery = recover(rewards[name])
            found |= {name: recovery.share, f"{name}_steps": float(recovery.steps)}
        rewards["spared"] = self.live(self.bodies[:1]).rewards.cpu()
        self.run.figure("blows", draw_speeds(rewards, half))
        return found

    def measure_weights(self) -> Metrics:
        """What the weights do, and what they are worth when they stay as they have become."""
        assert isinstance(self.policy, HebbianPolicy)
        _, seen, unseen = self.bodies
        shuffled = self.policy.shuffled(self.genome, self.run.rng("shuffle"))
        known = self.live([INTACT, seen], genome=shuffled).returns.mean()
        organised = [self.live([body]).state for body in (seen, unseen)]
        kept = [self.live([unseen], state=state, learn=False).returns.mean() for state in organised]
        whole = self.live(self.bodies, lives=DRAWN, keep=True)
        assert whole.weights is not None
        trails = whole.weights.cpu()  # (T + 1, lives, bodies, S)
        sound, late = trails[:, :, 0], trails[len(trails) // 2 :, :, 0]
        orbit = Orbit.fit(late[:, 0])
        self.run.figure("orbits", draw_orbits(Orbit.fit(sound[:, 0]), sound))
        captured = [orbit.captured(late[:, life]) for life in range(1, DRAWN)]
        return {
            "shuffled": float(known),
            "moved": float(kept[0]),
            "organised": float(kept[1]),
            "orbit_share": orbit.share,
            "orbit_captured": sum(captured) / len(captured),
            "meeting": spread(sound[-1]) / spread(sound[0]),
            "contrast": contrast(trails[-(len(trails) // 4) :].mean(0)),
            "start_std": float(trails[0].std()),
        }
