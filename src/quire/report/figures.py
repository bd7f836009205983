"""Figures of what was measured: means over seeds as lines, the seeds' range as bands.

`curves` and `series` give matplotlib figures; nothing of matplotlib's global state is touched.
matplotlib and numpy are imported when the first figure is drawn.
"""

import contextlib
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quire.lab.evidence import Evidence
from quire.report.model import arm_names, finished
from quire.report.numbers import number

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#59626e"
# Each stands out from white and from the site's dark page (contrast of 3 or more on both).
COLOURS = (
    "#2f7fd0", "#d4610a", "#1a8f6a", "#c2559d", "#8f7a1c",
    "#7d68d8", "#c94343", "#2191a0", "#a0704a", "#6f7f94",
)  # fmt: skip
DASHES: tuple[tuple[float, ...], ...] = ((), (5, 2), (1.2, 1.6), (6, 2, 1.2, 2), (9, 3))
_WIDE = 200.0  # A ratio of values beyond which a linear axis hides the small ones.


@dataclass(frozen=True)
class Stroke:
    """How an arm is drawn: a colour and a dash pattern (in line widths; empty when solid)."""

    colour: str
    dashes: tuple[float, ...] = ()

    @classmethod
    def numbered(cls, index: int) -> "Stroke":
        """The stroke of place `index`: ten colours, and dashes that change at every fifth."""
        return cls(COLOURS[index % len(COLOURS)], DASHES[index // 5 % len(DASHES)])


Strokes = Mapping[str, Stroke]


def strokes(groups: Iterable[Iterable[str]]) -> dict[str, Stroke]:
    """A stroke for each arm of several groups (one an experiment).

    An arm keeps its stroke in every group, and no two arms of a group share one (up to fifty).
    """
    listed = [list(group) for group in groups]
    places: dict[str, int] = {}
    for arm in dict.fromkeys(arm for group in listed for arm in group):
        beside = {other for group in listed if arm in group for other in group}
        taken = {places[other] for other in beside if other in places}
        places[arm] = next(place for place in range(len(beside) + 1) if place not in taken)
    return {arm: Stroke.numbered(place) for arm, place in places.items()}


def curves(
    evidence: Evidence, *, known: Strokes | None = None, titled: bool = True
) -> dict[str, "Figure"]:
    """A figure for each logged name: its value against the step, one colour an arm.

    `known` gives arms their strokes. With `titled=False` a figure has neither title nor legend,
    for a page that has both. Where seeds end at different steps, the mean is over those still
    running.
    """
    arms = arm_names(evidence)
    names = dict.fromkeys(name for run in evidence.runs for name in run.curves)
    drawn = {}
    for name in names:
        lines = {
            arm: [run.curves[name] for run in finished(evidence, arm) if name in run.curves]
            for arm in arms
        }
        drawn[name] = _figure(
            name, lines, known or strokes([arms]), x_label="step", y_label="", titled=titled
        )
    return {name: figure for name, figure in drawn.items() if figure is not None}


def series(
    evidence: Evidence, *, known: Strokes | None = None, titled: bool = True
) -> dict[str, "Figure"]:
    """A figure for each series of the finished runs, the arms laid over one another."""
    arms = arm_names(evidence)
    names = dict.fromkeys(name for run in evidence.runs for name in run.series)
    drawn = {}
    for name in names:
        lines = {
            arm: [
                tuple(zip(run.series[name].x, run.series[name].y, strict=False))
                for run in finished(evidence, arm)
                if name in run.series
            ]
            for arm in arms
        }
        first = next(run.series[name] for run in evidence.runs if name in run.series)
        drawn[name] = _figure(
            name, lines, known or strokes([arms]),
            x_label=first.x_label, y_label=first.y_label, titled=titled,
        )  # fmt: skip
    return {name: figure for name, figure in drawn.items() if figure is not None}


def save_figures(evidence: Evidence, folder: Path) -> list[Path]:
    """Write every curve and series of `evidence` to `folder` as PNG files; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for kind, figures in (("curve", curves(evidence)), ("series", series(evidence))):
        for name, figure in figures.items():
            path = folder / f"{evidence.experiment}-{evidence.preset}-{kind}-{slug(name)}.png"
            with style():
                # The creator's version would make the same figure differ between installs.
                figure.savefig(path, metadata={"Software": None})
            paths.append(path)
    return paths


@contextlib.contextmanager
def style() -> Iterator[None]:
    """matplotlib's defaults with Quire's style file, whatever the user has set; undone after."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rc_file(Path(__file__).with_name("quire.mplstyle"), use_default_template=False)
        yield


def slug(name: str) -> str:
    """`name` as part of a file name or of an id: letters, digits, underscores, single hyphens."""
    return re.sub(r"[^A-Za-z0-9_]+", "-", name).strip("-") or "x"


Points = Sequence[tuple[float, float | None]]


def _figure(
    name: str, lines: Mapping[str, Sequence[Points]], known: Strokes, *,
    x_label: str, y_label: str, titled: bool,
) -> "Figure | None":  # fmt: skip
    """Arms over one another, or None where no arm has a finite point."""
    summaries = {arm: _over_seeds(seeds) for arm, seeds in lines.items()}
    present = {arm: summary for arm, summary in summaries.items() if summary is not None}
    if not present:
        return None
    with style():
        from matplotlib.figure import Figure

        figure = Figure()
        axes = figure.add_subplot()
        for arm, (x, mean, low, high) in present.items():
            _draw(axes, arm, known[arm], x, (mean, low, high))
        _scale(axes, present.values(), steps=x_label == "step")
        # A label is text: a stray dollar sign must not start a formula.
        axes.set_xlabel(x_label, parse_math=False)
        axes.set_ylabel(y_label, parse_math=False)
        if titled:
            axes.set_title(name, parse_math=False)
            _legend(figure, axes)
    return figure


def _draw(axes: "Axes", arm: str, stroke: Stroke, x: Any, bands: Sequence[Any]) -> None:
    mean, low, high = bands
    few = len(x) <= 24
    axes.plot(
        x, mean, label=arm, color=stroke.colour, marker="o" if few else "",
        linestyle=(0, stroke.dashes) if stroke.dashes else "-",
    )  # fmt: skip
    if (high > low).any():
        axes.fill_between(x, low, high, color=stroke.colour, alpha=0.16, linewidth=0)


def _scale(axes: "Axes", summaries: Iterable[tuple[Any, ...]], *, steps: bool) -> None:
    """A logarithmic axis where positive values span orders of magnitude, and short tick labels."""
    from matplotlib.ticker import (
        EngFormatter,
        FuncFormatter,
        LogLocator,
        MaxNLocator,
        NullFormatter,
    )

    lows = [float(low.min()) for _, _, low, _ in summaries]
    highs = [float(high.max()) for _, _, _, high in summaries]
    if min(lows) > 0 and max(highs) / min(lows) > _WIDE:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(numticks=6))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
        axes.yaxis.set_minor_formatter(NullFormatter())
    if steps:
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))


