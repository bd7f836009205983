"""A language model whose blocks can be marked: the paper's section 3.4.

B texts, T tokens, V kinds of tokens, D width.
"""

from torch import Tensor, nn

from quire.nn import (
    Causal,
    Encoder,
    EncoderLayer,
    FeedForward,
    MultiHeadAttention,
    SinusoidalPositions,
)


class LanguageModel(nn.Module):
    """A causal Transformer as in the paper: post-norm, ReLU, sinusoids, embeddings not tied.

    Mark it with `macro` or `micro` and take the error at `source="encoder"`, in front of the
    vocabulary, whose matrix then learns by back-propagation and is used once; or at the logits,
    where nothing is transported. Marking "entry" cuts the embeddings off too.

    Args:
        vocabulary: V.
        dim: D, even.
        layers: Blocks.
        heads: Which divide D.
        hidden: Width of a block's hidden layer; by default 4 D.
        dropout: Probability for each element of a part's output.

    Example:
        >>> import torch
        >>> from quire.papers.dfa import DirectFeedback, LanguageModel, macro
        >>> net = LanguageModel(11, dim=8, layers=2, heads=2)
        >>> model = DirectFeedback(net, macro(net), source="encoder")
        >>> model(torch.randint(11, (3, 5))).shape
        torch.Size([3, 5, 11])
    """

    def __init__(
        self,
        vocabulary: int,
        *,
        dim: int = 512,
        layers: int = 6,
        heads: int = 8,
        hidden: int | None = None,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.dim = dim
        self.embedding = nn.Embedding(vocabulary, dim)
        self.entry = nn.Identity()
        self.positions = SinusoidalPositions(dim)
        self.dropout = nn.Dropout(dropout)
        self.encoder = Encoder(
            [
                EncoderLayer(
                    dim,
                    MultiHeadAttention(dim, heads, bias=True),
                    feed_forward=FeedForward(dim, hidden or 4 * dim, dropout=dropout),
                    norm="post",
                    dropout=dropout,
                )
                for _ in range(layers)
            ]
        )
        self.decoder = nn.Linear(dim, vocabulary)
        for weight in (self.embedding.weight, self.decoder.weight):
            nn.init.uniform_(weight, -0.1, 0.1)
        nn.init.zeros_(self.decoder.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (B, T) -> logits (B, T, V) of the next ones."""
        entry = self.entry(self.embedding(x) * self.dim**0.5)
        h = self.encoder(self.dropout(self.positions(entry)), Causal())
        logits: Tensor = self.decoder(h)
        return logits
