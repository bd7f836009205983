import copy

import numpy as np
import pytest
import torch

pytest.importorskip("stable_baselines3", reason="stable-baselines3 is not installed (extra rl)")

from quire.lab.checkpoint import random_state, set_random_state
from quire.papers.pcgrl import (
    PPO2,
    CropNet,
    Learner,
    Narrow,
    Wide,
    World,
    WorldVecEnv,
    build_net,
    find_problem,
)
from quire.papers.pcgrl.rules import CHANGES, STEPS

SMALL = find_problem("binary").sized(5, 4, path=3)


@pytest.fixture(autouse=True)
def _own_random_numbers():
    state = random_state()
    torch.manual_seed(0)
    np.random.seed(0)
    yield
    set_random_state(state)


def learner(seed=0, **settings):
    world = World(SMALL, Narrow(), envs=6, seed=seed, change_percentage=0.1)
    net = CropNet(1, 10, actions=3, widths=(4, 4, 4), hidden=16)
    return Learner(world, net, **{"n_steps": 40, **settings})


def test_settings_are_counterparts_of_ppo2():
    ppo = Learner(World(SMALL, Wide(), envs=50), build_net(World(SMALL, Wide()), widths=(4,))).ppo
    assert (ppo.n_steps, ppo.batch_size, ppo.n_epochs) == (128, 128 * 50 // 4, 4)
    assert (ppo.gamma, ppo.gae_lambda, ppo.ent_coef, ppo.max_grad_norm) == (0.99, 0.95, 0.01, 0.5)
    assert ppo.clip_range(1.0) == ppo.clip_range_vf(1.0) == 0.2
    assert ppo.policy.optimizer.defaults["lr"] == 2.5e-4
    assert ppo.policy.optimizer.defaults["eps"] == 1e-5
    assert PPO2["vf_coef"] == 0.5 / 2  # PPO2's loss of the value is half a mean square


def test_advantages_are_the_closed_form_with_the_value_beyond_a_cut():
    trained = learner()
    env, buffer = trained.env, trained.ppo.rollout_buffer
    told = []
    original = env.step_wait

    def watched():
        seen, rewards, done, infos = original()
        told.append((rewards.copy(), done.copy(), infos))
        return seen, rewards, done, infos

    env.step_wait = watched
    # Few iterations, so that episodes are cut as well as ended.
    env.world.rules.sizes[CHANGES], env.world.rules.sizes[STEPS] = 5, 12
    trained.ppo.collect_rollouts(trained.ppo.env, trained._callback, buffer, 40)
    cuts = sum(info.get("TimeLimit.truncated", False) for _, _, infos in told for info in infos)
    ends = sum(int(done.sum()) for _, done, _ in told) - cuts
    assert cuts > 3
    assert ends > 0
    with torch.no_grad():
        last = trained.ppo.policy.predict_values(torch.from_numpy(trained.ppo._last_obs))[:, 0]
    rewards = np.stack([row[0] for row in told])
    for t, (_, done, infos) in enumerate(told):
        for i in np.flatnonzero(done):
            if infos[i]["TimeLimit.truncated"]:
                beyond = torch.from_numpy(infos[i]["terminal_observation"])[None]
                with torch.no_grad():
                    rewards[t, i] += 0.99 * trained.ppo.policy.predict_values(beyond).item()
    values = np.concatenate([buffer.values, last.numpy()[None]])
    expected = np.zeros_like(rewards)
    for t in range(40):
        weight = np.ones(6)
        for later in range(t, 40):
            going = ~told[later][1]
            delta = rewards[later] + 0.99 * values[later + 1] * going - values[later]
            expected[t] += weight * delta
            weight *= 0.99 * 0.95 * going
    assert np.allclose(buffer.advantages, expected, atol=1e-4)
    assert np.allclose(buffer.returns, expected + buffer.values, atol=1e-4)


def test_an_update_goes_down_ppos_loss():
    """One minibatch, one epoch: the gradient is that of the loss written out, on copied weights."""
    trained = learner(n_epochs=1, batch_size=240, max_grad_norm=1e9)
    ppo, buffer = trained.ppo, trained.ppo.rollout_buffer
    ppo.collect_rollouts(ppo.env, trained._callback, buffer, 40)
    twin = copy.deepcopy(trained.net)
    observations = torch.from_numpy(buffer.observations.copy()).float().flatten(0, 1)
    actions = torch.from_numpy(buffer.actions.copy()).long().flatten(0, 1)[:, 0]
    old, targets, advantages, old_values = (
        torch.from_numpy(getattr(buffer, name).copy()).flatten()
        for name in ("log_probs", "returns", "advantages", "values")
    )
    logits, values = twin(observations)
    logs = logits.log_softmax(-1)
    ratio = (logs.gather(1, actions[:, None])[:, 0] - old).exp()
    normal = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
    policy = -torch.minimum(normal * ratio, normal * ratio.clamp(0.8, 1.2)).mean()
    clipped = old_values + (values - old_values).clamp(-0.2, 0.2)
    entropy = -(logs.exp() * logs).sum(-1).mean()
    (policy - 0.01 * entropy + 0.25 * (targets - clipped).square().mean()).backward()
    ppo.train()
    for mine, its in zip(twin.parameters(), trained.net.parameters(), strict=True):
        torch.testing.assert_close(its.grad, mine.grad, rtol=1e-3, atol=1e-5)


def test_a_training_that_was_cut_off_goes_on_to_the_same_numbers(tmp_path):
    whole = learner()
    told = [whole.update() for _ in range(2)]
    torch.save({"state": whole.state_dict(), "random": random_state()}, tmp_path / "cut.pt")
    told += [whole.update() for _ in range(2)]
    saved = torch.load(tmp_path / "cut.pt", weights_only=True)
    resumed = learner(seed=7)
    resumed.load_state_dict(saved["state"])
    set_random_state(saved["random"])
    assert [resumed.update() for _ in range(2)] == told[2:]
    assert resumed.steps == whole.steps == 4 * 240
    for mine, its in zip(whole.net.parameters(), resumed.net.parameters(), strict=True):
        assert torch.equal(mine, its)


def test_it_learns_to_write_floor():
    """Every floor tile more is a point: a task that one can see it has learned."""
    from dataclasses import replace

    from quire.papers.pcgrl import Count, Goal, Reward

    lawn = replace(
        SMALL,
        metrics=(Count("floor", ("empty",)),),
        rewards=(Reward("floor", 1),),
        goals=(Goal("floor", low=20),),
    )
    world = World(lawn, Narrow(), envs=16, seed=0)
    net = CropNet(1, 10, actions=3, widths=(4, 4, 4), hidden=16)
    trained = Learner(world, net, n_steps=32, learning_rate=3e-3)
    rewards = [trained.update()["reward"] for _ in range(12)]
    assert np.mean(rewards[-3:]) > np.mean(rewards[:3]) + 1


def test_stable_baselines_own_loop_runs_as_well():
    from stable_baselines3 import PPO
    from stable_baselines3.common.vec_env import VecMonitor

    env = VecMonitor(WorldVecEnv(World(find_problem("sokoban"), Wide(), envs=4, seed=0)))
    model = PPO("MlpPolicy", env, n_steps=16, batch_size=32, n_epochs=1, device="cpu")
    model.learn(64)
    assert model.num_timesteps == 64
    masks = env.env_method("action_masks")
    assert len(masks) == 4
    assert masks[0].shape == (125,)
    with pytest.raises(AttributeError, match="no method paint"):
        env.env_method("paint")
