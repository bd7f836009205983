"""Environments of Gymnasium in lock-step, and lives over workers. Needs the extra `rl`."""

import numpy as np
import pytest
import torch

from quire.papers.hebbian import (
    EvolutionStrategy,
    HebbianPolicy,
    Here,
    Order,
    Processes,
    RayWorkers,
    Settled,
    Simulators,
    Trial,
    World,
    draw_lives,
    identity,
    live_all,
    roll_out,
    versions,
)
from quire.papers.hebbian import simulators as module
from quire.papers.hebbian.workers import Lived, join

gymnasium = pytest.importorskip("gymnasium", reason="extra rl")


@pytest.fixture
def ants():
    pytest.importorskip("mujoco", reason="extra rl")


def test_a_damaged_leg_is_short_and_the_others_are_not(ants):
    for leg, name in module.SHINS.items():
        env = World(leg=leg).make()
        model = env.unwrapped.model
        lengths = {other: model.geom(other).size[1] for other in module.SHINS.values()}
        sound = max(lengths.values())
        assert lengths.pop(name) == pytest.approx(sound / 4)
        assert set(lengths.values()) == {sound}
        assert env.observation_space.shape == (27,)
        env.close()


def test_a_model_without_the_leg_is_refused():
    with pytest.raises(ValueError, match="no left_ankle_geom"):
        module.shorten("<mujoco/>", "front left")


def test_an_ants_reward_is_its_way_and_it_settles_first(ants):
    env, plain = Simulators([World()]), World().make()
    uniform = torch.tensor([[[0.25]]])
    seen = env.reset(uniform)
    plain.reset(seed=int(0.25 * 2**24))
    for _ in range(module.SETTLING):
        wanted, _, _, _, told = plain.step(np.zeros(8, np.float32))
    np.testing.assert_allclose(seen[0, 0].numpy(), wanted, rtol=1e-5, atol=1e-6)
    begun, action = told["x_position"], torch.rand(1, 1, 8)
    for _ in range(3):
        turn = env.step(action)
        wanted, _, _, _, after = plain.step(action[0, 0].numpy())
        assert float(turn.reward) == pytest.approx(after["x_position"] - begun, abs=1e-6)
        begun = after["x_position"]
    np.testing.assert_allclose(turn.observation[0, 0].numpy(), wanted, rtol=1e-5, atol=1e-6)


def test_a_body_changes_within_a_life_and_comes_back(ants):
    env = Simulators([World(), World(leg="rear left")])
    uniform = torch.rand(1, 2, 1)
    first = env.reset(uniform)
    place = env.envs[0].unwrapped.data.qpos.copy()
    env.change([World(leg="front left")] * 2)
    np.testing.assert_allclose(env.envs[0].unwrapped.data.qpos, place)
    sizes = [e.unwrapped.model.geom("left_ankle_geom").size[1] for e in env.envs]
    assert sizes[0] == sizes[1] < 0.1 * 2**0.5
    env.step(torch.zeros(1, 2, 8))
    assert torch.equal(env.reset(uniform), first)
    with pytest.raises(ValueError, match="ants can change"):
        env.change([World()])


