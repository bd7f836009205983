"""Games: what one of them is, a tiny one of our own, MinAtar's, and any of Gymnasium's.

C channels, H height, W width. A frame is (C, H, W), or (D,) where a game gives a vector.
"""

import difflib
import importlib
from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Frame = NDArray[Any]
EXTRA = "pip install 'quire-papers[rl]'"
MINATAR = ("asterix", "breakout", "freeway", "seaquest", "space_invaders")


class Moment(NamedTuple):
    """What follows an action."""

    frame: Frame
    """What is seen then."""
    reward: float
    """As the game gives it, not clipped."""
    terminal: bool
    """Whether nothing of value follows. A cut by a time limit is not terminal."""
    over: bool
    """Whether the episode has ended, be it so or by a cut."""


class Game(Protocol):
    """One game. The same seed and actions must give the same frames, so that runs resume.

    An action is sent before its moment is received: games that run in threads of their own can
    then be at work at the same time.
    """

    @property
    def name(self) -> str:
        """For messages."""

    @property
    def actions(self) -> int:
        """A: actions are 0 to A - 1."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a frame."""

    @property
    def high(self) -> float | None:
        """The largest value of a uint8 frame, 255 for pixels and 1 for planes of bits; None where
        frames are float32 of any range."""

    @property
    def repeat(self) -> int:
        """Emulator frames that an action lasts."""

    def reset(self, seed: int) -> Frame:
        """Begin an episode; gives its first frame."""

    def send(self, action: int) -> None:
        """Take an action."""

    def receive(self) -> Moment:
        """What came of the last action."""


class Catch:
    """A ball falls straight down a grid of pixels and a paddle one pixel wide has to be under it.

    The episode lasts `size` - 1 steps and brings 1 where the ball is caught, else -1. Who plays at
    random gets about -0.6. Actions: left, stay, right.

    Raises ValueError for a grid of less than 3 pixels a side.

    Example:
        >>> game = Catch()
        >>> game.reset(seed=0).shape
        (1, 6, 6)
        >>> game.send(1)
        >>> game.receive().reward
        0.0
    """

    def __init__(self, size: int = 6) -> None:
        if size < 3:
            raise ValueError(f"Catch needs at least 3 pixels a side, got {size}")
        self.size = size
        self.name, self.actions, self.repeat = "catch", 3, 1
        self.shape, self.high = (1, size, size), 255.0
        self._ball, self._row, self._paddle = 0, 0, 0

    def reset(self, seed: int) -> Frame:
        """The ball at a random column of the first row, the paddle in the middle of the last."""
        self._ball = int(np.random.default_rng(seed).integers(self.size))
        self._row, self._paddle = 0, self.size // 2
        return self._draw()

    def send(self, action: int) -> None:
        """0 left, 1 stay, 2 right."""
        self._paddle = min(max(self._paddle + action - 1, 0), self.size - 1)
        self._row += 1

    def receive(self) -> Moment:
        """The ball is a row lower."""
        over = self._row == self.size - 1
        reward = 0.0
        if over:
            reward = 1.0 if self._ball == self._paddle else -1.0
        return Moment(self._draw(), reward, over, over)

    def _draw(self) -> Frame:
        frame = np.zeros(self.shape, np.uint8)
        frame[0, -1, self._paddle] = 255
        frame[0, self._row, self._ball] = 255
        return frame


class MinAtar:
    """A game of MinAtar on planes of 10 x 10 bits, with its own rules: an action is repeated with
    probability 0.1 in place of the chosen one, and difficulty rises.

    Only the actions that do something are offered. Raises ValueError for an unknown game and
    ImportError where the package is missing.
    """

    def __init__(self, name: str) -> None:
        if name not in MINATAR:
            raise unknown("MinAtar game", name, MINATAR)
        self._env = need("minatar").Environment(name)
        self._actions = self._env.minimal_action_set()
        self._moment: Moment | None = None
        height, width, channels = self._env.state_shape()
        self.name, self.actions, self.repeat = f"minatar/{name}", len(self._actions), 1
        self.shape, self.high = (channels, height, width), 1.0

    def reset(self, seed: int) -> Frame:
        """A new game; the sticky action begins as no action."""
        self._env.seed(seed)
        self._env.last_action = 0
        self._env.reset()
        return self._see()

    def send(self, action: int) -> None:
        """An index into the actions that do something."""
        reward, over = self._env.act(self._actions[action])
        self._moment = Moment(self._see(), float(reward), bool(over), bool(over))

    def receive(self) -> Moment:
        """What came of it."""
        assert self._moment is not None, "nothing was sent"
        return self._moment

    def _see(self) -> Frame:
        return np.ascontiguousarray(self._env.state().transpose(2, 0, 1)).view(np.uint8)


