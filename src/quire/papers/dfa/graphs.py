"""Graph networks in plain PyTorch: the five convolutions of the paper's section 3.3.

N nodes, E directed edges source -> target, F features, D width, H heads.

Nets take (x, links). Features x (N, F) may be a sparse tensor, which spares most of a citation
graph's first product. What is fixed of a graph (degrees, normalised weights) is computed once.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quire.nn.devices import without_autocast


class Links:
    """Directed edges of a graph of N nodes, and the sparse matrices that follow from them.

    Args:
        edge: (2, E) int64, source and target.
        count: N.
        dtype: Of the weights.

    Raises ValueError for another shape, or a node that is not there.

    Example:
        >>> import torch
        >>> from quire.papers.dfa import Links
        >>> links = Links(torch.tensor([[0, 1], [1, 0]]), 3)
        >>> links.normalized.to_dense()[2]
        tensor([0., 0., 1.])
    """

    def __init__(self, edge: Tensor, count: int, *, dtype: torch.dtype = torch.float32) -> None:
        if edge.dim() != 2 or len(edge) != 2:
            raise ValueError(f"edges must be (2, E), got shape {tuple(edge.shape)}")
        if edge.device.type != "meta" and bool(((edge < 0) | (edge >= count)).any()):
            raise ValueError(f"edges must join nodes 0 to {count - 1}")
        self.count, self.edge = count, edge
        target = edge[1]
        degree = torch.zeros(count, dtype=dtype, device=edge.device)
        degree = degree.index_add(0, target, torch.ones_like(target, dtype=dtype))
        # A_hat = D^-1/2 (A + 1) D^-1/2, with D the degrees of A + 1 (Kipf & Welling 2017).
        self.looped = torch.cat([edge, torch.arange(count, device=edge.device).expand(2, -1)], 1)
        scale = (degree + 1).rsqrt()
        self.looped_weight = scale[self.looped].prod(0)
        self.normalized = self._matrix(self.looped, self.looped_weight)
        # D^-1/2 A D^-1/2: minus the scaled Laplacian whose largest eigenvalue is taken as 2.
        scale = torch.where(degree > 0, degree.clamp(min=1).rsqrt(), 0)
        self.unlooped = self._matrix(edge, scale[edge].prod(0))
        # Splines of degree 1 over the target's share of the largest in-degree, as a mean.
        share = (degree / degree.max().clamp(min=1))[target]
        mean = (1 / degree.clamp(min=1))[target]
        self.splines = tuple(self._matrix(edge, part * mean) for part in (1 - share, share))

    def to(self, device: torch.device | str) -> "Links":
        """The same links on a device."""
        return Links(self.edge.to(device), self.count, dtype=self.looped_weight.dtype)

    def spread(self, matrix: Tensor, x: Tensor) -> Tensor:
        """One of the sparse matrices (N, N) times x (N, D), in single precision at the least.

        Raises ValueError where x has another number of rows than there are nodes.
        """
        self.check(x)
        kind = torch.promote_types(x.dtype, torch.float32)
        with without_autocast(x):
            return torch.sparse.mm(matrix.to(kind), x.to(kind)).to(x.dtype)

    def check(self, x: Tensor) -> None:
        """Raise ValueError where x has another number of rows than there are nodes."""
        if len(x) != self.count:
            raise ValueError(f"the graph has {self.count} nodes, the features {len(x)} rows")

    def _matrix(self, edge: Tensor, weight: Tensor) -> Tensor:
        """Sparse (N, N): row target, column source."""
        size = (self.count, self.count)
        matrix = torch.sparse_coo_tensor(edge.flip(0), weight, size, check_invariants=False)
        return matrix.coalesce()


def normalize_rows(x: Tensor) -> Tensor:
    """Rows (N, F) divided by their sums; rows of zeros stay."""
    return x / x.sum(1, keepdim=True).clamp(min=1e-12)


def drop_features(x: Tensor, p: float, training: bool) -> Tensor:
    """Dropout of features (N, F), dense or sparse, where zeros have nothing to drop."""
    if not training or p == 0:
        return x
    if not x.is_sparse:
        return F.dropout(x, p)
    kept = F.dropout(x.values(), p)
    return torch.sparse_coo_tensor(
        x.indices(), kept, x.shape, is_coalesced=True, check_invariants=False
    )


def multiply(x: Tensor, weight: Tensor) -> Tensor:
    """x (N, F), dense or sparse, times weight (F, D)."""
    if not x.is_sparse:
        return x @ weight
    with without_autocast(weight):
        return torch.sparse.mm(x, weight)


def _weight(*shape: int) -> nn.Parameter:
    """Glorot's uniform entries."""
    return nn.Parameter(nn.init.xavier_uniform_(torch.empty(*shape)))


