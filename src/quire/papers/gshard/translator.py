"""The paper's Transformer: an encoder and a decoder in which every other feed-forward part is a
mixture of experts (section 2, figure 3).

B batch, S source tokens, T target tokens, V vocabulary, D width.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from quire.nn import (
    Causal,
    Decoder,
    DecoderLayer,
    Encoder,
    EncoderDecoder,
    EncoderLayer,
    MultiHeadAttention,
    Padding,
    SinusoidalPositions,
)
from quire.papers.gshard.mixture import tell


class Translator(nn.Module):
    """Source and target tokens to the target's next tokens; one table for both and the output.

    Args:
        vocabulary: V, padding included.
        dim: D, even.
        heads: Of every attention.
        parts: Feed-forward parts of the encoder's layers, made in order, then of the decoder's:
            called with the number of the layer within its stack.
        layers: Of the encoder, and of the decoder.
        padding: The token that does not count. It also begins a target.
        dropout: Probability for each element of a part's output.

    Example:
        >>> import torch
        >>> from quire.papers.gshard import Translator, every_other
        >>> part = every_other(16, hidden=32, experts=4, expert_hidden=16)
        >>> model = Translator(20, 16, heads=2, parts=part, layers=2)
        >>> model(torch.randint(1, 20, (3, 7)), torch.randint(1, 20, (3, 5))).shape
        torch.Size([3, 5, 20])
    """

    def __init__(
        self,
        vocabulary: int,
        dim: int,
        *,
        heads: int,
        parts: Callable[[int], nn.Module],
        layers: int,
        padding: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.padding = padding
        self.scale = dim**0.5
        self.table = nn.Embedding(vocabulary, dim)
        nn.init.normal_(self.table.weight, std=dim**-0.5)
        encoder = [
            EncoderLayer(
                dim, MultiHeadAttention(dim, heads), feed_forward=parts(layer), dropout=dropout
            )
            for layer in range(layers)
        ]
        decoder = [
            DecoderLayer(
                dim, MultiHeadAttention(dim, heads), cross_attention=MultiHeadAttention(dim, heads),
                feed_forward=parts(layer), dropout=dropout,
            )
            for layer in range(layers)
        ]  # fmt: skip
        self.model = EncoderDecoder(
            Encoder(encoder, positions=SinusoidalPositions(dim), final_norm=nn.LayerNorm(dim)),
            Decoder(decoder, positions=SinusoidalPositions(dim), final_norm=nn.LayerNorm(dim)),
        )

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """source int64 (B, S), target int64 (B, T) -> logits (B, T, V) of the tokens of target.

        The decoder reads the target one place later, after a padding token.
        """
        counted = source != self.padding
        # A source of nothing but padding would leave attention without a key.
        seen = Padding(counted | (torch.arange(source.shape[1], device=source.device) == 0))
        begun = F.pad(target[:, :-1], (1, 0), value=self.padding)
        with tell(self.model.encoder, counted=counted):
            memory = self.model.encoder(self.scale * self.table(source), seen)
        with tell(self.model.decoder, counted=target != self.padding):
            y = self.model.decoder(self.scale * self.table(begun), memory, Causal(), seen)
        return F.linear(y, self.table.weight)

    @torch.no_grad()
    def translate(self, source: Tensor, length: int) -> Tensor:
        """The likeliest token at each place: int64 (B, S) -> (B, length), padding after an end.

        The whole target is read anew for each token, so that a group stays what it was in training.
        """
        target = torch.full((len(source), length), self.padding, device=source.device)
        ended = torch.zeros(len(source), dtype=torch.bool, device=source.device)
        for place in range(length):
            # What comes after is not seen, but must count as a token of its group.
            draft = target[:, : place + 1].clone()
            draft[:, place] = self.padding + 1
            token = self(source, draft)[:, place].argmax(-1)
            target[:, place] = token.masked_fill(ended, self.padding)
            ended |= token == self.padding
        return target


def every_other(
    dim: int, *, hidden: int, experts: int, expert_hidden: int, **options: object
) -> Callable[[int], nn.Module]:
    """Parts for `Translator`: dense ones in layers 0, 2, … and mixtures in layers 1, 3, ….

    Args:
        dim: D.
        hidden: Hidden width of dense parts, without biases.
        experts: E; 0 makes all parts dense.
        expert_hidden: Hidden width of an expert.
        options: Of `MixtureOfExperts`.
    """
    from quire.papers.gshard.mixture import MixtureOfExperts

    def make(layer: int) -> nn.Module:
        if layer % 2 and experts:
            return MixtureOfExperts(dim, expert_hidden, experts, **options)  # type: ignore[arg-type]
        width = expert_hidden if layer % 2 else hidden
        return nn.Sequential(
            nn.Linear(dim, width, bias=False), nn.ReLU(), nn.Linear(width, dim, bias=False)
        )

    return make
