"""Graph convolutions against dense products and loops over edges."""

import pytest
import torch
import torch.nn.functional as F

from quire.papers.dfa import (
    ChebConv,
    DirectFeedback,
    DNAConv,
    DNANet,
    GATConv,
    GraphConv,
    GraphEncoder,
    GraphNet,
    Links,
    SplineConv,
    normalize_rows,
    propagate_labels,
    score_links,
)
from quire.papers.dfa.graphs import drop_features, multiply, softmax_by

EDGE = torch.tensor([[0, 1, 1, 2, 3, 0, 2, 0], [1, 0, 2, 1, 0, 3, 0, 2]])
NODES = 5
"""The last node has no link."""


@pytest.fixture
def links():
    torch.manual_seed(0)
    return Links(EDGE, NODES, dtype=torch.float64)


def features(width=6):
    return torch.rand(NODES, width, dtype=torch.float64)


def neighbours():
    dense = torch.zeros(NODES, NODES, dtype=torch.float64)
    dense[EDGE[1], EDGE[0]] = 1
    return dense


def test_graph_convolution_is_the_dense_product(links) -> None:
    x, conv = features(), GraphConv(6, 4).double()
    looped = neighbours() + torch.eye(NODES)
    scale = looped.sum(1).rsqrt()
    wanted = (scale[:, None] * looped * scale) @ x @ conv.weight + conv.bias
    torch.testing.assert_close(conv(x, links), wanted)


def test_chebyshev_polynomials_are_those_of_the_laplacian(links) -> None:
    x, conv = features(), ChebConv(6, 4).double()
    degree = neighbours().sum(1)
    scale = torch.where(degree > 0, degree.rsqrt(), 0)
    laplacian = torch.eye(NODES) - scale[:, None] * neighbours() * scale
    scaled = laplacian - torch.eye(NODES)  # 2 L / 2 - 1
    wanted = x @ conv.own + scaled @ x @ conv.near + conv.bias
    torch.testing.assert_close(conv(x, links), wanted)


def test_splines_weigh_by_the_targets_degree(links) -> None:
    x, conv = features(), SplineConv(6, 4).double()
    degree = neighbours().sum(1)
    wanted = x @ conv.own + conv.bias
    for node in range(NODES - 1):
        u = degree[node] / degree.max()
        sent = [
            (1 - u) * x[s] @ conv.knots[0] + u * x[s] @ conv.knots[1]
            for s, t in EDGE.T.tolist()
            if t == node
        ]
        wanted[node] = wanted[node] + torch.stack(sent).mean(0)
    torch.testing.assert_close(conv(x, links), wanted)


def test_attention_is_a_softmax_over_neighbours_and_oneself(links) -> None:
    x, conv = features(), GATConv(6, 4, heads=2).double()
    projected = (x @ conv.weight).view(NODES, 2, 4)
    wanted = torch.zeros(NODES, 2, 4, dtype=torch.float64)
    for node in range(NODES):
        near = [s for s, t in EDGE.T.tolist() if t == node] + [node]
        for head in range(2):
            score = torch.stack(
                [
                    projected[s, head] @ conv.from_source[head]
                    + projected[node, head] @ conv.to_target[head]
                    for s in near
                ]
            )
            share = F.leaky_relu(score, 0.2).softmax(0)
            wanted[node, head] = share @ projected[near, head]
    torch.testing.assert_close(conv(x, links), wanted.flatten(1) + conv.bias)


def test_dna_attends_to_all_layers_of_each_neighbour(links) -> None:
    conv = DNAConv(8, heads=2, groups=4).double()
    x = torch.rand(NODES, 3, 8, dtype=torch.float64)

    def project(which, row):
        parts = [row[2 * g : 2 * g + 2] @ conv.weight[which, g] for g in range(4)]
        return (torch.cat(parts) + conv.bias[which]).view(2, 4)

    normalized = links.normalized.to_dense()
    wanted = torch.zeros(NODES, 8, dtype=torch.float64)
    for node in range(NODES):
        query = project(0, x[node, -1])
        for source in [s for s, t in EDGE.T.tolist() if t == node] + [node]:
            keys = torch.stack([project(1, x[source, layer]) for layer in range(3)])
            values = torch.stack([project(2, x[source, layer]) for layer in range(3)])
            score = (keys * query).sum(2) / 2  # (L, H)
            power = score.exp()
            share = power / (power.sum(0) + 1)
            wanted[node] += normalized[node, source] * (share[..., None] * values).sum(0).flatten()
    torch.testing.assert_close(conv(x, links), wanted)


