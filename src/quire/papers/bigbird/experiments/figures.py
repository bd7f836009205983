"""Figures of the pattern and of what the heads attend to."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from quire.nn.attention import AttentionKernel
from quire.nn.masks import Mask
from quire.papers.bigbird.experiments.tasks import Examples
from quire.papers.bigbird.kernel import BigBirdAttention
from quire.papers.bigbird.model import BigBird
from quire.papers.bigbird.pattern import BigBirdMask, BigBirdPattern

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_pattern(pattern: BigBirdPattern, length: int) -> "Figure":
    """Blocks of keys that each block of queries attends to, by what they are (figure 1)."""
    import numpy as np
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    table = pattern.table(length)[0]
    count = len(table)
    row, column = np.indices(table.shape)
    picture = table * 3  # random, unless it is one of the others
    picture[table & (abs(row - column) <= pattern.window // 2) & (pattern.window > 0)] = 1
    for ends in (row, column):
        picture[table & ((ends < pattern.front) | (ends >= count - pattern.back))] = 2
    names = ("window", "global", "random")
    colours = ("#4878a8", "#e0a030", "#70a860")
    figure = Figure(figsize=(4.6, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.imshow(picture, cmap=ListedColormap(["#f4f4f4", *colours]), vmin=0, vmax=3)
    axes.set(xlabel=f"block of {pattern.block} keys", ylabel=f"block of {pattern.block} queries")
    share = 100 * table.mean()
    axes.set_title(f"{count} blocks, {share:.1f} % computed", fontsize=10)
    shown = [Patch(color=c, label=n) for i, (c, n) in enumerate(zip(colours, names, strict=True), 1)
             if (picture == i).any()]  # fmt: skip
    axes.legend(
        handles=shown, loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=3, frameon=False
    )
    return figure


@torch.no_grad()
def record_weights(model: BigBird, words: Tensor) -> list[Tensor]:
    """The weights of every layer, dense: (B, H, N, N) each. For figures: O(N^2) memory."""
    found: list[Tensor] = []
    attentions: list[Any] = [layer.attention for layer in model.layers]
    before = [attention.kernel for attention in attentions]
    # Sparse attention has no matrix of weights: each kernel is wrapped for one pass by one that
    # computes them densely beside it.
    for attention, kernel in zip(attentions, before, strict=True):
        _replace(attention, _watch(kernel, found))
    try:
        model(words)
    finally:
        for attention, kernel in zip(attentions, before, strict=True):
            _replace(attention, kernel)
    return found


def _replace(attention: Any, kernel: AttentionKernel) -> None:
    # A kernel may be a module, which torch lets nothing but a module replace.
    del attention.kernel
    attention.kernel = kernel


def _watch(kernel: AttentionKernel, found: list[Tensor]) -> AttentionKernel:
    def attend(q: Tensor, k: Tensor, v: Tensor, mask: Mask | None = None) -> Tensor:
        scores = q @ k.mT * q.shape[-1] ** -0.5
        if isinstance(kernel, BigBirdAttention):
            length, heads = q.shape[2], q.shape[1]
            allowed = BigBirdMask(kernel.pattern, length, heads).dense(
                length, length, len(q), heads, q.device
            )
            scores = scores.masked_fill(~allowed, -torch.inf)
        found.append(scores.softmax(-1))
        return kernel(q, k, v, mask)

    return attend


def draw_attention(model: BigBird, example: Examples, device: torch.device) -> "Figure":
    """What the heads of each layer attend to in one text, block by block.

    Above the mean over the heads, and over the queries of a block; below each head's mean over the
    questions. Weights are summed over the keys of a block; lines mark the blocks of the first
    question and of the item that it asks for.
    """
    from matplotlib.figure import Figure

    was = model.training
    weights = record_weights(model.eval(), example.words.to(device))
    model.train(was)
    first: Any = model.layers[0]
    kernel = first.attention.kernel
    block = kernel.pattern.block if isinstance(kernel, BigBirdAttention) else 8
    asked = (example.target[0] >= 0).nonzero()[:, 0]
    stand = int((example.words[0] == example.target[0, asked[0]]).nonzero()[0])
    figure = Figure(figsize=(4.2 * len(weights), 5.2), layout="constrained")
    panels = figure.subplots(2, len(weights), squeeze=False, height_ratios=(4, 1))
    for number, weight in enumerate(weights):
        each = weight[0].float().cpu()
        count = each.shape[-1] // block
        each = each[..., : count * block].unflatten(-1, (count, block)).sum(-1)
        mean = each.mean(0)[: count * block].unflatten(0, (count, block)).mean(1)
        for axes, picture in zip(panels[:, number], (mean, each[:, asked].mean(1)), strict=True):
            shown = axes.imshow(
                picture.sqrt().numpy(), cmap="magma", vmin=0, vmax=1, aspect="auto",
                interpolation="nearest",
            )  # fmt: skip
            axes.axvline(stand // block, color="#60c0ff", lw=0.8)
        panels[0, number].axhline(int(asked[0]) // block, color="#60c0ff", lw=0.8)
        panels[0, number].set(title=f"layer {number + 1}", ylabel=f"block of {block} queries")
        panels[1, number].set(
            xlabel=f"block of {block} keys", ylabel="head\n(questions)", yticks=range(len(each))
        )
    figure.colorbar(shown, ax=figure.axes, label="square root of the weight")
    return figure
