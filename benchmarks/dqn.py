"""Races of DQN against stable-baselines3: steps a second with learning, and the replay alone.

Both play the same games with the same network, minibatch, learning rate and ratio of updates; the
peer gets the stacks from a wrapper. Every race begins with a parity test; where it fails, no time
is reported. Run it with `quire bench dqn`, or alone: `python benchmarks/dqn.py`.
"""

import copy
import importlib
import json
import time
from typing import Any

import numpy as np
import torch
from torch import nn

from quire.lab.bench import compare
from quire.papers.dqn import (
    DQN,
    Batch,
    PatchConvolution,
    ReplayBuffer,
    Setting,
    make,
    network_2015,
    small_network,
    state_shape,
    td_loss,
)

WARM_UP, BATCH = 200, 32
"""Steps before a race, rows of a minibatch."""
CLOCK = time.process_time
"""One thread's own time; the emulator's thread counts as well."""


def main() -> dict[str, Any]:
    """All races, on one thread."""
    torch.set_num_threads(1)
    peer = importlib.import_module("stable_baselines3")
    return {
        "races": [
            learning_race(peer, "minatar/breakout", 400, lanes=4),
            learning_race(peer, "minatar/breakout", 400, lanes=1),
            learning_race(peer, "pong", 100, lanes=4),
            learning_race(peer, "pong", 100, lanes=1),
            replay_race(peer),
        ]
    }


class Room:
    """One of our games as the peer sees it: an environment of Gymnasium with stacked frames."""

    @staticmethod
    def open(name: str, seed: int) -> Any:
        """The environment."""
        gymnasium = importlib.import_module("gymnasium")
        lanes = make(name, seed=seed)
        shape = state_shape(lanes)

        class Stacked(gymnasium.Env):
            observation_space = gymnasium.spaces.Box(0, int(lanes.high or 1), shape, np.uint8)
            action_space = gymnasium.spaces.Discrete(lanes.actions)

            def reset(self, *, seed: Any = None, options: Any = None) -> Any:
                self.seen = np.concatenate([lanes.frames[0]] * lanes.stack)
                return self.seen, {}

            def step(self, action: Any) -> Any:
                turn = lanes.step([int(action)])
                self.seen = np.concatenate([self.seen[len(lanes.frames[0]) :], lanes.frames[0]])
                return self.seen, float(np.sign(turn.rewards[0])), bool(turn.terminal[0]), False, {}

        return Stacked()


def extractor(peer: Any, network: nn.Module) -> Any:
    """Our network's body as the peer's extractor of features; its last layer stays outside."""

    class Body(peer.common.torch_layers.BaseFeaturesExtractor):
        def __init__(self, space: Any) -> None:
            super().__init__(space, network.head[0].out_features)
            layers = copy.deepcopy([*network.body, *network.head[:2]])
            self.body = nn.Sequential(*(as_convolution(layer) for layer in layers))

        def forward(self, states: Any) -> Any:
            return self.body(states)

    return Body


def as_convolution(layer: nn.Module) -> nn.Module:
    """torch's own layer with the weights of one of ours, or the layer as it is."""
    if not isinstance(layer, PatchConvolution):
        return layer
    filters, channels, size, _ = layer.weight.shape
    other = nn.Conv2d(channels, filters, size, layer.stride)
    other.weight, other.bias = layer.weight, layer.bias
    return other


def build(peer: Any, name: str, lanes: int) -> tuple[DQN, Any]:
    """Our agent and the peer's, with equal weights and settings; the peer has one lane."""
    setting = Setting(
        replay=10_000, warm_up=WARM_UP, update_every=4, target_every=2500, clipped=True,
        fall=100_000, learning_rate=1e-4, batch_size=BATCH,
    )  # fmt: skip
    env = make(name, lanes, seed=0)
    torch.manual_seed(0)
    if env.high == 255:
        network = network_2015(state_shape(env), env.actions)
    else:
        network = small_network(state_shape(env), env.actions)
    optimizer = torch.optim.Adam(network.parameters(), 1e-4, fused=True)
    ours = DQN(env, setting, network=network, optimizer=optimizer)
    theirs = peer.DQN(
        "CnnPolicy", Room.open(name, 0), learning_rate=1e-4, buffer_size=10_000,
        learning_starts=WARM_UP, batch_size=BATCH, train_freq=4, target_update_interval=10_000,
        max_grad_norm=1e9, exploration_fraction=1.0, exploration_final_eps=0.1, device="cpu",
        optimize_memory_usage=False, seed=0,
        policy_kwargs={
            "features_extractor_class": extractor(peer, network), "net_arch": [],
            "normalize_images": env.high == 255,
        },
    )  # fmt: skip
    for module in (theirs.q_net, theirs.q_net_target):
        module.q_net[0].load_state_dict(network.head[2].state_dict())
    return ours, theirs


