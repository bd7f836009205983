import numpy as np
import pytest

gymnasium = pytest.importorskip("gymnasium", reason="gymnasium is not installed (extra rl)")

from gymnasium.utils.env_checker import check_env  # noqa: E402
from gymnasium.vector import AutoresetMode  # noqa: E402

from quire.papers.pcgrl import (  # noqa: E402
    Narrow,
    PcgrlEnv,
    PcgrlVecEnv,
    Wide,
    World,
    find_problem,
    make,
    register,
)

NAMES = register()


def test_nine_names_are_registered_once():
    assert len(NAMES) == 9
    assert "quire/binary-narrow-v0" in NAMES
    assert register() == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_gymnasiums_checker_passes(name):
    env = gymnasium.make(name, render_mode="rgb_array")
    check_env(env.unwrapped)
    seen, info = env.reset(seed=3)
    again, _ = env.reset(seed=3)
    assert (seen == again).all()
    seen, _reward, _ended, _cut, info = env.step(env.action_space.sample())
    assert env.observation_space.contains(seen)
    assert {"changes", "iterations", "is_success", "regions"} <= info.keys()
    assert env.render().shape[2] == 3


def test_options_go_through_make():
    env = gymnasium.make("quire/zelda-turtle-v0", change_percentage=0.5, crop=8)
    assert env.observation_space.shape == (8, 8, 8)
    assert env.unwrapped.world.edges.max_changes == 38
    with pytest.raises(ValueError, match="did you mean 'zelda'"):
        make("zeldas", "turtle")
    with pytest.raises(ValueError, match="rgb_array or ansi, got 'human'"):
        make("zelda", render_mode="human")


def test_extra_channels_are_no_zeros_and_ones():
    options = {"controls": {"path": (5, 60)}, "show_budget": True}
    env = gymnasium.make("quire/binary-wide-v0", **options)
    check_env(env.unwrapped)
    assert env.observation_space.shape == (3, 14, 14)
    assert env.observation_space.dtype == np.float32


def test_an_episode_on_a_map_of_ones_own():
    env = make(find_problem("binary").sized(5, 4, path=3), Wide(), render_mode="ansi")
    tiles = np.ones((4, 5), np.uint8)
    frozen = np.zeros((4, 5), bool)
    frozen[0, 0] = True
    env.reset(options={"map": tiles, "frozen": frozen})
    assert env.render() == "\n".join(["#####"] * 4)
    assert env.step(0)[1] == 0  # frozen
    assert env.step(2)[1] == 5  # one region
    assert env.render().startswith("#.###")
    assert not env.action_masks()[:2].any()
    with pytest.raises(ValueError, match="options are map and frozen, got 'mop'"):
        env.reset(options={"mop": tiles})
    with pytest.raises(ValueError, match="maps must be"):
        env.reset(options={"map": tiles[:2]})
    env.reset()
    assert not env.world.state.frozen.any()


def test_one_map_is_a_row_of_many():
    env = PcgrlEnv("sokoban", "turtle")
    many = PcgrlVecEnv("sokoban", "turtle", envs=1)
    seen, _ = env.reset(seed=5)
    seen_many, infos = many.reset(seed=5)
    assert (seen == seen_many[0]).all()
    rng = np.random.default_rng(0)
    for _ in range(60):
        action = int(rng.integers(9))
        seen, reward, ended, cut, info = env.step(action)
        seen_many, rewards, endeds, cuts, infos = many.step([action])
        assert (reward, ended, cut) == (rewards[0], endeds[0], cuts[0])
        if ended or cut:
            assert (infos["final_obs"][0] == seen).all()
            assert infos["final_info"]["regions"][0] == info["regions"]
            seen, _ = env.reset()
        assert (seen == seen_many[0]).all()


def test_many_maps_begin_anew_in_the_same_step():
    envs = PcgrlVecEnv("zelda", "wide", envs=32, change_percentage=0.02)
    assert isinstance(envs, gymnasium.vector.VectorEnv)
    assert envs.metadata["autoreset_mode"] == AutoresetMode.SAME_STEP
    seen, infos = envs.reset(seed=0)
    assert envs.observation_space.contains(seen)
    rng, endings = np.random.default_rng(0), 0
    for _ in range(10):
        actions = rng.integers(envs.single_action_space.n, size=32)
        seen, _rewards, ended, cut, infos = envs.step(actions)
        assert envs.observation_space.contains(seen)
        over = ended | cut
        assert (envs.world.state.counts[over] == 0).all()
        if over.any():
            endings += over.sum()
            assert (infos["_final_obs"] == over).all()
            assert (infos["final_info"]["changes"][over] == 1).all()
            assert all(
                (last is not None) == end
                for last, end in zip(infos["final_obs"], over, strict=False)
            )
        assert (infos["changes"] == envs.world.state.counts[:, 0]).all()
    assert endings > 20
    envs.close()


def test_seeds_decide_and_maps_can_be_given():
    envs = PcgrlVecEnv("binary", Narrow(), envs=3)
    first = envs.reset(seed=1)[0]
    assert (envs.reset(seed=1)[0] == first).all()
    assert (envs.reset(seed=2)[0] != first).any()
    maps = np.zeros((3, 14, 14), np.uint8)
    envs.reset(options={"maps": maps})
    assert (envs.world.state.maps == 0).all()


def test_make_vec_gives_many():
    envs = gymnasium.make_vec("quire/sokoban-narrow-v0", num_envs=5, change_percentage=0.4)
    assert isinstance(envs, PcgrlVecEnv)
    assert envs.num_envs == 5
    assert envs.world.edges.max_changes == 10


def test_tensors_on_a_device():
    envs = PcgrlVecEnv("binary", "narrow", envs=4, device="cpu", seed=1)
    assert envs.metadata["autoreset_mode"] == AutoresetMode.NEXT_STEP
    torch = pytest.importorskip("torch")
    seen, _ = envs.reset(seed=3)
    again, _ = envs.reset(seed=3)
    assert torch.equal(seen, again)
    seen, rewards, _ended, _cut, _infos = envs.step(torch.zeros(4, dtype=torch.int64))
    assert seen.shape == (4, 1, 28, 28)
    assert isinstance(rewards, torch.Tensor)
    with pytest.raises(ValueError, match="show_budget is for maps on the CPU"):
        PcgrlVecEnv("binary", "narrow", envs=4, device="cpu", show_budget=True)


def test_without_gymnasium_the_message_says_how(monkeypatch):
    import sys

    import quire.papers.pcgrl as pcgrl

    monkeypatch.setitem(sys.modules, "gymnasium", None)
    monkeypatch.delitem(sys.modules, "quire.papers.pcgrl.env")
    with pytest.raises(ImportError, match=r"pip install 'quire-papers\[rl\]'"):
        _ = pcgrl.PcgrlEnv
    assert len(register()) == 9
    assert World(find_problem("binary"), Wide()).observe().shape == (1, 1, 14, 14)
