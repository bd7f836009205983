"""Preprocessing against the emulator's own gray pixels, averaged over areas by matrices."""

import numpy as np
import pytest

ale_py = pytest.importorskip("ale_py", reason="extra rl")

from quire.papers.dqn import (  # noqa: E402
    SCREEN_2013,
    SCREEN_2015,
    SCREEN_2015_TEST,
    Atari,
    Screen,
    atari,
)

HALF = 0.5 + 1e-9
"""A rounded gray level is as near as that."""


def areas(many, few):
    """(few, many): each row is the mean over a `few`-th of `many` pixels, parts of them too."""
    size, found = many / few, np.zeros((few, many))
    for row in range(few):
        low, high = row * size, (row + 1) * size
        for pixel in range(int(low), min(many, int(np.ceil(high)))):
            found[row, pixel] = (min(high, pixel + 1) - max(low, pixel)) / size
    return found


@pytest.fixture(scope="module")
def emulator():
    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)

    def begin(name):
        ale = ale_py.ALEInterface()
        ale.setFloat("repeat_action_probability", 0.0)
        ale.loadROM(ale_py.roms.get_rom_path(name))
        return ale

    return begin


def gray(ale):
    return ale.getScreenGrayscale().astype(np.float64)


@pytest.mark.parametrize("name", ["breakout", "space_invaders"])
def test_frames_of_2013_are_the_gray_pixels_scaled_and_cropped(emulator, name):
    ale, game = emulator(name), Atari(name)
    actions, repeat = ale.getMinimalActionSet(), 3 if name == "space_invaders" else 4
    assert (game.actions, game.repeat) == (len(actions), repeat)
    rows, columns = areas(210, 110)[18:102], areas(160, 84)
    frame, total = game.reset(0), 0.0
    for step in range(25):
        assert frame.shape == (1, 84, 84)
        assert frame.dtype == np.uint8
        assert np.abs(rows @ gray(ale) @ columns.T - frame[0]).max() <= HALF
        action = (step * 7) % len(actions)
        reward = sum(ale.act(actions[action]) for _ in range(repeat))
        game.send(action)
        frame, said, terminal, over = game.receive()
        total += reward
        assert (said, terminal, over) == (reward, False, False)
    assert frame.max() > 100


def test_frames_of_2015_are_the_larger_of_two(emulator):
    screen = Screen(height=84, top=0, pooled=True)
    ale, game = emulator("seaquest"), Atari("seaquest", screen)
    rows, columns = areas(210, 84), areas(160, 84)
    game.reset(0)
    for step in range(20):
        action = ale.getMinimalActionSet()[step % 6]
        seen = []
        for _ in range(4):
            ale.act(action)
            seen.append(gray(ale))
        game.send(step % 6)
        frame = game.receive().frame
        assert np.abs(rows @ np.maximum(*seen[-2:]) @ columns.T - frame[0]).max() <= HALF


def golden(screen):
    lanes = atari("pong", screen=screen)
    for step in range(20):
        lanes.step([step % 6])
    return lanes.frames


def test_golden_sums():
    """A change of the preprocessing anywhere shows here."""
    assert int(golden(SCREEN_2013).astype(int).sum()) == GOLDEN[0]
    assert int(golden(Screen(height=84, top=0, pooled=True)).astype(int).sum()) == GOLDEN[1]


GOLDEN = (621_124, 750_941)


def lose(screen, turns=400):
    """Breakout without moving: (lives that were lost, terminal steps, ends) of one episode."""
    game = Atari("breakout", screen)
    game.reset(0)
    terminals = 0
    for _ in range(turns):
        game.send(1)
        moment = game.receive()
        terminals += moment.terminal
        if moment.over:
            return terminals, moment
    raise AssertionError("the episode did not end")


def test_a_lost_life_is_terminal_in_2015_s_training_only():
    terminals, moment = lose(SCREEN_2013)
    assert (terminals, moment.terminal) == (1, True)
    terminals, moment = lose(SCREEN_2015)
    assert (terminals, moment.terminal) == (5, True)
    assert lose(SCREEN_2015_TEST)[0] == 1


def test_a_cut_episode_is_not_terminal():
    game = Atari("pong", Screen(longest=40))
    game.reset(0)
    for step in range(10):
        game.send(0)
        moment = game.receive()
        assert not moment.terminal
        assert moment.over == (step == 9)
    assert game.reset(0).shape == (1, 84, 84)
    game.send(0)
    assert not game.receive().over


def test_no_ops_follow_from_the_seed():
    first = [Atari("seaquest", SCREEN_2015).reset(seed) for seed in (1, 1, 2, 3)]
    assert np.array_equal(first[0], first[1])
    assert not any(np.array_equal(first[0], frame) for frame in first[2:])


def test_lanes_of_a_registered_id():
    lanes = atari("ALE/Pong-v5", lanes=2)
    assert (lanes.stack, lanes.shape, lanes.repeat, lanes.name) == (4, (1, 84, 84), 4, "atari/pong")
    with pytest.raises(ValueError, match="unknown Atari game 'pung': did you mean 'pong'"):
        atari("pung")
