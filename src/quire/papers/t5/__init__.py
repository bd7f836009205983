"""T5: every task as text to text, and an ablation of what transfer learning is made of.

To read it: `positions` (buckets and their bias), `layers`, `model` (sizes and architectures),
`generation` (greedy, beams, ensembles), `weights` (transformers' checkpoints), `adafactor`,
`tuning` (adapters, gradual unfreezing). Then the text: `lengths`, `masks`, `objectives`;
`vocabulary`, `store`, `packing`, `mixing`; `tasks`, `published`, `metrics`; `cleaning`, `shards`.
Last `procedural`: a language that a grammar makes, and its tasks.
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
from quire.papers.t5.lengths import Lengths, raw_length, span_counts, span_lengths
from quire.papers.t5.masks import (
    Independent,
    RandomSpans,
    everything,
    second_half,
    suffix,
)
from quire.papers.t5.objectives import (
    Follows,
    Ids,
    Objective,
    Pair,
    bert_style,
    deshuffling,
    drop_tokens,
    mass_style,
    merge,
    next_sentence,
    prefix_lm,
    random_spans,
    replace_spans,
    replaced_tokens,
    span_corruption,
)
from quire.papers.t5.vocabulary import Vocabulary
from quire.papers.t5.store import Chunks, TokenStore, tokenise, write_tokens
from quire.papers.t5.packing import Batch, encode, pack, pad
from quire.papers.t5.mixing import Mixture, mixing_rates
from quire.papers.t5.tasks import Example, Task
from quire.papers.t5.published import GLUE, TASKS, average
from quire.papers.t5.cleaning import (
    BY_LINE,
    BY_THREE_SENTENCES,
    Page,
    Repeats,
    Rules,
    clean_page,
    clean_pages,
)
from quire.papers.t5.shards import clean_files
from quire.papers.t5.procedural import Language, Words

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
    "Lengths",
    "raw_length",
    "span_counts",
    "span_lengths",
    "Independent",
    "RandomSpans",
    "everything",
    "second_half",
    "suffix",
    "Follows",
    "Ids",
    "Objective",
    "Pair",
    "bert_style",
    "deshuffling",
    "drop_tokens",
    "mass_style",
    "merge",
    "next_sentence",
    "prefix_lm",
    "random_spans",
    "replace_spans",
    "replaced_tokens",
    "span_corruption",
    "Vocabulary",
    "Chunks",
    "TokenStore",
    "tokenise",
    "write_tokens",
    "Batch",
    "encode",
    "pack",
    "pad",
    "Mixture",
    "mixing_rates",
    "Example",
    "Task",
    "GLUE",
    "TASKS",
    "average",
    "BY_LINE",
    "BY_THREE_SENTENCES",
    "Page",
    "Repeats",
    "Rules",
    "clean_page",
    "clean_pages",
    "clean_files",
    "Language",
    "Words",
]
