"""Hebbian plasticity: rules are evolved, and weights organise themselves in a lifetime.

To read it: `rule` (the equation), `policy` (a network of such rules) and its baselines `controls`,
`evolution` with `noise`, `rollout` (lives) and where they are lived: `reach`, `walker`,
`simulators` with `pixels`, `workers` (many processes); `orbit` (what weights do).
"""

# ruff: noqa: I001, RUF022
# Both lists are in reading order.

from quire.papers.hebbian.rule import (
    HebbianRule,
    Form,
    PAPER,
    FROZEN,
    Folded,
    read_authors,
)
from quire.papers.hebbian.policy import (
    HebbianPolicy,
    Brain,
    Step,
    Uniform,
    Normal,
    identity,
)
from quire.papers.hebbian.controls import Gait, RecurrentPolicy, StaticPolicy
from quire.papers.hebbian.evolution import (
    EvolutionStrategy,
    RandomSearch,
    Decay,
    centred_ranks,
    raw,
)
from quire.papers.hebbian.noise import Place
from quire.papers.hebbian.rollout import (
    Environment,
    Turn,
    Draws,
    Rollout,
    draw_lives,
    roll_out,
)
from quire.papers.hebbian.reach import Reach
from quire.papers.hebbian.walker import INTACT, LEGS, Body, Walker, damaged
from quire.papers.hebbian.pixels import PixelEncoder, drive
from quire.papers.hebbian.simulators import Simulators, World, versions
from quire.papers.hebbian.workers import (
    Trial,
    Order,
    Lived,
    Settled,
    Here,
    Processes,
    RayWorkers,
    live_all,
    name_lives,
)
from quire.papers.hebbian.orbit import Orbit, Recovery, contrast, onset, recover, spread

__all__ = [
    "HebbianRule",
    "Form",
    "PAPER",
    "FROZEN",
    "Folded",
    "read_authors",
    "HebbianPolicy",
    "Brain",
    "Step",
    "Uniform",
    "Normal",
    "identity",
    "StaticPolicy",
    "RecurrentPolicy",
    "Gait",
    "EvolutionStrategy",
    "RandomSearch",
    "Decay",
    "centred_ranks",
    "raw",
    "Place",
    "Environment",
    "Turn",
    "Draws",
    "Rollout",
    "draw_lives",
    "roll_out",
    "Reach",
    "Walker",
    "Body",
    "INTACT",
    "LEGS",
    "damaged",
    "PixelEncoder",
    "drive",
    "Simulators",
    "World",
    "versions",
    "Trial",
    "Order",
    "Lived",
    "Settled",
    "Here",
    "Processes",
    "RayWorkers",
    "live_all",
    "name_lives",
    "Orbit",
    "Recovery",
    "spread",
    "contrast",
    "onset",
    "recover",
]