class GymnasiumGame:
    """An environment of Gymnasium with discrete actions: an instance, or the id of one.

    Images (H, W), (H, W, C) of uint8 or bool become (C, H, W), other boxes float32 vectors, and a
    discrete observation a vector with a single one.

    Raises ValueError for an id that is not registered (with the nearest one), for actions or
    observations of another kind, and ImportError where Gymnasium is missing.
    """

    def __init__(self, env: Any) -> None:
        gymnasium = need("gymnasium")
        if isinstance(env, str):
            if env not in gymnasium.registry:
                raise unknown("environment", env, gymnasium.registry, listed=False)
            env = gymnasium.make(env)
        self._env, spaces = env, gymnasium.spaces
        seen, done = env.observation_space, env.action_space
        self.name = env.spec.id if env.spec else type(env.unwrapped).__name__
        if not isinstance(done, spaces.Discrete):
            raise ValueError(f"{self.name} has actions {done}; DQN needs Discrete ones")
        self.actions, self._first, self.repeat = int(done.n), int(done.start), 1
        self._states = int(seen.n) if isinstance(seen, spaces.Discrete) else 0
        if not self._states and not isinstance(seen, spaces.Box):
            raise ValueError(f"{self.name} has observations {seen}; Box or Discrete ones are taken")
        self._is_image = not self._states and seen.dtype in (np.uint8, np.bool_)
        if self._is_image and len(seen.shape) not in (2, 3):
            raise ValueError(f"images are (H, W) or (H, W, C); {self.name} gives {seen.shape}")
        self.high: float | None = None
        if self._is_image:
            self.high = 255.0 if np.max(seen.high) > 1 else 1.0
        sample = np.zeros(seen.shape, seen.dtype)
        self.shape: tuple[int, ...] = self._convert(sample).shape
        self._moment: Moment | None = None

    def reset(self, seed: int) -> Frame:
        """A new episode from this seed."""
        return self._convert(self._env.reset(seed=seed)[0])

    def send(self, action: int) -> None:
        """Counts from 0, wherever the environment begins to count."""
        seen, reward, terminated, truncated, _ = self._env.step(self._first + action)
        over = bool(terminated or truncated)
        self._moment = Moment(self._convert(seen), float(reward), bool(terminated), over)

    def receive(self) -> Moment:
        """What came of it."""
        assert self._moment is not None, "nothing was sent"
        return self._moment

    def _convert(self, seen: Any) -> Frame:
        if self._states:
            return np.eye(self._states, dtype=np.float32)[int(seen)]
        array = np.asarray(seen)
        if not self._is_image:
            return array.astype(np.float32).ravel()
        array = array.astype(np.uint8)
        return array[None] if array.ndim == 2 else np.ascontiguousarray(array.transpose(2, 0, 1))


def need(package: str) -> Any:
    """A package of the extra `rl`. Raises ImportError with the command that gets it."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ImportError(f"{package.replace('_', '-')} is missing: {EXTRA}") from error


def unknown(kind: str, name: str, known: Iterable[str], *, listed: bool = True) -> ValueError:
    """The error for a name that nobody knows, with the nearest one that somebody does."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
    hint = f": did you mean '{near[0]}'?" if near else ""
    return ValueError(f"unknown {kind} '{name}'{hint}"
                      + (f" Known: {', '.join(names)}" if listed else ""))  # fmt: skip
