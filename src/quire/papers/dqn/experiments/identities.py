"""What holds exactly: sizes, the replay, targets, losses, RMSProp, schedules, the tabular limit."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import PositiveInt
from torch import Tensor

from quire.lab import Config, Metrics, Run
from quire.lab.measure import largest_difference
from quire.papers.dqn.dqn import DQN
from quire.papers.dqn.experiments.chain import Chain, optimal_values
from quire.papers.dqn.lanes import Lanes
from quire.papers.dqn.learning import NATURE_2015, NIPS_2013, Setting, td_errors, td_loss
from quire.papers.dqn.networks import LinearNetwork, network_2013, network_2015
from quire.papers.dqn.replay import ReplayBuffer
from quire.papers.dqn.rmsprop import RMSProp

GAMMA = 0.9


class Identities(Config):
    """Replays and a chain."""

    length: PositiveInt = 5
    """States of the chain."""
    stack: PositiveInt = 4
    """Frames in a state of the replay."""
    lanes: PositiveInt = 1
    """Of the replay."""
    returns: PositiveInt = 1
    """Steps of its transitions."""


def identities(config: Identities, run: Run) -> Metrics:
    """All of them."""
    seed = run.rng("seed").initial_seed() % 2**31
    return {
        "parameters_2013": count_weights(network_2013((4, 84, 84), 4)),
        "parameters_2015": count_weights(network_2015((4, 84, 84), 4)),
        "frame_bytes": measure_frame_bytes(),
        "replay_errors": measure_replay(config, seed),
        "chain_error": measure_chain(config.length, seed),
        "cut_error": measure_chain(config.length, seed, longest=2),
        "clip_error": measure_clip(run.rng("clip")),
        "rmsprop_error": measure_rmsprop(run.rng("rmsprop"), centred=False),
        "centred_error": measure_rmsprop(run.rng("rmsprop"), centred=True),
        "epsilon_error": measure_epsilon(),
        "no_future_error": measure_no_future(config.length, seed),
    }


def count_weights(network: torch.nn.Module) -> float:
    """Parameters."""
    return float(sum(weight.numel() for weight in network.parameters()))


def measure_frame_bytes() -> float:
    """Bytes of a frame of Atari in the replay: what a hundred rows more take, for each."""
    sizes = [ReplayBuffer(rows, (1, 84, 84), stack=4).frames.nbytes for rows in (100, 200)]
    return (sizes[1] - sizes[0]) / 100


def measure_replay(config: Identities, seed: int) -> float:
    """Transitions of a full ring that differ from those of the frames' own tale.

    A frame names its episode and its place there, so that a stack across a border, from the wrong
    side of the ring, or a next state of another step shows.
    """
    lanes, stack, steps = config.lanes, config.stack, config.returns
    env = Lanes([Chain(7, longest=9) for _ in range(lanes)], seed=seed)
    buffer = ReplayBuffer(90, (1, 1, 2), lanes=lanes, stack=stack, steps=steps, gamma=GAMMA)
    generator = np.random.default_rng(seed)
    tale: list[dict[str, NDArray[Any]]] = []
    episode = np.zeros(lanes, np.int64)
    for _ in range(150):
        episode += env.age == 0
        frames = np.stack([episode % 256, env.age], 1).astype(np.uint8).reshape(lanes, 1, 1, 2)
        buffer.observe(frames, env.age, env.final)
        actions = generator.integers(2, size=lanes)
        age, final = env.age.copy(), env.final.copy()
        turn = env.step(actions)
        buffer.record(actions, turn.rewards, turn.terminal)
        tale.append({
            "frame": frames, "age": age, "final": final, "action": actions,
            "reward": turn.rewards, "terminal": turn.terminal,
        })  # fmt: skip
    first, after = buffer.range()
    wrong = 0
    for number in range(first, after):
        turn_number, lane = divmod(number, lanes)
        if tale[turn_number]["final"][lane]:
            continue
        wrong += not is_as_told(buffer, number, tale, turn_number, lane)
    return float(wrong)


def is_as_told(
    buffer: ReplayBuffer, number: int, tale: list[dict[str, NDArray[Any]]], turn: int, lane: int
) -> bool:
    """Whether a transition of the buffer is what walking along the tale gives.

    Args:
        buffer: The replay.
        number: Of the row.
        tale: What was seen and done, by turn.
        turn: Where the transition begins.
        lane: Whose it is.
    """

    def state(turn: int) -> NDArray[Any]:
        back = [min(k, int(tale[turn]["age"][lane])) for k in range(buffer.stack - 1, -1, -1)]
        return np.concatenate([tale[turn - k]["frame"][lane] for k in back])

    total, power, at, is_terminal = 0.0, 1.0, turn, False
    for _ in range(buffer.steps):
        total += power * tale[at]["reward"][lane]
        power *= GAMMA
        is_terminal = bool(tale[at]["terminal"][lane])
        at += 1
        if is_terminal or tale[at]["final"][lane]:
            break
    batch = buffer.batch(np.array([number]))
    same = np.array_equal(batch.states[0], state(turn))
    same &= int(batch.actions[0]) == tale[turn]["action"][lane]
    same &= abs(float(batch.rewards[0]) - total) < 1e-6
    same &= abs(float(batch.discounts[0]) - (0.0 if is_terminal else power)) < 1e-6
    return bool(same and (is_terminal or np.array_equal(batch.next_states[0], state(at))))


def measure_chain(length: int, seed: int, *, longest: int = 9) -> float:
    """Distance of the values that full minibatches find from those of value iteration, over what
    was tried. With short episodes most of them are cut: taken as ends they would be worth less."""
    agent = play_chain(length, seed, longest, gamma=GAMMA)
    first, after = agent.memory.range()
    rows = np.arange(first, after)
    batch = agent.memory.batch(rows[~agent.memory.columns["final"][rows]])
    for _ in range(1500):
        loss = td_loss(agent.errors(batch)).mean()
        agent.optimizer.zero_grad()
        loss.backward()
        agent.optimizer.step()
    found = agent.network(torch.eye(length, dtype=torch.float64)).detach()
    expected = torch.from_numpy(optimal_values(length, GAMMA))
    pairs = batch.states.argmax(-1), batch.actions
    return largest_difference(found[pairs], expected[pairs])


def play_chain(length: int, seed: int, longest: int, *, gamma: float) -> DQN:
    """An agent with a table of values, after 600 random steps on a chain."""
    network = LinearNetwork((length,), 2, high=None).double()
    setting = Setting(gamma=gamma, replay=1000, warm_up=10**9, fall=1, epsilon=1.0)
    env = Lanes([Chain(length, longest)], seed=seed)
    optimizer = torch.optim.SGD(network.parameters(), 2.0)
    agent = DQN(env, setting, network=network, optimizer=optimizer, seed=seed)
    agent.learn(600)
    return agent


def measure_no_future(length: int, seed: int) -> float:
    """Distance of the errors at gamma 0 from reward less value."""
    agent = play_chain(length, seed, 9, gamma=0.0)
    batch = agent.memory.batch(np.arange(50))
    values = agent.network(batch.states).gather(1, batch.actions[:, None])[:, 0]
    return largest_difference(agent.errors(batch), batch.rewards - values.float())


def measure_clip(generator: torch.Generator) -> float:
    """Distance of the gradient of 2015's loss from the TD error clipped to 1."""
    values = (3 * torch.randn(200, 4, generator=generator)).requires_grad_()
    actions = torch.randint(4, (200,), generator=generator)
    errors = td_errors(values, actions, torch.zeros(200))
    (slope,) = torch.autograd.grad(td_loss(errors, clipped=True).sum(), values)
    taken = slope.gather(1, actions[:, None])[:, 0]
    return largest_difference(-taken, errors.detach().clamp(-1, 1))


