"""Games and lanes: seeds, cuts, resuming, and what is refused. No extra is needed here, but by
the last tests."""

import numpy as np
import pytest
import torch

from quire.papers.dqn import Catch, GymnasiumGame, Lanes, MinAtar, make
from quire.papers.dqn.ale import atari_name
from quire.papers.dqn.experiments.chain import Chain


def test_catch_ends_with_the_ball_at_the_bottom():
    for seed in range(20):
        game = Catch()
        frame = game.reset(seed)
        column = int(frame[0, 0].argmax())
        for step in range(5):
            paddle = int(frame[0, -1].argmax())
            game.send(1 + (column > paddle) - (column < paddle))
            frame, reward, terminal, over = game.receive()
            assert terminal == over == (step == 4)
        assert reward == 1


def test_random_play_of_catch_gets_what_is_known():
    lanes = make("catch", 10, seed=5)
    generator = np.random.default_rng(0)
    for _ in range(1000):
        lanes.step(generator.integers(3, size=10))
    assert len(lanes.ended) == 2000
    assert np.mean(lanes.ended) == pytest.approx(-0.65, abs=0.1)


def test_a_terminal_end_begins_anew_at_once_and_a_cut_shows_its_last_frame():
    lanes = Lanes([Chain(3, longest=2)], seed=0)
    kinds = set()
    for _ in range(60):
        age = int(lanes.age[0])
        turn = lanes.step([1])
        if turn.terminal[0]:
            assert lanes.age[0] == 0
            assert not lanes.final[0]
            kinds.add("end")
        elif lanes.final[0]:
            assert lanes.age[0] == age + 1 == 2
            last = lanes.frames.copy()
            turn = lanes.step([0])  # begins anew; the action is not looked at
            assert not turn.acted[0]
            assert turn.rewards[0] == 0
            assert lanes.age[0] == 0
            assert not lanes.final[0]
            assert last[0].sum() == 1
            kinds.add("cut")
    assert kinds == {"end", "cut"}


def play(lanes, turns, seed=0):
    generator = np.random.default_rng(seed)
    found = []
    for _ in range(turns):
        turn = lanes.step(generator.integers(lanes.actions, size=len(lanes)))
        found.append((lanes.frames.copy(), *turn))
    return found


def same(a, b):
    return all(
        np.array_equal(x, y) for p, q in zip(a, b, strict=True) for x, y in zip(p, q, strict=True)
    )


@pytest.mark.parametrize(
    "env", ["catch", "minatar/breakout", "minatar/space_invaders", "CartPole-v1", "pong"]
)
def test_a_seed_gives_the_same_play_and_lanes_differ(env):
    if env != "catch":
        pytest.importorskip("minatar" if "minatar" in env else "gymnasium", reason="extra rl")
    turns = 30 if env == "pong" else 120
    first, again, other = (play(make(env, 2, seed=seed), turns) for seed in (3, 3, 4))
    assert same(first, again)
    if env != "pong":  # it has no chance in it: every episode begins alike
        assert not same(first, other)
    assert any(not np.array_equal(frames[0], frames[1]) for frames, *_ in first)


@pytest.mark.parametrize("env", ["catch", "minatar/asterix", "CartPole-v1", "breakout"])
def test_saved_lanes_go_on_as_they_would_have(env):
    if env != "catch":
        pytest.importorskip("minatar" if "minatar" in env else "gymnasium", reason="extra rl")
    whole, other = make(env, 2, seed=1), make(env, 2, seed=1)
    play(whole, 25)
    state = whole.state_dict()
    assert all(isinstance(actions, torch.Tensor) for actions in state["actions"])
    other.load_state_dict(state)
    assert np.array_equal(whole.age, other.age)
    assert same(play(whole, 25, seed=9), play(other, 25, seed=9))
    assert whole.ended == other.ended


