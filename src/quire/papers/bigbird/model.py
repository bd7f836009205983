"""BigBird's encoder, and the weights of transformers.

B batch, N tokens, D width, V words.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from quire.nn.attention import AttentionKernel, MultiHeadAttention, softmax_attention
from quire.nn.masks import Mask
from quire.nn.positions import LearnedPositions, Rotary
from quire.nn.transformer import EncoderLayer, FeedForward
from quire.papers.bigbird.heads import initialise
from quire.papers.bigbird.kernel import BigBirdAttention
from quire.papers.bigbird.pattern import BigBirdPattern, check_pattern

BASE = BigBirdPattern()
"""The paper's: blocks of 64, 3 in the window, 3 random, 2 global."""


class BigBird(nn.Module):
    """The encoder: BERT's, with attention along a pattern (section 4, appendix E.1).

    Post-norm, GELU (its tanh form); the defaults are the paper's base size. The state dict holds
    each layer's pattern: loaded weights bring theirs.

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

    Raises ValueError if there are more tokens than `length`, or the pattern's `drawn` does not fit
    them, TypeError for a pattern that is none.

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
        dropout: float = 0.1,
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


TRANSFORMERS = {
    "hidden_act": "gelu_new",
    "layer_norm_eps": 1e-12,
    "rescale_embeddings": False,
    "type_vocab_size": 2,
    "use_bias": True,
    "is_decoder": False,
}
"""Settings of transformers' `BigBirdConfig` that this encoder has one form of."""


def load_weights(model: BigBird, state: Mapping[str, Tensor]) -> BigBird:
    """Weights under transformers' names (`BigBirdModel`, or a model that holds it as `bert.`).

    Tensors of the pooler and of heads are left out. Random blocks are not among these weights: see
    `from_transformers`. Returns the model. Raises ValueError naming the first tensor that is
    missing, unknown or of another shape; nothing is loaded then. TypeError for a state that is no
    mapping, such as the name of a file.
    """
    if not isinstance(state, Mapping):
        raise TypeError(
            "state must map names to tensors, as torch.load(path, weights_only=True) or "
            f"safetensors.torch.load_file(path) give it; got {state!r:.80}"
        )
    own = {name: t for name, t in model.state_dict().items() if ".kernel." not in name}
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


def from_transformers(
    config: Mapping[str, Any], state: Mapping[str, Tensor], *, evaluation: bool = False
) -> BigBird:
    """The encoder of a checkpoint of transformers' BigBird, with the random blocks it has there.

    Args:
        config: of the checkpoint, as in its `config.json` or of `model.config.to_dict()`.
        state: its weights, as for `load_weights`.
        evaluation: attend as transformers does in evaluation, where every random block is block 0
            and counts again; else as it does in training, as the weights were trained.

    Where `attention_type` is "original_full" attention is full. Raises ValueError for a config that
    this encoder has no form of, and as `load_weights`.

    Example:
        >>> from quire.papers.bigbird import from_transformers
        >>> from_transformers({"hidden_act": "relu"}, {})
        Traceback (most recent call last):
        ValueError: hidden_act must be 'gelu_new', got 'relu'
    """
    for name, needed in TRANSFORMERS.items():
        if config.get(name, needed) != needed:
            raise ValueError(f"{name} must be {needed!r}, got {config[name]!r}")
    length = config.get("max_position_embeddings", 4096)
    pattern = BigBirdPattern(
        config.get("block_size", 64),
        random=config.get("num_random_blocks", 3),
        rule="transformers_evaluation" if evaluation else "transformers",
        positions=length,
    )
    model = BigBird(
        config.get("vocab_size", 50_358),
        config.get("hidden_size", 768),
        layers=config.get("num_hidden_layers", 12),
        heads=config.get("num_attention_heads", 12),
        hidden=config.get("intermediate_size", 3072),
        length=length,
        pattern=pattern if config.get("attention_type", "block_sparse") == "block_sparse" else None,
        dropout=config.get("hidden_dropout_prob", 0.1),
    )
    return load_weights(model, state)
