"""The encoder that a config describes, alone and with scores of words.

B batch, N tokens, D width, V words.
"""

import torch
from torch import Tensor, nn

from quire.papers.bigbird.etc import ETCLayer
from quire.papers.bigbird.experiments.settings import Training
from quire.papers.bigbird.heads import WordHead, initialise
from quire.papers.bigbird.model import BigBird


class ETCEncoder(nn.Module):
    """Word embeddings and `ETCLayer`s; positions are relative alone.

    The global tokens are learned ones to which the first words of the text are added, and their
    states are those of these words: a question in front is global, as in the paper.
    """

    def __init__(self, words: int, config: Training) -> None:
        super().__init__()
        sizes, pattern = config.encoder, config.pattern
        self.word = nn.Embedding(words, sizes.dim)
        self.tokens = nn.Parameter(0.02 * torch.randn(pattern.global_blocks, sizes.dim))
        self.layers = nn.ModuleList(
            ETCLayer(
                sizes.dim,
                sizes.heads,
                hidden=4 * sizes.dim,
                block=pattern.block,
                window=pattern.window,
            )
            for _ in range(sizes.layers)
        )
        initialise(self, sizes.dim)

    def forward(self, words: Tensor) -> Tensor:
        """(B, N) int64 -> (B, N, D)."""
        x, count = self.word(words), len(self.tokens)
        tokens = self.tokens + x[:, :count]
        for layer in self.layers:
            x, tokens = layer(x, tokens)
        return torch.cat((tokens, x[:, count:]), 1)


class Tagger(nn.Module):
    """An encoder with scores of all words where one is asked for.

    Args:
        words: size of the vocabulary, V.
        length: the most tokens.
        config: its sizes and its attention.
        seed: of the run; the random blocks follow from it.
    """

    def __init__(self, words: int, length: int, config: Training, seed: int) -> None:
        super().__init__()
        self.encoder = build_encoder(words, length, config, seed)
        self.head = WordHead(self.encoder.word)

    def forward(self, words: Tensor, asked: Tensor) -> Tensor:
        """words (B, N), asked (B, N) bool -> (questions, V)."""
        return self.head(self.encoder(words)[asked])


def build_encoder(words: int, length: int, config: Training, seed: int) -> BigBird | ETCEncoder:
    """The encoder that a config describes; arguments as of `Tagger`."""
    if config.attention == "etc":
        return ETCEncoder(words, config)
    return BigBird(
        words,
        config.encoder.dim,
        layers=config.encoder.layers,
        heads=config.encoder.heads,
        length=length,
        pattern=config.pattern.build(seed) if config.attention == "sparse" else None,
        dropout=0.0,
        rotary=config.encoder.rotary,
    )
