"""BigBird's models: the encoder with its heads, and the sequence-to-sequence model.

B batch, N tokens of the source, T of the target, D width, V words.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from quire.nn.attention import AttentionKernel, MultiHeadAttention, softmax_attention
from quire.nn.masks import Causal, Mask
from quire.nn.positions import LearnedPositions, Rotary
from quire.nn.transformer import Decoder, DecoderLayer, EncoderLayer, FeedForward
from quire.papers.bigbird.attention import BigBirdAttention
from quire.papers.bigbird.pattern import BigBirdPattern, check_pattern

BASE = BigBirdPattern()
"""The paper's: blocks of 64, 3 in the window, 3 random, 2 global."""

EPS = 1e-12
"""Of layer normalisation, as in BERT."""


class BigBird(nn.Module):
    """The encoder: BERT's, with attention along a pattern (section 4, appendix E.1).

    Post-norm, GELU (its tanh form); the defaults are the paper's base size.

    Args:
        words: size of the vocabulary, V.
        dim: width D.
        layers: how many.
        heads: H.
        hidden: width between the two linear layers of a layer, by default 4 D.
        length: the most tokens.
        pattern: of layer 0; layer i has the seed i further on. None is full attention.
        dropout: probability, after the embedding and each part of a layer.
        recompute: keep only the input of each layer for the backward pass and compute the layer
            again there (activation checkpointing).
        rotary: turn queries and keys by their positions in place of learned positions (beyond the
            paper); then `length` does not matter.

    Raises ValueError if there are more tokens than `length`, or the pattern does not fit them,
    TypeError for a pattern that is none.

    Example:
        >>> from quire.papers.bigbird import BigBird, BigBirdPattern
        >>> model = BigBird(20, dim=16, layers=2, heads=2, length=64,
        ...                 pattern=BigBirdPattern(block=4, random=1))
        >>> model(torch.randint(20, (3, 50))).shape
        torch.Size([3, 50, 16])
    """

    def __init__(
        self,
        words: int = 50_358,
        dim: int = 768,
        *,
        layers: int = 12,
        heads: int = 12,
        hidden: int | None = None,
        length: int = 4096,
        pattern: BigBirdPattern | None = BASE,
        dropout: float = 0.0,
        recompute: bool = False,
        rotary: bool = False,
    ) -> None:
        super().__init__()
        if pattern is not None:
            check_pattern(pattern)
        self.word = nn.Embedding(words, dim)
        self.position = nn.Identity() if rotary else LearnedPositions(length, dim)
        self.segment = nn.Embedding(2, dim)
        self.norm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)
        self.recompute = recompute
        stack = [
            encoder_layer(dim, heads, hidden or 4 * dim, kernel, dropout)
            for kernel in layer_kernels(pattern, layers)
        ]
        for layer in stack if rotary else ():
            layer.attention.positions = Rotary(dim // heads)
        self.layers = nn.ModuleList(stack)
        initialise(self, dim)

    def forward(
        self, words: Tensor, mask: Mask | None = None, segments: Tensor | None = None
    ) -> Tensor:
        """words (B, N) int64 -> (B, N, D). segments: token types (B, N), 0 or 1."""
        kinds = self.segment.weight[0] if segments is None else self.segment(segments)
        x = self.norm(self.dropout(self.position(self.word(words) + kinds)))
        for layer in self.layers:
            if self.recompute and torch.is_grad_enabled():
                x = checkpoint(layer, x, mask, use_reentrant=False)
            else:
                x = layer(x, mask)
        return x


def layer_kernels(pattern: BigBirdPattern | None, layers: int) -> Iterator[AttentionKernel]:
    """One for each layer: layer i draws its random blocks from the pattern's seed + i."""
    for layer in range(layers):
        if pattern is None:
            yield softmax_attention
        else:
            yield BigBirdAttention(replace(pattern, seed=pattern.seed + layer))


def encoder_layer(
    dim: int, heads: int, hidden: int, kernel: AttentionKernel, dropout: float
) -> EncoderLayer:
    """A post-norm layer of the encoder.

    Args:
        dim: width D.
        heads: H.
        hidden: width between the two linear layers.
        kernel: its attention.
        dropout: probability, after each part.
    """
    return EncoderLayer(
        dim,
        MultiHeadAttention(dim, heads, kernel=kernel, bias=True),
        feed_forward=feed_forward(dim, hidden),
        norm="post",
        dropout=dropout,
    )


def feed_forward(dim: int, hidden: int) -> FeedForward:
    """Two linear layers with the tanh form of GELU between."""
    return FeedForward(dim, hidden, activation=partial(nn.GELU, approximate="tanh"))


def initialise(module: nn.Module, dim: int) -> None:
    """BERT's: weights from a normal distribution cut at two deviations, biases 0, its norms.

    The deviation is 0.02 at the base size. At other widths D it is in proportion to 1 / sqrt(D),
    so that a small model begins with scores and states as large as those of the base size.
    """
    deviation = 0.02 * (768 / dim) ** 0.5
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Embedding):
            nn.init.trunc_normal_(part.weight, std=deviation, a=-2 * deviation, b=2 * deviation)
        if isinstance(part, nn.Linear) and part.bias is not None:
            nn.init.zeros_(part.bias)
        if isinstance(part, nn.LayerNorm):
            part.eps = EPS


