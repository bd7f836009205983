"""The figures of the experiments."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from quire.papers.gan.experiments.layouts import Layout


def draw_points(layout: Layout, series: Mapping[str, Any]) -> Figure:
    """Samples in the plane over training, with the centres of the modes.

    layout: knows the modes; series: `snapshot` and `snapshot_step`, as lists.
    """
    count = len(series["snapshot"])
    figure = Figure(figsize=(2.4 * count, 2.6), layout="constrained")
    centres = torch.tensor(layout.centres)
    edge = float(centres.abs().max()) * 1.4
    axes = figure.subplots(1, count, squeeze=False)[0]
    for ax, points, step in zip(axes, series["snapshot"], series["snapshot_step"], strict=True):
        ax.plot(*centres.T.numpy(), "+", color="tab:red", ms=9)
        ax.plot(*torch.tensor(points).T.numpy(), ".", color="tab:blue", ms=2, alpha=0.5)
        ax.set(xlim=(-edge, edge), ylim=(-edge, edge), aspect="equal", title=f"step {step}")
        ax.set_xticks([])
        ax.set_yticks([])
    return figure


def draw_line(layout: Layout, series: Mapping[str, Any]) -> Figure:
    """Data, samples and D on the line over training, as in figure 1.

    layout: knows the modes; series: `snapshot`, `snapshot_step` and `discriminator`, as lists.
    """
    count = len(series["snapshot"])
    figure = Figure(figsize=(2.6 * count, 2.6), layout="constrained")
    x, centres = layout.grid(), torch.tensor(layout.centres)
    normal = torch.distributions.Normal(centres.T, layout.deviation)
    density = normal.log_prob(x).exp().mean(1)
    axes = figure.subplots(1, count, squeeze=False, sharey=True)[0]
    shown = zip(
        axes, series["snapshot"], series["discriminator"], series["snapshot_step"], strict=True
    )
    for ax, points, scores, step in shown:
        samples = torch.tensor(points).flatten().numpy()
        ax.hist(samples, bins=40, range=(-4, 4), density=True, color="tab:green", alpha=0.5,
                label="samples")  # fmt: skip
        ax.plot(x.numpy(), density.numpy(), "k:", label="data")
        ax.plot(x.numpy(), scores, "--", color="tab:blue", label="D")
        ax.axhline(0.5, color="grey", lw=0.5)
        ax.set(title=f"step {step}", ylim=(0, 1.05))
    axes[0].legend(fontsize="x-small")
    return figure


def draw_rows(rows: Mapping[str, Tensor], limit: tuple[float, float] = (0, 1)) -> Figure:
    """Images (n, C, H, W) of each name in a line of their own; grey or colour.

    rows: images by what stands beside the line; limit: values of black and white.
    """
    longest = max(len(images) for images in rows.values())
    figure = Figure(figsize=(0.7 * longest + 1.5, 0.75 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), 1, squeeze=False)[:, 0]
    for ax, (name, images) in zip(axes, rows.items(), strict=True):
        low, high = limit
        pictures = ((images.detach().cpu().float() - low) / (high - low)).clamp(0, 1)
        strip = pictures.permute(2, 0, 3, 1).flatten(1, 2)
        if strip.shape[-1] == 1:
            ax.imshow(strip[..., 0].numpy(), cmap="gray", vmin=0, vmax=1)
        else:
            ax.imshow(strip.numpy())
        ax.set_xticks([])
        ax.set_yticks([])
        ax.set_ylabel(name, rotation=0, ha="right", va="center")
    return figure


def draw_scores(sigmas: Sequence[float], scores: Mapping[str, Sequence[float]]) -> Figure:
    """Parzen log-likelihood of the validation set against sigma, a line for each name."""
    figure = Figure(figsize=(4.5, 3.2), layout="constrained")
    ax = figure.subplots()
    for name, values in scores.items():
        ax.semilogx(sigmas, values, "o-", label=name)
    ax.set(xlabel="sigma", ylabel="validation log-likelihood, nats")
    ax.legend()
    return figure
