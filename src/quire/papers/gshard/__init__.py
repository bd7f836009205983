"""GShard: a mixture of experts whose tokens ask two of many, and how it is spread over devices.

To read it: `gate` (algorithm 1), `routing` (its decision as a value), `routers` (the paper's and
later ones), `mixture` (the layer), `load` (how even it is), `translator` (the paper's Transformer),
`beams` (flat beam search), `annotate` and `partition` (the annotation API and the partitioner),
`parallel` (experts on several processes), `published` (the paper's sizes).
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
from quire.papers.gshard.translator import Translator, every_other
from quire.papers.gshard.beams import FlatPositions, Hypotheses, search_beams
from quire.papers.gshard.annotate import (
    Graph,
    Mesh,
    Node,
    Reduction,
    Spec,
    propagate,
    replicate,
    shard,
    split,
)
from quire.papers.gshard.partition import Plan, Step, partition, trace_mixture
from quire.papers.gshard.parallel import (
    AllToAll,
    ParallelExperts,
    average_gradients,
    distribute_state,
    load_whole,
    placements,
    run_together,
    share_experts,
    whole_state,
)
from quire.papers.gshard.published import FAMILY, Size, count_parameters, count_products

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
    "Translator",
    "every_other",
    "FlatPositions",
    "Hypotheses",
    "search_beams",
    "Graph",
    "Mesh",
    "Node",
    "Reduction",
    "Spec",
    "propagate",
    "replicate",
    "shard",
    "split",
    "Plan",
    "Step",
    "partition",
    "trace_mixture",
    "AllToAll",
    "ParallelExperts",
    "average_gradients",
    "distribute_state",
    "load_whole",
    "placements",
    "run_together",
    "share_experts",
    "whole_state",
    "FAMILY",
    "Size",
    "count_parameters",
    "count_products",
]
