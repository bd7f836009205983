"""The paper's models around any attention: a causal one that generates, and one for speech.

B batch, T tokens or frames, D width.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from quire.nn import (
    AttentionKernel,
    Causal,
    Encoder,
    EncoderLayer,
    FeedForward,
    LearnedPositions,
    MultiHeadAttention,
    Padding,
    SinusoidalPositions,
    devices,
    softmax_attention,
)
from quire.nn.transformer import Decoded, Norm
from quire.papers.linear_transformer.attention import LinearAttention
from quire.papers.linear_transformer.recurrent import Recurrent

Extend = Callable[[Tensor, Any], tuple[Tensor, Any]]
"""(tokens (B, T), state or None) -> (outputs (B, T, outputs), new state)."""


def build_encoder(
    dim: int,
    heads: int,
    layers: int,
    *,
    kernel: Callable[[], AttentionKernel],
    positions: nn.Module | None = None,
    norm: Norm = "pre",
    hidden: int | None = None,
    dropout: float = 0.0,
) -> Encoder:
    """A stack whose layers each have a kernel of their own, with biases everywhere.

    Args:
        dim: D.
        heads: Heads, which divide D.
        layers: How many.
        kernel: Makes the attention of a layer.
        positions: Added to the input; None adds none.
        norm: "pre", or "post" as in the authors' code.
        hidden: Width of the feed-forward parts, by default 4 D.
        dropout: Probability for each element of a part's output and of what is hidden in it; 0.1 in
            the authors' code.

    Example:
        >>> stack = build_encoder(8, 2, 3, kernel=LinearAttention)
        >>> stack(torch.randn(2, 5, 8)).shape
        torch.Size([2, 5, 8])
    """
    return Encoder(
        [
            EncoderLayer(
                dim,
                MultiHeadAttention(dim, heads, kernel=kernel(), bias=True),
                feed_forward=FeedForward(dim, hidden or 4 * dim, dropout=dropout),
                norm=norm,
                dropout=dropout,
            )
            for _ in range(layers)
        ],
        positions=positions,
        final_norm=nn.LayerNorm(dim),
    )


class SequenceModel(nn.Module):
    """A causal transformer: from tokens up to each place, numbers about the next token.

    Args:
        tokens: How many kinds there are.
        outputs: Numbers a place: logits, or a mixture's parameters.
        length: The most tokens.
        dim: D.
        heads: Heads, which divide D.
        layers: How many.
        kernel: Makes the attention of a layer.
        norm: "pre", or "post" as in the authors' code.
        dropout: As in `build_encoder`.

    Example:
        >>> model = SequenceModel(10, 10, length=20, dim=16, heads=2, layers=2)
        >>> model(torch.randint(10, (3, 7))).shape
        torch.Size([3, 7, 10])
    """

    def __init__(
        self,
        tokens: int,
        outputs: int,
        *,
        length: int,
        dim: int,
        heads: int,
        layers: int,
        kernel: Callable[[], AttentionKernel] = LinearAttention,
        norm: Norm = "pre",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(tokens, dim)
        self.encoder = build_encoder(
            dim,
            heads,
            layers,
            kernel=kernel,
            positions=LearnedPositions(length, dim),
            norm=norm,
            dropout=dropout,
        )
        self.head = nn.Linear(dim, outputs)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, T) int64 -> (B, T, outputs)."""
        outputs: Tensor = self.head(self.encoder(self.embedding(tokens), Causal()))
        return outputs

    def extend(self, tokens: Tensor, state: Decoded | None = None) -> tuple[Tensor, Decoded]:
        """The same in pieces (B, T) of any length: see `Encoder`."""
        x, state = self.encoder.extend(self.embedding(tokens), state)
        return self.head(x), state


@torch.no_grad()
def generate(
    extend: Extend,
    prompt: Tensor,
    tokens: int,
    choose: Callable[[Tensor], Tensor],
    *,
    stop: int | None = None,
) -> Tensor:
    """`tokens` tokens more after a prompt (B, P), P >= 1: (B, P + tokens).

    The prompt is read at once, then the state is carried.

    Args:
        extend: `SequenceModel.extend`, `recurrent_extend` or `recomputing_extend` of a model.
        prompt: The tokens to begin with.
        tokens: How many more.
        choose: From outputs (B, outputs) to the next tokens (B,), e.g. `choose_token`.
        stop: A token after which a row goes on with this token alone; the rows end together, with
            the last one. None goes on to the end.

    Raises ValueError for a prompt without tokens or fewer than 0 tokens more.

    Example:
        >>> model = SequenceModel(10, 10, length=20, dim=16, heads=2, layers=2).eval()
        >>> greedy = lambda outputs: outputs.argmax(-1)
        >>> generate(model.extend, torch.zeros(3, 1, dtype=torch.int64), 5, greedy).shape
        torch.Size([3, 6])
    """
    if prompt.ndim != 2 or not prompt.shape[1]:
        raise ValueError(f"a prompt is (B, P) with P at least 1, got {tuple(prompt.shape)}")
    if tokens < 0:
        raise ValueError(f"tokens must be at least 0, got {tokens}")
    written, state = [prompt], None
    stopped = torch.zeros(len(prompt), dtype=torch.bool, device=prompt.device)
    ended: list[Tensor] = []  # since the last look, whether all rows have stopped
    for step in range(tokens):
        outputs, state = extend(written[-1], state)
        token = choose(outputs[:, -1])
        if stop is not None:
            token = token.masked_fill(stopped, stop)
            stopped = stopped | (token == stop)
        written.append(token[:, None])
        if stop is None:
            continue
        ended.append(stopped.all())
        if devices.is_accelerator(prompt) and len(ended) < devices.STRIDE and step + 1 < tokens:
            continue
        ends = devices.read(ended)
        if True in ends:
            # What was written between the end and this look is the stop alone.
            written = written[: len(written) - len(ends) + ends.index(True) + 1]
            break
        ended = []
    return torch.cat(written, 1)


