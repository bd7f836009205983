"""The solver's primitives: functions with a cost, a kind, arguments and words for the reader.

A primitive of one's own is one function (see `grids`) in a `Primitive`, handed to the solver:
`Solver(primitives=(*PRIMITIVES, Primitive(mirror, "mirror", 5.0)))`.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum

from quire.papers.arc.solver import lines, objects, patterns, shapes


class Kind(IntEnum):
    """What a primitive takes and gives."""

    EACH = 0
    """An image to an image; of a list, each image (those that become empty are left out)."""
    WHOLE = 1
    """An image to an image, not on lists."""
    SPLIT = 2
    """An image to a list."""
    LIST = 3
    """A list to a list."""
    JOIN = 4
    """A list to an image."""
    FIRST = 5
    """The input to an image: only as a chain's first step."""


class Palette(IntEnum):
    """Arguments that are colours of the task at hand; in `select_colour`'s code + 10 * mode."""

    INPUT = 0
    """Every colour other than 0 in any input."""
    OUTPUT = 1
    """Every colour other than 0 in any demonstration's output."""


@dataclass(frozen=True)
class Primitive:
    """A function on images, `(cells, meta, a, b, o, e, arg) -> count`, ready for the search.

    Args:
        function: Plain Python that numba can compile; compiled at the solver's first use.
        name: How programs are stored, so unique among the solver's primitives.
        bits: Its cost to the search; a step's code gives it a share of the weight 2^-bits.
        kind: What it takes and gives.
        arguments: The values of `arg` to try.
        words: What a program's step says for each argument (one text: for all; `{}` stands for it).
        offset: What is added to colours of a `Palette` to give `arg`.

    Raises ValueError for bits that are negative or not finite, and for as many words as neither one
    nor the arguments.

    Example:
        >>> from quire.papers.arc.solver.primitives import Primitive
        >>> from quire.papers.arc.solver.shapes import rigid
        >>> flips = Primitive(rigid, "flip", 5.0, arguments=(1, 2), words=("flip", "turn over"))
        >>> flips.says(2)
        'turn over'
    """

    function: Callable[..., int]
    name: str
    bits: float
    kind: Kind = Kind.EACH
    arguments: tuple[int, ...] | Palette = (0,)
    words: tuple[str, ...] = ()
    offset: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.bits < math.inf:
            raise ValueError(f"primitive {self.name}: bits must be at least 0, not {self.bits}")
        many = 1 if isinstance(self.arguments, Palette) else len(self.arguments)
        if len(self.words) not in (0, 1, many):
            raise ValueError(
                f"primitive {self.name}: {len(self.words)} words for {many} arguments; "
                "give none, one or as many"
            )

    def __hash__(self) -> int:
        return hash(self.name)

    def values(self, inputs: Iterable[int], outputs: Iterable[int]) -> tuple[int, ...]:
        """The arguments to try for a task with these colours."""
        if not isinstance(self.arguments, Palette):
            return self.arguments
        colours = inputs if self.arguments is Palette.INPUT else outputs
        return tuple(self.offset + colour for colour in sorted(set(colours)) if colour != 0)

    def says(self, arg: int) -> str:
        """The step in words."""
        if not self.words:
            return f"{self.name} {arg}" if self.arguments != (0,) else self.name
        if len(self.words) == 1 or isinstance(self.arguments, Palette):
            return self.words[0].format(arg - self.offset)
        return self.words[self.arguments.index(arg)]


EACH, WHOLE, SPLIT, LIST, JOIN, FIRST = Kind
CHOICES = {  # property: extra bits when lists are compared by it
    0: 0.0, 1: 1.0, 2: 2.0, 3: 2.0, 4: 0.5, 5: 1.0, 6: 1.0, 7: 1.0, 8: 1.5, 9: 1.5, 10: 2.0,
    11: 1.5, 12: 0.5, 13: 0.5, 14: 0.5, 15: 0.5, 16: 2.5, 17: 1.5, 18: 1.5, 19: 1.0, 20: 1.5,
    21: 1.5,
}  # fmt: skip


