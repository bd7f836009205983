"""Transformers are RNNs: linear attention in parallel, chunked and recurrent form."""

from quire.papers.linear_transformer.attention import (
    LinearAttention,
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
    choose_token,
    edit_distance,
    generate,
    recomputing_extend,
    recurrent_extend,
)
from quire.papers.linear_transformer.recurrent import Recurrent
from quire.papers.linear_transformer.state import FeatureMap, LinearState, ScaledState, Sums

__all__ = [
    "CosineReweighting",
    "Favor",
    "FeatureMap",
    "Hedgehog",
    "LinearAttention",
    "LinearState",
    "Recurrent",
    "ScaledState",
    "SequenceModel",
    "SpeechModel",
    "Sums",
    "best_path",
    "build_encoder",
    "causal_attention",
    "choose_token",
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
