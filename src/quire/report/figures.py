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

from quire.lab.evidence import Evidence, RunCurves
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
Drawn = Mapping[tuple[str, int], RunCurves]
"""What is drawn of each run, by arm and seed."""


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
    evidence: Evidence, drawn: Drawn, *, known: Strokes | None = None
) -> dict[str, "Figure"]:
    """A figure for each logged name: its value against the step, one colour an arm.

    `drawn` holds what was logged, by arm and seed; `known` gives arms their strokes. A figure has
    neither title nor legend: the page has both. Where seeds end at different steps, the mean is
    over those still running.
    """
    arms = arm_names(evidence)
    runs = _finished(evidence, drawn)
    figures = {}
    for name in dict.fromkeys(name for run in runs for name in run.curves):
        lines = {
            arm: [run.curves[name] for run in runs if run.arm == arm and name in run.curves]
            for arm in arms
        }
        figures[caption(name)] = _figure(lines, known or strokes([arms]), "step", "")
    return {name: figure for name, figure in figures.items() if figure is not None}


def series(
    evidence: Evidence, drawn: Drawn, *, known: Strokes | None = None
) -> dict[str, "Figure"]:
    """A figure for each series of the finished runs, the arms laid over one another."""
    arms = arm_names(evidence)
    runs = _finished(evidence, drawn)
    figures = {}
    for name in dict.fromkeys(name for run in runs for name in run.series):
        lines = {
            arm: [
                tuple(zip(run.series[name].x, run.series[name].y, strict=False))
                for run in runs
                if run.arm == arm and name in run.series
            ]
            for arm in arms
        }
        first = next(run.series[name] for run in runs if name in run.series)
        figures[name.replace("_", " ")] = _figure(
            lines, known or strokes([arms]), first.x_label, first.y_label
        )
    return {name: figure for name, figure in figures.items() if figure is not None}


def _finished(evidence: Evidence, drawn: Drawn) -> list[RunCurves]:
    """What is drawn of the runs that came to their end, by arm and seed."""
    done = [(run.arm, run.seed) for arm in arm_names(evidence) for run in finished(evidence, arm)]
    return [drawn[key] for key in done if key in drawn]


def caption(name: str) -> str:
    """What a logged value is called: ``gaussian0/loss`` is ``loss against step, gaussian0``."""
    loop, _, key = name.rpartition("/")
    return f"{key.replace('_', ' ')} against step{', ' + loop.replace('_', ' ') if loop else ''}"


@dataclass(frozen=True)
class Dots:
    """What a dot plot shows: a row an arm, the claim's own ones in colour."""

    label: str
    rows: Mapping[str, Sequence[float]]
    """A value a seed."""
    own: frozenset[str]
    line: float | None = None
    """A number that the claim compares with."""


def dots(content: Dots, *, known: Strokes) -> "Figure":
    """A row an arm: seeds as dots, their mean with Student's 95 % interval as a bar."""
    from quire.lab.claims import student

    with style():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(4.6, 0.75 + 0.26 * max(2, len(content.rows))))
        axes = figure.add_subplot()
        values = [value for seeds in content.rows.values() for value in seeds]
        values += [] if content.line is None else [content.line]
        for place, (name, seeds) in enumerate(content.rows.items()):
            stroke = known.get(name) or Stroke.numbered(place)
            colour = stroke.colour if name in content.own else INK
            alpha = 1.0 if name in content.own else 0.55
            mean = sum(seeds) / len(seeds)
            if len(seeds) > 1:
                low, high = student(seeds)
                axes.plot([low, high], [place, place], color=colour, alpha=0.45 * alpha, lw=4,
                          solid_capstyle="butt")  # fmt: skip
            axes.plot(seeds, [place] * len(seeds), "o", ms=3, color=colour, alpha=alpha)
            axes.plot([mean], [place], "|", ms=11, mew=2, color=colour, alpha=alpha)
        if content.line is not None:
            axes.axvline(content.line, color=INK, lw=1, ls=(0, (4, 2)))
        if min(values) > 0 and max(values) / min(values) > _WIDE:
            from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

            axes.set_xscale("log")
            axes.set_xlim(min(values) / 2, max(values) * 2)
            axes.xaxis.set_major_locator(LogLocator(numticks=6))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
            axes.xaxis.set_minor_formatter(NullFormatter())
        names = [name if len(name) <= 30 else f"{name[:29]}…" for name in content.rows]
        axes.set_yticks(range(len(names)), names, parse_math=False)
        axes.set_ylim(len(content.rows) - 0.5, -0.5)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel(content.label, parse_math=False)
    return figure


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
    lines: Mapping[str, Sequence[Points]], known: Strokes, x_label: str, y_label: str
) -> "Figure | None":
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
