"""Recommenders of click-through rates: the paper's section 3.2.

B impressions, F categorical fields, E width of an embedding.

Nets take (B, F) int64, the place of each field's value in one table, and give logits (B, 1).
`layers` and `cuts` of a class say where the paper marks it, `DirectFeedback(net, net.layers,
source=net.source, cuts=net.cuts)`. Modules that only carry a mark are nn.Identity.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def interact(x: Tensor) -> Tensor:
    """The sum of products of all pairs of fields: (B, F, E) -> (B, 1) (Rendle 2010, eq. 1)."""
    return (x.sum(1).square() - x.square().sum(1)).sum(1, keepdim=True) / 2


class Fields(nn.Module):
    """A vector for each value of each field: (B, F) -> (B, F, E).

    values: How many there are in all fields. dim: E.

    Example:
        >>> import torch
        >>> from quire.papers.dfa import Fields
        >>> Fields(20, 4)(torch.randint(20, (5, 3))).shape
        torch.Size([5, 3, 4])
    """

    def __init__(self, values: int, dim: int) -> None:
        super().__init__()
        self.table = nn.Embedding(values, dim)
        nn.init.xavier_uniform_(self.table.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Places (B, F) -> (B, F, E)."""
        found: Tensor = self.table(x)
        return found


class Linear(nn.Module):
    """A number for each value and one for all: (B, F) -> (B, 1). values: of all fields together.

    Example:
        >>> import torch
        >>> from quire.papers.dfa.recommenders import Linear
        >>> Linear(20)(torch.randint(20, (5, 3))).shape
        torch.Size([5, 1])
    """

    def __init__(self, values: int) -> None:
        super().__init__()
        self.table = nn.Embedding(values, 1)
        nn.init.xavier_uniform_(self.table.weight)
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """Places (B, F) -> (B, 1)."""
        return self.table(x).sum(1) + self.bias


def dense(inputs: int, hidden: Sequence[int], dropout: float, *, outputs: int = 0) -> nn.Sequential:
    """Blocks of Linear, BatchNorm, ReLU, Dropout, to be marked behind each; then a last layer.

    Args:
        inputs: Width of the first layer's input.
        hidden: Width of each block.
        dropout: Probability for each hidden number.
        outputs: Width of the last layer; 0 is none.
    """
    blocks: list[nn.Module] = []
    for width in hidden:
        blocks.append(
            nn.Sequential(
                nn.Linear(inputs, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(dropout)
            )
        )
        inputs = width
    return nn.Sequential(*blocks, *([nn.Linear(inputs, outputs)] if outputs else []))


class Recommender(nn.Module):
    """What the nets share: where they are marked, in the words of `DirectFeedback`."""

    layers: tuple[str, ...] = ()
    source: str | None = None
    cuts: tuple[str, ...] = ()


class FM(Recommender):
    """A factorisation machine, which has no hidden layer (Rendle 2010).

    values: Of all fields together. dim: E.

    Example:
        >>> import torch
        >>> from quire.papers.dfa import FM
        >>> FM(20, dim=4)(torch.randint(20, (5, 3))).shape
        torch.Size([5, 1])
    """

    def __init__(self, values: int, *, dim: int = 16) -> None:
        super().__init__()
        self.linear, self.fields = Linear(values), Fields(values, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, F) -> logits (B, 1)."""
        out: Tensor = self.linear(x) + interact(self.fields(x))
        return out


class DeepFM(Recommender):
    """A factorisation machine beside a dense net on the same embeddings (Guo et al. 2017).

    The error is taken at the dense net's output, whose input is cut off: embeddings learn from the
    machine and the linear term, where no weight is transported.

    Args:
        values: Of all fields together.
        count: F.
        dim: E.
        hidden: Widths of the dense net.
        dropout: Probability for each hidden number.

    Example:
        >>> import torch
        >>> from quire.papers.dfa import DeepFM
        >>> DeepFM(20, 3, dim=4, hidden=(8, 8))(torch.randint(20, (5, 3))).shape
        torch.Size([5, 1])
    """

    source = "dense"
    cuts = ("entry",)

    def __init__(
        self,
        values: int,
        count: int,
        *,
        dim: int = 10,
        hidden: Sequence[int] = (400, 400, 400),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.linear, self.fields = Linear(values), Fields(values, dim)
        self.entry = nn.Flatten()
        self.dense = dense(count * dim, hidden, dropout, outputs=1)
        self.layers = tuple(f"dense.{place}" for place in range(len(hidden)))

    def forward(self, x: Tensor) -> Tensor:
        """(B, F) -> logits (B, 1)."""
        embedded = self.fields(x)
        out: Tensor = self.linear(x) + interact(embedded) + self.dense(self.entry(embedded))
        return out


class CrossLayer(nn.Module):
    """x_0 (x . w) + b + x, one step of a cross network (Wang et al. 2017, eq. 3). dim: D.

    Example:
        >>> import torch
        >>> from quire.papers.dfa.recommenders import CrossLayer
        >>> x = torch.randn(5, 8)
        >>> CrossLayer(8)(x, x).shape
        torch.Size([5, 8])
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Linear(dim, 1, bias=False)
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor, first: Tensor) -> Tensor:
        """x and x_0, both (B, D) -> (B, D)."""
        out: Tensor = first * self.weight(x) + self.bias + x
        return out


