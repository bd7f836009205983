"""A gallery of tasks, predictions and programs: pages that open without a server or a network.

An index with filters, and a page a task: demonstrations, predictions, truth, where they differ, the
program as steps, and a board to paint an answer on and have it checked.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from quire.papers.arc.evaluate import Evaluation
from quire.papers.arc.pool import Record
from quire.papers.arc.submission import replace_file
from quire.papers.arc.tasks import Grid, Pair, Task, same_grid

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

PALETTE = {
    "black": "#000000", "blue": "#0074d9", "red": "#ff4136", "green": "#2ecc40",
    "yellow": "#ffdc00", "grey": "#aaaaaa", "pink": "#f012be", "orange": "#ff851b",
    "sky": "#7fdbff", "maroon": "#870c25",
}  # fmt: skip
"""The colours 0..9 as the corpus's own player paints them."""

CODES = tuple(PALETTE.values())
LABELS = {"solved": "solved", "fitting": "fits every demonstration but is wrong",
          "wrong": "wrong", "none": "no answer", "unknown": "truth not known"}  # fmt: skip


def write_gallery(
    folder: Path,
    tasks: Mapping[str, Task],
    records: Mapping[str, Record],
    evaluation: Evaluation | None = None,
    *,
    title: str = "ARC",
    attempts: int = 2,
) -> Path:
    """Write `index.html` and `tasks/<id>.html` under `folder`; gives the index's path.

    evaluation: its line stands on the index. attempts: how many predictions of a task are shown.
    Raises ValueError where a file cannot be written.
    """
    pages = _pages()
    views = [_view(task, records.get(id), attempts) for id, task in tasks.items()]
    for place, view in enumerate(views):
        task, record = tasks[view.id], records.get(view.id)
        page = pages.get_template("task.html").render(
            task=view,
            label=LABELS[view.status],
            before=views[place - 1].file if place else None,
            after=views[place + 1].file if place + 1 < len(views) else None,
            programs=record.attempts[:attempts] if record else (),
            error=record.error if record else "",
            statistics=_statistics(record),
            palette=list(PALETTE.items()),
            data=_for_player(task),
        )
        replace_file(folder / "tasks" / view.file, page)
    index = pages.get_template("index.html").render(
        title=title,
        summary=str(evaluation) if evaluation else f"{len(tasks)} tasks",
        filters=_filters(views),
        labels=LABELS,
        tasks=views,
    )
    replace_file(folder / "index.html", index)
    return folder / "index.html"


def svg(grid: Grid, *, longest: int = 150) -> "Markup":
    """A grid as inline SVG: a path a colour, thin lines between cells, its rows as its label.

    longest: pixels of the longer side of a grid of 10 cells or more.
    """
    return _draw(grid, _layers(grid), longest)


def difference_svg(grid: Grid, truth: Grid, *, longest: int = 150) -> "Markup | None":
    """The cells of `grid` that differ from `truth`, crossed, the others faded; None if sizes do."""
    if grid.shape != truth.shape:
        return None
    wrong = grid != truth
    crosses = "".join(
        f"M{c + 0.2:g} {r + 0.2:g}l.6 .6m0-.6l-.6 .6" for r, c in np.argwhere(wrong).tolist()
    )
    marks = f'<path d="{crosses}" stroke="#fff" stroke-width=".22"/>' \
            f'<path d="{crosses}" stroke="#000" stroke-width=".1"/>'  # fmt: skip
    faded = f'<g opacity=".3">{_layers(grid, ~wrong)}</g>'
    return _draw(grid, faded + _layers(grid, wrong) + marks, longest)


@dataclass(frozen=True)
class _Attempt:
    picture: "Markup"
    size: str
    right: bool | None
    difference: "Markup | None"


@dataclass(frozen=True)
class _Test:
    input: "Markup"
    size: str
    truth: "Markup | None"
    truth_size: str
    attempts: tuple[_Attempt, ...]


@dataclass(frozen=True)
class _View:
    id: str
    file: str
    status: str
    demonstrations: tuple[dict[str, "Markup"], ...]
    tests: tuple[_Test, ...]


