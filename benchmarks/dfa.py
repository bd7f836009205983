"""Races of direct feedback: a training step against back-propagation's.

The peer is the same net under back-propagation. Beside it stand two formulations of the published
code, written out: `hooks`, where every mark replaces the gradient that arrives there over an uncut
graph, and `marks`, where the graph is cut and a backward pass is started at every mark. tinydfa
itself cannot be installed; its authors give 55 minutes an epoch against 45, a ratio of 0.82 here.
The closed form, without autograd, races on a dense net. Each race begins with a parity test: ours
with back-propagation set must give its gradients, and hooks and marks must give those of feedback.
Run it with `quire bench dfa`, or alone: `python benchmarks/dfa.py`.
"""

import json
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quire.lab.bench import compare
from quire.papers.dfa import (
    DirectFeedback,
    DirectSignals,
    IndependentFeedback,
    LanguageModel,
    Perceptron,
    cross_entropy_error,
    macro,
    micro,
)

VOCABULARY, LENGTH, BATCH = 1000, 128, 4
"""Kinds of tokens, tokens of a text, and texts: the published Transformer at a small batch."""
Step = Callable[[], Tensor]


def main() -> dict[str, Any]:
    """All races."""
    return {
        "races": [
            transformer_race("macro", macro),
            transformer_race("micro", micro),
            dense_race(),
            deep_race(),
        ]
    }


class Hooks(nn.Module):
    """Every mark of a prepared model replaces the gradient that arrives there."""

    def __init__(self, model: DirectFeedback) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        with self.model.recorded() as seen:
            out: Tensor = self.model(x)
        assert seen.output is not None
        matrix, sent = self.model.feedback.matrix, []

        def project(error: Tensor) -> None:
            sent.append(error.flatten(0, -2) @ matrix)

        def replace(gradient: Tensor) -> Tensor:
            return sent[0][:, : gradient.shape[-1]].reshape(gradient.shape)

        seen.output.register_hook(project)
        for tap in seen.taps:
            tap.hidden.register_hook(replace)
        return out


class Start(torch.autograd.Function):
    """Backward, a pass of its own is started at every mark."""

    @staticmethod
    def forward(ctx: Any, out: Tensor, matrix: Tensor, marks: list[Tensor]) -> Tensor:
        ctx.matrix, ctx.marks = matrix, marks
        return out.view_as(out)

    @staticmethod
    def backward(ctx: Any, error: Tensor) -> tuple[Tensor, None, None]:
        sent = error.flatten(0, -2) @ ctx.matrix
        for mark in ctx.marks:
            mark.backward(sent[:, : mark.shape[-1]].reshape(mark.shape))
        return error, None, None


class Marks(nn.Module):
    """The graph of a prepared model is cut at every mark, which keeps what it saw."""

    def __init__(self, model: DirectFeedback) -> None:
        super().__init__()
        self.model = model
        self.seen: list[Tensor] | None = None
        for name in model.layers:
            model.model.get_submodule(name).register_forward_hook(self.cut)
        model.model.get_submodule(str(model.source)).register_forward_hook(self.end)

    def forward(self, x: Tensor) -> Tensor:
        self.seen = []
        out: Tensor = self.model.model(x)
        self.seen = None
        return out

    def cut(self, module: nn.Module, args: Any, out: Tensor) -> Tensor | None:
        if self.seen is None:
            return None
        self.seen.append(out)
        return out.detach().requires_grad_()

    def end(self, module: nn.Module, args: Any, out: Tensor) -> Tensor | None:
        if self.seen is None:
            return None
        ended: Tensor = Start.apply(out, self.model.feedback.matrix, self.seen)
        return ended