def _by_property() -> Iterable[Primitive]:
    """`pick`, `keep`, `recolour` and `arrange` by every property."""
    for prop, extra in CHOICES.items():
        name = objects.PROPERTIES[prop]
        tag = name.replace(" ", "_")
        yield Primitive(
            objects.pick, f"pick_by_{tag}", 3.0 + extra, JOIN, (2 * prop, 2 * prop + 1),
            (f"pick the object with the greatest {name}", f"pick the object with the least {name}"),
        )  # fmt: skip
        yield Primitive(
            objects.keep, f"keep_by_{tag}", 4.5 + extra, LIST,
            tuple(4 * prop + k for k in range(4)),
            tuple(
                f"keep the objects {have} the {end} {name}"
                for end in ("greatest", "least")
                for have in ("with", "without")
            ),
        )  # fmt: skip
        yield Primitive(
            objects.recolour, f"recolour_by_{tag}", 5.5 + extra, LIST,
            tuple(4 * prop + k for k in range(4)),
            (
                f"recolour objects by their {name}",
                f"recolour objects by the rank of their {name}, least first",
                f"recolour objects by the rank of their {name}, greatest first",
                f"recolour objects: 1 for the greatest {name}, 2 for others",
            ),
        )  # fmt: skip
    for prop in (0, 6, 7, 16, 14):
        name = objects.PROPERTIES[prop]
        yield Primitive(
            objects.arrange, f"sort_by_{name.replace(' ', '_')}", 6.0, LIST,
            (2 * prop, 2 * prop + 1),
            (f"sort the objects by {name}, rising", f"sort the objects by {name}, falling"),
        )  # fmt: skip


SPLITS = (
    Primitive(
        objects.components, "components", 3.0, SPLIT, (1, 0, 3, 2, 4, 5, 9, 11),
        (
            "split into objects of one colour (8-connected)",
            "split into objects of one colour (4-connected)",
            "split into objects of any colours (8-connected)",
            "split into objects of any colours (4-connected)",
            "split the background into regions (4-connected)",
            "split the background into regions (8-connected)",
            "split into objects of one colour (8-connected), each in the whole frame",
            "split into objects of any colours (8-connected), each in the whole frame",
        ),
    ),
    Primitive(
        objects.split_colours, "colours", 4.0, SPLIT, (0, 1),
        ("split by colour", "split by colour, cropped"),
    ),
    Primitive(
        objects.split_lines, "fields", 4.0, SPLIT, (0,), ("split at the separating lines",)
    ),
    Primitive(
        objects.split_evenly, "parts", 5.0, SPLIT, (12, 21, 22, 0, 13, 31, 33, 14, 41),
        tuple(
            f"split into {size} parts" for size in ("1 x 2", "2 x 1", "2 x 2", "square", "1 x 3",
                                                    "3 x 1", "3 x 3", "1 x 4", "4 x 1")
        ),
    ),
    Primitive(
        objects.split_rows, "lines", 6.0, SPLIT, (0, 1),
        ("split into rows", "split into columns"),
    ),
)  # fmt: skip

JOINS = (
    Primitive(
        objects.overlay, "overlay", 3.5, JOIN, (1, 0, 3, 2),
        (
            "lay the objects over one another in the input's frame",
            "lay the objects over one another",
            "lay the objects over one another in the input's frame, the first on top",
            "lay the objects over one another, the first on top",
        ),
    ),
    Primitive(
        objects.concatenate, "concatenate", 5.0, JOIN, (0, 1),
        ("put the objects side by side", "put the objects below one another"),
    ),
    Primitive(
        objects.combine, "combine", 4.5, JOIN, (0, 1, 2, 3, 4, 5),
        tuple(
            f"combine cell by cell: {how}"
            for how in ("and", "or", "exclusive or", "nor", "majority", "agreement")
        ),
    ),
    Primitive(
        objects.tally_objects, "tally", 6.5, JOIN, (0, 1),
        ("a row of as many cells as objects", "a diagonal of as many cells as objects"),
    ),
    Primitive(objects.crop_all, "crop_all", 5.0, LIST, (0,), ("crop every object",)),
)  # fmt: skip

