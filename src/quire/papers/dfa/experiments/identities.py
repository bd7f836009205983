"""What holds exactly of direct feedback: its formula, its special cases, its locality."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quire.lab import Config, Metrics, Run
from quire.lab.measure import largest, largest_difference
from quire.papers.dfa.direct import DirectFeedback
from quire.papers.dfa.feedback import HadamardFeedback, IndependentFeedback, SharedFeedback
from quire.papers.dfa.graphs import GATConv, GraphConv, GraphNet, Links
from quire.papers.dfa.language import LanguageModel
from quire.papers.dfa.perceptron import (
    LINEAR,
    DirectSignals,
    FixedChain,
    Perceptron,
    Rule,
    backpropagate,
    cross_entropy_error,
)
from quire.papers.dfa.placements import micro

ROWS, INPUTS, OUTPUTS = 9, 6, 4


class Identities(Config):
    """Exact facts in double precision."""


def identities(config: Identities, run: Run) -> Metrics:
    """Distances from what must hold."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.seed)
        x = torch.randn(ROWS, INPUTS, dtype=torch.float64)
        label = torch.randint(OUTPUTS, (ROWS,))
        return {
            "formula_error": measure_formula(x, label),
            "closed_form_error": measure_closed_form(x, label),
            "convolution_error": measure_convolution(),
            "linear_error": measure_linear(x, label),
            "one_layer_error": measure_one_layer(x, label),
            "zero_start": measure_zero_start(x, label),
            "zero_start_feedback": measure_zero_start(x, label, feedback=True),
            "passthrough_error": measure_passthrough(x, label),
            "locality_error": measure_locality(),
            "resumed_error": measure_resumed(x, label),
            "accumulation_error": measure_accumulation(x, label),
            "hadamard_error": measure_hadamard(),
            "graph_error": measure_graph(),
            "graph_parameters": count(GraphNet(GraphConv(1433, 16), GraphConv(16, 7))),
            "attention_parameters": count(GraphNet(GATConv(1433, 8, heads=8), GATConv(64, 7))),
        }


def count(module: nn.Module) -> int:
    """Learned numbers."""
    return sum(p.numel() for p in module.parameters())


def dense(*, bias: bool = True) -> Any:
    """A net of two hidden tanh layers of unequal widths, an nn.Sequential."""
    return nn.Sequential(
        nn.Linear(INPUTS, 12, bias=bias), nn.Tanh(),
        nn.Linear(12, 7, bias=bias), nn.Tanh(),
        nn.Linear(7, OUTPUTS, bias=bias),
    ).double()  # fmt: skip


def gradients(loss: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
    """Of a loss in parameters, zero where there is none."""
    return list(torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True))


def measure_formula(x: Tensor, label: Tensor) -> float:
    """Distance of every weight's gradient from ((error B) * f')^T h, with and without biases."""
    errors = []
    for bias in (True, False):
        net = dense(bias=bias)
        model = DirectFeedback(net, ["1", "3"], seed=1)
        found = gradients(F.cross_entropy(model(x), label), [net[i].weight for i in (0, 2, 4)])
        matrix = model.feedback.matrix
        assert isinstance(matrix, Tensor)
        with torch.no_grad():
            first = net[1](net[0](x))
            second = net[3](net[2](first))
            error = net[4](second).softmax(1)
            error[torch.arange(ROWS), label] -= 1
            error /= ROWS
            wanted = [
                ((error @ matrix)[:, :12] * (1 - first**2)).T @ x,
                ((error @ matrix)[:, :7] * (1 - second**2)).T @ first,
                error.T @ second,
            ]
        errors.append(largest_difference(found, wanted))
    return max(errors)