def transformer_race(name: str, place: Callable[[nn.Module], list[str]]) -> dict[str, Any]:
    """Six blocks of width 512 on 128 tokens."""
    torch.manual_seed(0)
    net = LanguageModel(VOCABULARY, dropout=0.0)
    model = DirectFeedback(net, place(net), source="encoder")
    x, y = torch.randint(VOCABULARY, (2, BATCH, LENGTH))
    model.prepare(x)

    def step(module: nn.Module, rule: str = "direct") -> Step:
        def call() -> Tensor:
            model.set_rule(rule)  # type: ignore[arg-type]
            net.zero_grad()
            loss = F.cross_entropy(module(x).flatten(0, 1), y.flatten())
            loss.backward()
            return loss

        return call

    steps = {"ours": step(model), "peer": step(net), "hooks": step(Hooks(model)),
             "marks": step(Marks(model))}  # fmt: skip
    pairs = [(step(model, "backward"), steps["peer"]), (steps["ours"], steps["hooks"]),
             (steps["ours"], steps["marks"])]  # fmt: skip
    title = f"Transformer, 6 blocks of 512, {BATCH} x {LENGTH} tokens, {name}"
    return race(title, list(net.parameters()), pairs, steps, 1)


def dense_race() -> dict[str, Any]:
    """Four hidden layers of 512 units, in closed form."""
    return closed_form_race("dense net, 4 layers of 512, 128 rows", [784, *[512] * 4, 10], 128, 20)


def deep_race() -> dict[str, Any]:
    """A hundred hidden layers of 240 units, in closed form."""
    return closed_form_race("dense net, 100 layers of 240, 64 rows", [784, *[240] * 100, 10], 64, 2)


def closed_form_race(name: str, widths: list[int], rows: int, calls: int) -> dict[str, Any]:
    """The closed form against back-propagation by autograd; beside it the wrapper."""
    torch.manual_seed(0)
    net = Perceptron(widths)
    x, label = torch.randn(rows, widths[0]), torch.randint(10, (rows,))
    error_of, rule = cross_entropy_error(label), DirectSignals(net, seed=0)
    layers: list[nn.Module] = []
    for layer in net.layers:
        layers += [layer, nn.Tanh()]
    chain = nn.Sequential(*layers[:-1])
    marks = [str(place) for place in range(1, len(layers) - 1, 2)]
    model = DirectFeedback(chain, marks, seed=0, feedback=IndependentFeedback())
    model.prepare(x)

    def closed() -> Tensor:
        return F.cross_entropy(net.write_gradients(x, error_of, rule), label)

    def step(module: nn.Module, set_rule: str = "direct") -> Step:
        def call() -> Tensor:
            model.set_rule(set_rule)  # type: ignore[arg-type]
            net.zero_grad()
            loss = F.cross_entropy(module(x), label)
            loss.backward()
            return loss

        return call

    steps = {"ours": closed, "peer": step(net), "wrapper": step(model)}
    pairs = [(closed, steps["wrapper"]), (step(model, "backward"), steps["peer"])]
    return race(f"{name}, closed form", list(net.parameters()), pairs, steps, calls)


def race(
    name: str,
    parameters: list[nn.Parameter],
    pairs: list[tuple[Step, Step]],
    steps: dict[str, Step],
    calls: int,
) -> dict[str, Any]:
    """One race: parity of losses and gradients, then steps a second.

    Args:
        name: What is raced.
        parameters: What all steps train.
        pairs: Steps that must agree.
        steps: `ours`, `peer` and others.
        calls: Steps a timing.
    """
    difference = max(distance(*pair, parameters) for pair in pairs)
    result = {
        "name": f"{name}, against back-propagation",
        "unit": "forward and backward passes/s",
        "goal": 1.0,
        "parity": difference <= 1e-3,
        "parity_test": f"losses and gradients differ by {difference:.1e} of the largest at most",
    }
    if not result["parity"]:
        return result

    def several(step: Step) -> Callable[[], None]:
        def call() -> None:
            for _ in range(calls):
                step()

        return call

    return result | compare({k: several(v) for k, v in steps.items()}, calls, repeats=9)


def distance(first: Step, second: Step, parameters: list[nn.Parameter]) -> float:
    """How far losses and gradients of two steps are apart, as shares of the largest."""
    losses, gradients = [], []
    for step in (first, second):
        losses.append(float(step().detach()))
        gradients.append([p.grad.clone() for p in parameters if p.grad is not None])
    difference = abs(losses[0] / losses[1] - 1)
    for mine, its in zip(*gradients, strict=True):
        largest = max(float(its.abs().max()), 1e-6)
        difference = max(difference, float((mine - its).abs().max()) / largest)
    return difference


if __name__ == "__main__":
    print(json.dumps(main(), indent=1))