COLOURS = (
    Primitive(
        shapes.select_colour, "keep_colour", 4.0, EACH, Palette.INPUT, ("keep colour {}",)
    ),
    Primitive(
        shapes.select_colour, "remove_colour", 4.5, EACH, Palette.INPUT, ("remove colour {}",), 10
    ),
    Primitive(
        shapes.select_common, "common_colour", 5.0, EACH, (0, 1, 2, 3),
        tuple(f"{how} colour" for how in ("keep the commonest", "remove the commonest",
              "keep the rarest", "remove the rarest")),
    ),
    Primitive(shapes.paint, "paint", 5.0, EACH, Palette.OUTPUT, ("paint everything {}",)),
    Primitive(
        shapes.paint, "paint_common", 6.0, EACH, (10, 11, 12, 13),
        tuple(f"paint everything in the {how} colour" for how in ("commonest", "rarest",
              "input's commonest", "input's rarest")),
    ),
    Primitive(
        shapes.invert, "invert", 5.0, EACH, (0, 1),
        ("exchange background and objects", "fill the background"),
    ),
    Primitive(shapes.swap, "swap", 6.0, WHOLE, (0,), ("exchange the two colours",)),
)  # fmt: skip

SHAPES = (
    Primitive(
        shapes.rigid, "rigid", 4.0, EACH, (1, 2, 3, 4, 5, 6, 7),
        ("mirror left-right", "mirror up-down", "half turn", "transpose",
         "turn clockwise", "turn counter-clockwise", "transpose about the other diagonal"),
    ),
    Primitive(shapes.crop, "crop", 3.0, EACH, (0,), ("crop to what is not background",)),
    Primitive(shapes.crop, "crop_colour", 5.0, WHOLE, Palette.INPUT, ("crop to colour {}",)),
    Primitive(
        shapes.crop, "crop_common", 6.0, WHOLE, (10, 11),
        ("crop to the rarest colour", "crop to the commonest colour"),
    ),
    Primitive(
        shapes.compress, "compress", 5.5, EACH, (0, 1, 2),
        ("leave out empty rows and columns", "leave out repeated rows and columns",
         "leave out the separating lines"),
    ),
    Primitive(
        shapes.section, "section", 6.0, EACH, tuple(range(19)),
        ("top half", "bottom half", "left half", "right half", "top left quarter",
         "top right quarter", "bottom left quarter", "bottom right quarter", "without its edge",
         "first square", "last square", "without the top row", "without the bottom row",
         "without the left column", "without the right column", "top row", "bottom row",
         "left column", "right column"),
    ),
    Primitive(shapes.pad, "pad", 7.0, EACH, (0,), ("add an empty ring",)),
    Primitive(shapes.pad, "ring", 7.0, EACH, Palette.OUTPUT, ("add a ring of colour {}",)),
    Primitive(
        shapes.enlarge, "enlarge", 5.5, EACH, (2, 3, 4, 0, 1, 12, 10, 11),
        ("enlarge by 2", "enlarge by 3", "enlarge by 4", "enlarge by the number of colours",
         "enlarge by the number of cells", "enlarge by its height", "widen by 2", "heighten by 2"),
    ),
    Primitive(shapes.shrink, "shrink", 5.0, EACH, (0,), ("shrink blocks to cells",)),
    Primitive(
        shapes.tile, "tile", 6.0, WHOLE, (12, 21, 22, 13, 31, 33, 0),
        ("repeat 1 x 2", "repeat 2 x 1", "repeat 2 x 2", "repeat 1 x 3", "repeat 3 x 1",
         "repeat 3 x 3", "repeat until the input's size"),
    ),
    Primitive(
        shapes.mirror, "mirror", 6.0, WHOLE, tuple(range(10)),
        (*tuple(f"add mirror images {where}" for where in ("right", "left", "below", "above",
                "right and below", "left and below", "right and above", "left and above")),
         "add its turns", "add its turns the other way"),
    ),
    Primitive(
        shapes.shift, "shift", 6.0, EACH, (0, 1, 2, 3, 5, 6, 7, 8),
        tuple(f"shift by one cell {where}" for where in ("up and left", "up", "up and right",
              "left", "right", "down and left", "down", "down and right")),
    ),
    Primitive(
        shapes.with_input, "with_input", 5.0, EACH, (4,),
        ("the input's cells in its rectangle",),
    ),
    Primitive(
        shapes.with_input, "on_input", 5.0, WHOLE, (0, 1, 2, 3, 5),
        ("on the input", "under the input", "the input where it is not empty",
         "the input where it is empty", "at its place in the input's frame"),
    ),
    Primitive(
        shapes.outer, "outer", 6.0, WHOLE, (0, 1, 2, 3, 4),
        ("a copy of the image at each of its cells", "a copy of the image at each empty cell",
         "a copy of the image at each cell of the commonest colour",
         "a copy of the image at each cell of the rarest colour",
         "a copy of the input at each cell"),
    ),
    Primitive(
        shapes.symmetrise, "symmetrise", 5.5, EACH, (1, 2, 3, 4, 7),
        tuple(f"complete the symmetry {how}" for how in ("left-right", "up-down", "in four",
              "about the diagonal", "in eight")),
    ),
    Primitive(
        shapes.complete, "complete", 6.0, EACH, (1, 2, 3, 7),
        tuple(f"complete the symmetry about the best {how}" for how in ("vertical axis",
              "horizontal axis", "axes", "axes and diagonal")),
    ),
    Primitive(
        shapes.scene, "scene", 6.5, EACH, tuple(range(6)),
        tuple(f"{size} in the {colour} colour" for size in ("one cell", "the rectangle")
              for colour in ("commonest", "rarest", "overall commonest")),
    ),
)  # fmt: skip

