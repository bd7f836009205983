"""A byte-level language model that takes its attention as a value.

B batch, T tokens, D width, V vocabulary.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from quire.nn import (
    AttentionKernel,
    Causal,
    Decoded,
    Encoder,
    EncoderLayer,
    FeedForward,
    MultiHeadAttention,
    Padding,
    Rotary,
)
from quire.papers.linear_transformer import generate

KernelOfLayer = Callable[[int], AttentionKernel]
"""Number of the layer -> its kernel: random patterns differ from layer to layer."""


class LanguageModel(nn.Module):
    """Pre-norm transformer decoder without a memory: each token predicts the next.

    Positions are rotary, of queries and keys, whatever the kernel does with them.

    Args:
        dim: Width D.
        heads: Attention heads; D must be a multiple.
        layers: Layers.
        kernel: Gives each layer's attention kernel, which must heed `Causal`.
        feed_forward: Makes each layer's feed-forward part from D.
        vocabulary: V.

    Example:
        >>> import torch
        >>> from quire.recipes.attentions import LanguageModel, kernels
        >>> model = LanguageModel(16, heads=2, layers=2, kernel=kernels.softmax)
        >>> model(torch.randint(256, (3, 10))).shape
        torch.Size([3, 10, 256])
    """

    def __init__(
        self,
        dim: int,
        *,
        heads: int,
        layers: int,
        kernel: KernelOfLayer,
        feed_forward: Callable[[int], nn.Module] = lambda dim: FeedForward(
            dim, 4 * dim, activation=nn.GELU
        ),
        vocabulary: int = 256,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, dim)
        nn.init.normal_(self.embedding.weight, std=0.02)
        self.stack = Encoder(
            [
                EncoderLayer(
                    dim,
                    MultiHeadAttention(
                        dim, heads, kernel=kernel(layer), positions=Rotary(dim // heads)
                    ),
                    feed_forward=feed_forward(dim),
                )
                for layer in range(layers)
            ],
            final_norm=nn.LayerNorm(dim),
        )
        self.output = nn.Linear(dim, vocabulary, bias=False)

    def forward(self, token: Tensor, mask: Padding | None = None) -> Tensor:
        """token (B, T) int64 -> scores of the next one (B, T, V). mask: hides padding."""
        allowed = Causal() if mask is None else Causal() & mask
        scores: Tensor = self.output(self.stack(self.embedding(token), allowed))
        return scores

    def extend(self, token: Tensor, state: Decoded | None = None) -> tuple[Tensor, Decoded]:
        """A prompt (B, T), then one token (B, 1) a call: scores of the next ones, and the state."""
        x, state = self.stack.extend(self.embedding(token), state)
        return self.output(x), state

    def generate(
        self, prompt: Tensor, count: int, *, generator: torch.Generator, temperature: float = 1.0
    ) -> Tensor:
        """Draws tokens after a prompt: (B, count).

        Args:
            prompt: Tokens (B, T).
            count: How many are drawn.
            generator: Where the randomness comes from; on any device.
            temperature: What the scores are divided with.

        Raises ValueError if temperature <= 0.
        """
        if temperature <= 0:
            raise ValueError(f"temperature must be above 0, got {temperature}")

        def draw(scores: Tensor) -> Tensor:
            chances = (scores.float() / temperature).softmax(-1).to(generator.device)
            return torch.multinomial(chances, 1, generator=generator)[:, 0].to(prompt.device)

        return generate(self.extend, prompt, count, draw)[:, prompt.shape[1] :]