class DCN(Recommender):
    """A cross network beside a dense net (Wang et al. 2017).

    Marks: the embeddings, each cross layer but the last, each block of the dense net, and both
    side by side.

    Args:
        values: Of all fields together.
        count: F.
        dim: E.
        crosses: Cross layers.
        hidden: Widths of the dense net.
        dropout: Probability for each hidden number.

    Example:
        >>> import torch
        >>> from quire.papers.dfa import DCN
        >>> DCN(20, 3, dim=4, crosses=2, hidden=(8, 8))(torch.randint(20, (5, 3))).shape
        torch.Size([5, 1])
    """

    def __init__(
        self,
        values: int,
        count: int,
        *,
        dim: int = 16,
        crosses: int = 6,
        hidden: Sequence[int] = (1024, 1024),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.fields, self.entry = Fields(values, dim), nn.Flatten()
        self.crosses = nn.ModuleList(CrossLayer(count * dim) for _ in range(crosses))
        self.dense = dense(count * dim, hidden, dropout)
        self.stack = nn.Identity()
        self.last = nn.Linear(count * dim + hidden[-1], 1)
        self.layers = (
            "entry",
            *(f"crosses.{place}" for place in range(crosses - 1)),
            *(f"dense.{place}" for place in range(len(hidden))),
            "stack",
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, F) -> logits (B, 1)."""
        first = crossed = self.entry(self.fields(x))
        for layer in self.crosses:
            crossed = layer(crossed, first)
        out: Tensor = self.last(self.stack(torch.cat([crossed, self.dense(first)], 1)))
        return out


class AutoInt(Recommender):
    """Self-attention between fields beside a dense net (Song et al. 2019).

    Marks: the embeddings, their projection, each attention but the last, the attended fields, and
    each block of the dense net.

    Args:
        values: Of all fields together.
        count: F.
        dim: E.
        attention_dim: Width of the attention, H heads together.
        heads: H.
        layers: Attentions.
        hidden: Widths of the dense net.
        dropout: Probability for each hidden number and each share of attention.

    Example:
        >>> import torch
        >>> from quire.papers.dfa import AutoInt
        >>> net = AutoInt(20, 3, dim=4, attention_dim=8, layers=2, hidden=(8, 8))
        >>> net(torch.randint(20, (5, 3))).shape
        torch.Size([5, 1])
    """

    def __init__(
        self,
        values: int,
        count: int,
        *,
        dim: int = 16,
        attention_dim: int = 32,
        heads: int = 2,
        layers: int = 3,
        hidden: Sequence[int] = (400, 400, 400),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.linear, self.fields = Linear(values), Fields(values, dim)
        self.entry = nn.Identity()
        self.project = nn.Linear(dim, attention_dim)
        self.attentions = nn.ModuleList(
            nn.MultiheadAttention(attention_dim, heads, dropout=dropout, batch_first=True)
            for _ in range(layers)
        )
        self.between = nn.ModuleList(nn.Identity() for _ in range(layers - 1))
        self.around = nn.Linear(dim, attention_dim)
        self.crossed = nn.Sequential(nn.ReLU(), nn.Flatten())
        self.last = nn.Linear(count * attention_dim, 1)
        self.dense = dense(count * dim, hidden, dropout, outputs=1)
        self.layers = (
            "entry",
            "project",
            *(f"between.{place}" for place in range(layers - 1)),
            "crossed",
            *(f"dense.{place}" for place in range(len(hidden))),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, F) -> logits (B, 1)."""
        embedded = self.entry(self.fields(x))
        attended = self.project(embedded)
        for place, attention in enumerate(self.attentions):
            attended = attention(attended, attended, attended, need_weights=False)[0]
            if place < len(self.between):
                attended = self.between[place](attended)
        crossed = self.crossed(attended + self.around(embedded))
        out: Tensor = self.linear(x) + self.last(crossed) + self.dense(embedded.flatten(1))
        return out


class AFN(Recommender):
    """Logarithmic neurons, products of powers of the fields, under a dense net (Cheng et al. 2020).

    Marks: the embeddings, the neurons, each block of the dense net. The published code cuts the
    embeddings off and sends them nothing (`layers[1:]`, `cuts=("entry",)`): they stay at random.

    Args:
        values: Of all fields together.
        count: F.
        dim: E.
        neurons: Logarithmic neurons.
        hidden: Widths of the dense net.
        dropout: Probability for each hidden number.

    Example:
        >>> import torch
        >>> from quire.papers.dfa import AFN
        >>> AFN(20, 3, dim=4, neurons=6, hidden=(8, 8))(torch.randint(20, (5, 3))).shape
        torch.Size([5, 1])
    """

    def __init__(
        self,
        values: int,
        count: int,
        *,
        dim: int = 10,
        neurons: int = 1500,
        hidden: Sequence[int] = (400, 400, 400),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.linear, self.fields = Linear(values), Fields(values, dim)
        self.entry = nn.Identity()
        self.powers = nn.Linear(count, neurons)
        self.neurons = nn.Flatten()
        self.dense = dense(neurons * dim, hidden, dropout, outputs=1)
        self.layers = ("entry", "neurons", *(f"dense.{place}" for place in range(len(hidden))))

    def forward(self, x: Tensor) -> Tensor:
        """(B, F) -> logits (B, 1)."""
        embedded = self.entry(self.fields(x))
        logarithm = embedded.abs().clamp(min=1e-7).log().transpose(1, 2)  # (B, E, F)
        neurons = self.powers(logarithm).exp().relu().transpose(1, 2)
        out: Tensor = self.linear(x) + self.dense(self.neurons(neurons))
        return out
