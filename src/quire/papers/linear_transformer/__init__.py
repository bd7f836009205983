"""Transformers are RNNs: linear attention in parallel, chunked and recurrent form."""

from quire.papers.linear_transformer.attention import (
    FeatureMap,
    LinearAttention,
    LinearState,
    linear_attention,
    naive_linear_attention,
    recurrent_step,
)
from quire.papers.linear_transformer.causal import causal_attention
from quire.papers.linear_transformer.features import (
    CosineReweighting,
    Favor,
    Hedgehog,
    elu_plus_one,
    identity,
    polynomial,
    squared_relu,
    taylor,
)
from quire.papers.linear_transformer.models import (
    SequenceModel,
    SpeechModel,
    best_path,
    build_encoder,
    edit_distance,
    generate,
    recomputing_extend,
    recurrent_extend,
)
from quire.papers.linear_transformer.recurrent import Recurrent

__all__ = [
    "CosineReweighting",
    "Favor",
    "FeatureMap",
    "Hedgehog",
    "LinearAttention",
    "LinearState",
    "Recurrent",
    "SequenceModel",
    "SpeechModel",
    "best_path",
    "build_encoder",
    "causal_attention",
    "edit_distance",
    "elu_plus_one",
    "generate",
    "identity",
    "linear_attention",
    "naive_linear_attention",
    "polynomial",
    "recomputing_extend",
    "recurrent_extend",
    "recurrent_step",
    "squared_relu",
    "taylor",
]
