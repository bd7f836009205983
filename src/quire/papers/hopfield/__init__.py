"""Hopfield networks is all you need: continuous memories, their layers, and DeepRC."""

from quire.papers.hopfield.association import (
    associate,
    association_weights,
    stream,
)
from quire.papers.hopfield.deeprc import (
    AMINO_ACIDS,
    BagAttention,
    DeepRC,
    SequenceEmbedding,
    bag_softmax,
    bag_sum,
    encode,
    top_members,
)
from quire.papers.hopfield.energy import (
    Retrieved,
    hopfield_energy,
    hopfield_jacobian,
    hopfield_update,
    retrieve,
)
from quire.papers.hopfield.heads import (
    GaussianAttention,
    WatchedAttention,
    head_class,
    median_needed,
    patterns_needed,
    softmax_jacobian_norm,
)
from quire.papers.hopfield.kernel import HopfieldAttention
from quire.papers.hopfield.layers import (
    Association,
    Hopfield,
    Input,
)
from quire.papers.hopfield.learned import HopfieldLayer, HopfieldPooling
from quire.papers.hopfield.memories import (
    DenseMemory,
    HebbianMemory,
    exponential,
    polynomial,
)
from quire.papers.hopfield.theory import (
    CapacityBound,
    RetrievalBounds,
    capacity_bound,
    energy_bounds,
    pattern_separation,
    retrieval_bounds,
)
from quire.papers.hopfield.weightings import entmax15, sparsemax

__all__ = [
    "AMINO_ACIDS",
    "Association",
    "BagAttention",
    "CapacityBound",
    "DeepRC",
    "DenseMemory",
    "GaussianAttention",
    "HebbianMemory",
    "Hopfield",
    "HopfieldAttention",
    "HopfieldLayer",
    "HopfieldPooling",
    "Input",
    "RetrievalBounds",
    "Retrieved",
    "SequenceEmbedding",
    "WatchedAttention",
    "associate",
    "association_weights",
    "bag_softmax",
    "bag_sum",
    "capacity_bound",
    "encode",
    "energy_bounds",
    "entmax15",
    "exponential",
    "head_class",
    "hopfield_energy",
    "hopfield_jacobian",
    "hopfield_update",
    "median_needed",
    "pattern_separation",
    "patterns_needed",
    "polynomial",
    "retrieval_bounds",
    "retrieve",
    "softmax_jacobian_norm",
    "sparsemax",
    "stream",
    "top_members",
]
