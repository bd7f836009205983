"""Supermasks in Superposition: one frozen random net, one binary mask a task, one gradient to ask.

To read it: `masks` (from scores to bits), `frozen` (a net that is called with masks), `objectives`
and `inference` (which task is this?), `bank` (all of it for any module), `allocation` (when is a
task new?), `attractors` (masks in a Hopfield network), `superposition` (whole nets, adapters),
`networks`, then the baselines: `baselines`, `sequential`.
"""

# ruff: noqa: I001, RUF022
# Both lists are in reading order.

from quire.papers.supsup.masks import (
    ErdosRenyi,
    Sparsity,
    Threshold,
    TopFraction,
    count_kept,
    draw_constants,
    draw_scores,
    pack,
    pass_through,
    unpack,
)
from quire.papers.supsup.frozen import FrozenNet, Supermask, evaluating
from quire.papers.supsup.objectives import Objective, entropy, superfluous
from quire.papers.supsup.inference import (
    Bank,
    Rule,
    binary,
    descend,
    exhaustive,
    find_slopes,
    naive_slopes,
    one_shot,
    rescore,
)
from quire.papers.supsup.bank import MaskBank, Prediction, Storage, learn, measure_loss
from quire.papers.supsup.allocation import Choice, choose_mask, count_columns
from quire.papers.supsup.attractors import (
    MaskMemory,
    NeuronMask,
    NeuronMaskNet,
    Recovered,
    recover,
)
from quire.papers.supsup.superposition import LoraBank, NetBank
from quire.papers.supsup.networks import ResNet, count_weights, make_mlp
from quire.papers.supsup.baselines import BatchEnsemble, HardAttention, ParameterSuperposition
from quire.papers.supsup.sequential import OnlineEWC, SynapticIntelligence

__all__ = [
    "ErdosRenyi",
    "Sparsity",
    "Threshold",
    "TopFraction",
    "count_kept",
    "draw_constants",
    "draw_scores",
    "pack",
    "pass_through",
    "unpack",
    "FrozenNet",
    "Supermask",
    "evaluating",
    "Objective",
    "entropy",
    "superfluous",
    "Bank",
    "Rule",
    "binary",
    "descend",
    "exhaustive",
    "find_slopes",
    "naive_slopes",
    "one_shot",
    "rescore",
    "MaskBank",
    "Prediction",
    "Storage",
    "learn",
    "measure_loss",
    "Choice",
    "choose_mask",
    "count_columns",
    "MaskMemory",
    "NeuronMask",
    "NeuronMaskNet",
    "Recovered",
    "recover",
    "LoraBank",
    "NetBank",
    "ResNet",
    "count_weights",
    "make_mlp",
    "BatchEnsemble",
    "HardAttention",
    "ParameterSuperposition",
    "OnlineEWC",
    "SynapticIntelligence",
]
