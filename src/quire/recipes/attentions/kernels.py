"""Every attention that Quire has: a function a name, from the layer's number to its kernel.

A function is what `LanguageModel` takes. One that joins them stands here, in the experiments' table
and among their arms; `quire evidence carry` then shows that the others' evidence holds.
"""

from torch import Tensor

from quire.nn import AttentionKernel, Mask, fit_mask, repeat_heads, softmax_attention
from quire.papers.bigbird import BigBirdAttention, BigBirdPattern
from quire.papers.hopfield import HopfieldAttention
from quire.papers.linear_transformer import LinearAttention
from quire.papers.linear_transformer import taylor as taylor_features

BLOCK = 16
"""Tokens in a block of the sparse patterns here."""


def none(layer: int) -> AttentionKernel:
    """No attention: each token has its own value. The control."""
    return OwnValue()


def softmax(layer: int) -> AttentionKernel:
    """The transformer's own."""
    return softmax_attention


def window(layer: int) -> AttentionKernel:
    """The last two to three blocks, and nothing else."""
    return BigBirdAttention(BigBirdPattern(block=BLOCK, window=3, random=0, global_blocks=0))


def bigbird(layer: int) -> AttentionKernel:
    """As `window`, and the first block, and two random ones before it, others in each layer."""
    return BigBirdAttention(
        BigBirdPattern(block=BLOCK, window=3, random=2, global_blocks=1, seed=layer)
    )


def linear(layer: int) -> AttentionKernel:
    """Linear attention with the feature map elu(x) + 1."""
    return LinearAttention()


def taylor(layer: int) -> AttentionKernel:
    """Linear attention with Based's feature map, the exponential's first three terms."""
    return LinearAttention(taylor_features)


def hopfield(layer: int) -> AttentionKernel:
    """Softmax attention whose queries are updated once before they read."""
    return HopfieldAttention(steps=1)


class OwnValue:
    """The kernel that looks at no other token: what can be predicted from each one alone.

    Its memory, for decoding, holds the latest token's value.
    """

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, mask: Mask | None = None) -> Tensor:
        fit_mask(mask, q, k)
        return repeat_heads(q, k, v)[1]

    def write(self, state: Tensor | None, k: Tensor, v: Tensor, mask: Mask | None) -> Tensor:
        """The last value of v (B, G, T, V)."""
        return v[:, :, -1:]

    def read(self, state: Tensor, q: Tensor) -> Tensor:
        """The latest value, for each query (B, H, T, V)."""
        return repeat_heads(q, state, state)[1].expand(-1, -1, q.shape[-2], -1)