class GraphConv(nn.Module):
    """A_hat x W + b (Kipf & Welling 2017). features: F. dim: D.

    Example:
        >>> import torch
        >>> from quire.papers.dfa import GraphConv, Links
        >>> links = Links(torch.tensor([[0, 1, 2], [1, 0, 1]]), 3)
        >>> GraphConv(8, 4)(torch.randn(3, 8), links).shape
        torch.Size([3, 4])
    """

    def __init__(self, features: int, dim: int) -> None:
        super().__init__()
        self.weight = _weight(features, dim)
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor, links: Links) -> Tensor:
        """x (N, F) -> (N, D)."""
        return links.spread(links.normalized, multiply(x, self.weight)) + self.bias


class ChebConv(nn.Module):
    """Chebyshev polynomials of the Laplacian up to K = 2 terms: x W_0 + L x W_1 + b, where
    L = -D^-1/2 A D^-1/2 (Defferrard et al. 2016). features: F. dim: D.

    Example:
        >>> import torch
        >>> from quire.papers.dfa import ChebConv, Links
        >>> links = Links(torch.tensor([[0, 1, 2], [1, 0, 1]]), 3)
        >>> ChebConv(8, 4)(torch.randn(3, 8), links).shape
        torch.Size([3, 4])
    """

    def __init__(self, features: int, dim: int) -> None:
        super().__init__()
        self.own, self.near = _weight(features, dim), _weight(features, dim)
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor, links: Links) -> Tensor:
        """x (N, F) -> (N, D)."""
        near = links.spread(links.unlooped, multiply(x, self.near))
        return multiply(x, self.own) - near + self.bias


class SplineConv(nn.Module):
    """A mean over neighbours, weighted by linear splines of the target's degree (Fey et al. 2018).

    One dimension, two knots: out_i = x_i W + mean_j ((1 - u_i) x_j W_0 + u_i x_j W_1) + b, with u_i
    the in-degree of i as a share of the largest. features: F. dim: D.

    Example:
        >>> import torch
        >>> from quire.papers.dfa import Links, SplineConv
        >>> links = Links(torch.tensor([[0, 1, 2], [1, 0, 1]]), 3)
        >>> SplineConv(8, 4)(torch.randn(3, 8), links).shape
        torch.Size([3, 4])
    """

    def __init__(self, features: int, dim: int) -> None:
        super().__init__()
        self.own = _weight(features, dim)
        self.knots = nn.ParameterList([_weight(features, dim) for _ in range(2)])
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor, links: Links) -> Tensor:
        """x (N, F) -> (N, D)."""
        out = multiply(x, self.own) + self.bias
        for matrix, weight in zip(links.splines, self.knots, strict=True):
            out = out + links.spread(matrix, multiply(x, weight))
        return out


