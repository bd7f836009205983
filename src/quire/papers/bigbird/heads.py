"""What stands on the encoder: words, classes, spans of answers, candidates (section 4).

B batch, N tokens, D width, V words, C classes, A candidates.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, pad

from quire.nn.masks import Padding

EPS = 1e-12
"""Of layer normalisation, as in BERT."""


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
        return linear(x, self.embedding.weight, self.bias)


class ClassHead(nn.Module):
    """Scores of classes from the first token's state: documents (table 15), sentences (table 16),
    the type of an answer (yes, no, a span, none).

    Args:
        dim: width D.
        classes: C.
        dropout: probability, before the last layer.

    Example:
        >>> from quire.papers.bigbird import ClassHead
        >>> ClassHead(8, 3)(torch.randn(2, 5, 8)).shape
        torch.Size([2, 3])
    """

    def __init__(self, dim: int, classes: int, *, dropout: float = 0.1) -> None:
        super().__init__()
        self.pooler = Pooler(dim)
        self.dropout = nn.Dropout(dropout)
        self.score = nn.Linear(dim, classes)
        initialise(self, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, C)."""
        return self.score(self.dropout(self.pooler(x)))


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
    def best(scores: Tensor, longest: int = 30, allowed: Padding | Tensor | None = None) -> Tensor:
        """The span first <= last, at most `longest` tokens: (B, 2) int64 from scores (B, N, 2).

        O(N longest). The paper's limits: 30 (HotpotQA), 38 (Natural Questions), 16 (TriviaQA).
        allowed: which tokens may be in an answer, so that neither padding nor the question is one:
        `Padding`, or (B, N) bool. A row in which none may gives (-1, -1).

        Raises ValueError for a limit below 1, no token, or an `allowed` that does not fit.
        """
        batch, length = scores.shape[:2]
        if longest < 1 or length == 0:
            raise ValueError(
                f"the best span needs a limit and a text of at least 1 token, got a limit of "
                f"{longest} and {length} tokens"
            )
        may = _allowed(allowed, batch, length, scores.device)
        first, last = scores.masked_fill(~may[..., None], -torch.inf).unbind(-1)
        reach = min(longest, length)
        # Tokens in a row from each place on that may be in an answer: a span holds no other.
        room = _run_lengths(may)
        # ends[b, i, m] is the score of a last token m places after i, out of reach behind the text.
        ends = torch.stack(
            [
                pad(last[:, more:], (0, more), value=-torch.inf).masked_fill(
                    room <= more, -torch.inf
                )
                for more in range(reach)
            ],
            -1,
        )
        flat = (first[..., None] + ends).flatten(1).argmax(1)
        begin = flat // reach
        span = torch.stack((begin, begin + flat % reach), 1)
        return torch.where(may.any(1)[:, None], span, -1)


def _allowed(
    allowed: Padding | Tensor | None, batch: int, length: int, device: torch.device
) -> Tensor:
    """(B, N) bool."""
    if isinstance(allowed, Padding):
        return allowed.counted(batch, length, device)
    if allowed is None:
        return torch.ones(batch, length, dtype=torch.bool, device=device)
    if allowed.dtype != torch.bool or allowed.shape != (batch, length):
        raise ValueError(
            f"allowed must be Padding or bool ({batch}, {length}), "
            f"got {allowed.dtype} {tuple(allowed.shape)}"
        )
    return allowed.to(device)


def _run_lengths(may: Tensor) -> Tensor:
    """How many tokens from each one on, itself included, are allowed in a row: (B, N) int64."""
    length = may.shape[1]
    place = torch.arange(length, device=may.device).expand(may.shape)
    # The next place that is not allowed: a running minimum from the end.
    barred = torch.where(may, length, place).flip(1).cummin(1).values.flip(1)
    return barred - place


class ConditionalSpanHead(nn.Module):
    """An answer's last token given its first one (Natural Questions, appendix E.2).

    The scores of the last token see the state of the first: `forward` takes the right first token
    in training and the likeliest one elsewhere.

    Example:
        >>> from quire.papers.bigbird import ConditionalSpanHead
        >>> head = ConditionalSpanHead(8)
        >>> first, last = head(torch.randn(2, 5, 8), torch.tensor([1, 4]))
        >>> first.shape, last.shape
        (torch.Size([2, 5]), torch.Size([2, 5]))
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.first = nn.Linear(dim, 1)
        self.hidden = nn.Linear(2 * dim, dim)
        self.activation = nn.GELU(approximate="tanh")
        self.last = nn.Linear(dim, 1)
        initialise(self, dim)

    def forward(self, x: Tensor, begin: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """x (B, N, D) -> scores of the first token and of the last, (B, N) each.

        begin: the first tokens (B,) int64; the likeliest ones where None.
        """
        first = self.first(x).squeeze(-1)
        begin = first.argmax(1) if begin is None else begin
        state = x[torch.arange(len(x), device=x.device), begin]
        both = torch.cat((x, state[:, None].expand(x.shape)), -1)
        return first, self.last(self.activation(self.hidden(both))).squeeze(-1)

    @torch.no_grad()
    def best(self, x: Tensor, longest: int = 38, allowed: Padding | Tensor | None = None) -> Tensor:
        """The likeliest first token and, given it, last token: (B, 2) int64.

        As `SpanHead.best`, but one token after the other.
        """
        batch, length, _ = x.shape
        if longest < 1 or length == 0:
            raise ValueError(
                f"the best span needs a limit and a text of at least 1 token, got a limit of "
                f"{longest} and {length} tokens"
            )
        may = _allowed(allowed, batch, length, x.device)
        begin = self.first(x).squeeze(-1).masked_fill(~may, -torch.inf).argmax(1)
        _, last = self(x, begin)
        place = torch.arange(length, device=x.device)
        room = _run_lengths(may).gather(1, begin[:, None]).clamp(max=longest)
        near = (place >= begin[:, None]) & (place < begin[:, None] + room)
        end = last.masked_fill(~near, -torch.inf).argmax(1)
        return torch.where(may.any(1)[:, None], torch.stack((begin, end), 1), -1)


class CandidateHead(nn.Module):
    """Scores of candidate answers from the states of their tokens (WikiHop, appendix E.2).

    A candidate's score is the mean over the places where it stands.

    Example:
        >>> from quire.papers.bigbird import CandidateHead
        >>> places = torch.tensor([[0, 0, 1, -1, 1], [-1, 0, -1, 1, -1]])
        >>> CandidateHead(8)(torch.randn(2, 5, 8), places, 2).shape
        torch.Size([2, 2])
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.score = nn.Linear(dim, 1)
        initialise(self, dim)

    def forward(self, x: Tensor, candidate: Tensor, count: int) -> Tensor:
        """x (B, N, D) -> (B, A); -inf for a candidate that stands nowhere.

        candidate: (B, N) int64, the candidate, 0 to A - 1, that a token belongs to, -1 for none.
        count: A. Raises ValueError for candidates of another shape.
        """
        if candidate.shape != x.shape[:2]:
            raise ValueError(
                f"candidate must be {tuple(x.shape[:2])}, got {tuple(candidate.shape)}"
            )
        scores = self.score(x).squeeze(-1)
        # Tokens of no candidate are added up in a column more, which is then left.
        into = torch.where(candidate < 0, count, candidate)
        sums = scores.new_zeros(len(x), count + 1).scatter_add(1, into, scores)
        many = scores.new_zeros(len(x), count + 1).scatter_add(1, into, torch.ones_like(scores))
        means = sums / many.clamp(min=1)
        return means.masked_fill(many == 0, -torch.inf)[:, :count]
