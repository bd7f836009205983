"""BigBird: attention along random, window and global blocks, linear in the length.

To read it: `pattern` (who attends to whom; `plans` holds other libraries'), `attention` (how that
is computed without a matrix of all pairs; `flex` on a GPU), `kernel` (as a part of a
transformer, with decoding), `model`, `heads`, `seq2seq`, `etc` (the variant with global tokens of
its own) and `theory`.
"""

# isort: off
from quire.papers.bigbird.pattern import BigBirdMask, BigBirdPattern
from quire.papers.bigbird.attention import bigbird_attention
from quire.papers.bigbird.kernel import BigBirdAttention
from quire.papers.bigbird.model import BigBird, from_transformers, load_weights
from quire.papers.bigbird.heads import (
    CandidateHead,
    ClassHead,
    ConditionalSpanHead,
    Pooler,
    SpanHead,
    WordHead,
)
from quire.papers.bigbird.seq2seq import BigBirdSeq2Seq
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
    "CandidateHead",
    "ClassHead",
    "ConditionalSpanHead",
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
    "from_transformers",
    "load_weights",
    "measure_graph",
    "run_on_graph",
    "run_on_tape",
    "star_graph",
    "tape_graph",
]
