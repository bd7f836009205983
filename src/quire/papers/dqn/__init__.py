"""Playing Atari with deep reinforcement learning: Q-learning from pixels with experience replay.

To read it: `dqn` (the algorithm) with `learning`, then `replay`, `networks`, `rmsprop`; where it
plays: `lanes`, `games`, `ale`, `environments`; what comes of it: `evaluation`, `recording`.
"""

# ruff: noqa: I001, RUF022
# Both lists are in reading order.

from quire.papers.dqn.dqn import DQN, state_shape
from quire.papers.dqn.learning import (
    Setting,
    NIPS_2013,
    NATURE_2015,
    best_value,
    double_value,
    td_errors,
    td_loss,
    value_gradient,
)
from quire.papers.dqn.replay import Batch, ReplayBuffer
from quire.papers.dqn.priorities import Proportional
from quire.papers.dqn.rmsprop import RMSProp
from quire.papers.dqn.networks import (
    ConvolutionalNetwork,
    PatchConvolution,
    LinearNetwork,
    VectorNetwork,
    Dueling,
    plain_head,
    choose_network,
    network_2013,
    network_2015,
    small_network,
)
from quire.papers.dqn.lanes import Lanes, Turn
from quire.papers.dqn.games import Catch, Game, GymnasiumGame, MinAtar, Moment
from quire.papers.dqn.ale import (
    SCREEN_2013,
    SCREEN_2015,
    SCREEN_2015_TEST,
    SEVEN,
    Atari,
    Screen,
    atari,
)
from quire.papers.dqn.environments import make
from quire.papers.dqn.evaluation import (
    EPSILON,
    Evaluation,
    evaluate,
    playing,
    random_policy,
    constant_policy,
    best_constant,
    held_out_states,
    value_ratio,
    values_around,
    roughness,
    interquartile_mean,
    differences,
    describe_score,
)
from quire.papers.dqn.recording import Recording, record

__all__ = [
    "DQN",
    "state_shape",
    "Setting",
    "NIPS_2013",
    "NATURE_2015",
    "best_value",
    "double_value",
    "td_errors",
    "td_loss",
    "value_gradient",
    "ReplayBuffer",
    "Batch",
    "Proportional",
    "RMSProp",
    "ConvolutionalNetwork",
    "PatchConvolution",
    "LinearNetwork",
    "VectorNetwork",
    "Dueling",
    "plain_head",
    "choose_network",
    "network_2013",
    "network_2015",
    "small_network",
    "Lanes",
    "Turn",
    "Game",
    "Moment",
    "Catch",
    "MinAtar",
    "GymnasiumGame",
    "Atari",
    "Screen",
    "SCREEN_2013",
    "SCREEN_2015",
    "SCREEN_2015_TEST",
    "SEVEN",
    "atari",
    "make",
    "EPSILON",
    "Evaluation",
    "evaluate",
    "playing",
    "random_policy",
    "constant_policy",
    "best_constant",
    "held_out_states",
    "value_ratio",
    "values_around",
    "roughness",
    "interquartile_mean",
    "differences",
    "describe_score",
    "Recording",
    "record",
]
