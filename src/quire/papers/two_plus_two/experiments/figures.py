"""The figures of the experiments."""

from collections.abc import Mapping

import torch
from matplotlib.figure import Figure
from torch import Tensor

from quire.papers.two_plus_two.court import Mass


def draw_testimony(family: str, point: Tensor, mass: Mass) -> Figure:
    """Each member's answer to 2 + 2, and beside it its probabilities of 4, 5 and neither, (M,)."""
    figure = Figure(figsize=(6, 2.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    members = torch.arange(1, len(point) + 1)
    left.axhline(4, color="0.6", lw=0.8)
    left.axhline(5, color="0.6", lw=0.8, ls="--")
    left.plot(members, point, "o", ms=4)
    left.set(xlabel="member", ylabel="2 + 2", title=family)
    below = torch.zeros(len(point), dtype=torch.float64)
    parts = (("4", mass.first, "C2"), ("5", mass.second, "C3"), ("neither", mass.outside, "0.8"))
    for label, part, colour in parts:
        right.bar(members, part, bottom=below, color=colour, label=label)
        below = below + part
    right.set(xlabel="member", ylabel="probability", ylim=(0, 1))
    right.legend(fontsize=7, loc="upper right")
    return figure


def draw_table(family: str, error: Tensor) -> Figure:
    """What each cell's witness, who never saw it, is off by: error (10, 10), a row an a."""
    figure = Figure(figsize=(4.4, 3.8), layout="constrained")
    ax = figure.subplots()
    shown = ax.imshow(error.numpy(), cmap="RdBu", vmin=-5, vmax=5)
    size = len(error)
    for a in range(size):
        for b in range(size):
            value = float(error[a, b])
            text = "" if abs(value) < 0.5 else f"{value:+.0f}"
            ax.text(b, a, text, ha="center", va="center", fontsize=7)
    ax.plot(2, 2, "s", ms=20, mfc="none", mec="black")
    ax.set(xlabel="b", ylabel="a", title=f"{family}: error on a + b, each cell left out")
    ax.set_xticks(range(size))
    ax.set_yticks(range(size))
    figure.colorbar(shown, label="answer less sum")
    return figure


def draw_line(body: str, x: Tensor, answers: Tensor, seen: float) -> Figure:
    """Members' f(x), answers (M, N), against x (N,); trained on [-seen, seen]."""
    figure = Figure(figsize=(4, 3), layout="constrained")
    ax = figure.subplots()
    ax.axvspan(-seen, seen, color="0.93")
    ax.plot(x, answers.T, color="C0", lw=0.8, alpha=0.7)
    ax.plot(x, x, color="black", lw=0.8, ls="--")
    limit = float(x.abs().max())
    ax.set(xlabel="x", ylabel="f(x)", title=f"{body}: f(x) = x, shown on grey",
           ylim=(-1.3 * limit, 1.3 * limit))  # fmt: skip
    return figure


def draw_curves(title: str, curves: Mapping[str, tuple[list[float], list[float]]]) -> Figure:
    """Curves by name, each (x, y), over steps or cells."""
    figure = Figure(figsize=(4, 3), layout="constrained")
    ax = figure.subplots()
    for name, (x, y) in curves.items():
        ax.plot(x, y, marker="o", ms=3, label=name)
    ax.set(title=title, ylim=(-3, 103), ylabel="%")
    ax.legend(fontsize=7)
    return figure