def test_softmax_by_groups() -> None:
    score = torch.tensor([[1.0], [900.0], [2.0], [899.0]])
    group = torch.tensor([0, 1, 0, 1])
    wanted = torch.cat([score[[0, 2]].softmax(0), score[[1, 3]].softmax(0)])[[0, 2, 1, 3]]
    torch.testing.assert_close(softmax_by(score, group, 2), wanted)


def test_sparse_features_are_the_dense_ones(links) -> None:
    x = features() * (features() > 0.5)
    sparse = x.to_sparse_coo().coalesce()
    for net in (
        GraphNet(GraphConv(6, 4), GraphConv(4, 3)),
        GraphNet(GATConv(6, 2, heads=2), GATConv(4, 3)),
        DNANet(6, 3, dim=8, layers=2, heads=2, groups=2),
        GraphEncoder(6, 2),
    ):
        net.double()
        outputs, gradients = [], []
        for given in (x, sparse):
            net.zero_grad()
            outputs.append(net(given, links))
            outputs[-1].square().sum().backward()
            gradients.append([p.grad.clone() for p in net.parameters()])
        torch.testing.assert_close(outputs[0], outputs[1])
        torch.testing.assert_close(gradients[0], gradients[1])


def test_dropout_of_sparse_features() -> None:
    x = torch.eye(200).to_sparse_coo().coalesce()
    assert drop_features(x, 0.5, training=False) is x
    torch.manual_seed(0)
    kept = drop_features(x, 0.5, training=True).to_dense()
    assert set(kept.unique().tolist()) == {0.0, 2.0}
    assert 70 < (kept > 0).sum() < 130
    with torch.autocast("cpu", torch.bfloat16):
        assert multiply(x, torch.ones(200, 2)).dtype == torch.float32


def test_feedback_goes_to_a_node_from_its_own_error(links) -> None:
    net = GraphNet(GraphConv(6, 4), GraphConv(4, 3)).double()
    model, x = DirectFeedback(net, ["dropout"]), features()
    model(x, links)[1].sum().backward()
    with torch.no_grad():
        hidden = net.embed(x, links)
        signal = model.feedback.matrix.sum(0) * (hidden[1] > 0)
        wanted = torch.outer((links.normalized.to_dense() @ x)[1], signal)
    torch.testing.assert_close(net.first.weight.grad, wanted)


def test_dna_gives_log_probabilities_and_takes_marks(links) -> None:
    net = DNANet(6, 3, dim=8, layers=2, heads=2, groups=2).double()
    model = DirectFeedback(net, [f"activations.{place}" for place in range(3)])
    out = model(features(), links)
    torch.testing.assert_close(out.exp().sum(1), torch.ones(NODES, dtype=torch.float64))
    F.nll_loss(out[:2], torch.tensor([0, 1])).backward()
    assert all(p.grad is not None for p in net.parameters())


def test_labels_flow_over_the_links(links) -> None:
    label = torch.tensor([0, 0, 1, 0, 1])
    known = torch.tensor([True, False, True, False, False])
    shares = propagate_labels(label, known, links)
    assert shares[0].tolist() == [1, 0]
    assert shares[3].argmax() == 0
    assert shares[4].tolist() == [0, 0]  # nothing gets there


def test_small_things(links) -> None:
    assert normalize_rows(torch.tensor([[1.0, 3.0], [0.0, 0.0]])).tolist() == [[0.25, 0.75], [0, 0]]
    z = torch.arange(10.0).view(5, 2)
    assert score_links(z, torch.tensor([[0, 1], [1, 2]])).tolist() == [3, 23]
    assert links.to("cpu").normalized.dtype == torch.float64


def test_what_cannot_be_is_refused(links) -> None:
    with pytest.raises(ValueError, match=r"edges must be \(2, E\), got shape \(3, 2\)"):
        Links(torch.zeros(3, 2, dtype=torch.int64), 3)
    with pytest.raises(ValueError, match="edges must join nodes 0 to 1"):
        Links(EDGE, 2)
    with pytest.raises(ValueError, match="the graph has 5 nodes, the features 4 rows"):
        GraphConv(6, 4).double()(features()[:4], links)
    with pytest.raises(ValueError, match="heads and groups must divide 8, got 3 and 16"):
        DNAConv(8, heads=3)
