"""Lives: a policy in an environment from fresh weights to the end, many at once.

Lives have leading dimensions (...), T steps. Nothing is carried from one life to the next: weights
and scenes come from numbers that are drawn anew, and the policy sees observations alone, never
reward and never which body or which hidden map it has.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from quire.papers.hebbian.noise import SCENES, STARTS, Place
from quire.papers.hebbian.policy import Policy


class Turn(NamedTuple):
    """What a step of an environment gives."""

    observation: Tensor
    """(..., I)."""
    reward: Tensor
    """(...)."""
    over: Tensor | None = None
    """Which lives have ended, (...); None where none ends before its time."""


class Environment(Protocol):
    """Many copies of one task in lock-step."""

    @property
    def inputs(self) -> int:
        """I."""

    @property
    def actions(self) -> int:
        """A."""

    @property
    def draws(self) -> int:
        """D, uniform numbers that a life's scene follows from."""

    def reset(self, uniform: Tensor) -> Tensor:
        """New lives from uniform numbers (..., D); gives their first observations."""

    def step(self, action: Tensor) -> Turn:
        """Take actions (..., A)."""


class Draws(NamedTuple):
    """The numbers that lives follow from."""

    starts: Tensor
    """(..., S), weights at birth."""
    scenes: Tensor
    """(..., D), what the environment hides and where it begins."""


class Rollout(NamedTuple):
    """What came of lives that were rolled out."""

    rewards: Tensor
    """(T, ...), 0 after a life's end."""
    state: Any
    """The policy's, at the end."""
    weights: Tensor | None
    """(T + 1, ..., S), those at birth first, where they were kept."""

    @property
    def returns(self) -> Tensor:
        """Sums over time, (...)."""
        return self.rewards.sum(0)


Change = Callable[[Any], Any]
"""From the policy's state to the one it goes on with; it may also change the environment."""


def draw_lives(
    policy: Policy, env: Environment, rows: Tensor, *, seed: int, generation: int = 0
) -> Draws:
    """Numbers for lives called `rows`, int64 (...): the same name has the same life.

    Args:
        policy: Says how many numbers a birth takes.
        env: Says how many a scene takes.
        rows: Names of the lives, below 2^32.
        seed: What all of it follows from.
        generation: Of evolution, or any other number.
    """
    starts = Place(seed, stream=STARTS, generation=generation).uniform(rows, policy.draws)
    scenes = Place(seed, stream=SCENES, generation=generation).uniform(rows, env.draws)
    return Draws(starts, scenes)


@torch.no_grad()
def roll_out(
    policy: Policy,
    env: Environment,
    draws: Draws,
    *,
    steps: int,
    brain: Any = None,
    state: Any = None,
    learn: bool = True,
    changes: Mapping[int, Change] | None = None,
    keep: bool = False,
) -> Rollout:
    """Let lives go on for up to `steps` steps.

    A step is: act with the weights as they are, let the environment step, then let the weights
    change by the activities of this same step.

    Args:
        policy: Who acts.
        env: Where.
        draws: From `draw_lives`.
        steps: T, the most.
        brain: What `policy.express` gave; None is the policy's own parameters.
        state: Begin with this state in place of a birth.
        learn: Whether weights change.
        changes: What is done to states before the step of that number, such as new weights.
        keep: Whether the weights of every step are kept.
    """
    changes = changes or {}
    observation = env.reset(draws.scenes)
    state = policy.begin(draws.starts, brain) if state is None else state
    trail = [flatten_weights(state)] if keep else []
    rewards: list[Tensor] = []
    alive: Tensor | None = None
    for step in range(steps):
        if step in changes:
            state = changes[step](state)
        action, state = policy(observation, state, brain, learn=learn)
        observation, reward, over = env.step(action)
        rewards.append(reward if alive is None else torch.where(alive, reward, 0))
        if keep:
            trail.append(flatten_weights(state))
        if over is not None:
            alive = ~over if alive is None else alive & ~over
            if not alive.any():  # such environments live on a CPU: nobody waits
                break
    return Rollout(torch.stack(rewards), state, torch.stack(trail) if keep else None)


def flatten_weights(weights: tuple[Tensor, ...]) -> Tensor:
    """Layers (..., J, I) as one vector, (..., S)."""
    return torch.cat([layer.flatten(-2) for layer in weights], -1)