WAYS = (1, 2, 3, 4, 8, 12, 15, 16, 32, 64, 128, 16 + 128, 32 + 64, 240, 255)
WAY_NAMES = (
    "right", "left", "left and right", "down", "up", "up and down", "in four directions",
    "down right", "down left", "up right", "up left", "along falling diagonals",
    "along rising diagonals", "along diagonals", "in eight directions",
)  # fmt: skip

SPACE = (
    Primitive(
        lines.enclosed, "enclosed", 5.0, EACH, (0, 1, 2, 3, 4),
        ("fill what is enclosed", "fill what is enclosed (no diagonal gaps)",
         "what is enclosed", "what is enclosed (no diagonal gaps)", "fill what is not enclosed"),
    ),
    Primitive(
        lines.outline, "outline", 5.5, EACH, (0, 1, 2, 3, 6, 7),
        ("the cells beside objects", "the cells around objects", "grow in four directions",
         "grow in eight directions", "grow in four directions, the frame too",
         "grow in eight directions, the frame too"),
    ),
    Primitive(
        lines.boundary, "boundary", 6.0, EACH, (0, 1, 2, 3, 6),
        ("the edge cells of objects", "the edge cells of objects (with diagonals)",
         "the inner cells of objects", "the inner cells of objects (with diagonals)",
         "the inner cells of objects of any colours"),
    ),
    Primitive(
        lines.rays, "rays", 6.0, EACH, WAYS, tuple(f"extend cells {name}" for name in WAY_NAMES),
    ),
    Primitive(
        lines.connect, "connect", 5.5, EACH, (1, 2, 3, 4, 7, 9, 10, 11, 12, 19),
        ("connect equal cells in rows", "connect equal cells in columns",
         "connect equal cells in rows and columns", "connect equal cells on diagonals",
         "connect equal cells in all directions", "connections of equal cells in rows",
         "connections of equal cells in columns", "connections of equal cells in rows and columns",
         "connections of equal cells on diagonals", "connect all cells in rows and columns"),
    ),
    Primitive(
        lines.gravity, "gravity", 6.0, EACH, (0, 1, 2, 3),
        tuple(f"let cells fall {where}" for where in ("right", "left", "down", "up")),
    ),
    Primitive(
        lines.fall, "fall", 6.5, WHOLE, tuple(range(8)),
        tuple(f"let objects{kind} fall {where}" for kind in ("", " of one colour")
              for where in ("right", "left", "down", "up")),
    ),
    Primitive(
        lines.denoise, "denoise", 6.0, WHOLE, (2, 3, 4, 5),
        ("remove single cells", "keep single cells", "remove objects of up to two cells",
         "keep objects of up to two cells"),
    ),
    Primitive(
        lines.vote, "vote", 6.5, WHOLE, (0, 1, 2),
        ("each cell as most neighbours", "each empty cell as most neighbours",
         "each filled cell as most neighbours"),
    ),
    Primitive(
        patterns.periodic, "periodic", 5.5, WHOLE, (0, 1, 2, 3, 4),
        ("continue the pattern", "continue the pattern in rows", "continue the pattern in columns",
         "continue falling diagonals", "continue rising diagonals"),
    ),
    Primitive(
        patterns.board, "board", 5.0, WHOLE, (0, 1, 2, 3),
        ("one cell for each field: its colour", "one cell for each field: its commonest colour",
         "one cell for each field: how many cells are filled",
         "one cell for each field: its colour where it is fullest"),
    ),
    Primitive(
        patterns.lines_only, "separators", 5.5, WHOLE, (0, 1),
        ("the separating lines", "without the separating lines"),
    ),
    Primitive(
        patterns.sort_lines, "sort_rows", 7.0, WHOLE, (0, 1),
        ("sort rows by their cells, rising", "sort rows by their cells, falling"),
    ),
    Primitive(
        patterns.histogram, "histogram", 6.5, WHOLE, (0, 1, 2, 3),
        ("colours from the commonest", "colours from the rarest", "bars of colours, falling",
         "bars of colours, rising"),
    ),
    Primitive(
        patterns.rectangles, "rectangles", 6.0, WHOLE, (0, 1, 2, 3),
        ("each colour's rectangle", "each colour's frame", "the largest empty rectangles",
         "the largest empty squares"),
    ),
    Primitive(
        patterns.feature, "feature", 6.0, FIRST, tuple(range(len(patterns.PLACES))), patterns.PLACES
    ),
    Primitive(
        patterns.surroundings, "surroundings", 6.0, WHOLE, tuple(range(len(patterns.SURROUNDINGS))),
        patterns.SURROUNDINGS,
    ),
)  # fmt: skip