def measure_closed_form(x: Tensor, label: Tensor) -> float:
    """Distance of the wrapper's gradients from those of the perceptron, feedback and true."""
    net, twin = dense(), Perceptron([INPUTS, 12, 7, OUTPUTS]).double()
    for mine, its in zip(twin.parameters(), net.parameters(), strict=True):
        mine.data.copy_(its.data)
    model = DirectFeedback(net, ["1", "3"], seed=1, feedback=IndependentFeedback())
    errors = []
    for rule, twin_rule in (("direct", DirectSignals(twin, seed=1)), ("backward", backpropagate)):
        model.set_rule(rule)  # type: ignore[arg-type]
        found = gradients(F.cross_entropy(model(x), label), list(net.parameters()))
        twin.write_gradients(x, cross_entropy_error(label), twin_rule)  # type: ignore[arg-type]
        errors.append(largest_difference(found, [p.grad for p in twin.parameters()]))
    return max(errors)


def measure_convolution() -> float:
    """Distance of a filter's gradient from the sum over places of (B e) * f' times the patch."""
    net: Any = nn.Sequential(
        nn.Conv2d(2, 3, 3, bias=False), nn.Tanh(), nn.Flatten(), nn.Linear(48, OUTPUTS)
    ).double()
    model = DirectFeedback(net, ["1"], seed=1)
    x = torch.randn(ROWS, 2, 6, 6, dtype=torch.float64)
    (found,) = gradients(model(x).square().sum(), [net[0].weight])
    matrix = model.feedback.matrix
    assert isinstance(matrix, Tensor)
    with torch.no_grad():
        hidden = net[1](net[0](x))
        error = 2 * net(x)
        signal = (error @ matrix).view(hidden.shape) * (1 - hidden**2)
        patches = F.unfold(x, 3)  # (B, 18, 16)
        wanted = torch.einsum("bop,bip->oi", signal.flatten(2), patches).view(3, 2, 3, 3)
    return largest_difference(found, wanted)


def measure_linear(x: Tensor, label: Tensor) -> float:
    """In a linear net, with each B the product of the maps behind it, from back-propagation."""
    net = Perceptron([INPUTS, 12, 7, OUTPUTS], activation=LINEAR).double()
    rule = DirectSignals(net)
    (_, second, third) = (weight.detach() for weight, _ in net.pairs())
    rule.feedback.matrix = torch.cat([third @ second, third], 1)
    return distance_of_rules(net, x, label, [rule, backpropagate])


def measure_one_layer(x: Tensor, label: Tensor) -> float:
    """With one hidden layer and B = W_2: direct and chained feedback from back-propagation."""
    net = Perceptron([INPUTS, 12, OUTPUTS]).double()
    direct, chain = DirectSignals(net), FixedChain(net)
    last = net.pairs()[1][0].detach()
    direct.feedback.matrix, chain.matrices = last.clone(), [last.clone()]
    return distance_of_rules(net, x, label, [direct, chain, backpropagate])


def distance_of_rules(net: Perceptron, x: Tensor, label: Tensor, rules: Sequence[Rule]) -> float:
    """The largest distance of gradients under some rules from those under the last one."""
    found = []
    for rule in rules:
        net.write_gradients(x, cross_entropy_error(label), rule)
        found.append([p.grad.clone() for p in net.parameters() if p.grad is not None])
    return max(largest_difference(each, found[-1]) for each in found[:-1])


def measure_zero_start(x: Tensor, label: Tensor, *, feedback: bool = False) -> float:
    """The largest gradient of hidden weights where all weights are zero."""
    net = Perceptron([INPUTS, 12, 12, OUTPUTS], initialize=nn.init.zeros_).double()
    rule = DirectSignals(net) if feedback else backpropagate
    net.write_gradients(x, cross_entropy_error(label), rule)  # type: ignore[arg-type]
    return largest([weight.grad for weight, _ in net.pairs()[:-1]])


def measure_passthrough(x: Tensor, label: Tensor) -> float:
    """What the wrapper changes of outputs, and of gradients where it passes through."""
    net = dense()
    plain, output = gradients(F.cross_entropy(net(x), label), list(net.parameters())), net(x)
    model = DirectFeedback(net, ["1", "3"])
    errors = [largest_difference(model(x), output)]
    model.passthrough()
    errors.append(largest_difference(model(x), output))
    found = gradients(F.cross_entropy(model(x), label), list(net.parameters()))
    return max([*errors, largest_difference(found, plain)])