def _view(task: Task, record: Record | None, attempts: int) -> _View:
    shown = record.attempts[:attempts] if record else ()
    return _View(
        id=task.id,
        file=re.sub(r"[^\w.-]", "_", task.id) + ".html",
        status=_status(task, record, attempts),
        demonstrations=tuple(
            {"input": svg(pair.input), "output": svg(pair.output)}
            for pair in task.train
            if pair.output is not None
        ),
        tests=tuple(
            _test(pair, [attempt.outputs[i] for attempt in shown])
            for i, pair in enumerate(task.test)
        ),
    )


def _test(pair: Pair, grids: list[Grid]) -> _Test:
    truth = pair.output
    return _Test(
        input=svg(pair.input),
        size=_size(pair.input),
        truth=None if truth is None else svg(truth),
        truth_size="" if truth is None else _size(truth),
        attempts=tuple(
            _Attempt(
                picture=svg(grid),
                size=_size(grid),
                right=None if truth is None else same_grid(grid, truth),
                difference=None
                if truth is None or same_grid(grid, truth)
                else difference_svg(grid, truth),
            )
            for grid in grids
        ),
    )


def _status(task: Task, record: Record | None, attempts: int) -> str:
    shown = record.attempts[:attempts] if record else ()
    if not shown:
        return "none"
    if not task.has_outputs:
        return "unknown"
    if all(
        any(same_grid(attempt.outputs[i], pair.output) for attempt in shown)
        for i, pair in enumerate(task.test)
    ):
        return "solved"
    return "fitting" if any(attempt.fits == len(task.train) for attempt in shown) else "wrong"


def _filters(views: list[_View]) -> list[tuple[str, str, int]]:
    names = {"solved": "solved", "fitting": "fitting but wrong", "wrong": "wrong", "none": "none"}
    counted = [(k, label, sum(v.status == k for v in views)) for k, label in names.items()]
    return [("all", "all", len(views)), *counted]


def _statistics(record: Record | None) -> list[tuple[str, str]]:
    if record is None:
        return []
    return [
        (name.replace("_", " "), f"{value:,.4g}" if isinstance(value, float) else f"{value}")
        for name, value in record.statistics.items()
        if value is not None
    ]


def _for_player(task: Task) -> dict[str, Any]:
    tests = [
        {
            "input": pair.input.tolist(),
            "output": None if pair.output is None else pair.output.tolist(),
        }
        for pair in task.test
    ]
    return {"palette": CODES, "tests": tests}


def _size(grid: Grid) -> str:
    return f"{grid.shape[0]}x{grid.shape[1]}"


def _layers(grid: Grid, shown: np.ndarray | None = None) -> str:
    """A path a colour, made of runs along the rows; only the cells of `shown` where it is given."""
    runs: dict[int, list[str]] = {}
    values = grid.astype(int) if shown is None else np.where(shown, grid, -1)
    for r, row in enumerate(values):
        edges = [0, *(np.flatnonzero(np.diff(row)) + 1).tolist(), len(row)]
        for begin, end in pairwise(edges):
            length = end - begin
            runs.setdefault(int(row[begin]), []).append(f"M{begin} {r}h{length}v1h-{length}z")
    return "".join(
        f'<path fill="{CODES[colour]}" d="{"".join(parts)}"/>'
        for colour, parts in sorted(runs.items())
        if colour >= 0
    )


def _draw(grid: Grid, inside: str, longest: int) -> "Markup":
    from markupsafe import Markup

    height, width = grid.shape
    cell = longest / max(10, height, width)
    lines = "".join(f"M0 {r}h{width}" for r in range(height + 1))
    lines += "".join(f"M{c} 0v{height}" for c in range(width + 1))
    rows = " / ".join("".join(map(str, row)) for row in grid.tolist())
    return Markup(  # numbers and colours of a checked grid alone
        f'<svg viewBox="0 0 {width} {height}" width="{width * cell:.0f}" '
        f'height="{height * cell:.0f}" role="img" aria-label="{height} by {width}: {rows}">'
        f'{inside}<path d="{lines}" stroke="#555" stroke-width=".06" fill="none"/></svg>'
    )


def _pages() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(Path(__file__).parent / "pages"),
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