EIGHT_WAYS = ("right", "left", "down", "up", "down right", "down left", "up right", "up left")
MOTION = (
    Primitive(
        lines.broadcast, "broadcast", 6.0, WHOLE, tuple(range(6)),
        tuple(f"each {line} in its {which} colour" for line in ("row", "column")
              for which in ("first", "last", "commonest")),
    ),
    Primitive(
        lines.spread, "spread", 6.0, WHOLE, (0, 1),
        ("colours spread in four directions", "colours spread in eight directions"),
    ),
    Primitive(
        lines.march, "march", 7.0, EACH,
        tuple(gap + way for gap in (0, 256) for way in (1, 2, 4, 8, 16, 32, 64, 128, 15, 240, 255)),
        tuple(f"repeat {way}{gap} to the end of the frame" for gap in ("", " with a gap")
              for way in (*EIGHT_WAYS, "in four directions", "on diagonals", "in all directions")),
    ),
    Primitive(
        lines.attract, "attract", 6.0, WHOLE, (0, 1, 2),
        ("objects move to the largest one", "objects move to the largest one, others vanish",
         "objects of its colour move to the largest one"),
    ),
    Primitive(
        patterns.unboard, "unboard", 3.0, WHOLE, (0, 1),
        ("each field in the colour of its cell", "each field in the colour of its cell or empty"),
    ),
    Primitive(
        patterns.canvas, "canvas", 6.0, WHOLE, (22, 12, 21, 33),
        tuple(f"in an empty image of {size} its size" for size in
              ("twice", "twice the width,", "twice the height,", "three times")),
    ),
    Primitive(
        patterns.stamp, "stamp", 6.0, WHOLE, (0, 1, 2),
        ("copy the template to its marks", "copy the template, turned, to its marks",
         "copy the template to cells of its rarest colour"),
    ),
)  # fmt: skip

PRIMITIVES: tuple[Primitive, ...] = (
    *SPLITS, *JOINS, *COLOURS, *SHAPES, *SPACE, *MOTION, *_by_property(),
)  # fmt: skip
"""All primitives of the solver: 58 functions, about 530 instances on a task of three colours."""
