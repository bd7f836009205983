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
from quire.papers.linear_transformer.lsh import LSHAttention
from quire.papers.linear_transformer.mixture import mixture_log_probability, sample_mixture
from quire.papers.linear_transformer.models import (
    SequenceModel,
    SpeechModel,
    best_path,
    edit_distance,
    encoder,
    generate,
    recomputing,
    recurrent,
)
from quire.papers.linear_transformer.recurrent import Recurrent

__all__ = [
    "CosineReweighting",
    "Favor",
    "FeatureMap",
    "Hedgehog",
    "LSHAttention",
    "LinearAttention",
    "LinearState",
    "Recurrent",
    "SequenceModel",
    "SpeechModel",
    "best_path",
    "causal_attention",
    "edit_distance",
    "elu_plus_one",
    "encoder",
    "generate",
    "identity",
    "linear_attention",
    "mixture_log_probability",
    "naive_linear_attention",
    "polynomial",
    "recomputing",
    "recurrent",
    "recurrent_step",
    "sample_mixture",
    "squared_relu",
    "taylor",
]
