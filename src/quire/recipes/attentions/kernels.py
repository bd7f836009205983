"""Every attention that Quire has, as values that a transformer takes.

A kernel that joins this table is trained in the recipe's experiments and walked by its tests.
"""

from torch import Tensor

from quire.nn import AttentionKernel, Mask, softmax_attention
from quire.papers.bigbird import BigBirdAttention, BigBirdPattern
from quire.papers.hopfield import HopfieldAttention
from quire.papers.linear_transformer import LinearAttention, taylor
from quire.recipes.attentions.model import KernelOfLayer

BLOCK = 16
"""Tokens in a block of the sparse patterns here."""


def own_value(q: Tensor, k: Tensor, v: Tensor, mask: Mask | None = None) -> Tensor:
    """No attention: each token has its own value. The control: what tokens alone can predict."""
    return v


class OwnValue:
    """`own_value` with a memory that holds the latest token's value, for decoding."""

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, mask: Mask | None = None) -> Tensor:
        return own_value(q, k, v, mask)

    def write(self, state: Tensor | None, k: Tensor, v: Tensor, mask: Mask | None) -> Tensor:
        """The last value of v (B, H, T, K)."""
        return v[:, :, -1:]

    def read(self, state: Tensor, q: Tensor) -> Tensor:
        """The latest value (B, H, 1, K)."""
        return state


def window(layer: int) -> AttentionKernel:
    """The last two to three blocks, and nothing else."""
    return BigBirdAttention(BigBirdPattern(block=BLOCK, window=3, random=0, global_blocks=0))


def bigbird(layer: int) -> AttentionKernel:
    """As `window`, and the first block, and two random ones before it."""
    return BigBirdAttention(
        BigBirdPattern(block=BLOCK, window=3, random=2, global_blocks=1, seed=layer)
    )


KERNELS: dict[str, KernelOfLayer] = {
    "none": lambda layer: OwnValue(),
    "softmax": lambda layer: softmax_attention,
    "window": window,
    "bigbird": bigbird,
    "linear": lambda layer: LinearAttention(),
    "taylor": lambda layer: LinearAttention(taylor),
    "hopfield": lambda layer: HopfieldAttention(steps=1),
}
"""Name -> kernel of a layer. `linear` has the feature map elu(x) + 1, `taylor` that of Based;
`hopfield` is softmax attention whose queries are updated once before they read."""
