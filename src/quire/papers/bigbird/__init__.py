"""BigBird: attention along random, window and global blocks, linear in the length.

To read it: `pattern` (who attends to whom), `attention` (how that is computed without a matrix of
all pairs), `model`, `etc` (the variant with global tokens of its own) and `theory`.
"""

# isort: off
from quire.papers.bigbird.pattern import BigBirdMask, BigBirdPattern
from quire.papers.bigbird.attention import BigBirdAttention, bigbird_attention
from quire.papers.bigbird.model import (
    BigBird,
    BigBirdSeq2Seq,
    Pooler,
    SpanHead,
    WordHead,
    load_weights,
)
from quire.papers.bigbird.etc import ETCAttention, ETCLayer, cpc_loss
from quire.papers.bigbird.theory import (
    GraphMeasures,
    contextual_mapping,
    find_furthest_vectors,
    measure_graph,
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
    "ETCAttention",
    "ETCLayer",
    "GraphMeasures",
    "Pooler",
    "SpanHead",
    "WordHead",
    "bigbird_attention",
    "contextual_mapping",
    "cpc_loss",
    "find_furthest_vectors",
    "load_weights",
    "measure_graph",
    "run_on_graph",
    "run_on_tape",
    "star_graph",
    "tape_graph",
]
