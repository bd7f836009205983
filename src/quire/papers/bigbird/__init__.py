"""BigBird: attention along random, window and global blocks, linear in the length."""

from quire.papers.bigbird.attention import BigBirdAttention, bigbird_attention
from quire.papers.bigbird.etc import ETCAttention, ETCLayer, cpc_loss
from quire.papers.bigbird.figures import attention_figure, attention_weights, pattern_figure
from quire.papers.bigbird.genomics import (
    NGram,
    PromoterCNN,
    bits_per_base,
    dinucleotide_shuffle,
    genome_like,
    kept_negatives,
    reverse_complement,
)
from quire.papers.bigbird.model import (
    BigBird,
    BigBirdSeq2Seq,
    Pooler,
    SpanHead,
    WordHead,
    load_weights,
)
from quire.papers.bigbird.pattern import BigBirdMask, BigBirdPattern
from quire.papers.bigbird.tasks import Dependencies, Recall, hide
from quire.papers.bigbird.theory import (
    GraphFigures,
    contextual_mapping,
    furthest_vectors,
    graph_figures,
    run_on_graph,
    run_on_tape,
    star_graph,
    tape_graph,
)

__all__ = [
    "BigBird",
    "BigBirdAttention",
    "BigBirdMask",
    "BigBirdPattern",
    "BigBirdSeq2Seq",
    "Dependencies",
    "ETCAttention",
    "ETCLayer",
    "GraphFigures",
    "NGram",
    "Pooler",
    "PromoterCNN",
    "Recall",
    "SpanHead",
    "WordHead",
    "attention_figure",
    "attention_weights",
    "bigbird_attention",
    "bits_per_base",
    "contextual_mapping",
    "cpc_loss",
    "dinucleotide_shuffle",
    "furthest_vectors",
    "genome_like",
    "graph_figures",
    "hide",
    "kept_negatives",
    "load_weights",
    "pattern_figure",
    "reverse_complement",
    "run_on_graph",
    "run_on_tape",
    "star_graph",
    "tape_graph",
]
