"""The figures of the experiments."""

from collections.abc import Sequence

import torch
from matplotlib.figure import Figure
from torch import Tensor


def draw_rounds(image: Tensor, objects: Tensor, rounds: Sequence[tuple[Tensor, Tensor]]) -> Figure:
    """Which slot attends to, and which decodes, each pixel after each round; a line an image.

    Args:
        image: (B, 3, S, S) in [-1, 1].
        objects: True numbers (B, S, S).
        rounds: After each round the attention (B, K, N) and the masks (B, K, S, S).
    """
    columns = 2 + 2 * len(rounds)
    figure = Figure(figsize=(columns, 1.1 * len(image)), layout="constrained")
    axes = figure.subplots(len(image), columns, squeeze=False)
    slots = rounds[0][0].shape[1]
    for row, line in enumerate(axes):
        panels = [("image", ((image[row] + 1) / 2).permute(1, 2, 0).clamp(0, 1))]
        panels.append(("objects", objects[row]))
        for number, (attention, _) in enumerate(rounds, 1):
            side = round(attention.shape[2] ** 0.5)
            panels.append((f"routed {number}", attention[row].argmax(0).view(side, side)))
        for number, (_, masks) in enumerate(rounds, 1):
            panels.append((f"masks {number}", masks[row].argmax(0)))
        for ax, (title, panel) in zip(line, panels, strict=True):
            top = int(objects.max()) if title == "objects" else slots - 1
            ax.imshow(panel.cpu().numpy(), cmap="viridis", vmin=0, vmax=max(1, top))
            ax.set_axis_off()
            if row == 0:
                ax.set_title(title, fontsize=7)
    return figure


def draw_properties(image: Tensor, place: Tensor, flag: Tensor, true: Tensor) -> Figure:
    """Images with true places (crosses) and predicted ones (rings, as strong as they are sure).

    Args:
        image: (B, 3, S, S) in [-1, 1].
        place: Predicted y and x as shares of the side, (B, K, 2).
        flag: How sure each prediction is, (B, K).
        true: The same of the objects, (B, O, 2), not a number where there is none.
    """
    size = image.shape[-1]
    figure = Figure(figsize=(1.6 * len(image), 1.7), layout="constrained")
    for row, ax in enumerate(figure.subplots(1, len(image), squeeze=False)[0]):
        ax.imshow(((image[row] + 1) / 2).permute(1, 2, 0).clamp(0, 1).cpu().numpy())
        for points, style in ((true[row], "wx"), (place[row], "o")):
            y, x = (size * points.cpu() - 0.5).unbind(-1)
            if style == "o":
                strength = flag[row].cpu().clamp(0, 1).tolist()
                red = [(1.0, 0.0, 0.0, alpha) for alpha in strength]
                ax.scatter(x, y, s=30, facecolors="none", edgecolors=red)
            else:
                shown = torch.isfinite(y)
                ax.plot(x[shown], y[shown], style, ms=4)
        ax.set_axis_off()
    return figure
