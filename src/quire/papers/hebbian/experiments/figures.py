"""Pictures: how weights go in two of their directions, and how speed comes back after a blow."""

from matplotlib.figure import Figure
from torch import Tensor

from quire.papers.hebbian.orbit import Orbit, speed


def draw_orbits(orbit: Orbit, trails: Tensor) -> Figure:
    """The trails of some lives (T, B, S) in the two main directions of the first of them."""
    figure = Figure(figsize=(4.2, 3.8), layout="constrained")
    axis = figure.subplots()
    places = orbit.project(trails).cpu()
    for life in range(places.shape[1]):
        way = places[:, life]
        (line,) = axis.plot(way[:, 0], way[:, 1], linewidth=0.6)
        axis.plot(*way[0, :2], "o", color=line.get_color(), markersize=4)
    axis.set_xlabel("first direction")
    axis.set_ylabel("second direction")
    axis.set_title("weights of lives, from birth (dots) on", fontsize=9)
    return figure


def draw_speeds(named: dict[str, Tensor], hit: int, *, window: int = 10) -> Figure:
    """Speeds over time of lives (T, ...), by name, with the step at which they were hit."""
    figure = Figure(figsize=(5.2, 3.2), layout="constrained")
    axis = figure.subplots()
    for name, rewards in named.items():
        speeds = speed(rewards, window).cpu()
        # Each at the last of its steps, so that no blow is seen before it falls.
        axis.plot(range(window - 1, window - 1 + len(speeds)), speeds, linewidth=0.9, label=name)
    axis.axvline(hit, color="0.6", linewidth=0.8)
    axis.set_xlabel("step")
    axis.set_ylabel(f"mean reward of the last {window} steps")
    axis.legend(fontsize=7, frameon=False)
    return figure
