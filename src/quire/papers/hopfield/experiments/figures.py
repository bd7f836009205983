"""The figures of the experiments."""

from collections.abc import Mapping, Sequence

import torch
from matplotlib.figure import Figure
from torch import Tensor

from quire.papers.hopfield.energy import hopfield_energy, hopfield_update


def draw_retrieval(rows: Mapping[str, tuple[Tensor, Tensor, Tensor]]) -> Figure:
    """Stored, corrupted and retrieved images (n, 784) in lines, a block for each kind."""
    figure = Figure(figsize=(8, 1.0 * 3 * len(rows)), layout="constrained")
    axes = figure.subplots(3 * len(rows), 1)
    for block, (name, images) in enumerate(rows.items()):
        for line, (what, strip) in enumerate(
            zip(("stored", "corrupted", "retrieved"), images, strict=True)
        ):
            ax = axes[3 * block + line]
            picture = strip.cpu().view(-1, 28, 28).permute(1, 0, 2).reshape(28, -1).numpy()
            ax.imshow(picture, cmap="gray_r", vmin=-1, vmax=1)
            ax.set_xticks([])
            ax.set_yticks([])
            ax.set_ylabel(what, rotation=0, ha="right", va="center")
            if line == 0:
                ax.set_title(name, loc="left")
    return figure


def draw_capacity(
    dims: Sequence[int],
    back: Mapping[int, float],
    nearest: Mapping[int, float],
    bounds: Sequence[float] | None,
) -> Figure:
    """Patterns against dimension on a logarithmic scale, with the theorem's bound.

    Args:
        dims: Dimensions.
        back: Patterns of which 95 % come back, by dimension.
        nearest: Patterns of which 95 % are nearest to their own, by dimension.
        bounds: Of theorem 3 for each dimension, or None.
    """
    figure = Figure(figsize=(5, 4), layout="constrained")
    ax = figure.subplots()
    ax.semilogy(dims, list(back.values()), "o-", label="95 % come back")
    ax.semilogy(dims, list(nearest.values()), "s--", label="95 % are nearest to their own")
    if bounds is not None:
        ax.semilogy(dims, bounds, "k:", label="theorem 3, p = 0.001")
    ax.set_xlabel("dimension")
    ax.set_ylabel("stored patterns")
    ax.legend()
    return figure


def draw_energy(stored: Tensor, betas: Sequence[float]) -> Figure:
    """Energy over the plane for patterns (N, 2), with the paths of some states."""
    figure = Figure(figsize=(4 * len(betas), 4), layout="constrained")
    line = torch.linspace(-1.8, 1.8, 90)
    plane = torch.cartesian_prod(line, line)
    for ax, beta in zip(figure.subplots(1, len(betas)), betas, strict=True):
        energy = hopfield_energy(plane, stored, beta=beta).view(90, 90).T
        ax.contourf(line.numpy(), line.numpy(), energy.numpy(), levels=30, cmap="viridis")
        state = torch.cartesian_prod(*2 * [torch.linspace(-1.5, 1.5, 5)])
        path = [state]
        for _ in range(60):
            path.append(hopfield_update(path[-1], stored, beta=beta))
        steps = torch.stack(path).numpy()
        ax.plot(steps[..., 0], steps[..., 1], color="white", lw=0.6)
        ax.plot(*steps[-1].T, "o", color="tab:red", ms=4, label="fixed points")
        ax.plot(*stored.T.numpy(), "x", color="black", label="stored")
        ax.set_title(f"beta {beta:g}")
        ax.set_aspect("equal")
    ax.legend(loc="lower right")
    return figure


def draw_heads(steps: Sequence[int], shares: Tensor) -> Figure:
    """Share of tokens that hold 0.90 of the mass, (checkpoints, layers, heads), by layer."""
    figure = Figure(figsize=(3 * shares.shape[1], 3), layout="constrained")
    axes = figure.subplots(1, shares.shape[1], sharey=True, squeeze=False)[0]
    for layer, ax in enumerate(axes):
        ax.plot(steps, shares[:, layer].numpy())
        for bound in (1 / 2, 1 / 8, 1 / 32):
            ax.axhline(bound, color="black", lw=0.5, ls=":")
        ax.set_yscale("log")
        ax.set_title(f"layer {layer + 1}")
        ax.set_xlabel("step")
    axes[0].set_ylabel("share of the tokens")
    return figure


def draw_bars(names: Sequence[str], values: Sequence[float], label: str) -> Figure:
    """A bar for each name."""
    figure = Figure(figsize=(1 + 0.9 * len(names), 3.2), layout="constrained")
    ax = figure.subplots()
    ax.bar(names, values)
    ax.set_ylabel(label)
    ax.tick_params(axis="x", rotation=30)
    return figure
