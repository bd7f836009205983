"""Documents of a citation graph, labelled by five graph convolutions under each rule."""

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn

from quire import data
from quire.lab import Config, Metrics, Run
from quire.lab.training import Kept, update
from quire.papers.dfa.alignment import alignment
from quire.papers.dfa.direct import DirectFeedback, Rule
from quire.papers.dfa.experiments.scores import Best, measure_neighbours
from quire.papers.dfa.feedback import (
    Feedback,
    HadamardFeedback,
    IndependentFeedback,
    SharedFeedback,
)
from quire.papers.dfa.graphs import (
    ChebConv,
    DNANet,
    GATConv,
    GraphConv,
    GraphNet,
    Links,
    SplineConv,
    normalize_rows,
    propagate_labels,
)

GraphName = Literal["cora", "citeseer", "pubmed", "pubmed_partial"]
FEEDBACKS: dict[str, type[Feedback]] = {
    "shared": SharedFeedback,
    "independent": IndependentFeedback,
    "hadamard": HadamardFeedback,
}
HEADS = 8
FOLDS = 5
"""Parts of all documents, of which DNA trains on the first and is validated on the second."""


class Citations(Config):
    """Node classification on a citation graph, full batch; Table 3. Defaults are DFA's, GCN."""

    dataset: GraphName = "cora"
    """The graph; pubmed must be put there by hand."""
    net: Literal["graph", "cheb", "spline", "gat", "dna"] = "graph"
    """The convolution."""
    rule: Rule = "direct"
    """What trains the hidden layers."""
    feedback: Literal["shared", "independent", "hadamard"] = "shared"
    """The kind of feedback."""
    hidden: PositiveInt = 16
    """Width of the hidden layer (of a head, of which GAT has eight)."""
    dropout: NonNegativeFloat = 0.1
    """Of hidden numbers."""
    input_dropout: NonNegativeFloat = 0.0
    """Of features."""
    attention_dropout: tuple[NonNegativeFloat, NonNegativeFloat] = (0.0, 0.0)
    """Of attention's coefficients in the first and in the second layer; DNA has the first."""
    learning_rate: PositiveFloat = 0.01
    """Adam's."""
    weight_decay: NonNegativeFloat = 1e-4
    """Of the first layer alone in GraphConv and ChebConv, else of all."""
    epochs: PositiveInt = 250
    """Full-batch steps."""


class Documents(NamedTuple):
    """A graph on the device: features, labels, links, and the places of the three parts."""

    x: Tensor
    label: Tensor
    links: Links
    train: Tensor
    val: Tensor
    test: Tensor