def _legend(figure: "Figure", axes: "Axes") -> None:
    """A legend under the axes, for which the figure grows."""
    handles, labels = axes.get_legend_handles_labels()
    columns = 1 if max(map(len, labels)) > 24 else 2
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + 0.19 * math.ceil(len(labels) / columns))
    figure.legend(handles, labels, loc="outside lower center", ncols=columns)


def _over_seeds(
    seeds: Sequence[Points],
) -> "tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray] | None":
    """x, mean, lowest and highest over seeds, on all the x that any seed has.

    A seed is read between its own points by linear interpolation, and never beyond them.
    """
    import numpy as np

    columns = []
    for points in seeds:
        pairs = sorted((x, y) for x, y in points if y is not None and math.isfinite(x + y))
        if pairs:
            columns.append(np.asarray(pairs, dtype=float))
    if not columns:
        return None
    grid = np.unique(np.concatenate([column[:, 0] for column in columns]))
    table = np.stack(
        [
            np.interp(grid, column[:, 0], column[:, 1], left=np.nan, right=np.nan)
            for column in columns
        ]
    )
    # A gap between the seeds' ranges belongs to nobody.
    covered = ~np.isnan(table).all(axis=0)
    grid, table = grid[covered], table[:, covered]
    return grid, np.nanmean(table, axis=0), np.nanmin(table, axis=0), np.nanmax(table, axis=0)