class Pooler(nn.Sequential):
    """The first token's state through a linear layer and tanh: (B, N, D) -> (B, D).

    Example:
        >>> from quire.papers.bigbird import Pooler
        >>> Pooler(8)(torch.randn(2, 5, 8)).shape
        torch.Size([2, 8])
    """

    def __init__(self, dim: int) -> None:
        super().__init__(nn.Linear(dim, dim), nn.Tanh())
        initialise(self, dim)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x[:, 0])


class WordHead(nn.Module):
    """Scores of all words at each place, for masked language modelling.

    A linear layer, GELU and normalisation, then the embedding's own matrix and a bias. embedding:
    the encoder's `word`, shared; TypeError for anything but an `nn.Embedding`.

    Example:
        >>> from torch import nn
        >>> from quire.papers.bigbird import WordHead
        >>> WordHead(nn.Embedding(20, 8))(torch.randn(2, 5, 8)).shape
        torch.Size([2, 5, 20])
    """

    def __init__(self, embedding: nn.Embedding) -> None:
        super().__init__()
        if not isinstance(embedding, nn.Embedding):
            raise TypeError(
                f"embedding must be an nn.Embedding, such as the encoder's `word`; "
                f"got {type(embedding).__name__}"
            )
        words, dim = embedding.weight.shape
        self.embedding = embedding
        self.dense = nn.Linear(dim, dim)
        self.activation = nn.GELU(approximate="tanh")
        self.norm = nn.LayerNorm(dim)
        self.bias = nn.Parameter(torch.zeros(words))
        initialise(self.dense, dim)
        initialise(self.norm, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., V)."""
        x = self.norm(self.activation(self.dense(x)))
        return nn.functional.linear(x, self.embedding.weight, self.bias)


class SpanHead(nn.Module):
    """The answer's first and last token (section 4; extractive question answering).

    `forward` gives the scores of both (B, N, 2), `best` the span with the largest sum.

    Example:
        >>> from quire.papers.bigbird import SpanHead
        >>> head = SpanHead(8)
        >>> head(torch.randn(2, 5, 8)).shape
        torch.Size([2, 5, 2])
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.score = nn.Linear(dim, 2)
        initialise(self, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, 2)."""
        return self.score(x)

    @staticmethod
    def best(scores: Tensor, longest: int = 30) -> Tensor:
        """The span first <= last, at most `longest` tokens: (B, 2) int64 from scores (B, N, 2).

        O(N longest). The paper's limits: 30 (HotpotQA), 38 (Natural Questions), 16 (TriviaQA).
        """
        first, last = scores.unbind(-1)
        length = first.shape[1]
        # ends[b, i, m] is the score of a last token m places after i, out of reach behind the text.
        ends = torch.stack(
            [
                nn.functional.pad(last[:, more:], (0, more), value=-torch.inf)
                for more in range(min(longest, length))
            ],
            -1,
        )
        flat = (first[..., None] + ends).flatten(1).argmax(1)
        begin = flat // ends.shape[-1]
        return torch.stack((begin, begin + flat % ends.shape[-1]), 1)


class BigBirdSeq2Seq(nn.Module):
    """A sparse encoder and a full, causal decoder (section 4.1, summarisation).

    encoder: a `BigBird`; the decoder has its size and shares its embeddings. shared: the decoder's
    self-attention and feed-forward layers are the encoder's own (as at the paper's base size);
    attention to the source is new. length: the most tokens of the target.

    Raises ValueError if there are more tokens than the two lengths, TypeError for another encoder.

    Example:
        >>> from quire.papers.bigbird import BigBird, BigBirdPattern, BigBirdSeq2Seq
        >>> encoder = BigBird(20, dim=16, layers=2, heads=2, length=64,
        ...                   pattern=BigBirdPattern(block=4, random=1))
        >>> model = BigBirdSeq2Seq(encoder, length=16)
        >>> model(torch.randint(20, (3, 50)), torch.randint(20, (3, 7))).shape
        torch.Size([3, 7, 20])
    """

    def __init__(self, encoder: BigBird, *, length: int = 256, shared: bool = True) -> None:
        super().__init__()
        if not isinstance(encoder, BigBird):
            raise TypeError(f"encoder must be a BigBird, got {type(encoder).__name__}")
        self.encoder = encoder
        dim = encoder.word.embedding_dim
        self.position = LearnedPositions(length, dim)
        self.norm = nn.LayerNorm(dim)
        self.bias = nn.Parameter(torch.zeros(encoder.word.num_embeddings))
        self.decoder = Decoder([_decoder_layer(layer, dim, shared) for layer in encoder.layers])
        initialise(self.norm, dim)

    def forward(self, source: Tensor, target: Tensor, mask: Mask | None = None) -> Tensor:
        """source (B, N), target (B, T) -> scores of the next words (B, T, V).

        mask: of the source, e.g. `Padding`.
        """
        memory = self.encoder(source, mask)
        x = self.norm(self.position(self.encoder.word(target)))
        return self._scores(self.decoder(x, memory, Causal(), mask))

    @torch.no_grad()
    def greedy(self, source: Tensor, begin: int, *, steps: int, mask: Mask | None = None) -> Tensor:
        """The likeliest next word again and again: (B, steps) int64.

        Args:
            source: (B, N) int64.
            begin: the word that the target begins with; it is not given back.
            steps: how many words.
            mask: of the source.
        """
        state = self.decoder.begin(self.encoder(source, mask), mask)
        word = source.new_full((len(source), 1), begin)
        words = []
        for step in range(steps):
            x = self.norm(self.position(self.encoder.word(word), 0, step))
            x, state = self.decoder.extend(x, state)
            word = self._scores(x).argmax(-1)
            words.append(word)
        return torch.cat(words, 1)

    def _scores(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.encoder.word.weight, self.bias)


def _decoder_layer(layer: nn.Module, dim: int, shared: bool) -> DecoderLayer:
    assert isinstance(layer, EncoderLayer)
    attention = layer.attention
    assert isinstance(layer.feed_forward, FeedForward)
    linear = layer.feed_forward[0]
    assert isinstance(linear, nn.Linear)
    own, cross = (MultiHeadAttention(dim, attention.heads, bias=True) for _ in range(2))
    new = DecoderLayer(
        dim,
        own,
        cross_attention=cross,
        feed_forward=feed_forward(dim, linear.out_features),
        norm="post",
    )
    initialise(new, dim)
    if shared:
        new.feed_forward = layer.feed_forward
        for part in ("query", "key", "value", "output"):
            setattr(own, part, getattr(attention, part))
    return new


NAMES = (
    ("embeddings.word_embeddings", "word"),
    ("embeddings.position_embeddings.weight", "position.weight"),
    ("embeddings.token_type_embeddings", "segment"),
    ("embeddings.LayerNorm", "norm"),
    ("encoder.layer.", "layers."),
    ("attention.self.", "attention."),
    ("attention.output.dense", "attention.output"),
    ("attention.output.LayerNorm", "attention_residual.norm"),
    ("intermediate.dense", "feed_forward.0"),
    ("output.dense", "feed_forward.3"),
    ("output.LayerNorm", "feed_forward_residual.norm"),
)
"""Pieces of transformers' names of `BigBirdModel`, and ours."""


