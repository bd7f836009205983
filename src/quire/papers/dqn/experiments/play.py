"""One agent learns one game and is scored as in the paper's table, beside what it must beat.

Carries out `catch`, `minatar`, `replay`, `options` and `atari`.
"""

from typing import Literal

import numpy as np
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn

from quire.lab import Config, Metrics, Run
from quire.lab.training import Kept, save_weights
from quire.papers.dqn.ale import SCREEN_2013, SCREEN_2015, SCREEN_2015_TEST, Screen
from quire.papers.dqn.dqn import DQN, state_shape
from quire.papers.dqn.environments import make
from quire.papers.dqn.evaluation import (
    Evaluation,
    best_constant,
    describe_score,
    evaluate,
    held_out_states,
    playing,
    random_policy,
    roughness,
    value_ratio,
    values_around,
)
from quire.papers.dqn.experiments.keeping import KeptReplay
from quire.papers.dqn.experiments.policies import follow_ball
from quire.papers.dqn.lanes import Lanes
from quire.papers.dqn.learning import Setting, best_value, double_value
from quire.papers.dqn.networks import (
    Dueling,
    LinearNetwork,
    choose_network,
    network_2013,
    network_2015,
    small_network,
)
from quire.papers.dqn.priorities import Proportional
from quire.papers.dqn.recording import record


class Play(Config):
    """Steps are the agent's, over all lanes."""

    env: str = "minatar/breakout"
    """The game: catch, minatar/…, one of Atari's, or any environment of Gymnasium with discrete
    actions."""
    screen: Literal["2013", "2015"] = "2013"
    """How Atari is seen."""
    network: Literal["fitting", "2013", "2015", "linear"] = "fitting"
    """From states to values; fitting is the one of the frames' size."""
    dueling: bool = False
    """Whether a value and advantages have streams of their own."""
    lanes: PositiveInt = 1
    """Copies of the game in lock-step."""
    learning_rate: PositiveFloat = 2.5e-4
    """Of RMSProp."""
    centred: bool = False
    """Whether RMSProp takes off the mean of the gradients."""
    clipped: bool = False
    """Whether TD errors are clipped to 1."""
    update_every: PositiveInt = 1
    """Steps for each minibatch."""
    target_every: NonNegativeInt = 0
    """Minibatches after which the target network is copied; 0 has none."""
    replay: PositiveInt = 1_000_000
    """Rows of the replay."""
    warm_up: PositiveInt = 50_000
    """Steps before the first minibatch."""
    fall: PositiveInt = 1_000_000
    """Steps in which epsilon falls from 1 to 0.1."""
    fall_from: NonNegativeInt = 0
    """The step at which it begins to."""
    double: bool = False
    """Whether the learning network chooses the action whose value is the target's."""
    alpha: NonNegativeFloat = 0.0
    """Of prioritised replay; 0 draws uniformly."""
    returns: PositiveInt = 1
    """Steps of a transition."""
    steps: PositiveInt = 10_000_000
    """Of training."""
    looks: PositiveInt = 100
    """Points of the curves."""
    look_steps: PositiveInt = 10_000
    """Played for each."""
    test_steps: PositiveInt = 10_000
    """Played for a score."""
    states: PositiveInt = 500
    """Held out for the curve of values."""


