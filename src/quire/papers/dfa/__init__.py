"""Direct feedback alignment: a fixed random projection of the error in place of the backward chain.

To read it: `feedback` (what carries the error), `direct` (the wrapper), `alignment`, `placements`
(where to mark), `perceptron` (five rules in closed form), `fixed` (feedback alignment from layer to
layer), then the nets of the paper's tasks: `graphs`, `recommenders`, `scenes`, `language`.
"""

# ruff: noqa: I001, RUF022
# Both lists are in reading order.

from quire.papers.dfa.feedback import (
    Draw,
    SharedFeedback,
    IndependentFeedback,
    HadamardFeedback,
    uniform,
    normal,
)
from quire.papers.dfa.direct import DirectFeedback
from quire.papers.dfa.alignment import alignment, mean_cosine
from quire.papers.dfa.placements import after_activations, macro, micro
from quire.papers.dfa.perceptron import (
    Perceptron,
    Activation,
    TANH,
    RELU,
    SIGMOID,
    LINEAR,
    lecun,
    cross_entropy_error,
    backpropagate,
    freeze,
    FixedChain,
    DirectSignals,
    IndirectSignals,
)
from quire.papers.dfa.fixed import FeedbackAlignment
from quire.papers.dfa.graphs import (
    Links,
    GraphConv,
    ChebConv,
    SplineConv,
    GATConv,
    DNAConv,
    GraphNet,
    DNANet,
    GraphEncoder,
    normalize_rows,
    propagate_labels,
    score_links,
)
from quire.papers.dfa.recommenders import Fields, FM, DeepFM, DCN, AutoInt, AFN
from quire.papers.dfa.scenes import (
    Field,
    Rays,
    Rendered,
    cast_rays,
    to_device_coordinates,
    sample_depths,
    sample_again,
    render,
    to_decibels,
)
from quire.papers.dfa.language import LanguageModel

__all__ = [
    "Draw",
    "SharedFeedback",
    "IndependentFeedback",
    "HadamardFeedback",
    "uniform",
    "normal",
    "DirectFeedback",
    "alignment",
    "mean_cosine",
    "after_activations",
    "macro",
    "micro",
    "Perceptron",
    "Activation",
    "TANH",
    "RELU",
    "SIGMOID",
    "LINEAR",
    "lecun",
    "cross_entropy_error",
    "backpropagate",
    "freeze",
    "FixedChain",
    "DirectSignals",
    "IndirectSignals",
    "FeedbackAlignment",
    "Links",
    "GraphConv",
    "ChebConv",
    "SplineConv",
    "GATConv",
    "DNAConv",
    "GraphNet",
    "DNANet",
    "GraphEncoder",
    "normalize_rows",
    "propagate_labels",
    "score_links",
    "Fields",
    "FM",
    "DeepFM",
    "DCN",
    "AutoInt",
    "AFN",
    "Field",
    "Rays",
    "Rendered",
    "cast_rays",
    "to_device_coordinates",
    "sample_depths",
    "sample_again",
    "render",
    "to_decibels",
    "LanguageModel",
]
