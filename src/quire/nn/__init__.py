"""Parts that two or more papers share: attention, masks, positions, transformers, residual nets."""

from quire.nn.attention import (
    AttentionKernel,
    MultiHeadAttention,
    naive_softmax_attention,
    softmax_attention,
)
from quire.nn.masks import Causal, Global, Mask, Padding, Window
from quire.nn.positions import (
    CoordinatePositions,
    LearnedPositions,
    Rotary,
    SinusoidalPositions,
    sinusoidal,
)
from quire.nn.residual import BasicBlock, Bottleneck, Conv, Shortcut
from quire.nn.transformer import (
    Decoder,
    DecoderLayer,
    Encoder,
    EncoderDecoder,
    EncoderLayer,
    FeedForward,
)

__all__ = [
    "AttentionKernel",
    "BasicBlock",
    "Bottleneck",
    "Causal",
    "Conv",
    "CoordinatePositions",
    "Decoder",
    "DecoderLayer",
    "Encoder",
    "EncoderDecoder",
    "EncoderLayer",
    "FeedForward",
    "Global",
    "LearnedPositions",
    "Mask",
    "MultiHeadAttention",
    "Padding",
    "Rotary",
    "Shortcut",
    "SinusoidalPositions",
    "Window",
    "naive_softmax_attention",
    "sinusoidal",
    "softmax_attention",
]
