"""Programs that the solver finds: readable steps, JSON text, and the means to run them again."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from quire.papers.arc.grids import CROWD, SIDE
from quire.papers.arc.solver.coding import code_length, read_rule
from quire.papers.arc.solver.primitives import PRIMITIVES, Kind, Primitive
from quire.papers.arc.solver.search import address, examples_of, step
from quire.papers.arc.solver.sizes import SizeRule
from quire.papers.arc.solver.stacking import plain_default
from quire.papers.arc.solver.variants import View
from quire.papers.arc.tasks import Grid, Task

Chain = tuple[tuple[str, int], ...]
"""Names of primitives with their arguments, in order."""
DEFAULTS = (
    "a", "b", "b where a is not background", "a where b is not background",
    "b where a is background", "a where b is background", "a, or b where a is background",
    "b, or a where b is background",
)  # fmt: skip
Placed = tuple[np.ndarray, int, int]
"""A grid with its place: column x, row y."""


def evaluate_chain(
    chain: Chain, grid: Grid, primitives: dict[str, Primitive]
) -> list[Placed] | None:
    """The images that a chain makes of one input; None where it does not apply.

    Raises ValueError for a primitive that is not among `primitives`.
    """
    first, rows = examples_of([grid])
    cells = np.empty(len(first) + (len(chain) + 1) * 2 * CROWD * (SIDE * SIDE + 8), np.int8)
    cells[: len(first)] = first
    meta = np.empty((CROWD * 8 * (len(chain) + 1) + CROWD * 4, 5), np.int32)
    meta[:2] = rows
    a, b, many = 0, 1, False
    for name, arg in chain:
        if name not in primitives:
            raise ValueError(f"program needs the primitive {name!r}, which this solver lacks")
        primitive = primitives[name]
        where, kind = address(primitive.function), primitive.kind
        end = step()(where, cells, cells.view(np.uint64), meta, a, b, arg, int(kind), many)
        if end < 0:
            return None
        a, b = b, end
        many = kind in (Kind.SPLIT, Kind.LIST) or (many and kind is not Kind.JOIN)
    images = []
    for k in range(a, b):
        start, height, width, x, y = (int(v) for v in meta[k])
        images.append((cells[start : start + height * width].reshape(height, width).copy(), x, y))
    return images


@dataclass(frozen=True)
class Program:
    """A chain of primitives whose image is the answer, a stack of chains, or a pixel rule on some.

    Of the kind "chain" it is the image of the only chain; of "stack" each chain's images, the first
    on top, in the predicted frame; of "rule" each cell is `table[colours of the chains' images
    there]`, else as DEFAULTS[default] says.

    Args:
        kind: "chain", "stack" or "rule".
        chains: Each a row of (primitive's name, argument).
        view: How the task is looked at.
        frame: How the output size follows: {"linear": ...} or {"chain": ...}.
        paints: A stack's colours, one a chain; 0: its own.
        table: A rule's entries.
        default: The number of a rule's default.
        primitives: The language: those that the chains name are among them.

    `bits` is its length under a prefix code of the language (see `coding`).

    Raises ValueError with one line for what is no program of the language.

    Example:
        >>> from quire.papers.arc.solver.program import Program
        >>> program = Program("chain", ((("rigid", 1),),))
        >>> print(program)
        mirror left-right
        >>> Program.from_text(program.to_text()) == program
        True
    """

    kind: str
    chains: tuple[Chain, ...]
    view: View = field(default_factory=View)
    frame: dict[str, Any] = field(default_factory=dict)
    paints: tuple[int, ...] = ()
    table: dict[str, int] = field(default_factory=dict)
    default: int = 0
    primitives: tuple[Primitive, ...] = field(default=PRIMITIVES, repr=False, compare=False)
    bits: float = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "bits", code_length(self))

    @property
    def pieces(self) -> int:
        """How many partial outputs are stacked; 1 where nothing is."""
        return len(self.chains) if self.kind == "stack" else 1

    @property
    def steps(self) -> tuple[str, ...]:
        """The program in words, one step a line."""
        by_name = {p.name: p for p in self.primitives}

        def words(chain: Chain) -> str:
            return ", then ".join(by_name[n].says(arg) for n, arg in chain) or "the input"

        lines = list(self.view.steps)
        if self.kind == "chain":
            lines += [by_name[n].says(arg) for n, arg in self.chains[0]] or ["the input"]
            return tuple(lines)
        if self.frame:
            lines.append(f"output size: {self._frame_words(words)}")
        if self.kind == "stack":
            for k, chain in enumerate(self.chains):
                colour = f", painted {self.paints[k]}" if self.paints[k] else ""
                lines.append(f"layer {k + 1}{' (top)' if k == 0 else ''}: {words(chain)}{colour}")
            return tuple(lines)
        lines += [f"{'abc'[k]} = {words(chain)}" for k, chain in enumerate(self.chains)]
        names = ", ".join("abc"[: len(self.chains)])
        for key, value in sorted(self.table.items()):
            lines.append(f"({names}) = ({', '.join(key)}): {value}")
        return (*lines, f"{'other' if self.table else 'all'} cells: {DEFAULTS[self.default]}")

    def _frame_words(self, words: Any) -> str:
        if "linear" in self.frame:
            return str(read_rule(self.frame["linear"]))
        return f"that of: {words(_chain(self.frame['chain']))}"

    def __str__(self) -> str:
        return "\n".join(self.steps)

    def run(self, task: Task) -> tuple[Grid, ...]:
        """The outputs for the test inputs, from the inputs alone.

        Raises ValueError where a step does not apply to a test input.
        """
        outputs = []
        for k, pair in enumerate(task.test):
            output = self(pair.input)
            if output is None:
                raise ValueError(f"task {task.id}: the program does not apply to test input {k}")
            outputs.append(output)
        return tuple(outputs)

    def __call__(self, grid: Grid) -> Grid | None:
        """The output for one input, or None where a step does not apply."""
        by_name = {p.name: p for p in self.primitives}
        names = self.view.renaming(grid)
        seen = self.view.forward(grid, names)
        layers = [evaluate_chain(chain, seen, by_name) for chain in self.chains]
        drawn = [layer for layer in layers if layer is not None]
        if len(drawn) != len(layers):
            return None
        if self.kind == "chain":
            return self.view.backward(drawn[0][0][0], names) if len(drawn[0]) == 1 else None
        frame = self._frame(seen, by_name)
        if frame is None:
            return None
        rasters = [r for r in (draw(images, frame) for images in drawn) if r is not None]
        if len(rasters) != len(drawn):
            return None
        if self.kind == "stack":
            result = np.zeros(frame[:2], np.int8)
            for raster, paint in reversed(list(zip(rasters, self.paints, strict=True))):
                result[raster != 0] = paint if paint else raster[raster != 0]
        else:
            keys = sum(raster.astype(np.int64) * 10**k for k, raster in enumerate(rasters))
            result = self._lookup()[keys]
        return self.view.backward(result, names)

    def _lookup(self) -> np.ndarray:
        """A rule's colours by the number whose digits are its chains' colours, the first last."""
        size = 10 ** len(self.chains)
        colours = [plain_default(self.default, k % 10, k // 10 % 10) for k in range(min(size, 100))]
        lookup = np.resize(np.array(colours, np.int8), size)
        for key, value in self.table.items():
            lookup[int(key[::-1])] = value
        return lookup

    def _frame(
        self, grid: Grid, by_name: dict[str, Primitive]
    ) -> tuple[int, int, int, int, bool] | None:
        if "linear" in self.frame:
            height, width = grid.shape
            size = read_rule(self.frame["linear"]).predict((height, width))
            return None if size is None else (*size, 0, 0, bool(self.frame["placed"]))
        images = evaluate_chain(_chain(self.frame["chain"]), grid, by_name)
        if images is None or len(images) != 1:
            return None
        image, x, y = images[0]
        return (*image.shape, x, y, True)  # type: ignore[return-value]

    def to_text(self) -> str:
        """The program as JSON text."""
        return json.dumps({
            "kind": self.kind, "chains": self.chains,
            "view": [self.view.colours, self.view.flipped], "frame": self.frame,
            "paints": self.paints, "table": self.table, "default": self.default,
        })  # fmt: skip

    @classmethod
    def from_text(cls, text: str, *, primitives: Iterable[Primitive] = PRIMITIVES) -> Self:
        """The program that `to_text` wrote; `primitives` must hold those that it names.

        Raises ValueError with one line for text that is no program.
        """
        try:
            content = json.loads(text)
            frame = dict(content["frame"])
            if "chain" in frame:
                frame["chain"] = list(_chain(frame["chain"]))
            return cls(
                content["kind"], tuple(_chain(chain) for chain in content["chains"]),
                View(*content["view"]), frame, tuple(content["paints"]), dict(content["table"]),
                content["default"], tuple(primitives),
            )  # fmt: skip
        except KeyError as error:
            raise ValueError(f"not a program of the ARC solver: {error} is missing") from None
        except (TypeError, ValueError, RecursionError) as error:
            line = next(iter(str(error).splitlines()), "")
            raise ValueError(f"not a program of the ARC solver: {line}") from None


def draw(images: Sequence[Placed], frame: tuple[int, int, int, int, bool]) -> np.ndarray | None:
    """Images in a frame (height, width, x, y, placed), as the search draws them: one image of the
    frame's size fills it; others lie at their places, and without `placed` there is no drawing."""
    rows, columns, left, top, placed = frame
    whole = len(images) == 1 and images[0][0].shape == (rows, columns)
    if not whole and not placed:
        return None
    result = np.zeros((rows, columns), np.int8)
    for image, x, y in images:
        x, y = (0, 0) if whole else (x - left, y - top)
        top, left_ = max(0, -y), max(0, -x)
        shown = image[top : max(top, rows - y), left_ : max(left_, columns - x)]
        spot = result[top + y : top + y + shown.shape[0], left_ + x : left_ + x + shown.shape[1]]
        np.copyto(spot, shown, where=shown != 0)
    return result


def linear(rule: SizeRule, *, placed: bool) -> dict[str, Any]:
    """A size rule as a program keeps it."""
    return {
        "linear": [*(str(number) for number in (*rule.rows, *rule.columns)), rule.turned],
        "placed": placed,
    }  # fmt: skip


def _chain(content: Any) -> Chain:
    return tuple((name, arg) for name, arg in content)
