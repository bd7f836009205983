"""Environments of Gymnasium in lock-step: the ant with damaged legs, CarRacing, any other one.

Gymnasium, MuJoCo and Box2D come with the extra `rl`. Lives (...), of which there are B.
"""

import importlib
import math
import re
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from quire.papers.hebbian.pixels import SIDE
from quire.papers.hebbian.rollout import Turn

ANT, CAR = "Ant-v5", "CarRacing-v3"
SHIN = (0.4, 0.1)
"""A sound lower leg of the ant and a damaged one, in each of two directions (authors' files)."""
SHINS = {
    "front left": "left_ankle_geom",
    "front right": "right_ankle_geom",
    "rear left": "third_ankle_geom",
    "rear right": "fourth_ankle_geom",
}
"""Names in MuJoCo's own model of the ant."""
SETTLING = 40
"""Steps without action after an ant's reset, in which it falls to the ground."""


@dataclass(frozen=True)
class World:
    """One environment and how a life in it ends. Can be sent to another process.

    Raises ValueError for an unknown leg, and for a damaged leg of anything but an ant.
    """

    name: str = ANT
    """Of Gymnasium."""
    leg: str | None = None
    """The ant's leg whose lower part is short."""
    patience: int | None = None
    """A life ends after more than so many steps in a row with a negative reward."""
    patience_from: int = 0
    """Nothing ends a life before this step, as in the authors' Bullet environments."""

    def __post_init__(self) -> None:
        if self.leg is not None and (self.name != ANT or self.leg not in SHINS):
            raise ValueError(f"{ANT} has the legs {', '.join(SHINS)}; got '{self.leg}' of "
                             f"{self.name}")  # fmt: skip

    def make(self) -> Any:
        """The environment.

        Raises ImportError where the extra `rl` is missing, ValueError for an unknown name.
        """
        gymnasium = need("gymnasium")
        if self.name == ANT:
            return make_ant(gymnasium, self.leg)
        try:
            with warnings.catch_warnings():
                # Box2D's module warns when it is imported; where that is an error Python crashes.
                warnings.simplefilter("ignore", DeprecationWarning)
                return gymnasium.make(self.name)
        except gymnasium.error.Error as error:
            raise ValueError(str(error).splitlines()[0]) from None


