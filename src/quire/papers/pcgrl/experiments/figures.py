"""The figures of the experiments."""

from matplotlib.figure import Figure

from quire.papers.pcgrl.evaluate import Rollout
from quire.papers.pcgrl.render import draw_level

SHOWN = 8


def draw_before_and_after(rollout: Rollout) -> Figure:
    """First maps above, what a designer made of them below; the title says which succeeded."""
    count = min(SHOWN, len(rollout.starts))
    figure = Figure(figsize=(1.3 * count, 3.0), layout="constrained")
    axes = figure.subplots(2, count, squeeze=False)
    for i in range(count):
        for row, maps in enumerate((rollout.starts, rollout.ends)):
            axes[row][i].imshow(draw_level(rollout.problem, maps[i]))
            axes[row][i].set_axis_off()
        said = "reached" if rollout.reached[i] else "not reached"
        axes[1][i].set_title(f"{rollout.changes[i]}: {said}", fontsize="x-small")
    return figure
