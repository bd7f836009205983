"""What the experiments draw."""

from collections.abc import Mapping, Sequence

import torch
from matplotlib.figure import Figure
from torch import Tensor

from quire.papers.supsup.bank import MaskBank
from quire.papers.supsup.experiments.learner import Trial
from quire.papers.supsup.inference import find_slopes
from quire.papers.supsup.objectives import entropy, superfluous

SHOWN = 50
"""Tasks in a figure."""


def draw_naming(bank: MaskBank, trial: Trial, labels: int) -> Figure:
    """How steep every task's direction is for one group of each of the first tasks: a diagonal
    where tasks are named."""
    outputs = bank(trial.x[:1], 0).shape[-1]
    objective = superfluous(labels) if outputs > labels else entropy
    shown = min(SHOWN, len(bank))
    slopes = -find_slopes(bank, trial.groups[:shown], objective)[:, :shown].cpu()
    figure = Figure(figsize=(4.2, 3.6), layout="constrained")
    ax = figure.subplots()
    spread = slopes - slopes.mean(1, keepdim=True)
    drawn = ax.imshow((spread / spread.abs().amax(1, keepdim=True).clamp(min=1e-12)).numpy())
    ax.set_xlabel("direction towards task")
    ax.set_ylabel("group of task")
    figure.colorbar(drawn, label="steepness, of the row's largest")
    return figure


def draw_path(distances: Mapping[str, Sequence[Tensor]]) -> Figure:
    """Neurons that a mask on its way back differs in from its own, against the step.

    distances: of each layer a curve for each task, (steps + 1,).
    """
    figure = Figure(figsize=(4.2 * len(distances), 3.2), layout="constrained")
    axes = figure.subplots(1, len(distances), squeeze=False)[0]
    for ax, (name, curves) in zip(axes, distances.items(), strict=True):
        for task, curve in enumerate(curves):
            ax.plot(torch.arange(len(curve)).numpy(), curve.cpu().numpy(), label=f"task {task}")
        ax.set_title(name)
        ax.set_xlabel("steps")
        ax.set_ylabel("neurons that differ")
    axes[0].legend(fontsize="small")
    return figure