def load_weights(model: BigBird, state: Mapping[str, Tensor]) -> BigBird:
    """Weights under transformers' names (`BigBirdModel`, or a model that holds it as `bert.`).

    Tensors of the pooler and of heads are left out. Returns the model. Raises ValueError naming the
    first tensor that is missing, unknown or of another shape; nothing is loaded then. TypeError for
    a state that is no mapping, such as the name of a file.
    """
    if not isinstance(state, Mapping):
        raise TypeError(
            "state must map names to tensors, as torch.load(path, weights_only=True) or "
            f"safetensors.torch.load_file(path) give it; got {state!r:.80}"
        )
    own = model.state_dict()
    found = {}
    for name, value in state.items():
        name = name.removeprefix("bert.")
        if not name.startswith(("embeddings.", "encoder.")) or name.endswith("_ids"):
            continue
        ours = name
        for theirs, mine in NAMES:
            ours = ours.replace(theirs, mine)
        if ours not in own or own[ours].shape != value.shape:
            raise ValueError(
                f"{name} {tuple(value.shape)} does not fit: expected "
                f"{tuple(own[ours].shape) if ours in own else 'no such tensor'}"
            )
        found[ours] = value
    missing = sorted(own.keys() - found.keys())
    if missing:
        raise ValueError(f"the weights lack {missing[0]} and {len(missing) - 1} more")
    model.load_state_dict(found)
    return model
