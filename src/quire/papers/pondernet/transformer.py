"""Pondering transformers: one encoder layer as the step, and embeddings of three kinds of input.

B examples, T tokens, D width, F features, S sentences, W words. Token 0 carries the question (or
the class) and is where answers are read.
"""

from typing import Any

import torch
from torch import Tensor, nn

from quire.nn import EncoderLayer, FeedForward, MultiHeadAttention, Padding, sinusoidal
from quire.papers.pondernet.ponder import Tree
from quire.papers.pondernet.stopping import CERTAIN

Tokens = tuple[Tensor, Tensor | None]
"""Embedded input: tokens (B, T, D); and a mask (B, T), False at padding, where there is some."""


class TransformerStep(nn.Module):
    """One layer of a Universal Transformer, repeated: the whole sequence is processed once a step.

    Before each step the state is marked with a sinusoidal code of the step number (Dehghani et al.
    2019).

    Args:
        embed: Module x -> `Tokens`, run once.
        layer: An `EncoderLayer`, or any module (h, mask) -> h with h of shape (B, T, D).
        dim: D.
        outputs: Number of classes.
        token_wise: Predict and halt at every token instead of token 0; padding halts at once.
        dropout: Share of units of the layer's update that is dropped; one mask for all steps.
        longest: Number of different step codes.

    Example:
        >>> import torch
        >>> from quire.papers.pondernet import PatchEmbedding, TransformerStep, universal_layer
        >>> layer = universal_layer(16, 2, 32)
        >>> step = TransformerStep(PatchEmbedding(8, 4, 16), layer, dim=16, outputs=5)
        >>> context = step.prepare(torch.randn(3, 1, 8, 8))
        >>> prediction, state, halt_logit = step(context, step.initial_state(context))
        >>> prediction.shape, halt_logit.shape
        (torch.Size([3, 5]), torch.Size([3]))
    """

    depth_codes: Tensor

    def __init__(
        self,
        embed: nn.Module,
        layer: nn.Module,
        *,
        dim: int,
        outputs: int,
        token_wise: bool = False,
        dropout: float = 0.0,
        longest: int = 64,
    ) -> None:
        super().__init__()
        self.embed = embed
        self.layer = layer
        self.norm = nn.LayerNorm(dim)
        self.readout = nn.Linear(dim, outputs + 1)
        self.token_wise = token_wise
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("depth_codes", sinusoidal(longest, dim), persistent=False)

    def prepare(self, x: Tree) -> dict[str, Tensor | None]:
        """Embed the input and draw the dropout mask of this sequence of steps."""
        tokens, valid = self.embed(x)
        drop = None
        if self.training and self.dropout.p > 0:
            drop = self.dropout(torch.ones_like(tokens))
        return {"tokens": tokens, "valid": valid, "drop": drop}

    def initial_state(self, context: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """The embedded tokens and the step number, zero."""
        tokens = context["tokens"]
        return tokens, torch.zeros(len(tokens), dtype=torch.int64, device=tokens.device)

    def forward(
        self, context: dict[str, Any], state: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, tuple[Tensor, Tensor], Tensor]:
        """One pass over the sequence: prediction (B[, T], outputs), state, halt logit (B[, T])."""
        tokens, count = state
        valid = context["valid"]
        code = self.depth_codes[count.clamp(max=len(self.depth_codes) - 1)].unsqueeze(1)
        before = tokens + code.to(tokens.dtype)
        after = self.layer(before, mask=None if valid is None else Padding(valid))
        if context["drop"] is not None:
            # Dropout on what the layer changed: the tokens themselves are never dropped.
            after = before + context["drop"] * (after - before)
        read = self.readout(self.norm(after if self.token_wise else after[:, 0]))
        halt_logit = read[..., -1]
        if self.token_wise and valid is not None:
            halt_logit = halt_logit.masked_fill(~valid, CERTAIN)
        return read[..., :-1], (after, count + 1), halt_logit


def universal_layer(
    dim: int, heads: int, hidden: int, *, attention: int | None = None, transitions: int = 1
) -> EncoderLayer:
    """A pre-norm encoder layer with a ReLU transition.

    Args:
        dim: D.
        heads: Attention heads.
        hidden: Units of the transition.
        attention: Width of all heads together; None is D.
        transitions: Hidden layers of the transition.

    Raises `ValueError` where `heads` does not divide that width, or for no hidden layer.
    """
    width, rest = divmod(attention or dim, heads)
    if rest or transitions < 1:
        raise ValueError(
            f"heads must divide the width {attention or dim} and transitions be at least 1, "
            f"got {heads} and {transitions}"
        )
    layer_attention = MultiHeadAttention(dim, heads, head_dim=width)
    feed_forward: nn.Sequential = FeedForward(dim, hidden)
    for place in range(1, transitions):
        # After the first hidden layer and its activation, before the way back to D.
        feed_forward.insert(2 * place, nn.Linear(hidden, hidden))
        feed_forward.insert(2 * place + 1, nn.ReLU())
    return EncoderLayer(
        dim,
        layer_attention,
        feed_forward=feed_forward,
        norm="pre",
    )


class PatchEmbedding(nn.Module):
    """Images (B, channels, size, size) as a class token and square patches, with positions.

    Args:
        size: Pixels of an image's side.
        patch: Pixels of a patch's side.
        dim: D.
        channels: Channels of an image.

    Raises `ValueError` where the patch does not divide the image, and for images of another size.

    Example:
        >>> import torch
        >>> tokens, valid = PatchEmbedding(8, 4, 16)(torch.randn(3, 1, 8, 8))
        >>> tokens.shape
        torch.Size([3, 5, 16])
    """

    def __init__(self, size: int, patch: int, dim: int, *, channels: int = 1) -> None:
        super().__init__()
        if patch < 1 or size % patch:
            raise ValueError(f"patch must divide the image size {size}, got {patch}")
        self.size = size
        self.patches = nn.Conv2d(channels, dim, patch, stride=patch)
        self.first = nn.Parameter(torch.zeros(1, 1, dim))
        self.positions = nn.Parameter(0.02 * torch.randn((size // patch) ** 2 + 1, dim))

    def forward(self, images: Tensor) -> Tokens:
        """Embed; nothing is padding."""
        if images.shape[2:] != (self.size, self.size):
            raise ValueError(
                f"images must be {self.size} x {self.size}, got {tuple(images.shape[2:])}"
            )
        patches = self.patches(images).flatten(2).transpose(1, 2)
        first = self.first.expand(len(images), -1, -1)
        return torch.cat([first, patches], 1) + self.positions, None


class StoryEmbedding(nn.Module):
    """Stories as one token a sentence: words weighted by learned positions and summed.

    The input is (sentences (B, S, W), question (B, W')), word numbers with 0 for nothing, oldest
    sentence first. Every sentence gets a learned code of its age (the newest has age one); the
    question is token 0.

    Args:
        vocabulary: Number of words, nothing included.
        dim: D.
        sentences: Most sentences of a story.
        words: Most words of a sentence or question.

    Raises `ValueError` for a story of more sentences or longer ones.

    Example:
        >>> import torch
        >>> embed = StoryEmbedding(20, 16, sentences=4, words=5)
        >>> story = torch.randint(1, 20, (3, 4, 5)), torch.randint(1, 20, (3, 5))
        >>> tokens, valid = embed(story)
        >>> tokens.shape, valid.shape
        (torch.Size([3, 5, 16]), torch.Size([3, 5]))
    """

    def __init__(self, vocabulary: int, dim: int, *, sentences: int, words: int) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, dim, padding_idx=0)
        self.places = nn.Parameter(1 + 0.1 * torch.randn(words, dim))
        self.ages = nn.Parameter(0.1 * torch.randn(sentences + 1, dim))

    def forward(self, story: tuple[Tensor, Tensor]) -> Tokens:
        """Embed; an empty sentence is padding."""
        sentences, question = story
        longest = max(sentences.shape[2], question.shape[1])
        if sentences.shape[1] >= len(self.ages) or longest > len(self.places):
            raise ValueError(
                f"a story holds at most {len(self.ages) - 1} sentences of {len(self.places)} "
                f"words, got {sentences.shape[1]} of {longest}"
            )
        valid = sentences.any(2)
        # Counted from the end, so that the newest sentence has age one whatever the padding.
        age = valid.flip(1).cumsum(1).flip(1)
        told = self._sum(sentences) + self.ages[age]
        asked = self._sum(question) + self.ages[0]
        asked_valid = torch.ones_like(valid[:, :1])
        return torch.cat([asked.unsqueeze(1), told], 1), torch.cat([asked_valid, valid], 1)

    def _sum(self, words: Tensor) -> Tensor:
        """Word numbers (..., W) -> (..., D)."""
        return torch.einsum("...wd,wd->...d", self.words(words), self.places[: words.shape[-1]])


class PairEmbedding(nn.Module):
    """Paired associative inference: a query and a memory of pairs, one token each; the query first.

    The input is (memory (B, rows, 2, F), query (B, 3, F)), embeddings of F = `features` numbers.
    The same projection reads every image; a linear map of its own joins the parts of a pair or of
    the query.

    Example:
        >>> import torch
        >>> embed = PairEmbedding(12, 16)
        >>> tokens, valid = embed((torch.randn(3, 6, 2, 12), torch.randn(3, 3, 12)))
        >>> tokens.shape
        torch.Size([3, 7, 16])
    """

    def __init__(self, features: int, dim: int) -> None:
        super().__init__()
        self.image = nn.Linear(features, dim, bias=False)
        self.pair = nn.Linear(2 * dim, dim)
        self.query = nn.Linear(3 * dim, dim)

    def forward(self, episode: tuple[Tensor, Tensor]) -> Tokens:
        """Embed; nothing is padding."""
        memory, query = episode
        rows = self.pair(self.image(memory).flatten(2))
        asked = self.query(self.image(query).flatten(1)).unsqueeze(1)
        return torch.cat([asked, rows], 1), None
