"""Parts that two or more papers share: attention, masks, positions, transformers, residual nets."""

from quire.nn.attention import (
    AttentionKernel,
    MultiHeadAttention,
    naive_softmax_attention,
    repeat_heads,
    softmax_attention,
)
from quire.nn.decoding import Cache, KeyValueCache, Memory, clone, memory_of, select
from quire.nn.masks import Causal, Global, Mask, Padding, Window, conjuncts, fit_mask
from quire.nn.positions import (
    CoordinatePositions,
    LearnedPositions,
    Rotary,
    SinusoidalPositions,
    sinusoidal,
)
from quire.nn.residual import BasicBlock, Bottleneck, Conv, Shortcut
from quire.nn.transformer import (
    Decoded,
    Decoder,
    DecoderLayer,
    Encoder,
    EncoderDecoder,
    EncoderLayer,
    FeedForward,
    GatedFeedForward,
)

__all__ = [
    "AttentionKernel",
    "BasicBlock",
    "Bottleneck",
    "Cache",
    "Causal",
    "Conv",
    "CoordinatePositions",
    "Decoded",
    "Decoder",
    "DecoderLayer",
    "Encoder",
    "EncoderDecoder",
    "EncoderLayer",
    "FeedForward",
    "GatedFeedForward",
    "Global",
    "KeyValueCache",
    "LearnedPositions",
    "Mask",
    "Memory",
    "MultiHeadAttention",
    "Padding",
    "Rotary",
    "Shortcut",
    "SinusoidalPositions",
    "Window",
    "clone",
    "conjuncts",
    "fit_mask",
    "memory_of",
    "naive_softmax_attention",
    "repeat_heads",
    "select",
    "sinusoidal",
    "softmax_attention",
]
