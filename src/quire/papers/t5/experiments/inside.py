"""What tasks share, seen from inside: how alike encoders are, and which heads each task needs."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from matplotlib.figure import Figure
from torch import Tensor

from quire.lab import Config, Metrics, Run
from quire.lab.training import load_weights_into
from quire.papers.t5.experiments.learner import Net, Rows, Tuning, make_model, score
from quire.papers.t5.experiments.sources import Coder, Labelled, Part, read_tasks
from quire.papers.t5.layers import Attention
from quire.papers.t5.model import PADDING, T5
from quire.papers.t5.procedural import Language


class Inside(Config):
    """A model beside the one of all tasks and the one that was only pre-trained; no training."""

    net: Net = Net()
    """Of all three."""
    labelled: Labelled = Labelled()
    """The tasks, and how many examples are read."""
    tuning: Tuning = Tuning()
    """Its lengths."""
    prunes: bool = False
    """Also take out each head in turn and score every task without it."""


def inside(config: Inside, run: Run) -> Metrics:
    """Likeness of encoders, and what heads are worth.

    Raises ValueError for a model without an encoder, or heads of one task alone.
    """
    coder = Language().words
    parts = read_tasks(config.labelled, run)
    if config.prunes and len(parts) < 2:
        raise ValueError("heads are compared between two tasks or more: --labelled.tasks names one")
    models = {}
    for name in ("base", "every", "pretrained"):
        models[name] = model = make_model(config.net, coder, run).eval()
        load_weights_into(run.before(name), "model", model)
    found: Metrics = {}
    first, last = [], []
    for name, part in parts.items():
        rows = Rows(part.test, coder, config.tuning).inputs.to(run.device)
        layers = {key: read_layers(model, rows) for key, model in models.items()}
        found[name] = 100 * alike(layers["base"][-1], layers["every"][-1])
        moved = [alike(a, b) for a, b in zip(layers["base"], layers["pretrained"], strict=True)]
        first.append(100 * moved[0])
        last.append(100 * moved[-1])
    found |= {"first": sum(first) / len(first), "last": sum(last) / len(last)}
    if config.prunes:
        lost = lose_heads(models["base"], parts, coder, config.tuning, run)
        run.figure("heads", draw_heads(lost, list(parts)))
        table = torch.tensor(list(lost.values()))
        pairs = torch.corrcoef(table.T)[*torch.triu_indices(len(parts), len(parts), 1)]
        # A task that loses nothing with any head has no correlation.
        found["agreement"] = 100 * float(pairs.nan_to_num(0.0).mean())
        found["worst"] = float(table.mean(1).max())
    return found


@torch.no_grad()
def read_layers(model: T5, inputs: Tensor) -> list[Tensor]:
    """What each layer of the encoder makes of the tokens that are no padding: (N, D) each."""
    if model.encoder is None:
        raise ValueError(f"layers of an encoder are read, a {model.architecture} model has none")
    seen: list[Tensor] = []
    hooks = [
        layer.register_forward_hook(lambda _, __, y: seen.append(y[inputs != PADDING]))
        for layer in model.encoder.layers
    ]
    try:
        model.encode(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return seen


def alike(x: Tensor, y: Tensor) -> float:
    """Linear centred kernel alignment of two sets of vectors (N, D) of the same N things.

    1 where one is a rotation of the other, scaled and moved; 0 where no linear map leads from one
    to the other (Kornblith et al., 2019, equation 3 with linear kernels).
    """
    x, y = (each.double() - each.double().mean(0) for each in (x, y))
    both = (x.T @ y).square().sum()
    return float(both / (torch.linalg.norm(x.T @ x) * torch.linalg.norm(y.T @ y)))


def lose_heads(
    model: T5, parts: dict[str, Part], coder: Coder, tuning: Tuning, run: Run
) -> dict[str, list[float]]:
    """For each head the points that each task loses without it."""

    def scores() -> list[float]:
        return [score(model, p.task, p.test, coder, tuning, run) for p in parts.values()]

    whole = scores()
    lost = {}
    for name, attention in list_attentions(model):
        for head in range(attention.heads):
            with without_head(attention, head):
                lost[f"{name}.{head + 1}"] = [a - b for a, b in zip(whole, scores(), strict=True)]
    return lost


def list_attentions(model: T5) -> Iterator[tuple[str, Attention]]:
    """Every attention of a model with its name, from the inputs on; shared ones once."""
    for path, module in model.named_modules():
        if isinstance(module, Attention):
            stack, _, depth, kind = path.split(".")
            yield f"{'cross' if kind == 'cross' else stack} {int(depth) + 1}", module


@contextmanager
def without_head(attention: Attention, head: int) -> Iterator[None]:
    """What the head (from 0 on) adds is 0 meanwhile."""
    weight = attention.output.weight
    kept = weight.detach().clone()
    try:
        with torch.no_grad():
            weight.unflatten(1, (attention.heads, -1))[:, head] = 0
        yield
    finally:
        with torch.no_grad():
            weight.copy_(kept)


def draw_heads(lost: dict[str, list[float]], tasks: list[str]) -> Figure:
    """A row for each task, a column for each head: points lost without it."""
    figure = Figure(figsize=(0.28 * len(lost) + 2.2, 0.5 * len(tasks) + 1.8), layout="constrained")
    axes = figure.subplots()
    table = torch.tensor(list(lost.values())).T.numpy()
    limit = max(1.0, float(abs(table).max()))
    shown = axes.imshow(table, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto")
    axes.set_xticks(range(len(lost)), list(lost), rotation=90, fontsize=7)
    axes.set_yticks(range(len(tasks)), tasks)
    axes.set(xlabel="layer and head that is taken out")
    figure.colorbar(shown, label="points lost")
    return figure
