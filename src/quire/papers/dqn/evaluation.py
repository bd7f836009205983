"""Scores as in the paper's table, what values say, and what a score is to be printed with.

N lanes, T steps of each.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from scipy.optimize import isotonic_regression
from torch import Tensor

from quire.papers.dqn.dqn import DQN
from quire.papers.dqn.lanes import Lanes
from quire.papers.dqn.learning import NATURE_2015, Setting
from quire.papers.dqn.replay import ReplayBuffer
from quire.papers.dqn.rmsprop import RMSProp

Policy = Callable[[Tensor], NDArray[np.int64]]
"""From states (N, ...) to actions (N,)."""
EPSILON = 0.05
"""Of the policy that is scored (section 5)."""


@dataclass(frozen=True)
class Evaluation:
    """What a policy got in a number of steps. Rewards are the game's own, not clipped."""

    scores: NDArray[np.float64]
    """The returns of the episodes that ended, in their order, (E,)."""
    rewards: NDArray[np.float64]
    """(T, N)."""
    ends: NDArray[np.bool_]
    """Whether an episode ended with the step, (T, N)."""
    values: NDArray[np.float64]
    """The largest value in the state before the step, (T, N); NaN without `values`."""

    @property
    def mean(self) -> float:
        """Mean return of an episode; of those that were cut off where none ended."""
        if len(self.scores):
            return float(self.scores.mean())
        return float(self.rewards.sum(0).mean())

    @property
    def best(self) -> float:
        """Best single episode: the lower part of the paper's table."""
        return float(self.scores.max()) if len(self.scores) else self.mean


def evaluate(
    policy: Policy,
    env: Lanes,
    *,
    steps: int = 10_000,
    values: Callable[[Tensor], Tensor] | None = None,
    look: Callable[[NDArray[np.uint8], NDArray[np.int64]], None] | None = None,
) -> Evaluation:
    """Play for a fixed number of steps over all lanes, with rewards as they are.

    Args:
        policy: Such as `playing(agent)`.
        env: Lanes of its own, which go on where they are.
        steps: Of all lanes together.
        values: From states to their values (N,), such as `agent.values`.
        look: Called with the frames and actions of each step.

    Raises ValueError for less than a step.
    """
    turns = steps // len(env)
    if turns < 1:
        raise ValueError(f"{len(env)} lanes need at least as many steps, got {steps}")
    # A buffer that holds little more than a stack: states are built as in training.
    seen = ReplayBuffer(2 * len(env), env.shape, lanes=len(env), stack=env.stack, dtype=env.dtype)
    env.ended.clear()
    rewards, found = np.zeros((turns, len(env))), []
    ends = np.zeros((turns, len(env)), np.bool_)
    for turn in range(turns):
        seen.observe(env.frames, env.age, env.final)
        states = seen.newest()
        actions = policy(states)
        if values is not None:
            found.append(values(states))
        if look is not None:
            look(env.frames, actions)
        said = env.step(actions)
        seen.record(actions, said.rewards, said.terminal)
        rewards[turn] = said.rewards
        ends[turn] = (env.age == 0) | env.final
    read = torch.stack(found).cpu().numpy() if found else np.full(rewards.shape, np.nan)
    scores, env.ended[:] = np.array(env.ended), []
    return Evaluation(scores, rewards, ends, read.astype(np.float64))


def playing(agent: DQN, epsilon: float = EPSILON, *, seed: int = 0) -> Policy:
    """The agent's policy with some random actions, from a generator of its own."""
    generator = torch.Generator().manual_seed(seed)
    return lambda states: agent.act(states, epsilon, generator)


def random_policy(env: Lanes, seed: int = 0) -> Policy:
    """Every action as likely as any other."""
    generator = np.random.default_rng(seed)
    return lambda states: generator.integers(env.actions, size=len(states))


def constant_policy(action: int) -> Policy:
    """The same action always."""
    return lambda states: np.full(len(states), action)


def best_constant(env: Lanes, *, steps: int) -> float:
    """The mean return of the single action that gets most, each tried for `steps` steps."""
    return max(
        evaluate(constant_policy(action), env, steps=steps).mean for action in range(env.actions)
    )


