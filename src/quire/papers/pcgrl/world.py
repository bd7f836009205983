"""Many maps that are edited at once: limits, starts and ends of episodes, random numbers.

`World` holds NumPy arrays and runs on a CPU, compiled where numba is installed; `DeviceWorld` holds
tensors and runs on any device of PyTorch. Neither needs Gymnasium, whose environments in `env.py`
are thin coats around them. N maps, K metrics, n = h * w tiles.
"""

import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from quire.papers.pcgrl.problem import Problem
from quire.papers.pcgrl.representation import Narrow, Representation, Wide
from quire.papers.pcgrl.rules import (
    SIDE,
    RangeReward,
    State,
    build_rules,
    channels_of,
    find_engine,
    reward_bounds,
)

Controls = Mapping[str, tuple[float, float]]


class Step(NamedTuple):
    """What a step gave, (N,) each."""

    rewards: Any
    """float64."""
    reached: Any
    """Whether the map is what is asked for."""
    terminated: Any
    """Whether the episode is over: the goal is reached, or no changes are left."""
    truncated: Any
    """Whether it is cut off: no iterations are left."""


class Edges(NamedTuple):
    """How long an episode may be, and which targets are drawn."""

    max_changes: int
    """Changes of tiles."""
    max_iterations: int
    """Steps."""
    controlled: tuple[int, ...]
    """The metrics whose targets are drawn."""
    ranges: tuple[tuple[float, float], ...]
    """Their lowest and highest target."""
    shows_budget: bool
    """Whether the share of changes that is left is seen."""


def make_edges(
    problem: Problem, change_percentage: float, controls: Controls | None, *, show_budget: bool
) -> Edges:
    """Limits as the paper sets them: the share of tiles rounded down, n times as many steps.

    Raises ValueError for a share that is not within 0 and 1, and for a control of no metric.
    """
    if not 0 <= change_percentage <= 1:
        raise ValueError(f"change_percentage is a share from 0 to 1, got {change_percentage}")
    size = problem.width * problem.height
    changes = max(1, int(change_percentage * size))
    drawn = dict(controls or {})
    for name, (low, high) in drawn.items():
        problem.index(name)
        if not (math.isfinite(low) and math.isfinite(high) and low <= high):
            raise ValueError(f"targets of {name} are drawn from low to high, got {low} to {high}")
    places = tuple(problem.index(name) for name in drawn)
    return Edges(changes, changes * size, places, tuple(drawn.values()), show_budget)


