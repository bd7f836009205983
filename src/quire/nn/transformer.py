"""Transformer layers and stacks, built of parts that are passed in.

B batch, T tokens (S of a memory), D width.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

from torch import Tensor, nn

from quire.nn.attention import MultiHeadAttention
from quire.nn.decoding import State
from quire.nn.masks import Mask, Padding

Norm = Literal["pre", "post"]
Positions = Callable[..., Tensor]
"""(x (B, T, D), number of layers before) -> (B, T, D); in decoding also the first position."""


class Decoded(NamedTuple):
    """What a stack keeps between calls of `extend`.

    layers: the state of each layer's attention. length: tokens so far, a number, or (B,) where
    prompts were padded. See `quire.nn.select` for beams.
    """

    layers: tuple[State, ...]
    length: int | Tensor


class FeedForward(nn.Sequential):
    """Two linear layers with an activation between, applied to each token alone.

    "Attention is all you need", eq. 2: (..., D) -> (..., D).

    Args:
        dim: Width D.
        hidden: Width between.
        activation: Makes the module between.
        dropout: Probability for each hidden element.

    Example:
        >>> import torch
        >>> from quire.nn import FeedForward
        >>> FeedForward(8, 32)(torch.randn(2, 5, 8)).shape
        torch.Size([2, 5, 8])
    """

    def __init__(
        self,
        dim: int,
        hidden: int,
        *,
        activation: Callable[[], nn.Module] = nn.ReLU,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(
            nn.Linear(dim, hidden), activation(), nn.Dropout(dropout), nn.Linear(hidden, dim)
        )


class GatedFeedForward(nn.Module):
    """A feed-forward part whose hidden elements are gated by a second projection of the token.

    output((activation(gate x)) * (value x)): GEGLU with nn.GELU ("GLU variants improve
    transformer", eq. 6, without biases, as there).

    Args:
        dim: Width D.
        hidden: Width between; 2/3 of `FeedForward`'s gives as many parameters.
        activation: Makes the module that the gate goes through.
        dropout: Probability for each hidden element.

    Example:
        >>> import torch
        >>> from quire.nn import GatedFeedForward
        >>> GatedFeedForward(8, 24)(torch.randn(2, 5, 8)).shape
        torch.Size([2, 5, 8])
    """

    def __init__(
        self,
        dim: int,
        hidden: int,
        *,
        activation: Callable[[], nn.Module] = nn.GELU,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.gate = nn.Linear(dim, hidden, bias=False)
        self.value = nn.Linear(dim, hidden, bias=False)
        self.output = nn.Linear(hidden, dim, bias=False)
        self.activation = activation()
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """x (..., D) -> (..., D)."""
        hidden = self.activation(self.gate(x)) * self.value(x)
        y: Tensor = self.output(self.dropout(hidden))
        return y


class Residual(nn.Module):
    """The sum of a branch's input and output, with layer normalisation.

    "pre" normalises the branch's input: x + branch(norm(x)); "post" the sum: norm(x + branch(x)).
    dim: width D. dropout: probability for each element of the branch's output.

    Raises ValueError for another norm.
    """

    def __init__(self, dim: int, *, norm: Norm = "pre", dropout: float = 0.0) -> None:
        super().__init__()
        if norm not in ("pre", "post"):
            raise ValueError(f"norm must be 'pre' or 'post', got {norm!r}")
        self.first = norm == "pre"
        self.norm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, branch: Callable[[Tensor], Tensor]) -> Tensor:
        """x (..., D) -> (..., D)."""
        if self.first:
            # The sum is never normalised: a path without a layer leads from the loss to every x.
            return x + self.dropout(branch(self.norm(x)))
        # The order of the first paper. Gradients of deep stacks are large at the start: warm up.
        return self.norm(x + self.dropout(branch(x)))


class EncoderLayer(nn.Module):
    """Self-attention, then a feed-forward part, each with a residual sum.

    Args:
        dim: Width D.
        attention: Takes (x, context, mask).
        feed_forward: Any module (B, T, D) -> (B, T, D).
        norm: Where layer normalisation is: before each part ("pre") or after each sum ("post").
        dropout: Probability for each element of a part's output.

    Example:
        >>> import torch
        >>> from quire.nn import EncoderLayer, FeedForward, MultiHeadAttention
        >>> layer = EncoderLayer(8, MultiHeadAttention(8, 2), feed_forward=FeedForward(8, 32))
        >>> layer(torch.randn(2, 5, 8)).shape
        torch.Size([2, 5, 8])
    """

    def __init__(
        self,
        dim: int,
        attention: MultiHeadAttention,
        *,
        feed_forward: nn.Module,
        norm: Norm = "pre",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.attention = attention
        self.feed_forward = feed_forward
        self.attention_residual = Residual(dim, norm=norm, dropout=dropout)
        self.feed_forward_residual = Residual(dim, norm=norm, dropout=dropout)

    def forward(self, x: Tensor, mask: Mask | None = None) -> Tensor:
        """x (B, T, D) -> (B, T, D)."""
        x = self.attention_residual(x, lambda x: self.attention(x, mask=mask))
        return self.feed_forward_residual(x, self.feed_forward)

    def extend(
        self,
        x: Tensor,
        state: State | None = None,
        *,
        start: int | Tensor = 0,
        mask: Padding | None = None,
    ) -> tuple[Tensor, State]:
        """The layer with a causal mask, in pieces: (B, T, D) and the new state.

        Args:
            x: (B, T, D), a prompt or any number of tokens after it.
            state: None for the prompt, then what a call gave, which may be continued again.
            start: Position of the first token of x, a number or (B,).
            mask: Which tokens of x count.
        """
        # A branch of `Residual` gives its output only, so the new state is put aside.
        kept: list[State] = []

        def attend(x: Tensor) -> Tensor:
            attended, new = self.attention.extend(x, state, start=start, mask=mask)
            kept.append(new)
            return attended

        x = self.attention_residual(x, attend)
        return self.feed_forward_residual(x, self.feed_forward), kept[0]


class DecoderLayer(nn.Module):
    """Self-attention, attention to a memory, then a feed-forward part, each with a residual sum.

    Args:
        dim: Width D, of x and of the memory.
        attention: Takes (x, context, mask); attends to x itself.
        cross_attention: Takes (x, context, mask); attends to the memory.
        feed_forward: Any module (B, T, D) -> (B, T, D).
        norm: Where layer normalisation is: before each part ("pre") or after each sum ("post").
        dropout: Probability for each element of a part's output.

    Example:
        >>> import torch
        >>> from quire.nn import DecoderLayer, FeedForward, MultiHeadAttention
        >>> layer = DecoderLayer(
        ...     8,
        ...     MultiHeadAttention(8, 2),
        ...     cross_attention=MultiHeadAttention(8, 2),
        ...     feed_forward=FeedForward(8, 32),
        ... )
        >>> layer(torch.randn(2, 5, 8), torch.randn(2, 7, 8)).shape
        torch.Size([2, 5, 8])
    """

    def __init__(
        self,
        dim: int,
        attention: MultiHeadAttention,
        *,
        cross_attention: MultiHeadAttention,
        feed_forward: nn.Module,
        norm: Norm = "pre",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.attention = attention
        self.cross_attention = cross_attention
        self.feed_forward = feed_forward
        self.attention_residual = Residual(dim, norm=norm, dropout=dropout)
        self.cross_attention_residual = Residual(dim, norm=norm, dropout=dropout)
        self.feed_forward_residual = Residual(dim, norm=norm, dropout=dropout)

    def forward(
        self,
        x: Tensor,
        memory: Tensor,
        mask: Mask | None = None,
        memory_mask: Mask | None = None,
    ) -> Tensor:
        """The layer's output (B, T, D).

        Args:
            x: Tokens (B, T, D).
            memory: What they attend to, (B, S, D), as it is: only x is normalised here.
            mask: Which tokens attend to which tokens.
            memory_mask: Which tokens attend to which of the memory.
        """
        x = self.attention_residual(x, lambda x: self.attention(x, mask=mask))
        x = self.cross_attention_residual(
            x, lambda x: self.cross_attention(x, memory, mask=memory_mask)
        )
        return self.feed_forward_residual(x, self.feed_forward)

    def extend(
        self,
        x: Tensor,
        state: tuple[State | None, State],
        *,
        start: int | Tensor = 0,
    ) -> tuple[Tensor, tuple[State, State]]:
        """Tokens x (B, T, D) from position `start` on, with the states of both attentions.

        state: None and what `cross_attention.remember` gave, then what a call gave.
        """
        # The past grows with every call; the memory was read once and is handed on as it is.
        past, memory = state
        kept: list[State] = []

        def attend(x: Tensor) -> Tensor:
            attended, new = self.attention.extend(x, past, start=start)
            kept.append(new)
            return attended

        x = self.attention_residual(x, attend)
        x = self.cross_attention_residual(
            x, lambda x: self.cross_attention.recall(x, memory, start=start)
        )
        return self.feed_forward_residual(x, self.feed_forward), (kept[0], memory)


class Stack(nn.Module):
    """What `Encoder` and `Decoder` share: layers, how often they are applied, positions.

    Its arguments are those of `Encoder`.
    """

    def __init__(
        self,
        layers: Sequence[nn.Module] | nn.Module,
        *,
        depth: int | None = None,
        positions: Positions | None = None,
        final_norm: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList([layers] if isinstance(layers, nn.Module) else layers)
        if not len(self.layers):
            raise ValueError("a stack needs at least one layer, got none")
        if depth is not None and depth < 1:
            raise ValueError(f"depth must be at least 1, got {depth}")
        self.depth = len(self.layers) if depth is None else depth
        self.positions = positions
        self.final_norm = final_norm

    def _apply_layers(self, x: Tensor, *arguments: Tensor | Mask | None) -> Tensor:
        for step in range(self.depth):
            # Before every layer; a module that marks the input only returns x where step > 0.
            if self.positions is not None:
                x = self.positions(x, step)
            x = self.layers[step % len(self.layers)](x, *arguments)
        # The residual sum of "pre" layers has grown with depth and is normalised here only.
        return x if self.final_norm is None else self.final_norm(x)

    def _extend_layers(
        self,
        x: Tensor,
        states: Sequence[State | None],
        start: int | Tensor,
        **options: Padding | None,
    ) -> tuple[Tensor, tuple[State, ...]]:
        kept = []
        # One state a step and not a layer: a layer that is used twice sees other keys each time.
        for step, state in enumerate(states):
            if self.positions is not None:
                x = self.positions(x, step, start)
            layer: Any = self.layers[step % len(self.layers)]
            x, new = layer.extend(x, state, start=start, **options)
            kept.append(new)
        return x if self.final_norm is None else self.final_norm(x), tuple(kept)


class Encoder(Stack):
    """Encoder layers, one after the other.

    Layer `step` modulo their number is used: one layer with a depth shares its weights across
    depth, as in the Universal Transformer.

    Args:
        layers: Distinct layers, or one.
        depth: How many are applied in all, by default each once.
        positions: Called with (x, step) before every layer.
        final_norm: Applied at the end, which a "pre" stack needs.

    Raises ValueError if there is no layer or depth < 1.

    Example:
        >>> import torch
        >>> from quire.nn import CoordinatePositions, Encoder, EncoderLayer, FeedForward
        >>> from quire.nn import MultiHeadAttention
        >>> layer = EncoderLayer(8, MultiHeadAttention(8, 2), feed_forward=FeedForward(8, 32))
        >>> universal = Encoder(layer, depth=6, positions=CoordinatePositions(8))
        >>> universal(torch.randn(2, 5, 8)).shape
        torch.Size([2, 5, 8])
    """

    def forward(self, x: Tensor, mask: Mask | None = None) -> Tensor:
        """x (B, T, D) -> (B, T, D)."""
        return self._apply_layers(x, mask)

    def extend(
        self, x: Tensor, state: Decoded | None = None, *, mask: Padding | None = None
    ) -> tuple[Tensor, Decoded]:
        """The stack with a causal mask, its input in pieces: (B, T, D) and what it keeps.

        x: (B, T, D), a prompt or any number of tokens after it, which `mask` may pad at the end.
        state: None for the prompt, then what a call gave, which may be continued again.
        """
        if state is None:
            state = Decoded((None,) * self.depth, 0)
        x, layers = self._extend_layers(x, state.layers, state.length, mask=mask)
        if mask is None:
            return x, Decoded(layers, state.length + x.shape[1])
        # The padding of a prompt takes no positions: each row goes on after its own last token.
        counted = mask.counted(len(x), x.shape[1], x.device)
        return x, Decoded(layers, state.length + counted.sum(-1))


class Decoder(Stack):
    """Decoder layers, one after the other, that attend to a memory.

    Layer `step` modulo their number is used, as in `Encoder`.

    Args:
        layers: Distinct layers, or one.
        depth: How many are applied in all, by default each once.
        positions: Called with (x, step) before every layer.
        final_norm: Applied at the end, which a "pre" stack needs.

    Raises ValueError if there is no layer or depth < 1.

    Example:
        >>> import torch
        >>> from quire.nn import Decoder, DecoderLayer, FeedForward, MultiHeadAttention
        >>> attention, cross = MultiHeadAttention(8, 2), MultiHeadAttention(8, 2)
        >>> layer = DecoderLayer(
        ...     8, attention, cross_attention=cross, feed_forward=FeedForward(8, 32)
        ... )
        >>> Decoder(layer, depth=2)(torch.randn(2, 5, 8), torch.randn(2, 7, 8)).shape
        torch.Size([2, 5, 8])
    """

    def forward(
        self,
        x: Tensor,
        memory: Tensor,
        mask: Mask | None = None,
        memory_mask: Mask | None = None,
    ) -> Tensor:
        """The output of the last layer, (B, T, D).

        Args:
            x: Tokens (B, T, D).
            memory: What every layer attends to, (B, S, D).
            mask: Which tokens attend to which tokens, e.g. `Causal()`.
            memory_mask: Which tokens attend to which of the memory.
        """
        return self._apply_layers(x, memory, mask, memory_mask)

    def begin(self, memory: Tensor, memory_mask: Mask | None = None) -> Decoded:
        """The state before the first token; every layer's keys of the memory (B, S, D) are in it.

        Raises ValueError for a mask that is not `Padding`.
        """
        # The memory's keys differ by layer, never by token: projected once, here.
        layers: list[Any] = [self.layers[step % len(self.layers)] for step in range(self.depth)]
        states = [(None, layer.cross_attention.remember(memory, memory_mask)) for layer in layers]
        return Decoded(tuple(states), 0)

    def extend(self, x: Tensor, state: Decoded) -> tuple[Tensor, Decoded]:
        """More tokens x (B, T, D), causal: (B, T, D) and the new state."""
        x, layers = self._extend_layers(x, state.layers, state.length)
        return x, Decoded(layers, state.length + x.shape[1])


class EncoderDecoder(nn.Module):
    """An encoder whose output is the memory of a decoder.

    Example:
        >>> import torch
        >>> from quire.nn import Decoder, DecoderLayer, Encoder, EncoderDecoder, EncoderLayer
        >>> from quire.nn import FeedForward, MultiHeadAttention
        >>> encoder_layer = EncoderLayer(
        ...     8, MultiHeadAttention(8, 2), feed_forward=FeedForward(8, 32)
        ... )
        >>> decoder_layer = DecoderLayer(
        ...     8,
        ...     MultiHeadAttention(8, 2),
        ...     cross_attention=MultiHeadAttention(8, 2),
        ...     feed_forward=FeedForward(8, 32),
        ... )
        >>> model = EncoderDecoder(Encoder(encoder_layer), Decoder(decoder_layer))
        >>> model(torch.randn(2, 7, 8), torch.randn(2, 5, 8)).shape
        torch.Size([2, 5, 8])
    """

    def __init__(self, encoder: Encoder, decoder: Decoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder

    def forward(
        self,
        source: Tensor,
        target: Tensor,
        source_mask: Mask | None = None,
        target_mask: Mask | None = None,
        memory_mask: Mask | None = None,
    ) -> Tensor:
        """The decoder's output (B, T, D).

        Args:
            source: What the encoder reads, (B, S, D).
            target: What the decoder reads, (B, T, D).
            source_mask: Which source tokens attend to which.
            target_mask: Which target tokens attend to which, e.g. `Causal()`.
            memory_mask: Which source tokens the target may attend to, e.g. the source's `Padding`.
        """
        memory = self.encoder(source, source_mask)
        return self.decoder(target, memory, target_mask, memory_mask)
