"""Other views of a task: colours in canonical order, the task flipped about its diagonal.

A view is worked out from each input alone, so it is known for test inputs, and is undone on what
a program gives.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from quire.papers.arc.tasks import Grid


@dataclass(frozen=True)
class View:
    """How a task is looked at.

    colours: "" as they are; "background": each input's commonest colour and 0 change places;
    "ranks": the background, then colours renamed 1, 2, ... by how often they occur in the input.
    flipped: rows and columns change places.

    Example:
        >>> import numpy as np
        >>> from quire.papers.arc.solver.variants import View
        >>> view = View("background")
        >>> view.forward(np.array([[7, 7, 0]], np.int8), view.renaming(np.array([[7, 7, 0]])))
        array([[0, 0, 7]], dtype=int8)
    """

    colours: str = ""
    flipped: bool = False

    def __post_init__(self) -> None:
        if self.colours not in ("", "background", "ranks"):
            raise ValueError(f"colours must be '', 'background' or 'ranks', not {self.colours!r}")

    @property
    def bits(self) -> float:
        """The cost of saying which view."""
        return {"": 0.0, "background": 1.0, "ranks": 3.0}[self.colours] + self.flipped

    @property
    def steps(self) -> tuple[str, ...]:
        """The view in words."""
        texts = {"background": "call each input's commonest colour the background",
                 "ranks": "name colours by how common they are in the input"}  # fmt: skip
        steps = (texts[self.colours],) if self.colours else ()
        return (*steps, "exchange rows and columns") if self.flipped else steps

    def renaming(self, grid: np.ndarray) -> np.ndarray:
        """The new name of each colour for a pair with this input: a permutation of 0..9."""
        names = np.arange(10, dtype=np.int8)
        if not self.colours:
            return names
        counts = np.bincount(grid.reshape(-1), minlength=10)
        background = int(counts.argmax())
        names[background], names[0] = 0, background
        if self.colours == "ranks":
            counts[background] = 0
            used = [int(c) for c in np.flatnonzero(counts)]
            order = sorted(used, key=lambda colour: (-counts[colour], colour))
            rest = [c for c in range(10) if c != background and c not in order]
            names[background] = 0
            for rank, colour in enumerate([*order, *rest]):
                names[colour] = rank + 1
        return names

    def forward(self, grid: Grid, names: np.ndarray) -> Grid:
        """The grid as this view has it."""
        renamed: Grid = names[grid].astype(np.int8)
        return np.ascontiguousarray(renamed.T) if self.flipped else renamed

    def backward(self, grid: Grid, names: np.ndarray) -> Grid:
        """`forward` undone."""
        return self.forward(grid, np.argsort(names))


def views(inputs: Sequence[Grid], *, colours: bool, flips: bool) -> list[View]:
    """The views of a task that differ from one another, the likeliest first."""
    chosen = [View()]
    if colours:
        plain = View("background")
        renamed = [plain.renaming(grid) for grid in inputs]
        if any((names != np.arange(10)).any() for names in renamed):
            # A background of its own comes first where every input has one.
            zero = [bool((grid == 0).any()) for grid in inputs]
            chosen = [View(), plain] if all(zero) else [plain, View()]
        ranked = [View("ranks").renaming(grid) for grid in inputs]
        if len({names.tobytes() for names in ranked}) > 1:
            chosen.append(View("ranks"))
    if flips:
        chosen.append(View(chosen[0].colours, True))
    return chosen
