"""Lanes of any environment, by name."""

from typing import Any

from quire.papers.dqn.ale import SCREEN_2013, SEVEN, Screen, atari, atari_name
from quire.papers.dqn.games import MINATAR, Catch, Game, GymnasiumGame, MinAtar, unknown
from quire.papers.dqn.lanes import Lanes


def make(env: Any, lanes: int = 1, *, screen: Screen = SCREEN_2013, seed: int = 0) -> Lanes:
    """Lanes of an environment.

    Args:
        env: "catch", "minatar/asterix" and the like, "pong" or another of the paper's seven Atari
            games, "atari/tennis" or "ALE/Tennis-v5" for the rest of them, the id of an environment
            of Gymnasium, or for one lane an instance.
        lanes: N, copies in lock-step.
        screen: How Atari is seen.
        seed: What all episodes follow from.

    Raises ValueError for an unknown name (with the nearest one), for actions that are not discrete
    and for several lanes of one instance; ImportError where the extra `rl` is missing.
    """
    if not isinstance(env, str):
        if lanes != 1:
            raise ValueError(f"an instance is one lane; for {lanes} give the environment's id")
        return Lanes([GymnasiumGame(env)], seed=seed)
    room, _, name = env.rpartition("/")
    if room in ("ALE", "atari") or (not room and atari_name(name) in SEVEN):
        return atari(name, lanes, screen=screen, seed=seed)
    return Lanes([_game(env, room, name) for _ in range(lanes)], seed=seed)


def _game(env: str, room: str, name: str) -> Game:
    if env == "catch":
        return Catch()
    if room == "minatar":
        return MinAtar(name)
    if room or "-v" in env:
        return GymnasiumGame(env)
    names = ("catch", *SEVEN, *(f"minatar/{game}" for game in MINATAR))
    raise unknown("game", env, names)