class Angry(gymnasium.Env):
    """Rewards of -1 from step `begin` on."""

    observation_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
    action_space = gymnasium.spaces.Box(-0.5, 0.5, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        self.age, self.done = 0, []
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.age += 1
        self.done.append(float(action[0]))
        reward = -1.0 if self.age > 3 else 1.0
        return np.zeros(1, np.float32), reward, self.age == 9, False, {}


@pytest.mark.parametrize(
    ("patience", "begin", "length"), [(None, 0, 9), (2, 0, 6), (2, 5, 8), (50, 9, 20)]
)
def test_a_life_ends_when_patience_does(monkeypatch, patience, begin, length):
    monkeypatch.setattr(World, "make", lambda self: Angry())
    env = Simulators([World("angry", None, patience, begin)])
    env.reset(torch.zeros(1, 1, 1))
    turn = None
    for step in range(1, 21):  # noqa: B007
        turn = env.step(torch.full((1, 1, 1), 3.0))
        if turn.over.all():
            break
    assert step == length
    assert set(env.envs[0].done) == {0.5}  # clipped
    if turn.over.all():
        assert env.step(torch.zeros(1, 1, 1)).reward.item() == 0


def test_pictures_are_scaled_turned_and_within_one(monkeypatch):
    class Pictures(Angry):
        observation_space = gymnasium.spaces.Box(0, 255, (96, 96, 3), np.uint8)

        def reset(self, *, seed=None, options=None):
            picture = np.zeros((96, 96, 3), np.uint8)
            picture[:8, :, 0] = 255  # the top rows are red
            return picture, {}

    monkeypatch.setattr(World, "make", lambda self: Pictures())
    seen = Simulators([World("pictures")]).reset(torch.zeros(1, 1, 1))
    assert seen.shape == (1, 1, 3, 84, 84)
    assert seen[0, 0, 0, :, :7].min() == 1
    assert seen[0, 0, 0, :, 7:].max() == 0
    assert not seen[0, 0, 1:].any()


def test_discrete_actions_are_the_largest_output():
    env = Simulators([World("CartPole-v1")])
    env.reset(torch.rand(2, 1, 1))
    chosen = env._convert(torch.tensor([[0.1, 0.9], [2.0, -1.0]]))
    assert chosen == [1, 0]


def build():
    return HebbianPolicy((4, 5, 2), squash=identity, learns_from_action=False)


POLE = Trial(build, (World("CartPole-v1"),), 200, lanes=3)


def test_lives_in_lock_step_are_lives_alone():
    torch.manual_seed(0)
    policy = build()
    env = Simulators([World("CartPole-v1")])
    rows = torch.arange(5)[:, None]
    draws = draw_lives(policy, env, rows, seed=1)
    whole = roll_out(policy, env, draws, steps=500).returns
    for k in range(5):
        alone = roll_out(policy, env, draw_lives(policy, env, rows[k : k + 1], seed=1), steps=500)
        assert alone.returns[0, 0] == whole[k, 0]
    assert whole.max() < 500


class Halves(Here):
    """One process, work cut in two."""

    def __len__(self):
        return 2


def test_a_seed_gives_the_same_fitness_for_one_worker_or_two():
    strategy = EvolutionStrategy(torch.randn(build().size), population=8)
    order = Order(POLE.sealed(), strategy, 5, 0, False)
    whole, cut = (live_all(workers, order, 8) for workers in (Here(), Halves()))
    assert torch.equal(whole.rewards, cut.rewards)
    assert torch.equal(whole.penalty, cut.penalty)
    torch.testing.assert_close(whole.penalty, strategy.penalty(strategy.ask()))
    common = live_all(Here(), order._replace(common=True, strategy=Settled(strategy.mean)), 4)
    assert torch.equal(common.rewards[:, 0::2], common.rewards[:, 1::2])
    assert not torch.equal(common.rewards[:, 0], common.rewards[:, 2])


@pytest.mark.slow
def test_processes_give_what_this_process_gives():
    strategy = EvolutionStrategy(torch.randn(build().size), population=8)
    order = Order(POLE.sealed(), strategy, 5, 0, False)
    here = live_all(Here(), order, 8)
    workers = Processes(2)
    try:
        assert torch.equal(live_all(workers, order, 8).rewards, here.rewards)
    finally:
        workers.close()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_ray_cluster_gives_what_this_process_gives():
    pytest.importorskip("ray", reason="extra ray")
    strategy = EvolutionStrategy(torch.randn(build().size), population=8)
    order = Order(POLE.sealed(), strategy, 5, 0, False)
    here = live_all(Here(), order, 8)
    workers = RayWorkers(2)
    try:
        assert torch.equal(live_all(workers, order, 8).rewards, here.rewards)
    finally:
        workers.close()


@pytest.mark.parametrize(("told", "joined"), [("", "local"), ("ray://far:1", "ray://far:1")])
def test_only_the_cluster_that_is_named_is_joined(monkeypatch, told, joined):
    ray = pytest.importorskip("ray", reason="extra ray")
    asked = []
    monkeypatch.setenv("RAY_ADDRESS", told)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda address, **_: asked.append(address))
    RayWorkers(2)
    assert asked == [joined]


def test_parts_of_other_lengths_are_joined():
    parts = [Lived(torch.ones(2, 1, 1), torch.zeros(1)), Lived(torch.ones(3, 2, 1), torch.ones(2))]
    whole = join(parts)
    assert whole.rewards.sum(0).flatten().tolist() == [2, 3, 3]
    assert whole.penalty.tolist() == [0, 1, 1]


def test_versions_name_the_simulators():
    assert versions()["gymnasium"] == gymnasium.__version__


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: World(leg="middle"), "has the legs front left"),
        (lambda: World("CartPole-v1", leg="front left"), "Ant-v5 has the legs"),
        (lambda: World("CartPol-v1").make(), "CartPole"),
        (lambda: Simulators([]), "need a world"),
        (
            lambda: Simulators([World("CartPole-v1"), World("Acrobot-v1")]),
            "seen and acted in alike",
        ),
        (lambda: Simulators([World("FrozenLake-v1")]), "vectors and images are taken"),
        (lambda: Simulators([World("CartPole-v1")]).reset(torch.rand(2, 3, 1)), "got 3"),
        (lambda: Processes(0), "1 or more processes"),
        (lambda: RayWorkers(0), "1 or more workers"),
    ],
)
def test_what_does_not_fit_is_refused(call, said):
    with pytest.raises(ValueError, match=said) as caught:
        call()
    assert "\n" not in str(caught.value)
