"""Gymnasium's environments: one map, or many at once (extra `rl`).

`registration.py` tells Gymnasium of them.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quire.papers.pcgrl.problem import Problem, find_problem
from quire.papers.pcgrl.render import as_text, draw_level
from quire.papers.pcgrl.representation import Representation, find_representation
from quire.papers.pcgrl.rules import RangeReward
from quire.papers.pcgrl.world import Controls, DeviceWorld, Step, World

try:
    import gymnasium
    from gymnasium import spaces
    from gymnasium.vector import AutoresetMode, VectorEnv
except ImportError as error:
    raise ImportError(
        "PCGRL's environments need gymnasium: pip install 'quire-papers[rl]'"
    ) from error


def make(problem: str | Path | Problem, representation: str | Representation = "narrow",
         **options: Any) -> "PcgrlEnv":  # fmt: skip
    """One map as an environment: `PcgrlEnv(problem, representation, **options)`."""
    return PcgrlEnv(problem, representation, **options)


def observation_space(shape: tuple[int, ...], whole: bool) -> spaces.Box:
    """What is seen: zeros and ones, or numbers from -1 to 1 where `whole` is false."""
    return spaces.Box(0, 1, shape, np.uint8) if whole else spaces.Box(-1, 1, shape, np.float32)


class PcgrlEnv(gymnasium.Env[NDArray[Any], int]):
    """One map as a Gymnasium environment.

    `reset(options={"map": ..., "frozen": ...})` begins with a map (h, w) of your own, some tiles of
    which (h, w) bool cannot be changed. `info` has all metrics by name, the changes, and whether
    the map is what is asked for.

    Args:
        problem: A name, a Python file, or a `Problem`.
        representation: narrow, turtle, wide, or a `Narrow`, `Turtle`, `Wide`.
        change_percentage: The share of tiles that may be changed.
        crop: Side of the square that is seen around the agent; twice the longer side where None.
        show_budget: Show the share of changes that is left, in a channel more.
        controls: Metrics whose targets are drawn for each episode, with their lowest and highest.
        range_reward: "potential", or "reference" as the paper's code where an interval is crossed.
        render_mode: "rgb_array", "ansi" or None.

    Example:
        >>> from quire.papers.pcgrl import make
        >>> env = make("binary", "narrow", change_percentage=0.4)
        >>> observation, info = env.reset(seed=0)
        >>> observation.shape, sorted(info)
        ((1, 28, 28), ['changes', 'is_success', 'iterations', 'path', 'regions'])
    """

    metadata = {"render_modes": ["rgb_array", "ansi"], "render_fps": 30}  # noqa: RUF012

    def __init__(
        self,
        problem: str | Path | Problem,
        representation: str | Representation = "narrow",
        *,
        change_percentage: float = 0.2,
        crop: int | None = None,
        show_budget: bool = False,
        controls: Controls | None = None,
        range_reward: RangeReward = "potential",
        render_mode: str | None = None,
    ) -> None:
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise ValueError(f"render_mode is rgb_array or ansi, got {render_mode!r}")
        self.world = World(
            find_problem(problem), find_representation(representation),
            change_percentage=change_percentage, crop=crop, show_budget=show_budget,
            controls=controls, range_reward=range_reward,
        )  # fmt: skip
        self.problem, self.render_mode = self.world.problem, render_mode
        self._names = self.problem.names
        self.action_space = spaces.Discrete(self.world.actions)  # type: ignore[assignment]
        whole = not (controls or show_budget)
        self.observation_space = observation_space(self.world.shape, whole)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """A new episode; with a seed, the one that always follows from it."""
        super().reset(seed=seed)
        own = options or {}
        if unknown := own.keys() - {"map", "frozen"}:
            raise ValueError(f"options are map and frozen, got {min(unknown)!r}")
        if seed is not None:
            self.world.seed(seed)
        maps = None if own.get("map") is None else np.asarray(own["map"])[None]
        self.world.restart(maps=maps, first=seed is not None)
        self.world.state.frozen[:] = own.get("frozen", False)
        return self.world.observe()[0], self._info(False)

    def step(self, action: int) -> tuple[NDArray[Any], float, bool, bool, dict[str, Any]]:
        """One action."""
        step = self.world.step([int(action)])
        rewards, reached, terminated, truncated = (part.item() for part in step)
        return self.world.observe()[0], rewards, terminated, truncated, self._info(reached)

    def action_masks(self) -> NDArray[np.bool_]:
        """The actions (A,) that change something, as MaskablePPO of sb3-contrib asks for them."""
        return self.world.action_masks()[0]

    def render(self) -> Any:
        """The map as a picture (height, width, 3) uint8 or as text; None without a mode."""
        tiles = self.world.state.maps[0]
        if self.render_mode == "ansi":
            return as_text(self.problem, tiles)
        return draw_level(self.problem, tiles) if self.render_mode else None

    def _info(self, reached: bool) -> dict[str, Any]:
        state = self.world.state
        found: dict[str, Any] = dict(zip(self._names, state.stats[0].tolist(), strict=True))
        changes, iterations = state.counts[0].tolist()
        return found | {"changes": changes, "iterations": iterations, "is_success": reached}


class PcgrlVecEnv(VectorEnv[Any, Any, Any]):
    """Many maps at once as a Gymnasium vector environment.

    On a CPU an episode that ends begins anew in the same step, and `infos` has `final_obs` and
    `final_info` for it. On a `device` all is tensors there, and it begins anew in the next step, as
    `metadata["autoreset_mode"]` says.

    Args:
        problem: A name, a Python file, or a `Problem`.
        representation: narrow, turtle, wide, or a `Narrow`, `Turtle`, `Wide`.
        envs: How many.
        change_percentage: The share of tiles that may be changed.
        crop: Side of the square that is seen around the agent; twice the longer side where None.
        device: Where the tensors are; None for NumPy arrays on the CPU.
        seed: Of the first episodes, where `reset` is given none.
        options: Others of `World`, on the CPU.

    Example:
        >>> from quire.papers.pcgrl import PcgrlVecEnv
        >>> envs = PcgrlVecEnv("sokoban", "turtle", envs=1000)
        >>> observations, infos = envs.reset(seed=0)
        >>> observations.shape
        (1000, 5, 10, 10)
        >>> observations, rewards, ended, cut, infos = envs.step(np.zeros(1000, int))
    """

    metadata: dict[str, Any]

    def __init__(
        self,
        problem: str | Path | Problem,
        representation: str | Representation = "narrow",
        *,
        envs: int = 1,
        change_percentage: float = 0.2,
        crop: int | None = None,
        device: str | None = None,
        seed: int | None = None,
        **options: Any,
    ) -> None:
        what, how = find_problem(problem), find_representation(representation)
        chosen: dict[str, Any] = {
            "envs": envs,
            "change_percentage": change_percentage,
            "crop": crop,
        }
        self._chosen = chosen | {"device": device}
        self.world: World | DeviceWorld
        if device is None:
            self.world = World(what, how, seed=seed, **chosen, **options)
            mode = AutoresetMode.SAME_STEP
        elif options:
            raise ValueError(f"{min(options)} is for maps on the CPU: leave device out")
        else:
            self.world = DeviceWorld(what, how, device=device, seed=seed or 0, **chosen)
            mode = AutoresetMode.NEXT_STEP
        self.metadata = {"autoreset_mode": mode, "render_modes": []}
        self.problem, self.num_envs = self.world.problem, envs
        self._names = (*self.problem.names, "changes", "iterations")
        every = np.ones(envs, bool)
        self._given = {f"_{name}": every for name in (*self._names, "is_success")}
        whole = not (options.get("controls") or options.get("show_budget"))
        self.single_observation_space = observation_space(self.world.shape, whole)
        self.single_action_space = spaces.Discrete(self.world.actions)
        self.observation_space = observation_space((envs, *self.world.shape), whole)
        self.action_space = spaces.MultiDiscrete(np.full(envs, self.world.actions))

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        """New episodes; with a seed, those that always follow from it.

        options: {"maps": ...} begins with maps (N, h, w) of your own, on the CPU.
        """
        if isinstance(self.world, DeviceWorld):
            known = self.world
            self.world = DeviceWorld(
                known.problem, known.representation,
                seed=known.generator.seed() if seed is None else seed, **self._chosen,
            )  # fmt: skip
            return self.world.observe(), self._infos(None)
        if seed is not None:
            self.world.seed(seed)
        self.world.restart(maps=(options or {}).get("maps"), first=seed is not None)
        return self.world.observe(), self._infos(None)

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """One action in each map."""
        step = self.world.step(actions)
        infos = self._infos(step)
        if isinstance(self.world, DeviceWorld):
            return self.world.observe(), step.rewards, step.terminated, step.truncated, infos
        seen = self.world.observe()
        ended = np.flatnonzero(step.terminated | step.truncated)
        if len(ended):
            over = step.terminated | step.truncated
            last = np.full(self.num_envs, None, dtype=object)
            for i in ended:
                last[i] = seen[i].copy()
            infos = {"final_obs": last, "_final_obs": over, "final_info": infos,
                     "_final_info": over}  # fmt: skip
            self.world.restart(ended)
            seen[ended] = self.world.observe(ended)
            infos |= self._infos(None)
        return seen, step.rewards, step.terminated, step.truncated, infos

    def _infos(self, step: Step | None) -> dict[str, Any]:
        state = self.world.state
        stats, counts = state.stats, state.counts
        if isinstance(self.world, World):
            stats, counts = stats.copy(), counts.copy()
        found = dict(zip(self._names, (*stats.T, *counts.T), strict=True))
        found["is_success"] = np.zeros(self.num_envs, bool) if step is None else step.reached
        return found | self._given


def make_vector(num_envs: int, **options: Any) -> PcgrlVecEnv:
    """What `gymnasium.make_vec` calls."""
    return PcgrlVecEnv(envs=num_envs, **options)
