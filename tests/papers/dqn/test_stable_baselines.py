"""The same minibatch and weights give stable-baselines3's targets, gradients and actions."""

from dataclasses import replace

import numpy as np
import pytest
import torch

gymnasium = pytest.importorskip("gymnasium", reason="extra rl")
peer = pytest.importorskip("stable_baselines3", reason="extra rl")

from quire.papers.dqn import (  # noqa: E402
    DQN,
    NATURE_2015,
    Batch,
    GymnasiumGame,
    Lanes,
    network_2015,
    td_loss,
)


class Room(gymnasium.Env):
    """Random pixels; stacks are part of what is seen."""

    observation_space = gymnasium.spaces.Box(0, 255, (4, 84, 84), np.uint8)
    action_space = gymnasium.spaces.Discrete(4)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        return self.observation_space.sample(), 0.0, False, False, {}


class Planes(Room):
    """The same frames with the channels last, as Gymnasium has them."""

    observation_space = gymnasium.spaces.Box(0, 255, (84, 84, 4), np.uint8)


def draw(generator, *shape):
    return torch.randint(256, shape, dtype=torch.uint8, generator=generator)


def test_one_update_is_stable_baselines3_s():
    torch.manual_seed(0)
    theirs = peer.DQN(
        "CnnPolicy", Room(), buffer_size=1, learning_rate=1.0, max_grad_norm=1e9, device="cpu",
        policy_kwargs={"optimizer_class": torch.optim.SGD, "net_arch": []},
    )  # fmt: skip
    network = network_2015((4, 84, 84), 4)

    def copy_into(module):
        """Their extractor is three convolutions and 512 units, then a linear output."""
        for mine, its in zip(network.parameters(), module.parameters(), strict=True):
            assert mine.shape == its.shape
            with torch.no_grad():
                its.copy_(mine)

    copy_into(theirs.q_net)
    copy_into(theirs.q_net_target)
    setting = replace(NATURE_2015, replay=2)
    agent = DQN(Lanes([GymnasiumGame(Planes())]), setting, network=network)
    generator = torch.Generator().manual_seed(0)
    batch = Batch(
        draw(generator, 8, 4, 84, 84), torch.arange(8) % 4, 3 * torch.randn(8, generator=generator),
        torch.tensor([0.99, 0.0] * 4), draw(generator, 8, 4, 84, 84), None, np.arange(8),
    )  # fmt: skip
    data = peer.common.buffers.ReplayBufferSamples(
        batch.states, batch.actions[:, None], batch.next_states,
        1 - (batch.discounts[:, None] > 0).float(), batch.rewards[:, None],
    )  # fmt: skip
    theirs.replay_buffer.sample = lambda *args, **kwargs: data
    theirs.set_logger(peer.common.logger.configure(format_strings=[]))
    before = [weight.detach().clone() for weight in theirs.q_net.parameters()]
    greedy, _ = theirs.predict(batch.states.numpy(), deterministic=True)
    assert np.array_equal(greedy, agent.act(batch.states))
    theirs.train(gradient_steps=1, batch_size=8)

    loss = td_loss(agent.errors(batch), clipped=True).sum()
    loss.backward()
    assert float(loss.detach()) / 8 == pytest.approx(
        theirs.logger.name_to_value["train/loss"], abs=1e-6
    )
    for mine, its, old in zip(network.parameters(), theirs.q_net.parameters(), before, strict=True):
        # They take the mean of the minibatch, we the sum; their rate is 1.
        torch.testing.assert_close(mine.grad / 8, old - its.detach(), rtol=1e-4, atol=1e-6)