def choose_token(
    logits: Tensor,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float = 1.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """A token drawn from the softmax of logits (..., L), of which only the likeliest are kept.

    Gives (...) int64. `functools.partial` makes it the `choose` of `generate`.

    Args:
        logits: (..., L).
        temperature: Divides the logits; 0 takes the likeliest token.
        top_k: How many tokens are kept; None keeps all.
        top_p: The fewest tokens whose probability is at least this are kept ("The curious case of
            neural text degeneration", section 3.1).
        generator: On any device; None takes torch's.

    Raises ValueError where temperature < 0, top_k < 1 or top_p is not above 0 and up to 1.

    Example:
        >>> logits = torch.tensor([[0.0, 2.0, 1.0]])
        >>> choose_token(logits, top_k=1), choose_token(logits, temperature=0.0)
        (tensor([1]), tensor([1]))
    """
    if not temperature >= 0:
        raise ValueError(f"temperature must be at least 0, got {temperature}")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k must be at least 1, got {top_k}")
    if not 0 < top_p <= 1:
        raise ValueError(f"top_p must be above 0 and up to 1, got {top_p}")
    if temperature == 0:
        return logits.argmax(-1)
    scores, order = (logits.float() / temperature).sort(-1, descending=True)
    if top_k is not None:
        scores, order = scores[..., :top_k], order[..., :top_k]
    chance = scores.softmax(-1)
    if top_p < 1:  # a token is kept where those before it fall short; the first always is
        chance = chance.masked_fill(chance.cumsum(-1) - chance >= top_p, 0.0)
    home = chance.device if generator is None else generator.device
    rows = chance.reshape(-1, chance.shape[-1]).to(home)
    place = torch.multinomial(rows, 1, generator=generator) if len(rows) else rows.long()[:, :1]
    place = place.to(order.device).view(*order.shape[:-1], 1)
    return order.gather(-1, place)[..., 0]


def recurrent_extend(model: SequenceModel, **options: Any) -> Extend:
    """The model's `extend` by `Recurrent`; the model itself reads pieces of several tokens.

    options: those of `Recurrent`.
    """
    quick = Recurrent(model.encoder, **options)

    def extend(tokens: Tensor, state: Decoded | None = None) -> tuple[Tensor, Decoded]:
        if tokens.shape[1] > 1:
            return model.extend(tokens, state)
        x, state = quick.extend(model.embedding(tokens), state)
        return model.head(x), state

    return extend


def recomputing_extend(model: SequenceModel) -> Extend:
    """An `extend` whose state is the tokens themselves: each call runs the model over all of them.

    The paper's baseline, and what a kernel without a memory must do.
    """

    def extend(tokens: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        tokens = tokens if state is None else torch.cat((state, tokens), 1)
        return model(tokens), tokens

    return extend


class SpeechModel(nn.Module):
    """Frames to log-probabilities of labels: a bidirectional transformer with a CTC head (4.3).

    Args:
        features: Width of a frame.
        labels: Without the blank, which is label 0 of the output.
        dim: D.
        heads: Heads, which divide D.
        layers: How many.
        kernel: Makes the attention of a layer.
        norm: "pre", or "post" as in the authors' code.
        dropout: As in `build_encoder`.

    Example:
        >>> model = SpeechModel(40, 10, dim=16, heads=2, layers=2)
        >>> model(torch.randn(3, 50, 40), torch.tensor([50, 20, 1])).shape
        torch.Size([3, 50, 11])
    """

    def __init__(
        self,
        features: int,
        labels: int,
        *,
        dim: int,
        heads: int,
        layers: int,
        kernel: Callable[[], AttentionKernel] = lambda: softmax_attention,
        norm: Norm = "pre",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.embedding = nn.Linear(features, dim)
        self.encoder = build_encoder(
            dim,
            heads,
            layers,
            kernel=kernel,
            positions=SinusoidalPositions(dim),
            norm=norm,
            dropout=dropout,
        )
        self.head = nn.Linear(dim, labels + 1)

    def forward(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """(B, T, features) and lengths (B,) -> (B, T, labels + 1)."""
        x = self.encoder(self.embedding(frames), Padding(lengths))
        return self.head(x).log_softmax(-1)


def best_path(log_probabilities: Tensor, lengths: Tensor) -> list[list[int]]:
    """The most probable label of each frame, repeats joined and blanks (0) dropped.

    log_probabilities: (B, T, labels + 1). lengths: (B,).

    Example:
        >>> best_path(torch.eye(3)[[0, 1, 1, 0, 1, 2]][None], torch.tensor([6]))
        [[1, 1, 2]]
    """
    rows = log_probabilities.argmax(-1).tolist()
    paths = [row[:length] for row, length in zip(rows, lengths.tolist(), strict=True)]
    return [
        [
            label
            for label, before in zip(path, [0, *path[:-1]], strict=True)
            if label and label != before
        ]
        for path in paths
    ]


def edit_distance(one: list[int], other: list[int]) -> int:
    """The fewest insertions, deletions and substitutions that make one list the other.

    Example:
        >>> edit_distance([1, 2, 3], [1, 3, 3, 4])
        2
    """
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        diagonal, row[0] = row[0], i
        for j, b in enumerate(other, 1):  # drop b, drop a, or put one for the other
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (a != b))
    return row[-1]
