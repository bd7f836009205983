"""Several copies of a game in lock-step, each a lane; episodes follow from seeds and actions.

N lanes.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from quire.papers.dqn.games import Game


class Turn(NamedTuple):
    """What a step in all lanes gave, each (N,)."""

    rewards: NDArray[np.float64]
    """Not clipped."""
    terminal: NDArray[np.bool_]
    """Whether nothing of value follows."""
    acted: NDArray[np.bool_]
    """False where the step began a new episode after a cut, and the action was not looked at."""


class Lanes:
    """N games in lock-step, with a stack of S frames as the state.

    `frames` (N, C, H, W) are what is seen now. `age` (N,) counts the frames before them in their
    episode. `final` (N,) marks the last frame of an episode that was cut (by a time limit): it has
    no action, but the step before needs it for its value. The next step begins a new episode
    there; after a terminal end the new one begins at once.

    Every episode has a seed of its own, which follows from `seed`, the lane and the number of the
    episode. So the state of any game, also of an emulator, is saved as its number and the actions
    since it began, and comes back by playing these again.

    Args:
        games: The copies.
        stack: S, frames that make a state.
        seed: What all episodes follow from.

    Raises ValueError without a game, for games that differ in shape or actions, or for no frame.

    Example:
        >>> from quire.papers.dqn import Catch
        >>> lanes = Lanes([Catch(), Catch()])
        >>> lanes.step([1, 2]).rewards
        array([0., 0.])
        >>> lanes.frames.shape, lanes.age
        ((2, 1, 6, 6), array([1, 1]))
    """

    def __init__(self, games: Sequence[Game], *, stack: int = 1, seed: int = 0) -> None:
        if not games or stack < 1:
            raise ValueError(f"lanes need at least one game and one frame, got {len(games)} "
                             f"and {stack}")  # fmt: skip
        first = games[0]
        for game in games:
            if (game.shape, game.actions) != (first.shape, first.actions):
                raise ValueError(f"lanes hold copies of one game; {game.name} is no {first.name}")
        self.games, self.stack, self.seed = list(games), stack, seed
        self.name, self.actions, self.repeat = first.name, first.actions, first.repeat
        self.shape, self.high = first.shape, first.high
        self.dtype = np.dtype(np.float32 if self.high is None else np.uint8)
        count = len(games)
        self.frames = np.zeros((count, *self.shape), self.dtype)
        self.age = np.zeros(count, np.int64)
        self.final = np.zeros(count, np.bool_)
        self.ended: list[float] = []
        """Returns of the episodes that have ended since somebody emptied this list."""
        self._episodes = [-1] * count
        self._actions: list[list[int]] = [[] for _ in games]
        self._returns = [0.0] * count
        for lane in range(count):
            self._begin(lane)

    def __len__(self) -> int:
        """N."""
        return len(self.games)

    def step(self, actions: ArrayLike) -> Turn:
        """An action (N,) in each lane. Raises ValueError for another number of actions."""
        chosen = np.asarray(actions).tolist()
        if len(chosen) != len(self):
            raise ValueError(f"{len(self)} lanes take as many actions, got {len(chosen)}")
        acted = ~self.final
        for lane in np.flatnonzero(acted).tolist():
            self.games[lane].send(chosen[lane])
        rewards, terminal = np.zeros(len(self)), np.zeros(len(self), np.bool_)
        for lane, game in enumerate(self.games):
            if not acted[lane]:
                self._begin(lane)
                continue
            frame, rewards[lane], terminal[lane], over = game.receive()
            self._actions[lane].append(chosen[lane])
            self._returns[lane] += rewards[lane]
            if over:
                self.ended.append(self._returns[lane])
            if over and terminal[lane]:
                self._begin(lane)
                continue
            self.frames[lane], self.final[lane] = frame, over
            self.age[lane] += 1
        return Turn(rewards, terminal, acted)

    def state_dict(self) -> dict[str, Any]:
        """Numbers of the episodes and their actions so far."""
        return {
            "episodes": list(self._episodes),
            "actions": [torch.tensor(done, dtype=torch.int16) for done in self._actions],
            "frames": torch.from_numpy(self.frames.copy()),
            "ended": [float(score) for score in self.ended],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Play the episodes again up to where they were.

        Raises ValueError for another number of lanes, and where a game does not repeat itself.
        """
        if len(state["episodes"]) != len(self):
            raise ValueError(f"saved were {len(state['episodes'])} lanes, here are {len(self)}")
        for lane, episode in enumerate(state["episodes"]):
            self._episodes[lane] = int(episode) - 1
            self._begin(lane)
            for action in state["actions"][lane].tolist():
                self.games[lane].send(action)
                frame, reward, _, over = self.games[lane].receive()
                self._actions[lane].append(action)
                self._returns[lane] += reward
                self.frames[lane], self.final[lane] = frame, over
                self.age[lane] += 1
        if not np.array_equal(self.frames, state["frames"].numpy()):
            raise ValueError(f"{self.name} does not repeat itself from its seed and actions, so "
                             "that this run cannot go on where it was")  # fmt: skip
        self.ended = [float(score) for score in state["ended"]]

    def _begin(self, lane: int) -> None:
        self._episodes[lane] += 1
        words = np.random.SeedSequence([self.seed, lane, self._episodes[lane]]).generate_state(1)
        self.frames[lane] = self.games[lane].reset(int(words[0]) >> 1)
        self.age[lane], self.final[lane] = 0, False
        self._actions[lane], self._returns[lane] = [], 0.0
