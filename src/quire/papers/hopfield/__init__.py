"""Hopfield networks is all you need: continuous memories, their layers, and DeepRC."""

from quire.papers.hopfield.association import (
    associate,
    association_weights,
    entmax15,
    sparsemax,
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
    HopfieldLayer,
    HopfieldPooling,
    Input,
)
from quire.papers.hopfield.logistic_mil import logistic_mil_scores
from quire.papers.hopfield.memories import (
    DenseMemory,
    HebbianMemory,
    exponential,
    polynomial,
)
from quire.papers.hopfield.repertoires import (
    Repertoires,
    burden_scores,
    implanted,
    jaccard_kernel,
    kmer_counts,
    minmax_kernel,
    motif_scores,
)
from quire.papers.hopfield.theory import (
    Bounds,
    Capacity,
    capacity_bound,
    energy_bounds,
    retrieval_bounds,
    separation,
)

__all__ = [
    "AMINO_ACIDS",
    "Association",
    "BagAttention",
    "Bounds",
    "Capacity",
    "DeepRC",
    "DenseMemory",
    "GaussianAttention",
    "HebbianMemory",
    "Hopfield",
    "HopfieldAttention",
    "HopfieldLayer",
    "HopfieldPooling",
    "Input",
    "Repertoires",
    "Retrieved",
    "SequenceEmbedding",
    "WatchedAttention",
    "associate",
    "association_weights",
    "bag_softmax",
    "bag_sum",
    "burden_scores",
    "capacity_bound",
    "encode",
    "energy_bounds",
    "entmax15",
    "exponential",
    "head_class",
    "hopfield_energy",
    "hopfield_jacobian",
    "hopfield_update",
    "implanted",
    "jaccard_kernel",
    "kmer_counts",
    "logistic_mil_scores",
    "median_needed",
    "minmax_kernel",
    "motif_scores",
    "patterns_needed",
    "polynomial",
    "retrieval_bounds",
    "retrieve",
    "separation",
    "softmax_jacobian_norm",
    "sparsemax",
    "stream",
    "top_members",
]
