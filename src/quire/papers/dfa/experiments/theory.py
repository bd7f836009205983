"""Why it works: forward weights align with the feedback, then the net memorises.

K hidden units, D inputs, C outputs. A linear student W_2 W_1 of a linear teacher T, on white
inputs: the error is E = W_2 W_1 - T, back-propagation's step for W_1 is W_2^T E and feedback's
B^T E. Both are exact here, without examples. The second task has random labels, which can only be
memorised.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from quire.lab import Config, Metrics, Run
from quire.lab.training import Kept
from quire.papers.dfa.alignment import mean_cosine
from quire.papers.dfa.feedback import normal
from quire.papers.dfa.perceptron import (
    DirectSignals,
    Perceptron,
    backpropagate,
    cross_entropy_error,
)

INPUTS, HIDDEN, OUTPUTS = 40, 30, 10
"""D, K and C of the linear nets."""
SMALL = 0.01
"""Standard deviation of the linear student's first weights."""
EXAMPLES, WIDTH = 500, 100
"""Examples with random labels, and units of each of two hidden layers."""


class Theory(Config):
    """A linear student of a linear teacher, or a tanh net with random labels."""

    task: Literal["linear", "labels"] = "linear"
    """What is learned."""
    rule: Literal["direct", "backward"] = "direct"
    """What trains the hidden layers."""
    learning_rate: PositiveFloat = 0.02
    """Of gradient descent; with momentum 0.9 on labels."""
    steps: PositiveInt = 3000
    """Full-batch steps."""


def theory(config: Theory, run: Run) -> Metrics:
    """When weights and gradients align, when the loss falls, and where it all ends."""
    return follow_linear(config, run) if config.task == "linear" else follow_labels(config, run)


class Students(torch.nn.Module):
    """Two linear students of one teacher with one feedback, from two starts: S = 2.

    run: where they come from and go. steps: so many measurements are kept, on the device.
    """

    measured: Tensor
    teacher: Tensor
    feedback: Tensor
    first: Tensor
    second: Tensor

    def __init__(self, run: Run, steps: int) -> None:
        super().__init__()
        self.register_buffer("measured", torch.zeros(steps, 3).double())
        generator = run.rng("weights")
        teacher = torch.randn(OUTPUTS, INPUTS, generator=generator) / INPUTS**0.5
        feedback = normal(OUTPUTS, HIDDEN, generator) / HIDDEN**0.5
        self.register_buffer("teacher", teacher.double())
        self.register_buffer("feedback", feedback.double())
        first = SMALL * torch.randn(2, HIDDEN, INPUTS, generator=generator)
        second = SMALL * torch.randn(2, OUTPUTS, HIDDEN, generator=generator)
        self.register_buffer("first", first.double())
        self.register_buffer("second", second.double())

    def descend(self, rule: str, rate: float) -> None:
        """One step down for both students."""
        error = self.second @ self.first - self.teacher
        carried = self.feedback if rule == "direct" else self.second
        first = carried.mT @ error
        self.second -= rate * error @ self.first.mT
        self.first -= rate * first

    def measure(self) -> Tensor:
        """Loss, cosine of W_2 and B, cosine of the two steps for W_1: (3,), of student one."""
        second, first = self.second[0], self.first[0]
        error = second @ first - self.teacher
        loss = error.square().sum() / self.teacher.square().sum()
        aligned = flat_cosine(second, self.feedback)
        return torch.stack([loss, aligned, flat_cosine(self.feedback.T @ error, second.T @ error)])


def flat_cosine(a: Tensor, b: Tensor) -> Tensor:
    """The cosine of two tensors of one shape as vectors, ()."""
    return F.cosine_similarity(a.flatten(), b.flatten(), dim=0)


def follow_linear(config: Theory, run: Run) -> Metrics:
    """Both students, looked at after every step."""
    students = Students(run, config.steps).to(run.device)
    for step in run.steps(config.steps, state=(students,)):
        students.measured[step] = students.measure()
        students.descend(config.rule, config.learning_rate)
    loss, weights, gradients = students.measured.T.cpu()
    steps = list(range(len(loss)))
    every = max(1, len(steps) // 200)
    for name, curve in (("loss", loss), ("weights", weights), ("gradients", gradients)):
        run.series(name, steps[::every], curve[::every], x_label="steps", y_label=name)
    return {
        "loss": float(loss[-1]),
        "weight_alignment": float(weights[-1]),
        "start_alignment": float(weights[0]),
        "gradient_alignment": float(gradients[-1]),
        "aligned_at": first_step(weights > 0.5),
        "learned_at": first_step(loss < 0.5),
        "agreement": float(flat_cosine(students.first[0], students.first[1])),
    }


def first_step(reached: Tensor) -> float:
    """The first place (T,) that is true, T where none is."""
    return float(reached.double().argmax()) if bool(reached.any()) else float(len(reached))


def follow_labels(config: Theory, run: Run) -> Metrics:
    """A tanh net that memorises random labels; the cosine of signals and gradients on the way."""
    generator = run.rng("examples")
    x = torch.randn(EXAMPLES, INPUTS, generator=generator).to(run.device)
    label = torch.randint(OUTPUTS, (EXAMPLES,), generator=generator).to(run.device)
    net = Perceptron([INPUTS, WIDTH, WIDTH, OUTPUTS]).to(run.device)
    direct = DirectSignals(net, seed=run.seed)
    rule = direct if config.rule == "direct" else backpropagate
    optimizer = torch.optim.SGD(net.parameters(), lr=config.learning_rate, momentum=0.9)
    kept, error_of = Kept(), cross_entropy_error(label)
    every = max(1, config.steps // 100)
    for step in run.steps(config.steps, state=(net, optimizer, kept)):
        logits = net.write_gradients(x, error_of, rule)
        optimizer.step()
        run.log(loss=F.cross_entropy(logits, label))
        if step % every == 0 or step == config.steps - 1:
            with torch.no_grad():
                *hidden, logits = net.pass_through(x)
                error = error_of(logits)
                pairs = zip(direct(net, error, hidden), backpropagate(net, error, hidden),
                            strict=True)  # fmt: skip
                kept.add("cosine", torch.stack([mean_cosine(a, b) for a, b in pairs]).mean())
                kept.add("step", step)
    run.series("gradients", kept.series["step"], kept.series["cosine"],
               x_label="steps", y_label="cosine of feedback and gradient")  # fmt: skip
    with torch.no_grad():
        wrong = (net(x).argmax(1) != label).double().mean()
    return {
        "train_error": 100 * float(wrong),
        "gradient_alignment": kept.series["cosine"][-1],
        "peak_alignment": max(kept.series["cosine"]),
    }