def citations(config: Citations, run: Run) -> Metrics:
    """Test accuracy at the best validation epoch, alignment, and what needs no hidden layer."""
    documents = load_documents(config, run)
    net = make_net(config, documents)
    model = DirectFeedback(
        net, marks_of(net, config.net), seed=run.seed, feedback=FEEDBACKS[config.feedback](),
        rule=config.rule,
    )  # fmt: skip
    model = run.place(model).prepare(documents.x, documents.links)
    optimizer = torch.optim.Adam(groups_of(net, config), lr=config.learning_rate)
    best, kept = Best("validation_accuracy", "test_accuracy", device=run.device), Kept()
    measured = {0, config.epochs // 5, config.epochs - 1}
    for epoch in run.steps(config.epochs, state=(model, optimizer, best, kept)):
        model.train()
        loss = measure_loss(model, config.net, documents)
        update(loss, model, optimizer)
        run.log(loss=loss)
        model.eval()
        with torch.no_grad():
            right = (model(documents.x, documents.links).argmax(1) == documents.label).double()
        best.see(
            validation_accuracy=100 * right[documents.val].mean(),
            test_accuracy=100 * right[documents.test].mean(),
        )
        if epoch in measured:
            cosines = alignment(model, lambda: measure_loss(model, config.net, documents))
            kept.add("epoch", epoch + 1)
            kept.add("alignment", torch.stack(list(cosines.values())).min())
    run.series("alignment", kept.series["epoch"], kept.series["alignment"],
               x_label="epochs", y_label="cosine of feedback and gradient")  # fmt: skip
    early, last = (2 * kept.series["alignment"])[-2:]
    return {
        **best.read(),
        "alignment": last,
        "early_alignment": early,
        **measure_embedding(model, documents, run),
        **measure_without_layers(documents),
    }


def load_documents(config: Citations, run: Run) -> Documents:
    """The graph with the public split, or in folds for DNA; features as the published code has."""
    graph = data.planetoid(run.data, config.dataset)
    x, label = torch.from_numpy(graph.feature), torch.from_numpy(graph.label)
    if config.net not in ("spline", "dna"):
        x = normalize_rows(x)
    links = Links(torch.from_numpy(graph.edge), len(x))
    if config.net == "dna":
        fold = split_folds(label, run.rng("folds"))
        parts = [fold == 0, fold == 1, fold > 1]
    else:
        parts = [torch.from_numpy(part) for part in (graph.train, graph.val, graph.test)]
    places = [part.nonzero()[:, 0].to(run.device) for part in parts]
    return Documents(
        x.to_sparse_coo().coalesce().to(run.device),
        label.to(run.device),
        links.to(run.device),
        *places,
    )


def split_folds(label: Tensor, generator: torch.Generator) -> Tensor:
    """The fold of each row, (N,), with as many of every class in each as can be."""
    mixed = torch.randperm(len(label), generator=generator)
    ordered = mixed[label[mixed].argsort(stable=True)]
    fold = torch.empty_like(label)
    fold[ordered] = torch.arange(len(label)) % FOLDS
    return fold


def make_net(config: Citations, documents: Documents) -> nn.Module:
    """The net that the config names."""
    features, classes = documents.x.shape[1], int(documents.label.max()) + 1
    if config.net == "dna":
        return DNANet(
            features,
            classes,
            dim=config.hidden,
            heads=HEADS,
            dropout=config.dropout,
            attention_dropout=config.attention_dropout[0],
        )
    first: nn.Module
    second: nn.Module
    if config.net == "gat":
        drops = config.attention_dropout
        first = GATConv(features, config.hidden, heads=HEADS, dropout=drops[0])
        second = GATConv(HEADS * config.hidden, classes, dropout=drops[1])
    else:
        kind = {"graph": GraphConv, "cheb": ChebConv, "spline": SplineConv}[config.net]
        first, second = kind(features, config.hidden), kind(config.hidden, classes)
    return GraphNet(
        first,
        second,
        activation=nn.ReLU() if config.net in ("graph", "cheb") else nn.ELU(),
        dropout=config.dropout,
        input_dropout=config.input_dropout,
    )


def marks_of(net: nn.Module, name: str) -> list[str]:
    """Where the published code marks a net."""
    if isinstance(net, DNANet):
        return [f"activations.{place}" for place in range(len(net.activations))]
    return ["activation" if name in ("gat", "spline") else "dropout"]


def groups_of(net: nn.Module, config: Citations) -> list[dict[str, object]]:
    """Parameters with their weight decay."""
    if config.net not in ("graph", "cheb"):
        return [{"params": list(net.parameters()), "weight_decay": config.weight_decay}]
    assert isinstance(net, GraphNet)
    return [
        {"params": list(net.first.parameters()), "weight_decay": config.weight_decay},
        {"params": list(net.second.parameters()), "weight_decay": 0.0},
    ]


def measure_loss(model: nn.Module, name: str, documents: Documents) -> Tensor:
    """The mean negative log-likelihood of the training labels."""
    out = model(documents.x, documents.links)
    # DNA's output is the log-softmax already: the error there is -onehot / N.
    log = out if name == "dna" else out.log_softmax(1)
    return F.nll_loss(log[documents.train], documents.label[documents.train])


def measure_embedding(model: DirectFeedback, documents: Documents, run: Run) -> Metrics:
    """Whether near test documents of the last hidden layer share a topic, and a figure of it."""
    model.eval()
    with torch.no_grad(), model.recorded() as seen:
        model(documents.x, documents.links)
    hidden = seen.taps[-1].hidden[documents.test].flatten(1)
    label = documents.label[documents.test]
    run.figure("embedding", draw_embedding(hidden, label))
    return {"neighbour_accuracy": float(measure_neighbours(hidden, label))}


def draw_embedding(hidden: Tensor, label: Tensor) -> Figure:
    """Rows (N, D) along their two principal components, coloured by class (N,)."""
    centred = (hidden - hidden.mean(0)).cpu()
    directions = torch.linalg.svd(centred, full_matrices=False).Vh[:2]
    x, y = (centred @ directions.T).T.numpy()
    figure = Figure(figsize=(4, 4))
    axes = figure.subplots()
    axes.scatter(x, y, c=label.cpu().numpy(), s=6, cmap="tab10")
    axes.set(xticks=[], yticks=[], title="hidden layer, test documents")
    return figure


def measure_without_layers(documents: Documents) -> Metrics:
    """Accuracy of the commonest training topic, and of labels that flow over the links, %."""
    _, label, links, train, _, test = documents
    known = torch.zeros(len(label), dtype=torch.bool, device=label.device)
    known[train] = True
    flowed = propagate_labels(label, known, links).argmax(1)
    common = label[test].mode().values
    return {
        "propagation_accuracy": 100 * float((flowed == label)[test].double().mean()),
        "majority_accuracy": 100 * float((label[test] == common).double().mean()),
    }