def measure_rmsprop(generator: torch.Generator, *, centred: bool) -> float:
    """Distance from the formula, a number at a time."""
    weight = torch.nn.Parameter(torch.ones(4, dtype=torch.float64))
    optimizer = RMSProp([weight], 0.1, centred=centred)
    slow, square, mean = [1.0] * 4, [0.0] * 4, [0.0] * 4
    for _ in range(20):
        slopes = torch.randn(4, generator=generator, dtype=torch.float64)
        weight.grad = slopes
        optimizer.step()
        for k, d in enumerate(slopes.tolist()):
            square[k] = 0.95 * square[k] + 0.05 * d * d
            mean[k] = 0.95 * mean[k] + 0.05 * d
            spread = square[k] - (mean[k] ** 2 if centred else 0.0)
            slow[k] -= 0.1 * d / (spread + 0.01) ** 0.5
    return largest_difference(weight.detach(), torch.tensor(slow, dtype=torch.float64))


def measure_epsilon() -> float:
    """Distance of the schedules from the papers' at their beginning, middle, end and after it."""
    told: list[tuple[Setting, int, float]] = [
        (NIPS_2013, 0, 1.0), (NIPS_2013, 500_000, 0.55), (NIPS_2013, 1_000_000, 0.1),
        (NIPS_2013, 9_000_000, 0.1), (NATURE_2015, 50_000, 1.0), (NATURE_2015, 550_000, 0.55),
        (NATURE_2015, 1_050_000, 0.1), (NATURE_2015, 50_000_000, 0.1),
    ]  # fmt: skip
    found = Tensor([setting.epsilon_at(step) for setting, step, _ in told])
    return largest_difference(found, Tensor([epsilon for _, _, epsilon in told]))
