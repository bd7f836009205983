"""PonderNet: any step function in a loop that learns when to stop.

To read it: `stopping` (the distribution and the loss), `ponder` (the loop), `rules` (when to stop
at evaluation), `steps` (what is repeated), `act` (the baseline), `transformer`.
"""

# ruff: noqa: I001, RUF022
# Both lists are in reading order.

from quire.papers.pondernet.stopping import (
    Truncation,
    stopping_distribution,
    log_stopping_distribution,
    truncate_examples,
    Regulariser,
    GeometricPrior,
    kl_to_prior,
    kl_geometric,
    kl_empirical,
    expected_steps,
    entropy_bonus,
    expected_loss,
    ponder_loss,
)
from quire.papers.pondernet.ponder import Ponder, PonderLoss, Unroll, export_step
from quire.papers.pondernet.rules import (
    Answer,
    StopRule,
    sample,
    threshold,
    median,
    argmax,
    expected,
    stop,
    calibrate_threshold,
)
from quire.papers.pondernet.steps import RNNStep, GRUStep, HopStep, DigitStep, HaltingNetwork
from quire.papers.pondernet.act import ACT, ACTOutput
from quire.papers.pondernet.transformer import (
    TransformerStep,
    universal_layer,
    PatchEmbedding,
    StoryEmbedding,
    PairEmbedding,
)

__all__ = [
    "Truncation",
    "stopping_distribution",
    "log_stopping_distribution",
    "truncate_examples",
    "Regulariser",
    "GeometricPrior",
    "kl_to_prior",
    "kl_geometric",
    "kl_empirical",
    "expected_steps",
    "entropy_bonus",
    "expected_loss",
    "ponder_loss",
    "Ponder",
    "PonderLoss",
    "Unroll",
    "export_step",
    "Answer",
    "StopRule",
    "sample",
    "threshold",
    "median",
    "argmax",
    "expected",
    "stop",
    "calibrate_threshold",
    "RNNStep",
    "GRUStep",
    "HopStep",
    "DigitStep",
    "HaltingNetwork",
    "ACT",
    "ACTOutput",
    "TransformerStep",
    "universal_layer",
    "PatchEmbedding",
    "StoryEmbedding",
    "PairEmbedding",
]