def measure_locality() -> float:
    """How far gradients of a Transformer's first block move when later weights change but the error
    stays: with a mark after every sum no path goes around."""
    net: Any = LanguageModel(7, dim=8, layers=2, heads=2, dropout=0.0).double()
    model = DirectFeedback(net, micro(net), source="encoder", seed=1)
    net.decoder = nn.Identity()
    x = torch.randint(7, (3, 5))
    early = [*net.embedding.parameters(), *net.encoder.layers[0].parameters()]
    error = torch.randn(3, 5, 8, dtype=torch.float64)
    found = []
    for _ in range(2):
        # The error is put in at the source, so that nothing else can differ.
        handle = net.encoder.register_forward_hook(lambda m, a, out: (out * error).sum())
        found.append(gradients(model(x), early))
        handle.remove()
        with torch.no_grad():
            for parameter in net.encoder.layers[1].parameters():
                parameter.mul_(1.5)
    return largest_difference(*found)


def measure_resumed(x: Tensor, label: Tensor) -> float:
    """How far the next gradients are, after the state went into a new model of another seed."""
    nets = [dense(), dense()]
    models = [DirectFeedback(n, ["1", "3"], seed=s) for s, n in enumerate(nets)]
    models[0](x)
    models[1].load_state_dict(copy.deepcopy(models[0].state_dict()))
    found = [
        gradients(F.cross_entropy(m(x), label), list(n.parameters()))
        for m, n in zip(models, nets, strict=True)
    ]
    return largest_difference(*found)


def measure_accumulation(x: Tensor, label: Tensor) -> float:
    """How far two passes before one backward pass are from both by themselves."""
    net = dense()
    model = DirectFeedback(net, ["1", "3"], seed=1)
    parameters = list(net.parameters())
    together = gradients(
        F.cross_entropy(model(x[:4]), label[:4]) + F.cross_entropy(model(x[4:]), label[4:]),
        parameters,
    )
    parts = [gradients(F.cross_entropy(model(x[s]), label[s]), parameters)
             for s in (slice(0, 4), slice(4, None))]  # fmt: skip
    return largest_difference(together, [a + b for a, b in zip(*parts, strict=True)])


def measure_hadamard() -> float:
    """How far the columns of a structured matrix are from orthogonal, and its entries from those
    of the variance of the shared one."""
    feedback = HadamardFeedback().double()
    feedback.fit([64, 16], 10, seed=3)
    matrix = feedback(torch.eye(10, dtype=torch.float64))[0]
    wanted = torch.eye(10, dtype=torch.float64) / 3
    return largest(matrix @ matrix.T - wanted)


def measure_graph() -> float:
    """Distance of a graph convolution from the dense product, and of its gradient under feedback
    from the formula."""
    edge = torch.tensor([[0, 1, 1, 2, 3, 0], [1, 0, 2, 1, 0, 3]])
    links = Links(edge, 5, dtype=torch.float64)
    dense_links = torch.eye(5, dtype=torch.float64)
    dense_links[edge[1], edge[0]] = 1
    scale = dense_links.sum(1).rsqrt()
    dense_links = scale[:, None] * dense_links * scale
    net: Any = GraphNet(GraphConv(INPUTS, 8), GraphConv(8, OUTPUTS)).double()
    model = DirectFeedback(net, ["dropout"], seed=1, feedback=SharedFeedback())
    x = torch.randn(5, INPUTS, dtype=torch.float64)
    out = model(x, links)
    (found,) = gradients(out.square().sum(), [net.first.weight])
    matrix = model.feedback.matrix
    assert isinstance(matrix, Tensor)
    with torch.no_grad():
        hidden = (dense_links @ x @ net.first.weight + net.first.bias).relu()
        wanted_out = dense_links @ hidden @ net.second.weight + net.second.bias
        signal = (2 * wanted_out @ matrix) * (hidden > 0)
        wanted = x.T @ dense_links.T @ signal
    return max(largest_difference(out, wanted_out), largest_difference(found, wanted))
