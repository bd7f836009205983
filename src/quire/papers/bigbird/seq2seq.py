"""A sparse encoder and a full decoder (section 4.1, summarisation), with beam search.

B batch, N tokens of the source, T of the target, M beams, D width, V words.
"""

import torch
from torch import Tensor, nn

from quire.nn.attention import MultiHeadAttention
from quire.nn.decoding import select
from quire.nn.masks import Causal, Mask
from quire.nn.positions import LearnedPositions
from quire.nn.transformer import Decoded, Decoder, DecoderLayer, EncoderLayer, FeedForward
from quire.papers.bigbird.heads import initialise
from quire.papers.bigbird.model import BigBird, feed_forward


class BigBirdSeq2Seq(nn.Module):
    """A sparse encoder and a full, causal decoder (section 4.1, summarisation).

    encoder: a `BigBird`; the decoder has its size, dropout and kind of positions and shares its
    embeddings. shared: the decoder's self-attention and feed-forward layers are the encoder's own
    (as at the paper's base size); attention to the source is new. length: the most tokens of the
    target.

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
        dim, rate = encoder.word.embedding_dim, encoder.dropout.p
        # Rotary positions turn queries and keys in each layer, those of the decoder too.
        learned = isinstance(encoder.position, LearnedPositions)
        self.position = LearnedPositions(length, dim) if learned else None
        self.length = length
        self.norm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(rate)
        self.bias = nn.Parameter(torch.zeros(encoder.word.num_embeddings))
        self.decoder = Decoder(
            [_decoder_layer(layer, dim, shared, rate) for layer in encoder.layers]
        )
        initialise(self.norm, dim)

    def forward(self, source: Tensor, target: Tensor, mask: Mask | None = None) -> Tensor:
        """source (B, N), target (B, T) -> scores of the next words (B, T, V).

        mask: of the source, e.g. `Padding`.
        """
        memory = self.encoder(source, mask)
        return self._score(self.decoder(self._embed(target, 0), memory, Causal(), mask))

    @torch.no_grad()
    def greedy(
        self,
        source: Tensor,
        begin: int,
        *,
        steps: int,
        end: int | None = None,
        mask: Mask | None = None,
    ) -> Tensor:
        """The likeliest next word again and again: (B, steps) int64.

        Args:
            source: (B, N) int64.
            begin: the word that the target begins with; it is not given back.
            steps: how many words.
            end: the word that ends a target; nothing but it follows then.
            mask: of the source.

        Raises ValueError for more steps than the decoder's length.
        """
        self._check_steps(steps)
        state = self.decoder.begin(self.encoder(source, mask), mask)
        word = source.new_full((len(source),), begin)
        ended = torch.zeros_like(word, dtype=torch.bool)
        words = source.new_empty(len(source), steps)
        for step in range(steps):
            scores, state = self._next(word, state, step)
            word = scores.argmax(-1)
            if end is not None:
                word = word.masked_fill(ended, end)
                ended = ended | (word == end)
            words[:, step] = word
        return words

    @torch.no_grad()
    def search(
        self,
        source: Tensor,
        begin: int,
        *,
        steps: int,
        end: int,
        beams: int = 5,
        penalty: float = 0.8,
        mask: Mask | None = None,
    ) -> Tensor:
        """The likeliest target that beam search finds: (B, steps) int64, `end` behind its end.

        A target of T words, its `end` counted, is judged by log p / ((5 + T) / 6)^penalty (Wu et
        al., 2016, equation 14, which the paper's appendix E.5 uses).

        Args:
            source: (B, N) int64.
            begin: the word that the target begins with; it is not given back.
            steps: the most words.
            end: the word that ends a target.
            beams: M, targets that are kept at a time.
            penalty: 0 judges by log p; the paper has 0.8, for XSum 0.7.
            mask: of the source.

        Raises ValueError for more steps than the decoder's length, or no step or beam.
        """
        self._check_steps(steps)
        if beams < 1 or steps < 1:
            raise ValueError(f"beams and steps must be at least 1, got {beams} and {steps}")
        batch = len(source)
        state = self.decoder.begin(self.encoder(source, mask), mask)
        state = select(state, torch.arange(batch, device=source.device).repeat_interleave(beams))
        # One target at first: M equal ones would stay equal.
        precision = torch.promote_types(self.bias.dtype, torch.float32)
        alive = torch.full((batch, beams), -torch.inf, device=source.device, dtype=precision)
        alive[:, 0] = 0
        words = source.new_full((batch, beams, steps), end)
        best = alive.new_full((batch,), -torch.inf)
        found = words[:, 0].clone()
        word = source.new_full((batch * beams,), begin)
        for step in range(steps):
            scores, state = self._next(word, state, step)
            logs = scores.log_softmax(-1, dtype=precision).view(batch, beams, -1)
            total = alive[..., None] + logs
            length = ((6 + step) / 6) ** penalty
            # What ends here is judged; what goes on is not yet.
            done = total[..., end] / length
            better, which = done.max(1)
            found = _where(better > best, _take(words, which), found)
            best = torch.maximum(best, better)
            total[..., end] = -torch.inf
            vocabulary = total.shape[-1]
            alive, flat = _top(total.flatten(1), beams)
            origin, chosen = flat // vocabulary, flat % vocabulary
            words = words.gather(1, origin[..., None].expand_as(words))
            words[..., step] = chosen
            rows = (torch.arange(batch, device=source.device)[:, None] * beams + origin).flatten()
            state, word = select(state, rows), chosen.flatten()
        # Targets that are still going on at the last step are judged as they stand.
        better, which = (alive / ((5 + steps) / 6) ** penalty).max(1)
        return _where(better > best, _take(words, which), found)

    def _next(self, word: Tensor, state: Decoded, step: int) -> tuple[Tensor, Decoded]:
        """Scores of the word after the words (B,), (B, V), and the new state."""
        x, state = self.decoder.extend(self._embed(word[:, None], step), state)
        return self._score(x)[:, 0], state

    def _embed(self, words: Tensor, start: int) -> Tensor:
        x = self.encoder.word(words)
        if self.position is not None:
            x = self.position(x, 0, start)
        return self.norm(self.dropout(x))

    def _score(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.encoder.word.weight, self.bias)

    def _check_steps(self, steps: int) -> None:
        if self.position is not None and steps > self.length:
            raise ValueError(f"steps must be at most the length {self.length}, got {steps}")


def _top(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` best of (B, S) and their places, (B, count) each; -inf for those that lack."""
    values, places = scores.topk(min(count, scores.shape[1]), 1)
    short = count - values.shape[1]
    values = nn.functional.pad(values, (0, short), value=-torch.inf)
    return values, nn.functional.pad(places, (0, short))


def _take(words: Tensor, which: Tensor) -> Tensor:
    """words (B, M, T), which (B,) -> (B, T)."""
    return words[torch.arange(len(words), device=words.device), which]


def _where(rows: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Rows (B,) bool of a, the others of b, (B, T) each."""
    return torch.where(rows[:, None], a, b)


def _decoder_layer(layer: nn.Module, dim: int, shared: bool, rate: float) -> DecoderLayer:
    """A layer of the decoder beside one of the encoder.

    Args:
        layer: of the encoder.
        dim: width D.
        shared: whether self-attention and feed-forward part are the encoder's.
        rate: probability of dropout.
    """
    assert isinstance(layer, EncoderLayer)
    attention = layer.attention
    assert isinstance(layer.feed_forward, FeedForward)
    linear = layer.feed_forward[0]
    assert isinstance(linear, nn.Linear)
    own = MultiHeadAttention(dim, attention.heads, bias=True, positions=attention.positions)
    cross = MultiHeadAttention(dim, attention.heads, bias=True)
    new = DecoderLayer(
        dim,
        own,
        cross_attention=cross,
        feed_forward=feed_forward(dim, linear.out_features),
        norm="post",
        dropout=rate,
    )
    initialise(new, dim)
    if shared:
        new.feed_forward = layer.feed_forward
        for part in ("query", "key", "value", "output"):
            setattr(own, part, getattr(attention, part))
    return new