def test_a_game_that_does_not_repeat_itself_is_found_out():
    class Drifting(Catch):
        turns = 0

        def receive(self):
            Drifting.turns += 1
            moment = super().receive()
            return moment._replace(frame=moment.frame * 0 + Drifting.turns)

    lanes = Lanes([Drifting()])
    lanes.step([0])
    with pytest.raises(ValueError, match="catch does not repeat itself"):
        Lanes([Drifting()]).load_state_dict(lanes.state_dict())


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: Catch(2), "at least 3 pixels"),
        (lambda: Lanes([]), "at least one game"),
        (lambda: Lanes([Catch(), Catch(7)]), "copies of one game"),
        (lambda: make("catch", 2).step([0]), "2 lanes take as many actions, got 1"),
        (lambda: make("catch", 2).load_state_dict(make("catch").state_dict()), "saved were 1"),
        (lambda: make("brekout"), "unknown game 'brekout': did you mean 'breakout'"),
        (lambda: make("minatar/frway"), "did you mean 'freeway'"),
        (lambda: make("atari/pongg"), "unknown Atari game 'pongg': did you mean 'pong'"),
        (lambda: make("CartPol-v1"), "did you mean 'CartPole-v1'"),
        (lambda: make("Pendulum-v1"), "Pendulum-v1 has actions Box.*; DQN needs Discrete ones"),
        (lambda: make(object(), lanes=2), "an instance is one lane"),
    ],
)
def test_what_does_not_fit_is_refused(call, said):
    pytest.importorskip("gymnasium", reason="extra rl")
    with pytest.raises(ValueError, match=said) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_names_of_atari_games():
    names = ["Pong", "ALE/SpaceInvaders-v5", "BeamRiderNoFrameskip-v4", "MsPacmanDeterministic-v0"]
    assert [atari_name(name) for name in names] == [
        "pong", "space_invaders", "beam_rider", "ms_pacman"
    ]  # fmt: skip


# With the extra


def test_minatar_gives_planes_of_bits():
    pytest.importorskip("minatar", reason="extra rl")
    game = MinAtar("breakout")
    frame = game.reset(0)
    assert frame.shape == game.shape == (4, 10, 10)
    assert frame.dtype == np.uint8
    assert (frame.max(), game.high, game.actions) == (1, 1.0, 3)


def test_environments_of_gymnasium_are_converted():
    gymnasium = pytest.importorskip("gymnasium", reason="extra rl")
    spaces = gymnasium.spaces

    class Room(gymnasium.Env):
        def __init__(self, seen, actions=3, start=0):
            self.observation_space = seen
            self.action_space = spaces.Discrete(actions, start=start)
            self.said = []

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            return self._see(), {}

        def step(self, action):
            self.said.append(action)
            return self._see(), 2.5, False, True, {}

        def _see(self):
            space = self.observation_space
            return 1 if isinstance(space, spaces.Discrete) else np.ones(space.shape, space.dtype)

    image = GymnasiumGame(Room(spaces.Box(0, 255, (6, 5, 3), np.uint8)))
    assert (image.shape, image.high) == ((3, 6, 5), 255.0)
    bits = GymnasiumGame(Room(spaces.Box(0, 1, (6, 5), np.bool_)))
    assert (bits.shape, bits.high, bits.reset(0).dtype) == ((1, 6, 5), 1.0, np.uint8)
    numbers = GymnasiumGame(Room(spaces.Box(-1, 1, (2, 2), np.float64)))
    assert (numbers.shape, numbers.high, numbers.reset(0).dtype) == ((4,), None, np.float32)
    state = GymnasiumGame(Room(spaces.Discrete(4), start=5))
    assert state.reset(0).tolist() == [0, 1, 0, 0]
    state.send(2)
    assert state._env.said == [7]
    moment = state.receive()
    assert (moment.reward, moment.terminal, moment.over) == (2.5, False, True)
    with pytest.raises(ValueError, match=r"images are \(H, W\) or"):
        GymnasiumGame(Room(spaces.Box(0, 255, (6,), np.uint8)))
    with pytest.raises(ValueError, match="Box or Discrete ones are taken"):
        GymnasiumGame(Room(spaces.MultiBinary(3)))