def play(config: Play, run: Run) -> Metrics:
    """Train, look on the way, and score."""
    env = make(config.env, config.lanes, screen=screen(config), seed=run.seed)
    agent = build(config, run, env)
    memory, kept = KeptReplay(agent.memory, run.directory / "replay"), Kept()
    held_out = held_out_states(open_lanes(config, run, "held out"), config.states, seed=run.seed)
    turns = max(1, config.steps // config.lanes)
    every = max(1, turns // config.looks)
    for turn in run.steps(turns, state=(agent, memory, kept)):
        loss = agent.step()
        memory.keep()
        del env.ended[:-LAST]
        if loss is not None:
            run.log(loss=loss)
        if (turn + 1) % every == 0:
            look(config, run, agent, held_out, kept)
    metrics = finish(config, run, agent, kept)
    memory.discard()
    return metrics


LAST, TEST_LANES = 100, 8
"""Episodes of the training score, copies of the game for a test."""


def screen(config: Play, *, test: bool = False) -> Screen:
    """How Atari is seen; lives and long episodes are for training only."""
    if config.screen == "2013":
        return SCREEN_2013
    return SCREEN_2015_TEST if test else SCREEN_2015


def open_lanes(config: Play, run: Run, *name: int | str) -> Lanes:
    """Lanes for a test, which follow from the run's seed and the name alone."""
    seed = run.rng("test", *name).initial_seed() % 2**31
    return make(config.env, TEST_LANES, screen=screen(config, test=True), seed=seed)


def build(config: Play, run: Run, env: Lanes) -> DQN:
    """The agent."""
    setting = Setting(
        learning_rate=config.learning_rate, centred=config.centred, clipped=config.clipped,
        replay=config.replay, warm_up=config.warm_up, update_every=config.update_every,
        target_every=config.target_every or None, fall=config.fall, fall_from=config.fall_from,
        returns=config.returns,
    )  # fmt: skip
    return DQN(
        env, setting, network=run.place(choose(config, env)),
        bootstrap=double_value if config.double else best_value,
        sampling=Proportional(config.alpha) if config.alpha else None,
        seed=run.seed, device=run.device, precision=run.precision,
    )  # fmt: skip


def choose(config: Play, env: Lanes) -> nn.Module:
    """The network."""
    shape, head = state_shape(env), Dueling if config.dueling else None
    if config.network == "linear":
        return LinearNetwork(shape, env.actions, high=env.high)
    if config.network != "fitting" or (head and min(shape[1:], default=0) >= 36):
        whole = network_2015 if config.network == "2015" else network_2013
        return whole(shape, env.actions, head=head)
    if head:
        return small_network(shape, env.actions, head=head, high=env.high or 1.0)
    return choose_network(shape, env.actions, env.high)


def look(config: Play, run: Run, agent: DQN, held_out: Tensor, kept: Kept) -> None:
    """A point of the curves: what is scored now, and what is promised on the held-out states."""
    said = evaluate(
        playing(agent, seed=run.seed), open_lanes(config, run, agent.steps), steps=config.look_steps
    )
    kept.add("step", agent.steps)
    kept.add("score", said.mean)
    kept.add("value", agent.values(held_out).mean())


def finish(config: Play, run: Run, agent: DQN, kept: Kept) -> Metrics:
    """Scores, floors and what the values say; curves and a sheet of play."""
    said = evaluate(
        playing(agent, seed=run.seed), open_lanes(config, run, "score"),
        steps=config.test_steps, values=agent.values,
    )  # fmt: skip
    run.note(describe_score(agent, said))
    save_weights(run.directory, "network", agent.network)
    for name, unit in (("score", "mean return"), ("value", "mean largest value")):
        run.series(name, kept.series["step"], kept.series[name], x_label="steps", y_label=unit)
    if len(agent.env.shape) == 3:
        lanes = make(config.env, screen=screen(config, test=True), seed=run.seed)
        run.figure("play", record(agent, lanes, steps=min(200, config.test_steps)).draw())
    found = {
        "score": said.mean,
        "best": said.best,
        "episodes": float(len(said.scores)),
        "training_score": float(np.mean(agent.env.ended or [np.nan])),
        "steps": float(agent.steps),
        "frames": float(agent.frames),
        "updates": float(agent.updates),
        **measure_floors(config, run),
        **measure_values(said, agent, kept),
    }
    return {name: number for name, number in found.items() if np.isfinite(number)}


def measure_floors(config: Play, run: Run) -> Metrics:
    """What needs no learning: random actions, the best constant one, in Breakout a few rules."""
    lanes = open_lanes(config, run, "floors")
    found = {
        "random": evaluate(random_policy(lanes, run.seed), lanes, steps=config.test_steps).mean,
        "constant": best_constant(lanes, steps=config.look_steps),
    }
    if config.env == "minatar/breakout":
        found["follower"] = evaluate(follow_ball, lanes, steps=config.test_steps).mean
    return found


def measure_values(said: Evaluation, agent: DQN, kept: Kept) -> Metrics:
    """Whether the values are smooth, bounded, honest, and rise towards rewards."""
    rise, fall = values_around(said)
    values = np.array(kept.series["value"])
    return {
        "value": float(values[-1]),
        "largest_value": float(values.max()),
        "value_roughness": roughness(values),
        "score_roughness": roughness(np.array(kept.series["score"])),
        "value_ratio": value_ratio(said, agent.setting.gamma),
        "rise": rise,
        "fall": fall,
    }