def held_out_states(env: Lanes, count: int, *, every: int = 4, seed: int = 0) -> Tensor:
    """States that a random policy comes to, (count, ...): for the curve of values (section 5.1).

    Args:
        env: Lanes of their own.
        count: How many.
        every: Steps of all lanes between two of them.
        seed: What the random actions follow from.
    """
    kept: list[Tensor] = []
    act = random_policy(env, seed)
    turn = 0

    def policy(states: Tensor) -> NDArray[np.int64]:
        nonlocal turn
        if turn % every == every - 1:
            kept.append(states)
        turn += 1
        return act(states)

    turns = every * -(-count // len(env))
    evaluate(policy, env, steps=turns * len(env))
    return torch.cat(kept)[:count]


# What values say


def returns_to_go(
    rewards: NDArray[np.float64], ends: NDArray[np.bool_], gamma: float
) -> NDArray[np.float64]:
    """Discounted returns (T, N) from each step on, within its episode."""
    found = np.zeros_like(rewards)
    after = np.zeros(rewards.shape[1])
    for turn in range(len(rewards) - 1, -1, -1):
        after = rewards[turn] + gamma * np.where(ends[turn], 0.0, after)
        found[turn] = after
    return found


def value_ratio(said: Evaluation, gamma: float) -> float:
    """Mean value of the states that were played, over what followed: 1 is honest, more boasts.

    Rewards count by their sign, as in training; steps whose episode did not end are left out.
    """
    known = np.cumsum(said.ends[::-1], axis=0)[::-1] > 0
    if not known.any():
        return float("nan")
    followed = returns_to_go(np.sign(said.rewards), said.ends, gamma)
    return float(said.values[known].mean() / followed[known].mean())


def values_around(said: Evaluation, reach: int = 5) -> tuple[float, float]:
    """How far values rise towards a reward and fall after it (figure 3).

    Gives the mean value just before a positive reward less that `reach` steps earlier, and less
    that `reach` steps later, over rewards with so many steps of their episode, and no other
    reward, on both sides; NaN without one.
    """
    rises, falls = [], []
    for lane in range(said.rewards.shape[1]):
        paid = said.rewards[:, lane] > 0
        for turn in np.flatnonzero(paid):
            near = slice(turn - reach, turn + reach + 1)
            if turn < reach or turn + reach >= len(paid) or paid[near].sum() > 1:
                continue
            if said.ends[turn - reach : turn + reach, lane].any():
                continue
            peak, (before, after) = (
                said.values[turn, lane],
                said.values[[turn - reach, turn + reach], lane],
            )
            rises.append(peak - before)
            falls.append(peak - after)
    if not rises:
        return float("nan"), float("nan")
    return float(np.mean(rises)), float(np.mean(falls))


def roughness(curve: NDArray[np.float64]) -> float:
    """How far a curve is from the nearest one that never falls: root mean square over its range.

    0 is smooth. A curve without range has 1.
    """
    spread = float(np.ptp(curve))
    if spread == 0:
        return 1.0
    rising = isotonic_regression(curve).x
    return float(np.sqrt(np.mean((curve - rising) ** 2)) / spread)


def interquartile_mean(
    scores: NDArray[np.float64], *, resamples: int = 2000, seed: int = 0
) -> tuple[float, float, float]:
    """Mean of the middle half of scores (seeds, games), and its 95 % interval.

    Seeds are drawn anew within each game (Agarwal et al. 2021). Scores of several games must be on
    one scale. Raises ValueError for another shape.
    """
    if scores.ndim != 2 or not scores.size:
        raise ValueError(f"scores are (seeds, games), got {scores.shape}")
    generator = np.random.default_rng(seed)
    rows = generator.integers(len(scores), size=(resamples, *scores.shape))
    drawn = np.take_along_axis(scores[None], rows, axis=1).reshape(resamples, -1)
    low, high = np.quantile(stats.trim_mean(drawn, 0.25, axis=1), [0.025, 0.975])
    return float(stats.trim_mean(scores.ravel(), 0.25)), float(low), float(high)


# What a score is to be printed with


def differences(agent: DQN) -> list[str]:
    """How the agent's setting differs from that of 2015, always with the frames it has seen."""
    ours, theirs = agent.setting, NATURE_2015
    rows = [
        ("optimiser", describe_optimizer(agent.optimizer),
         "centred RMSProp, rate 0.00025, decay 0.95, floor 0.01"),
        ("TD error", "clipped to 1" if ours.clipped else "not clipped", "clipped to 1"),
        ("buffer", f"{ours.replay:,} rows", f"{theirs.replay:,} rows"),
        ("epsilon", describe_schedule(ours), describe_schedule(theirs)),
        ("target network", describe_target(ours), describe_target(theirs)),
        ("updates", f"every {ours.update_every} steps, minibatches of {ours.batch_size}",
         "every 4 steps, minibatches of 32"),
        ("first update", f"after {ours.warm_up:,} steps", f"after {theirs.warm_up:,} steps"),
        ("discount", f"{ours.gamma:g}", f"{theirs.gamma:g}"),
        ("returns", f"{ours.returns} steps", "1 steps"),
        ("next values", str(getattr(agent.bootstrap, "__name__", agent.bootstrap)), "best_value"),
        ("replay", "uniform" if agent.memory.sampling is None else "by priority", "uniform"),
        ("lanes", str(len(agent.env)), "1"),
        ("frames", f"{agent.frames:,} ({agent.steps:,} steps of {agent.env.repeat})",
         "200,000,000 (50,000,000 steps of 4)"),
    ]  # fmt: skip
    return [f"{what} {a} (2015: {b})" for what, a, b in rows if a != b]


def describe_optimizer(optimizer: torch.optim.Optimizer) -> str:
    """Name and constants."""
    said = optimizer.param_groups[0]
    if not isinstance(optimizer, RMSProp):
        return f"{type(optimizer).__name__}, rate {said['lr']:g}"
    name = "centred RMSProp" if said["centred"] else "RMSProp"
    return f"{name}, rate {said['lr']:g}, decay {said['decay']:g}, floor {said['floor']:g}"


def describe_schedule(setting: Setting) -> str:
    """The fall of epsilon."""
    return (f"1 to {setting.epsilon:g} over {setting.fall:,} steps "
            f"from step {setting.fall_from:,} on")  # fmt: skip


def describe_target(setting: Setting) -> str:
    """How often the target network is copied, in updates."""
    every = setting.target_every
    return "none" if every is None else f"copied every {every:,} updates"


def describe_score(agent: DQN, said: Evaluation) -> str:
    """A score with all that it depends on, in one line."""
    return (
        f"{agent.env.name}: mean {said.mean:.2f}, best {said.best:.2f} over {len(said.scores)} "
        f"episodes at epsilon {EPSILON}; not as in 2015: {'; '.join(differences(agent))}"
    )
