"""Dense nets on MNIST, trained by five rules in closed form."""

from collections.abc import Callable
from typing import Literal

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn

from quire.lab import Config, Metrics, Run
from quire.lab.training import Kept
from quire.papers.dfa.alignment import mean_cosine
from quire.papers.dfa.experiments.pictures import Pictures, load_pictures
from quire.papers.dfa.perceptron import (
    RELU,
    TANH,
    DirectSignals,
    FixedChain,
    IndirectSignals,
    Perceptron,
    Rule,
    backpropagate,
    cross_entropy_error,
    freeze,
    lecun,
)

RuleName = Literal["direct", "backward", "chain", "indirect", "shallow"]
INITIALIZERS: dict[str, Callable[[Tensor], object]] = {
    "lecun": lecun,
    "orthogonal": nn.init.orthogonal_,
    "zeros": nn.init.zeros_,
}
LOOKS = 10
"""Times in a run that alignment is measured."""
MEASURED = 500
"""Pictures of which it is."""


class Perceptrons(Config):
    """A dense net on MNIST: Table 1 of Nøkland 2016."""

    rule: RuleName = "direct"
    """What trains the hidden layers: direct feedback, back-propagation, feedback from layer to
    layer, indirect feedback, or nothing."""
    width: PositiveInt = 128
    """Units of a hidden layer."""
    layers: PositiveInt = 2
    """Hidden layers."""
    activation: Literal["tanh", "relu"] = "tanh"
    """Between them."""
    initialize: Literal["lecun", "orthogonal", "zeros"] = "lecun"
    """Weights of all layers; biases begin at zero."""
    optimizer: Literal["sgd", "rmsprop"] = "sgd"
    """SGD with momentum 0.9, or RMSprop."""
    learning_rate: PositiveFloat = 0.02
    """The optimizer's."""
    faster: PositiveFloat = 1.0
    """What the learning rate is multiplied with."""
    batch_size: PositiveInt = 128
    """Pictures a step."""
    steps: PositiveInt = 2345
    """Minibatches; 469 of 128 are an epoch."""
    train_examples: PositiveInt = 60_000
    """Pictures to train on, a tenth of which is kept for validation."""


def perceptrons(config: Perceptrons, run: Run) -> Metrics:
    """Errors on test and training pictures; how signals and gradients are aligned, by layer."""
    pictures = load_pictures(run, "mnist", train=config.train_examples)
    net = Perceptron(
        [784, *[config.width] * config.layers, 10],
        activation=TANH if config.activation == "tanh" else RELU,
        initialize=INITIALIZERS[config.initialize],
    ).to(run.device)
    rule = make_rule(config.rule, net, run.seed)
    optimizer = make_optimizer(config, net)
    kept = Kept()
    every = max(1, config.steps // LOOKS)
    for step in run.steps(config.steps, state=(net, optimizer, kept)):
        chosen = torch.randint(
            len(pictures.train), (config.batch_size,), generator=run.rng("batch", step)
        ).to(run.device)
        label = pictures.train_label[chosen]
        logits = net.write_gradients(pictures.train[chosen], cross_entropy_error(label), rule)
        optimizer.step()
        run.log(loss=nn.functional.cross_entropy(logits, label))
        if (step + 1) % every == 0:
            kept.add("step", step + 1)
            kept.add("cosines", measure_alignment(net, rule, pictures))
    metrics = {
        "validation_error": measure_error(net, pictures.val, pictures.val_label),
        "test_error": measure_error(net, pictures.test, pictures.test_label),
        "train_error": measure_error(net, pictures.train, pictures.train_label),
    }
    return metrics | report_alignment(kept, run)


def make_rule(name: RuleName, net: Perceptron, seed: int) -> Rule:
    """The rule that the config names; its feedback follows from the seed."""
    if name == "direct":
        return DirectSignals(net, seed=seed)
    if name == "chain":
        return FixedChain(net, seed=seed)
    if name == "indirect":
        return IndirectSignals(net, seed=seed)
    return backpropagate if name == "backward" else freeze


def make_optimizer(config: Perceptrons, net: nn.Module) -> torch.optim.Optimizer:
    """SGD with momentum, or RMSprop."""
    rate = config.learning_rate * config.faster
    if config.optimizer == "sgd":
        return torch.optim.SGD(net.parameters(), lr=rate, momentum=0.9)
    return torch.optim.RMSprop(net.parameters(), lr=rate)


def measure_error(net: Perceptron, x: Tensor, label: Tensor) -> float:
    """Wrong answers, %."""
    with torch.no_grad():
        wrong = torch.cat([net(part).argmax(1) for part in x.split(5000)]) != label
    return 100 * float(wrong.double().mean())


@torch.no_grad()
def measure_alignment(net: Perceptron, rule: Rule, pictures: Pictures) -> Tensor:
    """The mean cosine of a rule's signals and the gradients at each hidden layer, (L - 1,).

    NaN where a layer gets nothing, or where its gradient is zero.
    """
    x, label = pictures.train[:MEASURED], pictures.train_label[:MEASURED]
    *hidden, logits = net.pass_through(x)
    error = cross_entropy_error(label)(logits)
    sent, true = rule(net, error, hidden), backpropagate(net, error, hidden)
    return torch.stack(
        [
            torch.full_like(error[0, 0], torch.nan) if a is None else mean_cosine(a, b)
            for a, b in zip(sent, true, strict=True)
        ]
    )


def report_alignment(kept: Kept, run: Run) -> Metrics:
    """The curves of the lowest, the first and the last hidden layer, and where they ended."""
    if "cosines" not in kept.series:
        return {}
    cosines = torch.tensor(kept.series["cosines"], dtype=torch.float64)
    found = {
        "alignment": cosines.nan_to_num(0.0).amin(1),
        "first_alignment": cosines[:, 0].nan_to_num(0.0),
        "last_alignment": cosines[:, -1].nan_to_num(0.0),
    }
    for name, curve in found.items():
        run.series(name, kept.series["step"], curve, x_label="minibatches", y_label="cosine")
    ends = {name: float(curve[-1]) for name, curve in found.items()}
    return ends | {"early_alignment": float(found["alignment"][0])}
