"""T5: every task as text to text, and an ablation of what transfer learning is made of.

To read it: `positions` (buckets and their bias), `layers`, `model` (sizes and architectures),
`generation` (greedy, beams, ensembles), `weights` (transformers' checkpoints), `adafactor`,
`tuning` (adapters, gradual unfreezing).
"""

# ruff: noqa: I001, RUF022
# Both lists are in reading order.

from quire.papers.t5.positions import RelativeBias, relative_position_bucket
from quire.papers.t5.layers import Attention, FeedForward, Layer, RMSNorm, Stack
from quire.papers.t5.model import SIZES, T5, Architecture, Size, count_parameters, mean_loss
from quire.papers.t5.generation import Decoding, Ensemble, generate
from quire.papers.t5.weights import PUBLISHED, from_transformers, load_checkpoint, to_transformers
from quire.papers.t5.adafactor import AdaFactor
from quire.papers.t5.tuning import (
    Adapter,
    LowRank,
    add_adapters,
    add_low_ranks,
    count_trained,
    unfreeze,
)

__all__ = [
    "RelativeBias",
    "relative_position_bucket",
    "Attention",
    "FeedForward",
    "Layer",
    "RMSNorm",
    "Stack",
    "SIZES",
    "T5",
    "Architecture",
    "Size",
    "count_parameters",
    "mean_loss",
    "Decoding",
    "Ensemble",
    "generate",
    "PUBLISHED",
    "from_transformers",
    "load_checkpoint",
    "to_transformers",
    "AdaFactor",
    "Adapter",
    "LowRank",
    "add_adapters",
    "add_low_ranks",
    "count_trained",
    "unfreeze",
]
