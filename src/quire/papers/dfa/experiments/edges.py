"""Links of a citation graph that were taken away, found again from the latents of an encoder."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from quire import data
from quire.lab import Config, Metrics, Run
from quire.lab.training import update
from quire.papers.dfa.alignment import alignment
from quire.papers.dfa.direct import DirectFeedback, Rule
from quire.papers.dfa.experiments.citations import GraphName
from quire.papers.dfa.experiments.scores import Best, measure_auc, measure_precision
from quire.papers.dfa.graphs import GraphEncoder, Links, normalize_rows, score_links

VALIDATED, TESTED = 0.05, 0.1
"""Shares of the links that are taken away."""


class Edges(Config):
    """Link prediction with a graph autoencoder; Table 4."""

    dataset: GraphName = "cora"
    """The graph."""
    rule: Rule = "direct"
    """What trains the hidden layer."""
    learning_rate: PositiveFloat = 0.01
    """Adam's."""
    epochs: PositiveInt = 400
    """Full-batch steps."""


class Held(NamedTuple):
    """Links that were taken away and pairs that are none, (2, E), and which is which, (E,)."""

    edge: Tensor
    label: Tensor


class Split(NamedTuple):
    """Features, the links that are left in both directions, and those taken away."""

    x: Tensor
    links: Links
    val: Held
    test: Held


def edges(config: Edges, run: Run) -> Metrics:
    """How well taken links are told from other pairs at the best validation epoch."""
    split = load_split(config, run)
    model = DirectFeedback(
        GraphEncoder(split.x.shape[1]), ["activation"], seed=run.seed, rule=config.rule
    )
    model = run.place(model).prepare(split.x, split.links)
    optimizer = torch.optim.Adam(model.parameters(), lr=config.learning_rate)
    best = Best("validation_auc", "auc", "precision", device=run.device)
    for _ in run.steps(config.epochs, state=(model, optimizer, best)):
        loss = measure_loss(model, split, run)
        update(loss, model, optimizer)
        run.log(loss=loss)
        with torch.no_grad():
            z = model(split.x, split.links)
            best.see(
                validation_auc=measure_auc(score_links(z, split.val.edge), split.val.label),
                auc=measure_auc(score_links(z, split.test.edge), split.test.label),
                precision=measure_precision(score_links(z, split.test.edge), split.test.label),
            )
    cosines = alignment(model, lambda: measure_loss(model, split, run))
    return {
        **{name: 100 * value for name, value in best.read().items()},
        "alignment": float(cosines["activation"]),
        "untrained_auc": 100 * float(measure_untrained(split)),
    }


def measure_loss(model: DirectFeedback, split: Split, run: Run) -> Tensor:
    """Cross-entropy of the links that are left, and of as many random pairs."""
    z = model(split.x, split.links)
    edge = split.links.edge
    pairs = torch.randint(len(z), edge.shape, generator=run.rng("pairs", run.step)).to(run.device)
    there, others = score_links(z, edge), score_links(z, pairs)
    return F.softplus(-there).mean() + F.softplus(others).mean()


def measure_untrained(split: Split) -> Tensor:
    """The area under the curve of cosines of features that were averaged over links twice."""
    x = split.x.to_dense()
    for _ in range(2):
        x = split.links.spread(split.links.normalized, x)
    unit = F.normalize(x, dim=1)
    return measure_auc(score_links(unit, split.test.edge), split.test.label)


def load_split(config: Edges, run: Run) -> Split:
    """The graph without 15 % of its links, which stand beside as many pairs that are none."""
    graph = data.planetoid(run.data, config.dataset)
    x = normalize_rows(torch.from_numpy(graph.feature))
    edge = torch.from_numpy(graph.edge)
    once = edge[:, edge[0] < edge[1]]
    once = once[:, torch.randperm(once.shape[1], generator=run.rng("links"))]
    count, nodes = once.shape[1], len(x)
    tested, validated = int(TESTED * count), int(VALIDATED * count)
    drawn = torch.randint(nodes, (2, 4 * (tested + validated)), generator=run.rng("others"))
    others = drawn[:, (drawn[0] < drawn[1]) & ~torch.isin(key(drawn, nodes), key(once, nodes))]
    held = []
    for begin, size in ((0, tested), (tested, validated)):
        pairs = torch.cat([once[:, begin : begin + size], others[:, begin : begin + size]], 1)
        held.append(
            Held(pairs.to(run.device), (torch.arange(2 * size) < size).long().to(run.device))
        )
    left = once[:, tested + validated :]
    links = Links(torch.cat([left, left.flip(0)], 1), nodes).to(run.device)
    return Split(x.to_sparse_coo().coalesce().to(run.device), links, held[1], held[0])


def key(pairs: Tensor, nodes: int) -> Tensor:
    """One number for each pair (2, E) of nodes."""
    return pairs[0] * nodes + pairs[1]
