"""The seven Atari games on the Arcade Learning Environment, seen as in 2013 or as in 2015.

ale-py does the preprocessing: gray by luminance, then the mean over areas.
"""

import re
from dataclasses import dataclass

import numpy as np

from quire.papers.dqn.games import Frame, Moment, need, unknown
from quire.papers.dqn.lanes import Lanes

SEVEN = (
    "beam_rider", "breakout", "enduro", "pong", "qbert", "seaquest", "space_invaders",
)  # fmt: skip
"""The paper's games, as ale-py calls them."""


@dataclass(frozen=True)
class Screen:
    """How a game is seen and played. Frames here are the emulator's, 60 a second."""

    height: int = 110
    """Rows that the 210 are scaled to; the 160 columns become 84."""
    top: int = 18
    """First of the 84 rows that are kept."""
    repeat: int = 4
    """Frames that an action lasts; in Space Invaders 3, so that the lasers do not vanish."""
    pooled: bool = False
    """Whether a frame is the maximum of the last two."""
    no_ops: int = 0
    """An episode begins with up to so many frames without an action."""
    lives: bool = False
    """Whether a lost life is terminal. The episode goes on."""
    longest: int = 108_000
    """Frames after which an episode is cut: half an hour."""


SCREEN_2013 = Screen()
"""110 x 84, and of these rows 18 to 101: the paper does not say which (section 4.1)."""
SCREEN_2015 = Screen(height=84, top=0, pooled=True, no_ops=30, lives=True)
"""84 x 84, for training."""
SCREEN_2015_TEST = Screen(height=84, top=0, pooled=True, no_ops=30, longest=18_000)
"""The same without the lives, episodes of five minutes at most: for scores."""


class Atari:
    """One Atari game, without sticky actions; rewards are not clipped here.

    Args:
        name: As ale-py calls it, such as space_invaders.
        screen: How it is seen.

    Raises ValueError for an unknown game (with the nearest one) and ImportError where ale-py is
    missing.
    """

    def __init__(self, name: str, screen: Screen = SCREEN_2013) -> None:
        known = {found.removesuffix(".bin") for found in need("ale_py.roms").get_all_rom_ids()}
        if name not in known:
            raise unknown("Atari game", name, known, listed=False)
        self.repeat = 3 if name == "space_invaders" and screen.repeat == 4 else screen.repeat
        self._screen, self._lives = screen, 0
        self._env = need("ale_py.vector_env").AtariVectorEnv(
            name, num_envs=1, num_threads=1, stack_num=1, frameskip=self.repeat,
            maxpool=screen.pooled, noop_max=screen.no_ops, img_height=screen.height, img_width=84,
            max_num_frames_per_episode=screen.longest, reward_clipping=False,
            use_fire_reset=False, episodic_life=False, repeat_action_probability=0.0,
        )  # fmt: skip
        self.name, self.actions = f"atari/{name}", int(self._env.single_action_space.n)
        self.shape, self.high = (1, 84, 84), 255.0

    def reset(self, seed: int) -> Frame:
        """A new episode; only the number of steps without an action follows from the seed."""
        frames, info = self._env.reset(seed=seed)
        self._lives = int(info["lives"][0])
        return self._crop(frames)

    def send(self, action: int) -> None:
        """An index into the game's own actions. The emulator works in its own thread."""
        self._env.send(np.array([action]))

    def receive(self) -> Moment:
        """What came of it."""
        frames, rewards, terminated, truncated, info = self._env.recv()
        lives, ended = int(info["lives"][0]), bool(terminated[0])
        lost = self._screen.lives and lives < self._lives
        self._lives = lives
        over = ended or bool(truncated[0])
        return Moment(self._crop(frames), float(rewards[0]), ended or lost, over)

    def _crop(self, frames: Frame) -> Frame:
        # The emulator writes its next frame into the same memory.
        return frames[0, :, self._screen.top : self._screen.top + 84].copy()


def atari(env_id: str, lanes: int = 1, *, screen: Screen = SCREEN_2013, seed: int = 0) -> Lanes:
    """Lanes of an Atari game with states of four frames: "pong", "Pong" or "ALE/Pong-v5".

    Args:
        env_id: The game; of a registered id only the name is taken, and how it is played follows
            from `screen`.
        lanes: N, copies in lock-step, each with a thread of its own.
        screen: How it is seen.
        seed: What all episodes follow from.

    Raises ValueError for an unknown game (with the nearest one) and ImportError where ale-py is
    missing.
    """
    name = atari_name(env_id)
    return Lanes([Atari(name, screen) for _ in range(lanes)], stack=4, seed=seed)


def atari_name(env_id: str) -> str:
    """ale-py's name of a game: "ALE/SpaceInvaders-v5" is space_invaders.

    >>> atari_name("BeamRiderNoFrameskip-v4"), atari_name("pong")
    ('beam_rider', 'pong')
    """
    bare = re.sub(r"(Deterministic|NoFrameskip)?(-v\d+)?$", "", env_id.rpartition("/")[2])
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", bare).lower()
