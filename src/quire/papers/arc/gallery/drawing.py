"""Grids as inline SVG, and the colours that they are painted in."""

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from quire.papers.arc.tasks import Grid

if TYPE_CHECKING:
    from markupsafe import Markup

PALETTE = {
    "black": "#000000", "blue": "#0074d9", "red": "#ff4136", "green": "#2ecc40",
    "yellow": "#ffdc00", "grey": "#aaaaaa", "pink": "#f012be", "orange": "#ff851b",
    "sky": "#7fdbff", "maroon": "#870c25",
}  # fmt: skip
"""The colours 0..9 as the corpus's own player paints them."""

CODES = tuple(PALETTE.values())


def draw_svg(grid: Grid, *, longest: int = 150) -> "Markup":
    """A grid as inline SVG: a path a colour, thin lines between cells, its rows as its label.

    longest: pixels of the longer side of a grid of 10 cells or more.
    """
    return _wrap(grid, _layers(grid), longest)


def draw_difference(grid: Grid, truth: Grid, *, longest: int = 150) -> "Markup | None":
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
    return _wrap(grid, faded + _layers(grid, wrong) + marks, longest)


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


def _wrap(grid: Grid, inside: str, longest: int) -> "Markup":
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