class GATConv(nn.Module):
    """Graph attention (Velickovic et al. 2018): softmax over the neighbours and oneself of
    LeakyReLU(a_s . W x_j + a_t . W x_i), slope 0.2, heads side by side.

    Args:
        features: F.
        dim: Width of a head.
        heads: H.
        dropout: Probability for each coefficient.

    Example:
        >>> import torch
        >>> from quire.papers.dfa import GATConv, Links
        >>> links = Links(torch.tensor([[0, 1, 2], [1, 0, 1]]), 3)
        >>> GATConv(8, 4, heads=2)(torch.randn(3, 8), links).shape
        torch.Size([3, 8])
    """

    def __init__(self, features: int, dim: int, *, heads: int = 1, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.weight = _weight(features, heads * dim)
        self.from_source, self.to_target = _weight(heads, dim), _weight(heads, dim)
        self.bias = nn.Parameter(torch.zeros(heads * dim))

    def forward(self, x: Tensor, links: Links) -> Tensor:
        """x (N, F) -> (N, H * D)."""
        links.check(x)
        x_NHD = multiply(x, self.weight).unflatten(1, (self.heads, -1))
        source, target = links.looped
        score_EH = F.leaky_relu(
            (x_NHD * self.from_source).sum(2)[source] + (x_NHD * self.to_target).sum(2)[target],
            0.2,
        )
        share_EH = softmax_by(score_EH, target, links.count)
        share_EH = F.dropout(share_EH, self.dropout, self.training)
        sent_EHD = x_NHD[source] * share_EH[..., None]
        out = x_NHD.new_zeros(x_NHD.shape).index_add(0, target, sent_EHD)
        return out.flatten(1) + self.bias


def softmax_by(score: Tensor, group: Tensor, count: int) -> Tensor:
    """Softmax of scores (E, H) over the entries of each group. group: (E,). count: of groups."""
    place = group[:, None].expand_as(score)
    top = torch.full_like(score[:1].expand(count, -1), -torch.inf)
    top = top.scatter_reduce(0, place, score.detach(), "amax")
    power = (score - top[group]).exp()
    return power / power.new_zeros(top.shape).index_add(0, group, power)[group]


class DNAConv(nn.Module):
    """Each node attends, for each neighbour, to all layers of it so far (Fey 2019).

    Query from its own last layer, keys and values from the neighbour's layers, projections in
    groups, a softmax that may attend to nothing, a sum with A_hat's weights.

    Args:
        dim: D.
        heads: H, which divides D.
        groups: Of the projections, which divide D.
        dropout: Probability for each coefficient.

    Raises ValueError where heads or groups do not divide D.

    Example:
        >>> import torch
        >>> from quire.papers.dfa import DNAConv, Links
        >>> links = Links(torch.tensor([[0, 1, 2], [1, 0, 1]]), 3)
        >>> DNAConv(8, heads=2, groups=4)(torch.randn(3, 5, 8), links).shape
        torch.Size([3, 8])
    """

    def __init__(self, dim: int, *, heads: int = 8, groups: int = 16, dropout: float = 0.0) -> None:
        super().__init__()
        if dim % heads or dim % groups:
            raise ValueError(f"heads and groups must divide {dim}, got {heads} and {groups}")
        self.heads, self.dropout = heads, dropout
        small = dim // groups
        self.weight = nn.Parameter(torch.empty(3, groups, small, small))
        nn.init.uniform_(self.weight, -(small**-0.5), small**-0.5)
        self.bias = nn.Parameter(torch.zeros(3, dim))

    def forward(self, x: Tensor, links: Links) -> Tensor:
        """All layers so far x (N, L, D) -> the next one (N, D)."""
        links.check(x)
        query_NHK = self._project(0, x[:, -1:])[:, :, 0]
        key_NHLK, value_NHLK = self._project(1, x), self._project(2, x)
        source, target = links.looped
        score_EHL = (query_NHK[target][:, :, None] * key_NHLK[source]).sum(3)
        score_EHL = score_EHL / query_NHK.shape[-1] ** 0.5
        # Restricted: exp(0) stands in the sum too, so that all shares may be small.
        top = score_EHL.amax(2, keepdim=True).clamp(min=0)
        power = (score_EHL - top).exp()
        share = power / (power.sum(2, keepdim=True) + (-top).exp())
        share = F.dropout(share, self.dropout, self.training)
        sent_ED = (share[..., None] * value_NHLK[source]).sum(2).flatten(1)
        sent_ED = sent_ED * links.looped_weight[:, None].to(x.dtype)
        return x.new_zeros(len(x), x.shape[2]).index_add(0, target, sent_ED)

    def _project(self, which: int, x: Tensor) -> Tensor:
        """(N, L, D) -> (N, H, L, K), each group of columns by itself."""
        grouped = x.unflatten(2, (self.weight.shape[1], -1))
        out = torch.einsum("nlgi,gij->nlgj", grouped, self.weight[which]).flatten(2)
        return (out + self.bias[which]).unflatten(2, (self.heads, -1)).transpose(1, 2)


class GraphNet(nn.Module):
    """Two convolutions with an activation and dropout between them: (N, F) -> logits (N, O).

    Marks go behind `dropout` (GraphConv, ChebConv), or in front of it, behind `activation`
    (GATConv, SplineConv), as in the published code.

    Args:
        first: The first convolution.
        second: The second one.
        activation: Between them.
        dropout: Probability for each hidden number.
        input_dropout: Probability for each feature.

    Example:
        >>> import torch
        >>> from quire.papers.dfa import DirectFeedback, GraphConv, GraphNet, Links
        >>> links = Links(torch.tensor([[0, 1, 2], [1, 0, 1]]), 3)
        >>> net = GraphNet(GraphConv(8, 16), GraphConv(16, 4), dropout=0.1)
        >>> DirectFeedback(net, ["dropout"])(torch.randn(3, 8), links).shape
        torch.Size([3, 4])
    """

    def __init__(
        self,
        first: nn.Module,
        second: nn.Module,
        *,
        activation: nn.Module | None = None,
        dropout: float = 0.0,
        input_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.first, self.second = first, second
        self.activation = nn.ReLU() if activation is None else activation
        self.dropout = nn.Dropout(dropout)
        self.input_dropout = input_dropout

    def forward(self, x: Tensor, links: Links) -> Tensor:
        """x (N, F) -> (N, O)."""
        h: Tensor = self.second(self.embed(x, links), links)
        return h

    def embed(self, x: Tensor, links: Links) -> Tensor:
        """The hidden layer, (N, D)."""
        x = drop_features(x, self.input_dropout, self.training)
        h: Tensor = self.dropout(self.activation(self.first(x, links)))
        return h


class DNANet(nn.Module):
    """A dense layer, DNA convolutions that see all layers before them, and log-probabilities.

    Marks go behind every module of `activations`. The output is the log-softmax, as in the
    published code, so that the error of the negative log-likelihood there is -onehot / N.

    Args:
        features: F.
        classes: O.
        dim: D.
        layers: Convolutions.
        heads: Of each.
        groups: Of each one's projections.
        dropout: Probability for each number behind the first and the last layer.
        attention_dropout: Probability for each coefficient.

    Example:
        >>> import torch
        >>> from quire.papers.dfa import DNANet, Links
        >>> links = Links(torch.tensor([[0, 1, 2], [1, 0, 1]]), 3)
        >>> DNANet(8, 4, dim=16, layers=2, heads=2, groups=4)(torch.randn(3, 8), links).shape
        torch.Size([3, 4])
    """

    def __init__(
        self,
        features: int,
        classes: int,
        *,
        dim: int = 128,
        layers: int = 5,
        heads: int = 8,
        groups: int = 16,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.weight = _weight(features, dim)
        self.bias = nn.Parameter(torch.zeros(dim))
        self.convolutions = nn.ModuleList(
            DNAConv(dim, heads=heads, groups=groups, dropout=attention_dropout)
            for _ in range(layers)
        )
        self.activations = nn.ModuleList(nn.ReLU() for _ in range(layers + 1))
        self.dropout = nn.Dropout(dropout)
        self.last = nn.Linear(dim, classes)

    def forward(self, x: Tensor, links: Links) -> Tensor:
        """x (N, F) -> log-probabilities (N, O)."""
        first, *others = self.activations
        seen = [self.dropout(first(multiply(x, self.weight) + self.bias))]
        for convolution, activation in zip(self.convolutions, others, strict=True):
            seen.append(activation(convolution(torch.stack(seen, 1), links)))
        out: Tensor = self.last(self.dropout(seen[-1])).log_softmax(1)
        return out


class GraphEncoder(nn.Module):
    """Two graph convolutions to latents whose products say which nodes are linked (Kipf 2016).

    Marks go behind `activation`; the error is taken at the latents. features: F. dim: of latents;
    the hidden layer is twice as wide.

    Example:
        >>> import torch
        >>> from quire.papers.dfa import GraphEncoder, Links
        >>> links = Links(torch.tensor([[0, 1, 2], [1, 0, 1]]), 3)
        >>> GraphEncoder(8, 4)(torch.randn(3, 8), links).shape
        torch.Size([3, 4])
    """

    def __init__(self, features: int, dim: int = 16) -> None:
        super().__init__()
        self.first, self.second = GraphConv(features, 2 * dim), GraphConv(2 * dim, dim)
        self.activation = nn.ReLU()

    def forward(self, x: Tensor, links: Links) -> Tensor:
        """x (N, F) -> latents (N, D)."""
        z: Tensor = self.second(self.activation(self.first(x, links)), links)
        return z


def score_links(z: Tensor, edge: Tensor) -> Tensor:
    """Logits (E,) that edges (2, E) are there, from latents (N, D): products of both ends."""
    return (z[edge[0]] * z[edge[1]]).sum(1)


def propagate_labels(label: Tensor, known: Tensor, links: Links, *, steps: int = 50) -> Tensor:
    """Shares of classes (N, O) that flow from the known labels over the edges, without features.

    Args:
        label: (N,) int64.
        known: (N,) bool, whose labels are put back at each step.
        links: Over which they flow, with A_hat's weights.
        steps: How often.
    """
    classes = int(label.max()) + 1
    given = F.one_hot(label, classes).to(links.normalized.dtype) * known[:, None]
    shares = given
    for _ in range(steps):
        shares = torch.where(known[:, None], given, links.spread(links.normalized, shares))
    return shares
