"""The model in its sizes and architectures (sections 2.1, 3.2 and 3.7).

B batch, I input tokens, T target tokens, V vocabulary, D width, H heads. Token ids are int64: 0 is
padding and begins a target, 1 ends a sequence.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from quire.papers.t5.layers import Attention, FeedForward, Layer, RMSNorm, Stack
from quire.papers.t5.positions import RelativeBias

Architecture = Literal["encoder-decoder", "shared", "causal", "prefix"]
"""Two stacks; two stacks whose layers share weights; one stack that sees what came before; one that
also sees all of the inputs."""

PADDING = 0


class Size(NamedTuple):
    """How large a model is.

    Args:
        dim: D.
        hidden: Width within the feed-forward parts.
        heads: H.
        layers: Of each stack.
        head_dim: Width of a head, which need not be D / H.
    """

    dim: int
    hidden: int
    heads: int
    layers: int
    head_dim: int = 64


SIZES: Mapping[str, Size] = MappingProxyType(
    {
        "small": Size(512, 2048, 8, 6),
        "base": Size(768, 3072, 12, 12),
        "large": Size(1024, 4096, 16, 24),
        "3b": Size(1024, 16384, 32, 24, 128),
        "11b": Size(1024, 65536, 128, 24, 128),
        "base-6": Size(768, 3072, 12, 6),
        "2x": Size(1024, 4096, 16, 16),
        "4x": Size(1024, 4096, 16, 32),
        "small-v1.1": Size(512, 1024, 6, 8),
        "base-v1.1": Size(768, 2048, 12, 12),
        "large-v1.1": Size(1024, 2816, 16, 24),
        "xl-v1.1": Size(2048, 5120, 32, 24),
        "xxl-v1.1": Size(4096, 10240, 64, 24),
        "laptop": Size(128, 512, 4, 2, 32),
    }
)
"""Section 3.7; the base with half its layers (table 2); twice and four times the base (table 13);
the later v1.1, which are gated and untied; and one that trains on two cores."""


class T5(nn.Module):
    """Tokens of an input to the logits of a target's tokens.

    Args:
        size: A name of `SIZES` or a `Size`.
        architecture: One stack or two, and what a token sees; see `Architecture`.
        vocabulary: V, rows of the embedding, padded ones included.
        gated: Whether feed-forward parts are gated with GELU (v1.1).
        tied: Whether the output's matrix is the embedding, its logits then scaled by D^-1/2.
        dropout: Probability, everywhere.
        buckets: Of relative positions.
        max_distance: Tokens from which on relative positions share a bucket.

    Raises ValueError for an unknown name or a size below 1.

    Example:
        >>> import torch
        >>> from quire.papers.t5 import T5, Size
        >>> model = T5(Size(16, 32, heads=2, layers=2, head_dim=8), vocabulary=50)
        >>> model(torch.randint(1, 50, (3, 7)), torch.randint(1, 50, (3, 5))).shape
        torch.Size([3, 5, 50])
    """

    def __init__(
        self,
        size: str | Size = "small",
        architecture: Architecture = "encoder-decoder",
        *,
        vocabulary: int = 32_128,
        gated: bool = False,
        tied: bool = True,
        dropout: float = 0.0,
        buckets: int = 32,
        max_distance: int = 128,
    ) -> None:
        super().__init__()
        self.size = size = find_size(size)
        if architecture not in get_args(Architecture):
            known = ", ".join(get_args(Architecture))
            raise ValueError(f"architecture must be one of {known}, got {architecture!r}")
        if min(*size, vocabulary) < 1:
            raise ValueError(f"a size and a vocabulary are at least 1, got {size}, {vocabulary}")
        self.architecture: Architecture = architecture
        self.gated = gated
        self.table = nn.Embedding(vocabulary, size.dim)
        # Untied, the output's matrix is not scaled by D^-1/2 and begins at that size.
        self.head = None if tied else nn.Linear(size.dim, vocabulary, bias=False)
        with torch.no_grad():
            self.table.weight.normal_()
            if self.head is not None:
                self.head.weight.normal_(std=size.dim**-0.5)
        # A language model is one stack that is called the decoder, without attention to a memory.
        two = architecture in ("encoder-decoder", "shared")

        def stack(layers: list[Layer], bidirectional: bool) -> Stack:
            bias = RelativeBias(
                size.heads, bidirectional=bidirectional, buckets=buckets, max_distance=max_distance
            )
            return Stack(layers, bias, dim=size.dim, dropout=dropout)

        first = [_layer(size, gated, dropout, cross=False) for _ in range(size.layers)]
        if not two:
            self.encoder = None
            self.decoder = stack(first, bidirectional=architecture == "prefix")
            return
        self.encoder = stack(first, bidirectional=True)
        of = first if architecture == "shared" else [None] * size.layers
        second = [_layer(size, gated, dropout, cross=True, like=like) for like in of]
        self.decoder = stack(second, bidirectional=False)

    def forward(
        self,
        inputs: Tensor,
        targets: Tensor,
        input_segments: Tensor | None = None,
        target_segments: Tensor | None = None,
    ) -> Tensor:
        """The logits (B, T, V) of each target token, which see the tokens before it.

        Args:
            inputs: (B, I), at least one column; padding anywhere counts for nothing.
            targets: (B, T), as they are to be predicted: they are shifted here.
            input_segments: (B, I) where a row holds several examples: a number for each from 1 on,
                0 for padding. A token sees its own segment alone.
            target_segments: (B, T). A language model needs an input token in every segment.

        Raises ValueError where one of the segments is missing, or there is no input column.
        """
        self._check(inputs, input_segments, target_segments)
        if self.encoder is None:
            y = self._run_joined(inputs, targets, input_segments, target_segments)
        else:
            memory = self.encode(inputs, input_segments)
            y = self._decode(inputs, memory, targets, input_segments, target_segments)
        return self.logits(y)

    def loss(
        self,
        inputs: Tensor,
        targets: Tensor,
        input_segments: Tensor | None = None,
        target_segments: Tensor | None = None,
        *,
        whole: bool = False,
    ) -> Tensor:
        """Mean cross-entropy of the target tokens that are no padding, in nats: ().

        whole: The causal language model is also asked for its inputs, from the second one on.
        0 where there is nothing to predict. Raises ValueError for `whole` with another architecture
        or with segments.
        """
        if not whole:
            logits = self(inputs, targets, input_segments, target_segments)
            return mean_loss(logits, targets)
        if self.architecture != "causal" or input_segments is not None:
            raise ValueError("whole is for the causal architecture and rows of one example each")
        text, allowed = self._join(inputs, targets)
        y = self.decoder(self.embed(text[:, :-1]), allowed[..., :-1, :-1])
        return mean_loss(self.logits(y), text[:, 1:])

    def encode(self, inputs: Tensor, segments: Tensor | None = None) -> Tensor:
        """The encoder's output for inputs (B, I): (B, I, D). Raises ValueError without encoder."""
        if self.encoder is None:
            raise ValueError(f"the {self.architecture} architecture has no encoder")
        if segments is None:
            allowed = (inputs != PADDING)[:, None, None]
        else:
            allowed = _same(segments, segments)
        return self.encoder(self.embed(inputs), allowed)  # type: ignore[no-any-return]

    def embed(self, tokens: Tensor) -> Tensor:
        """Tokens (...) to vectors (..., D): float32 in a float16 model, whose sums overflow."""
        x: Tensor = self.table(tokens)
        return x.float() if x.dtype == torch.float16 else x

    def logits(self, y: Tensor) -> Tensor:
        """A decoder's output (..., D) to logits (..., V)."""
        if self.head is not None:
            return self.head(y)  # type: ignore[no-any-return]
        return F.linear(y * self.size.dim**-0.5, self.table.weight)

    def _check(
        self, inputs: Tensor, input_segments: Tensor | None, target_segments: Tensor | None
    ) -> None:
        if not inputs.shape[1]:
            raise ValueError("inputs need at least one column; padding will do")
        if (input_segments is None) != (target_segments is None):
            raise ValueError("give the segments of both inputs and targets, or none")

    def _decode(
        self,
        inputs: Tensor,
        memory: Tensor,
        targets: Tensor,
        input_segments: Tensor | None,
        target_segments: Tensor | None,
    ) -> Tensor:
        begun = F.pad(targets, (1, 0), value=PADDING)[:, :-1]
        allowed = _causal(targets.shape[1], targets.device)
        seen = (inputs != PADDING)[:, None, None]
        if input_segments is not None and target_segments is not None:
            # Every segment begins with padding, as if it were alone.
            before = F.pad(target_segments, (1, 0), value=-1)[:, :-1]
            begun = begun.masked_fill(target_segments != before, PADDING)
            allowed = allowed & _same(target_segments, target_segments)
            seen = _same(target_segments, input_segments)
        return self.decoder(  # type: ignore[no-any-return]
            self.embed(begun), allowed, memory=memory, memory_allowed=seen
        )

    def _run_joined(
        self,
        inputs: Tensor,
        targets: Tensor,
        input_segments: Tensor | None,
        target_segments: Tensor | None,
    ) -> Tensor:
        """What a language model gives where each target token is to be predicted: (B, T, D)."""
        columns = inputs.shape[1]
        if input_segments is None or target_segments is None:
            text, allowed = self._join(inputs, targets)
            y = self.decoder(self.embed(text[:, :-1]), allowed[..., :-1, :-1])
            return y[:, columns - 1 :]  # type: ignore[no-any-return]
        text = torch.cat((inputs, targets), 1)
        segments = torch.cat((input_segments, target_segments), 1)
        same = _same(segments, segments)
        earlier = same & _causal(text.shape[1], text.device).tril(-1)
        allowed = same & self._sees(text.shape[1], columns, text.device)
        # A token's place within its own segment, the inputs first.
        positions = earlier.sum(-1)[:, 0]
        y = self.decoder(self.embed(text), allowed, positions=positions)
        # The token before, in the same segment, is not always the column before.
        column = torch.arange(text.shape[1], device=text.device)
        before = torch.where(earlier[:, 0], column, 0).amax(-1)[:, columns:]
        return y.gather(1, before[..., None].expand(-1, -1, y.shape[2]))  # type: ignore[no-any-return]

    def _join(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs and targets as one text (B, I + T), and what may attend to what.

        The padding of the inputs goes to the front, so that in every row the targets follow the
        inputs without a gap and begin in the same column.
        """
        text = torch.cat((align_right(inputs), targets), 1)
        own = torch.eye(text.shape[1], dtype=torch.bool, device=text.device)
        allowed = self._sees(text.shape[1], inputs.shape[1], text.device)
        # Padding sees itself, or it would attend everywhere, to what comes later too.
        return text, (allowed & (text != PADDING)[:, None, None]) | own

    def _sees(self, length: int, inputs: int, device: torch.device) -> Tensor:
        """What a language model's tokens see of each other, padding apart: (T, T)."""
        allowed = _causal(length, device)
        if self.architecture == "causal":
            return allowed
        column = torch.arange(length, device=device)
        return allowed | ((column < inputs) & (column[:, None] < inputs))


def find_size(size: str | Size) -> Size:
    """The size of that name, or the size itself. Raises ValueError for an unknown name."""
    if isinstance(size, Size):
        return size
    if size not in SIZES:
        raise ValueError(f"size must be a Size or one of {', '.join(SIZES)}, got {size!r}")
    return SIZES[size]


def align_right(inputs: Tensor) -> Tensor:
    """Inputs (B, I) with their padding at the front, the tokens in their order."""
    order = (inputs != PADDING).to(torch.uint8).argsort(dim=1, stable=True)
    return inputs.gather(1, order)


def mean_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy of the targets that are no padding, in single precision or better: ().

    logits: (B, T, V). targets: int64 (B, T). 0 where there are none.
    """
    logits = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
    total = F.cross_entropy(
        logits.flatten(0, 1), targets.flatten(), ignore_index=PADDING, reduction="sum"
    )
    return total / (targets != PADDING).sum().clamp(min=1)


def count_parameters(
    size: str | Size,
    architecture: Architecture = "encoder-decoder",
    *,
    vocabulary: int = 32_128,
    gated: bool = False,
    tied: bool = True,
    buckets: int = 32,
) -> int:
    """How many parameters a `T5` of these arguments has, without making one.

    Args:
        size: A name of `SIZES` or a `Size`.
        architecture: As in `T5`.
        vocabulary: V.
        gated: Whether feed-forward parts are gated.
        tied: Whether the output's matrix is the embedding.
        buckets: Of relative positions.

    Example:
        >>> count_parameters("base")
        222903552
    """
    size = find_size(size)
    attention = 4 * size.dim * size.heads * size.head_dim
    feed_forward = (3 if gated else 2) * size.dim * size.hidden
    # With the norms of their parts. The attention to a memory is never shared.
    layer, cross = attention + feed_forward + 2 * size.dim, attention + size.dim
    two = architecture in ("encoder-decoder", "shared")
    per_depth = layer * (2 if architecture == "encoder-decoder" else 1) + (cross if two else 0)
    stacks = 2 if two else 1
    ends = stacks * (size.dim + buckets * size.heads) + (1 if tied else 2) * vocabulary * size.dim
    return size.layers * per_depth + ends


def _layer(
    size: Size, gated: bool, dropout: float, *, cross: bool, like: Layer | None = None
) -> Layer:
    """A new layer, of the parts of `like` where it is given, but for the attention to a memory."""

    def attention() -> Attention:
        return Attention(size.dim, size.heads, head_dim=size.head_dim, dropout=dropout)

    if like is None:
        own = attention()
        forward: nn.Module = FeedForward(size.dim, size.hidden, gated=gated, dropout=dropout)
        norms: tuple[nn.Module, nn.Module] = RMSNorm(size.dim), RMSNorm(size.dim)
    else:
        own, forward = like.attention, like.feed_forward
        norms = like.attention_norm, like.feed_forward_norm
    extra = (attention(), RMSNorm(size.dim)) if cross else None
    return Layer(own, forward, norms=norms, cross=extra, dropout=dropout)


def _causal(length: int, device: torch.device) -> Tensor:
    """Which of the tokens a token sees, (T, T): itself and those before."""
    column = torch.arange(length, device=device)
    return column <= column[:, None]


def _same(query: Tensor, key: Tensor) -> Tensor:
    """Which segments (B, Tq) and (B, Tk) are the same: (B, 1, Tq, Tk)."""
    return (query[:, :, None] == key[:, None])[:, None]
