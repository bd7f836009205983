"""GShard: a mixture of experts whose tokens ask two of many, and how it is spread over devices.

To read it: `gate` (algorithm 1), `routing` (its decision as a value), `routers` (the paper's and
later ones), `mixture` (the layer), `load` (how even it is).
"""

# ruff: noqa: I001, RUF022
# Both lists are in reading order.

from quire.papers.gshard.gate import Second, top2_gate
from quire.papers.gshard.routing import (
    EinsumRouting,
    Route,
    Routing,
    Sent,
    SlotRouting,
    SortedRouting,
    assign_slots,
    find_capacity,
    measure_balance,
    measure_z,
)
from quire.papers.gshard.routers import (
    Assigned,
    BiasBalance,
    Dropless,
    Einsum,
    ExpertChoice,
    Router,
    Soft,
    Switch,
    Told,
    Top2,
    hash_table,
)
from quire.papers.gshard.mixture import Experts, MixtureOfExperts, mixtures, side, tell
from quire.papers.gshard.load import Load, measure_load, spread

__all__ = [
    "Second",
    "top2_gate",
    "EinsumRouting",
    "Route",
    "Routing",
    "Sent",
    "SlotRouting",
    "SortedRouting",
    "assign_slots",
    "find_capacity",
    "measure_balance",
    "measure_z",
    "Assigned",
    "BiasBalance",
    "Dropless",
    "Einsum",
    "ExpertChoice",
    "Router",
    "Soft",
    "Switch",
    "Told",
    "Top2",
    "hash_table",
    "Experts",
    "MixtureOfExperts",
    "mixtures",
    "side",
    "tell",
    "Load",
    "measure_load",
    "spread",
]
