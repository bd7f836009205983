"""Figures of a solver's run: when answers were found, what was solved, examples."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from quire.papers.arc.evaluate import Attempt
from quire.papers.arc.gallery.drawing import CODES
from quire.papers.arc.solver.pool import Record
from quire.papers.arc.tasks import Grid, Task

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN = 3
"""Demonstrations of a task in a figure."""


def anytime_curve(
    solved: Sequence[Record], tasks: int, key: str
) -> tuple[list[float], list[float]]:
    """When the solved tasks' answers were found, sorted; and the share solved by then, %."""
    found = sorted(
        float(record.statistics[key]) for record in solved if record.statistics.get(key) is not None
    )
    return found, [100 * (i + 1) / tasks for i in range(len(found))]


def draw_anytime(x: Sequence[float], y: Sequence[float]) -> "Figure":
    """Tasks solved against CPU seconds a task, logarithmic."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    axes.step(x, y, where="post")
    if x:
        axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("CPU seconds a task until the answer was found")
    axes.set_ylabel("tasks solved, %")
    return figure


def draw_strata(strata: dict[str, dict[str, tuple[int, int]]]) -> "Figure":
    """Share of tasks solved by size, colours and demonstrations, with the counts."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.2), layout="constrained")
    places = figure.subplots(1, len(strata), sharey=True)
    for axes, (name, classes) in zip(places, strata.items(), strict=True):
        shares = [100 * won / total if total else 0 for won, total in classes.values()]
        bars = axes.bar(range(len(classes)), shares, tick_label=list(classes))
        axes.bar_label(bars, [f"{won} of {total}" for won, total in classes.values()], fontsize=8)
        axes.set_xlabel(name)
        axes.margins(y=0.12)
    places[0].set_ylabel("tasks solved, %")
    return figure


def draw_solved(examples: Sequence[tuple[Task, Attempt]]) -> "Figure":
    """A row a task: demonstrations, the test input, the prediction; the program above them."""
    from matplotlib.figure import Figure

    rows = max(1, len(examples))
    figure = Figure(figsize=(11, 1.75 * rows), layout="constrained")
    for part, (task, attempt) in zip(
        figure.subfigures(rows, 1, squeeze=False)[:, 0], examples, strict=False
    ):
        program = "; ".join(attempt.steps)
        text = program if len(program) < 130 else program[:127] + "..."
        part.suptitle(f"{task.id}: {text}", x=0.005, ha="left", fontsize=8)
        places = part.subplots(1, 2 * SHOWN + 2)
        for axes in places:
            axes.set_axis_off()
        for i, pair in enumerate(task.train[:SHOWN]):
            _show(places[2 * i], pair.input)
            if pair.output is not None:
                _show(places[2 * i + 1], pair.output)
        _show(places[-2], task.test[0].input, "test")
        _show(places[-1], attempt.outputs[0], "prediction")
    return figure


def _show(axes: "Axes", grid: Grid, title: str = "") -> None:
    from matplotlib.colors import ListedColormap

    axes.imshow(grid, cmap=ListedColormap(CODES), vmin=0, vmax=9, interpolation="nearest")
    axes.set_title(title, fontsize=7)