class World:
    """N maps on a CPU.

    Args:
        problem: What is asked for.
        representation: How maps are edited.
        envs: N.
        change_percentage: The share of tiles that may be changed, 0.2 in the paper's training.
        crop: Side of the square that is seen around the agent; twice the longer side where None.
        show_budget: Show the share of changes that is left, in a channel more.
        controls: Metrics whose targets are drawn for each episode, with their lowest and highest;
            a channel each shows how far above the metric it is, over that range and cut at -1 and
            1, and no goal ends the episode.
        range_reward: As in `build_rules`.
        seed: Of all random numbers.

    Example:
        >>> from quire.papers.pcgrl import World, find_problem, find_representation
        >>> world = World(find_problem("zelda"), find_representation("wide"), envs=2, seed=0)
        >>> step = world.step(np.array([0, 1]))
        >>> world.observe().shape, step.rewards.shape
        ((2, 8, 7, 11), (2,))
    """

    def __init__(
        self,
        problem: Problem,
        representation: Representation,
        *,
        envs: int = 1,
        change_percentage: float = 0.2,
        crop: int | None = None,
        show_budget: bool = False,
        controls: Controls | None = None,
        range_reward: RangeReward = "potential",
        seed: int | None = None,
    ) -> None:
        if envs < 1:
            raise ValueError(f"envs must be 1 or more, got {envs}")
        self.problem, self.representation, self.envs = problem, representation, envs
        self.edges = make_edges(problem, change_percentage, controls, show_budget=show_budget)
        self.rules = build_rules(
            problem, representation, crop=crop, range_reward=range_reward,
            limits=self.edges[:2], stops=not self.edges.controlled,
        )  # fmt: skip
        self.actions = representation.actions(problem)
        self.engine = find_engine()
        self._channels = channels_of(problem)
        self.shape = shape_of(problem, int(self.rules.sizes[SIDE]), self.edges)
        self.state = empty_state(problem, envs)
        self.state.low[:], self.state.high[:] = reward_bounds(problem)
        self.generator = np.random.default_rng(seed)
        self.restart(first=True)

    def seed(self, seed: int | None) -> None:
        """Draw all that follows from a seed, as a new world does."""
        self.generator = np.random.default_rng(seed)

    def restart(self, rows: Any = None, *, maps: Any = None, first: bool = False) -> None:
        """Begin new episodes.

        Args:
            rows: Which of the N; all where None.
            maps: The first maps (rows, h, w); drawn where None.
            first: Draw as for the first episodes of all.
        """
        count = self.envs if rows is None else len(rows)
        rows = slice(None) if rows is None else rows
        state, problem = self.state, self.problem
        if maps is None:
            maps = problem.draw(count, self.generator, first=first)
        else:
            maps = problem.as_maps(maps)
        stats = np.empty((count, len(problem.metrics)), np.int64)
        self.engine.measure(self.rules, maps, stats)
        state.maps[rows], state.stats[rows], state.start[rows] = maps, stats, stats
        state.counts[rows], state.edits[rows], state.cells[rows] = 0, 0, 0
        if begins_anywhere(self.representation):
            size = problem.width * problem.height
            state.cells[rows] = self.generator.integers(size, size=count)
        for k, (low, high) in zip(self.edges.controlled, self.edges.ranges, strict=True):
            targets = self.generator.integers(int(low), int(high), size=count, endpoint=True)
            state.low[rows, k] = state.high[rows, k] = targets

    def step(self, actions: Any) -> Step:
        """One action (N,) in each map. Raises ValueError for actions that do not exist.

        Episodes that are over are not begun anew: that is `restart`.
        """
        actions = np.ascontiguousarray(actions, dtype=np.int64)
        if actions.shape != (self.envs,):
            raise ValueError(f"{self.envs} maps take as many actions, got {actions.shape}")
        # As unsigned numbers the negative ones are the largest: one look finds both.
        if actions.view(np.uint64).max() >= self.actions:
            raise ValueError(f"actions are 0 to {self.actions - 1}, got {actions.min()} to "
                             f"{actions.max()}")  # fmt: skip
        drawn = actions
        if is_drawn(self.representation):
            size = self.problem.width * self.problem.height
            # Quicker than the generator's own integers, where there are few.
            drawn = (self.generator.random(self.envs) * size).astype(np.int64)
        rewards, ends = np.empty(self.envs), np.empty((3, self.envs), np.bool_)
        self.engine.advance(self.rules, self.state, actions, drawn, rewards, ends)
        if self.edges.controlled:
            ends[0] = self.is_on_target()
        return Step(rewards, ends[0], ends[1], ends[2])

    def is_on_target(self) -> NDArray[np.bool_]:
        """Whether every controlled metric (N,) has the value that was drawn for it."""
        k = list(self.edges.controlled)
        on_target: NDArray[np.bool_] = (self.state.stats[:, k] == self.state.low[:, k]).all(1)
        return on_target

    def observe(self, rows: Any = None) -> NDArray[Any]:
        """What agents see (rows, C, s, s) or (rows, C, h, w): uint8, float32 with more channels."""
        state = self.state
        maps, cells = state.maps, state.cells
        if rows is not None:
            maps, cells = maps[rows], cells[rows]
        count = len(maps)
        seen = np.empty((count, self._channels, *self.shape[1:]), np.uint8)
        self.engine.observe(self.rules, maps, cells, seen)
        if self.shape[0] == self._channels:
            return seen
        rows = slice(None) if rows is None else rows
        planes = [seen.astype(np.float32)]
        numbers = [
            np.clip((state.low[rows, k] - state.stats[rows, k]) / max(high - low, 1), -1, 1)
            for k, (low, high) in zip(self.edges.controlled, self.edges.ranges, strict=True)
        ]
        if self.edges.shows_budget:
            numbers.append(1 - state.counts[rows, 0] / self.edges.max_changes)
        for number in numbers:
            plane = number.astype(np.float32)[:, None, None, None]
            planes.append(np.broadcast_to(plane, (count, 1, *self.shape[1:])))
        return np.concatenate(planes, 1)

    def action_masks(self) -> NDArray[np.bool_]:
        """Actions (N, A) that would change something: no writing of what is there already.

        Narrow may always leave its tile, the turtle always move.
        """
        state, tiles = self.state, len(self.problem.tiles)
        flat, frozen = state.maps.reshape(self.envs, -1), state.frozen.reshape(self.envs, -1)
        own = (flat[..., None] != np.arange(tiles)) & ~frozen[..., None]
        if not self.representation.crops:
            return own.reshape(self.envs, -1)
        here = own[np.arange(self.envs), state.cells]
        before = self.actions - tiles
        return np.concatenate([np.ones((self.envs, before), bool), here], 1)

    def take(self, rows: NDArray[np.int64]) -> "World":
        """Some of the maps as a world of its own, which goes on from here."""
        part = object.__new__(World)
        part.__dict__.update(self.__dict__)
        part.envs = len(rows)
        part.state = State(*(np.ascontiguousarray(array[rows]) for array in self.state))
        return part

    def state_dict(self) -> dict[str, Any]:
        """All that changes, as tensors and text."""
        arrays = {k: torch.from_numpy(v.copy()) for k, v in self.state._asdict().items()}
        return arrays | {"random": json.dumps(self.generator.bit_generator.state)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what `state_dict` gave. Raises KeyError or ValueError where it does not fit."""
        for name, array in self.state._asdict().items():
            array[...] = state[name].numpy()
        self.generator.bit_generator.state = json.loads(state["random"])


def is_drawn(representation: Representation) -> bool:
    """Whether the next place is drawn at each step."""
    return isinstance(representation, Narrow) and not representation.scan


def begins_anywhere(representation: Representation) -> bool:
    """Whether the first place is drawn: for the turtle, and for narrow unless it scans."""
    return not isinstance(representation, Wide) and (
        is_drawn(representation) or not isinstance(representation, Narrow)
    )


def empty_state(problem: Problem, envs: int) -> State:
    """Arrays for N maps."""
    maps = (envs, problem.height, problem.width)
    metrics = (envs, len(problem.metrics))
    return State(
        maps=np.zeros(maps, np.uint8),
        cells=np.zeros(envs, np.int64),
        counts=np.zeros((envs, 2), np.int64),
        stats=np.zeros(metrics, np.int64),
        start=np.zeros(metrics, np.int64),
        low=np.zeros(metrics),
        high=np.zeros(metrics),
        edits=np.zeros(maps, np.int32),
        frozen=np.zeros(maps, np.bool_),
    )


def shape_of(problem: Problem, side: int, edges: Edges) -> tuple[int, int, int]:
    """Channels, height and width of what is seen."""
    more = len(edges.controlled) + int(edges.shows_budget)
    inner = (side, side) if side else (problem.height, problem.width)
    return channels_of(problem) + more, *inner


class DeviceWorld:
    """N maps as tensors on a device: nothing waits for a value but searches that may have ended.

    An episode that is over begins anew in the step after, whose action is not carried out and
    whose reward is 0: so each map is measured once a step.

    Args:
        problem: What is asked for.
        representation: How maps are edited.
        envs: N.
        device: Where.
        change_percentage: The share of tiles that may be changed.
        crop: Side of the square that is seen around the agent; twice the longer side where None.
        seed: Of all random numbers.

    Example:
        >>> from quire.papers.pcgrl import DeviceWorld, find_problem, find_representation
        >>> rules = find_problem("binary").sized(8, 8, path=8), find_representation("narrow")
        >>> world = DeviceWorld(*rules, envs=4, device="cpu", seed=0)
        >>> world.step(torch.zeros(4, dtype=torch.int64)).rewards.shape
        torch.Size([4])
    """

    def __init__(
        self,
        problem: Problem,
        representation: Representation,
        *,
        envs: int,
        device: str | torch.device,
        change_percentage: float = 0.2,
        crop: int | None = None,
        seed: int = 0,
    ) -> None:
        self.problem, self.representation, self.envs = problem, representation, envs
        self.device = torch.device(device)
        self.edges = make_edges(problem, change_percentage, None, show_budget=False)
        self.rules = build_rules(problem, representation, crop=crop, limits=self.edges[:2])
        self.actions = representation.actions(problem)
        self.shape = shape_of(problem, int(self.rules.sizes[SIDE]), self.edges)
        at = self.device if self.device.type != "meta" else "cpu"
        self.generator = torch.Generator(at).manual_seed(seed)
        state = (torch.from_numpy(part) for part in empty_state(problem, envs))
        self.state = State(*(part.to(self.device) for part in state))
        low, high = (torch.from_numpy(part) for part in reward_bounds(problem))
        self.state.low.copy_(low)
        self.state.high.copy_(high)
        self._over = torch.ones(envs, dtype=torch.bool, device=self.device)
        self._first = True
        self.step(torch.zeros(envs, dtype=torch.int64, device=self.device))

    def step(self, actions: Tensor) -> Step:
        """One action (N,) in each map whose episode goes on, a new map in the others."""
        from quire.papers.pcgrl import batched

        state, over = self.state, self._over
        size = self.problem.width * self.problem.height
        drawn = (self._chance(self.envs) * size).long()
        fresh = self._draw()
        changed = batched.edit(self.rules, state, actions, drawn)
        again = over[:, None, None]
        state.maps.copy_(torch.where(again, fresh, state.maps))
        state.edits.mul_(~again)
        state.counts.mul_(~over[:, None])
        begin = drawn if begins_anywhere(self.representation) else torch.zeros_like(drawn)
        state.cells.copy_(torch.where(over, begin, state.cells))
        new = batched.measure_all(self.rules, state.maps)
        rewards = batched.score(self.rules, state, new, changed | over)
        state.start.copy_(torch.where(over[:, None], new, state.start))
        reached, terminated, truncated = batched.end(self.rules, state)
        rewards, terminated = torch.where(over, 0.0, rewards), terminated & ~over
        self._over = terminated | truncated
        return Step(rewards, reached, terminated, truncated)

    def observe(self) -> Tensor:
        """What agents see (N, C, s, s) or (N, C, h, w), uint8."""
        from quire.papers.pcgrl import batched

        return batched.see(self.rules, self.state.maps, self.state.cells)

    def _chance(self, *shape: int) -> Tensor:
        if self.device.type == "meta":
            return torch.empty(*shape, device="meta")
        return torch.rand(*shape, generator=self.generator, device=self.device)

    def _draw(self) -> Tensor:
        """New maps (N, h, w), whether they are needed or not."""
        problem = self.problem
        weights = torch.tensor([problem.start[tile] for tile in problem.tiles], device=self.device)
        weights = weights.expand(self.envs, -1)
        if problem.varied and not self._first:
            t = problem.tiles.index(problem.varied)
            share = self._chance(self.envs, 1)
            weights = weights / (1 - weights[:, t : t + 1]) * (1 - share)
            weights = torch.cat([weights[:, :t], share, weights[:, t + 1 :]], 1)
        self._first = False
        ends = weights.cumsum(1)[:, None, None, :-1]
        chance = self._chance(self.envs, problem.height, problem.width)
        return (chance[..., None] >= ends).sum(-1).to(torch.uint8)
