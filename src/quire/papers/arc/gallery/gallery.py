"""A gallery of tasks, predictions and programs: pages that open without a server or a network.

An index with filters, and a page a task: demonstrations, predictions, truth, where they differ, the
program as steps, and a board to paint an answer on and have it checked.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quire.papers.arc.evaluate import Evaluation
from quire.papers.arc.gallery.drawing import CODES, PALETTE, draw_difference, draw_svg
from quire.papers.arc.solver.pool import Record
from quire.papers.arc.submission import replace_file
from quire.papers.arc.tasks import Grid, Pair, Task, same_grid

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

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

    Args:
        folder: Where the pages go.
        tasks: What is shown, by id.
        records: What became of each task; one without a record has no answer.
        evaluation: Its line stands on the index.
        title: The index's title.
        attempts: How many predictions of a task are shown.

    Raises ValueError where a file cannot be written, or a prediction has another number of grids
    than its task has test inputs.
    """
    pages = _pages()
    views = [_view(id, task, records.get(id), attempts) for id, task in tasks.items()]
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


def _view(id: str, task: Task, record: Record | None, attempts: int) -> _View:
    shown = record.attempts[:attempts] if record else ()
    if any(len(attempt.outputs) != len(task.test) for attempt in shown):
        raise ValueError(f"task {id}: a prediction has another number of grids than the "
                         f"{len(task.test)} test inputs")  # fmt: skip
    return _View(
        id=id,
        file=re.sub(r"[^\w.-]", "_", id) + ".html",
        status=_status(task, record, attempts),
        demonstrations=tuple(
            {"input": draw_svg(pair.input), "output": draw_svg(pair.output)}
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
        input=draw_svg(pair.input),
        size=_size(pair.input),
        truth=None if truth is None else draw_svg(truth),
        truth_size="" if truth is None else _size(truth),
        attempts=tuple(
            _Attempt(
                picture=draw_svg(grid),
                size=_size(grid),
                right=None if truth is None else same_grid(grid, truth),
                difference=None
                if truth is None or same_grid(grid, truth)
                else draw_difference(grid, truth),
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


def _pages() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(Path(__file__).parent / "pages"),
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