def need(package: str) -> Any:
    """A package of the extra `rl`. Raises ImportError with the command that gets it."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ImportError(f"{package} is missing: pip install 'quire-papers[rl]'") from error


def make_ant(gymnasium: Any, leg: str | None) -> Any:
    """MuJoCo's ant without contact forces among its observations (27 numbers are left); it does
    not end when it falls, so that the way is all that counts."""
    need("mujoco")
    options = {"include_cfrc_ext_in_observation": False, "terminate_when_unhealthy": False}
    if leg is None:
        return gymnasium.make(ANT, **options)
    home = Path(need("gymnasium.envs.mujoco").__file__).parent
    model = shorten((home / "assets" / "ant.xml").read_text(encoding="utf-8"), leg)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ant.xml"
        path.write_text(model, encoding="utf-8")
        return gymnasium.make(ANT, xml_file=str(path), **options)


def shorten(model: str, leg: str) -> str:
    """MuJoCo's model of the ant with one lower leg from 0.4 to 0.1 in both its directions.

    Raises ValueError where the model has no such leg of the known length.
    """
    sound, short = SHIN
    pattern = rf'(fromto="[^"]*")( name="{SHINS[leg]}")'
    found = re.search(pattern, model)
    if found is None or f"{sound}" not in found[1]:
        raise ValueError(f"this model has no {SHINS[leg]} of {sound}")
    return model.replace(found[0], found[1].replace(f"{sound}", f"{short}") + found[2])


def versions() -> dict[str, str]:
    """The simulators that are installed, with their versions: results depend on them."""
    found = {}
    for package in ("gymnasium", "mujoco", "box2d"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


class Simulators:
    """Lives in lock-step, a copy of its world for each: an `Environment` on the CPU.

    An ant's reward is its way in direction x, everything else's its own. Discrete actions are the
    largest output, others are clipped to their range. Images (96, 96, 3) are scaled to 84 x 84 by
    areas, within [0, 1], with columns before rows, as the authors' code turns them.

    worlds: E of them; lives (..., E) have them in this order.

    Raises ValueError without a world, for worlds that differ in what is seen or done, and for
    observations or actions of another kind; ImportError where the extra `rl` is missing.

    Example:
        >>> env = Simulators([World("CartPole-v1")])
        >>> env.reset(torch.rand(3, 1, env.draws)).shape
        torch.Size([3, 1, 4])
        >>> env.step(torch.randn(3, 1, 2)).reward.tolist()
        [[1.0], [1.0], [1.0]]
    """

    draws = 1

    def __init__(self, worlds: Sequence[World]) -> None:
        if not worlds:
            raise ValueError("simulators need a world")
        self.worlds = self._now = list(worlds)
        self.envs: list[Any] = [world.make() for world in worlds]
        spaces = {(str(e.observation_space), str(e.action_space)) for e in self.envs}
        if len(spaces) > 1:
            raise ValueError("worlds that live together are seen and acted in alike, got "
                             f"{' and '.join(sorted(map(str, spaces)))}")  # fmt: skip
        box, discrete = need("gymnasium.spaces").Box, need("gymnasium.spaces").Discrete
        seen, done = self.envs[0].observation_space, self.envs[0].action_space
        self.is_image = isinstance(seen, box) and len(seen.shape) == 3
        if not (isinstance(seen, box) and (self.is_image or len(seen.shape) == 1)):
            raise ValueError(f"{worlds[0].name} has observations {seen}; vectors and images are "
                             "taken")  # fmt: skip
        self.is_discrete = isinstance(done, discrete)
        if not (self.is_discrete or (isinstance(done, box) and len(done.shape) == 1)):
            raise ValueError(f"{worlds[0].name} has actions {done}; Discrete ones and vectors are "
                             "taken")  # fmt: skip
        self.inputs = 0 if self.is_image else int(seen.shape[0])
        self.actions = int(done.n if self.is_discrete else done.shape[0])

    def reset(self, uniform: Tensor) -> Tensor:
        """New lives from uniform numbers (..., E, 1), of which the environments' seeds are made."""
        self.shape = uniform.shape[:-1]
        if self.shape[-1] != len(self.worlds):
            raise ValueError(f"{len(self.worlds)} worlds need as many lives, got {self.shape[-1]}")
        if self._now is not self.worlds:
            self._now, self.envs = self.worlds, []
        count = math.prod(self.shape)
        while len(self.envs) < count:
            self.envs.append(self.worlds[len(self.envs) % len(self.worlds)].make())
        seeds = (uniform.flatten() * 2.0**24).long().tolist()
        self.over, self.anger, self.age = np.zeros(count, bool), np.zeros(count, int), 0
        self.places = np.zeros(count)
        self.seen = [self._begin(i, seed) for i, seed in enumerate(seeds)]
        return self._see()

    def step(self, action: Tensor) -> Turn:
        """Actions (..., E, A); who has ended stays where it ended, with reward 0."""
        chosen = self._convert(action.detach().flatten(0, -2))
        rewards = np.zeros(len(self.seen))
        for i in np.flatnonzero(~self.over).tolist():
            self.seen[i], reward, ended, cut, told = self.envs[i].step(chosen[i])
            rewards[i] = self._progress(i, told) if self._world(i).name == ANT else reward
            self.over[i] = cut or self._gives_up(i, rewards[i], ended)
        self.age += 1
        reward, over = torch.from_numpy(rewards).float(), torch.from_numpy(self.over.copy())
        return Turn(self._see(), reward.reshape(self.shape), over.reshape(self.shape))

    def change(self, worlds: Sequence[World]) -> None:
        """Go on in E other worlds until the next reset: positions and speeds move there.

        Only ants can: their state is the same whatever their legs. Raises ValueError for others.
        """
        if len(worlds) != len(self.worlds) or any(w.name != ANT for w in (*worlds, *self.worlds)):
            raise ValueError("as many ants can change their bodies, and nothing else can")
        for i in range(len(self.seen)):
            old, new = self.envs[i], worlds[i % len(worlds)].make()
            new.reset(seed=0)
            state = old.unwrapped.data
            new.unwrapped.set_state(state.qpos.copy(), state.qvel.copy())
            self.envs[i] = new
        self._now = list(worlds)

    def close(self) -> None:
        """Close all environments."""
        for env in self.envs:
            env.close()

    def _world(self, i: int) -> World:
        return self._now[i % len(self._now)]

    def _begin(self, i: int, seed: int) -> NDArray[Any]:
        seen, told = self.envs[i].reset(seed=seed)
        if self._world(i).name == ANT:
            for _ in range(SETTLING):
                seen, _, _, _, told = self.envs[i].step(np.zeros(self.actions, np.float32))
            self.places[i] = told["x_position"]
        return np.asarray(seen)

    def _progress(self, i: int, told: dict[str, Any]) -> float:
        before, self.places[i] = self.places[i], told["x_position"]
        return float(self.places[i] - before)

    def _gives_up(self, i: int, reward: float, ended: bool) -> bool:
        world = self._world(i)
        if self.age < world.patience_from:
            return False
        self.anger[i] = self.anger[i] + 1 if reward < 0 else 0
        return ended or (world.patience is not None and self.anger[i] > world.patience)

    def _convert(self, action: Tensor) -> Any:
        if self.is_discrete:
            start = int(self.envs[0].action_space.start)
            return [start + choice for choice in action.argmax(-1).tolist()]
        space = self.envs[0].action_space
        return np.clip(action.float().numpy(), space.low, space.high)

    def _see(self) -> Tensor:
        seen = torch.from_numpy(np.stack(self.seen))
        if self.is_image:
            seen = seen.permute(0, 3, 2, 1).float() / 255
            seen = interpolate(seen, (SIDE, SIDE), mode="area")
        return seen.float().reshape(*self.shape, *seen.shape[1:])