def learning_race(peer: Any, name: str, steps: int, *, lanes: int) -> dict[str, Any]:
    """Steps a second, one update for four of them; `steps` are a turn of the race."""
    ours, theirs = build(peer, name, lanes)
    difference = parity(peer, ours, theirs)
    how = f"{lanes} lanes" if lanes > 1 else "one lane"
    result = {
        "name": f"{name}, {how}, minibatches of {BATCH}, an update for 4 steps, Adam",
        "unit": "steps/s",
        "goal": 1.5,
        "parity": difference <= 1e-5,
        "parity_test": f"values and loss of one minibatch differ by {difference:.1e} at most",
    }
    if not result["parity"]:
        return result
    half, _ = build(peer, name, lanes)
    half.precision = lambda: torch.autocast("cpu", dtype=torch.bfloat16)
    ours.learn(WARM_UP)
    half.learn(WARM_UP)
    theirs.learn(WARM_UP, reset_num_timesteps=False)
    contestants = {
        "ours": lambda: ours.learn(steps),
        "peer": lambda: theirs.learn(steps, reset_num_timesteps=False),
        "ours_bfloat16": lambda: half.learn(steps),
    }
    return result | compare(contestants, steps, repeats=5, warmup=1, clock=CLOCK)


def parity(peer: Any, ours: DQN, theirs: Any) -> float:
    """Largest distance of values and loss on one minibatch."""
    generator = torch.Generator().manual_seed(0)
    shape, high = state_shape(ours.env), int(ours.env.high or 1)

    def draw() -> torch.Tensor:
        return torch.randint(high + 1, (BATCH, *shape), dtype=torch.uint8, generator=generator)

    batch = Batch(
        draw(), torch.arange(BATCH) % ours.env.actions, torch.ones(BATCH),
        torch.full((BATCH,), 0.99), draw(), None, np.arange(BATCH),
    )  # fmt: skip
    mine, its = ours.network, lambda x: theirs.q_net(x)
    with torch.no_grad():
        apart = [float((mine(s) - its(as_seen(ours, s))).abs().max()) for s in (batch.states,)]
        following = theirs.q_net_target(as_seen(ours, batch.next_states)).amax(1)
        taken = its(as_seen(ours, batch.states)).gather(1, batch.actions[:, None])[:, 0]
        loss = nn.functional.smooth_l1_loss(taken, batch.rewards + batch.discounts * following)
        own = td_loss(ours.errors(batch), clipped=True).mean()
    return max(*apart, float((loss - own).abs()))


def as_seen(ours: DQN, states: torch.Tensor) -> torch.Tensor:
    """The states as the peer's policy takes them: its own preprocessing divides by 255."""
    return states.float() if ours.env.high == 1 else states


def replay_race(peer: Any) -> dict[str, Any]:
    """Minibatches a second from a replay of Atari's size of frames, and bytes of a transition."""
    gymnasium = importlib.import_module("gymnasium")
    rows = 2000
    space = gymnasium.spaces.Box(0, 255, (4, 84, 84), np.uint8)
    theirs = peer.common.buffers.ReplayBuffer(
        rows, space, gymnasium.spaces.Discrete(4), optimize_memory_usage=False
    )
    ours = ReplayBuffer(rows, (1, 84, 84), stack=4)
    generator = np.random.default_rng(0)
    stack = np.zeros((4, 84, 84), np.uint8)
    for k in range(rows):
        frame = generator.integers(256, size=(1, 84, 84), dtype=np.uint8)
        ours.observe(frame[None], [k])
        ours.record([k % 4], [1.0], [False])
        before, stack = stack, np.concatenate([stack[1:], frame])
        if k == 0:  # the first frame fills its stack
            stack = frame.repeat(4, 0)
        else:
            theirs.add(before, stack, np.array([(k - 1) % 4]), np.array([1.0]), np.array([False]),
                       [{}])  # fmt: skip
    at = np.arange(100, 132)
    mine, its = ours.batch(at), theirs._get_samples(at)
    same = torch.equal(mine.states, its.observations)
    same &= torch.equal(mine.next_states, its.next_observations)
    same &= torch.equal(mine.actions, its.actions[:, 0])
    result = {
        "name": "replay of 84 x 84 frames in stacks of 4, minibatches of 32",
        "unit": "minibatches/s",
        "goal": 1.0,
        "parity": bool(same),
        "parity_test": "states, next states and actions of 32 rows are the same bytes",
        "bytes_a_step": {
            "ours": ours.frames.nbytes / ours.size,
            "peer": (theirs.observations.nbytes + theirs.next_observations.nbytes) / rows,
        },
    }
    if not result["parity"]:
        return result
    draws = torch.Generator().manual_seed(0)
    contestants = {
        "ours": lambda: [ours.sample(32, draws) for _ in range(50)],
        "peer": lambda: [theirs.sample(32) for _ in range(50)],
    }
    return result | compare(contestants, 50, repeats=9, clock=CLOCK)


if __name__ == "__main__":
    print(json.dumps(main(), indent=1))
