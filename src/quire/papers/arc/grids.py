"""Grids in one arena: the layout that every compiled primitive reads and writes.

All grids of a search live one behind another in `cells` (int8). `meta` (int32) has a row for each
image: first cell, height, width, and the image's place in the frame it came from (column x, row y).
A value of the search is, for every demonstration and test input, a list of such images. 0 is the
background and is transparent when images are laid over one another.

A primitive is one function `(cells, meta, a, b, o, e, arg) -> count`: it reads the images
`a .. b - 1`, writes its result as the images `o, o + 1, ...` and gives their number, or -1 where it
does not apply. Row `e` of `meta` is always the example's input; `arg` is the primitive's argument.
Compiled code gets `cells` and `meta` as pointers, whose numbers it reads and writes one by one, as
here. Behind the last image that it places there is room for what it works with (`free`). `image`
and `place` are all that it needs:

Example:
    >>> from quire.papers.arc.grids import image, place
    >>> def mirror(cells, meta, a, b, o, e, arg):
    ...     first, height, width, x, y = image(meta, a)
    ...     target = place(meta, o, height, width, x, y)
    ...     for r in range(height):
    ...         for c in range(width):
    ...             cells[target + r * width + c] = cells[first + r * width + width - 1 - c]
    ...     return 1
"""

import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

try:
    from numba import njit
except ImportError as error:
    raise ImportError("the ARC solver needs numba: pip install 'quire-papers[fast]'") from error

OPTIONS: Any = {"nogil": True, "boundscheck": False, "error_model": "numpy"}
UNWRAPPED: Any = {**OPTIONS, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
"""For what compiled code alone calls."""
OFF, HEIGHT, WIDTH, X, Y = range(5)
SIDE = 30
"""The longest side of a grid."""
CROWD = 48
"""The most images in one list."""
NONE = -1
"""What a primitive returns where it does not apply."""

F = TypeVar("F", bound=Callable[..., Any])


def part(function: F) -> F:
    """The decorator of a helper that primitives call."""
    compiled_part: F = njit(**UNWRAPPED)(function)
    return compiled_part


def inlined(function: F) -> F:
    """The decorator of a helper that becomes a piece of its caller's code: no call is left."""
    compiled_part: F = njit(forceinline=True, **UNWRAPPED)(function)
    return compiled_part


def keep_compiled(function: Callable[..., Any], signature: Any, options: Any) -> Any:
    """`function` compiled for a signature, and kept on disk for other processes.

    Where numba has no place to keep it (neither NUMBA_CACHE_DIR, nor the folder of its file, nor
    the user's cache can be written) or cannot read what is there, it is compiled for this process
    alone, with a warning if it is a file's.
    """
    try:
        return njit(signature, cache=True, **options)(function)
    except (RuntimeError, OSError, EOFError, pickle.UnpicklingError) as error:
        if Path(function.__code__.co_filename).is_file():  # else it was typed in at a prompt
            line = next(iter(str(error).splitlines()), type(error).__name__)
            warnings.warn(
                "compiled code cannot be kept, so that every process compiles anew, for a minute: "
                f"set NUMBA_CACHE_DIR to a folder that can be written ({line})",
                stacklevel=2,
            )
        return njit(signature, **options)(function)


@part
def image(meta: Any, a: Any) -> Any:
    """First cell, height, width, x and y of image `a`."""
    return (
        np.int64(meta[a, 0]),
        np.int64(meta[a, 1]),
        np.int64(meta[a, 2]),
        np.int64(meta[a, 3]),
        np.int64(meta[a, 4]),
    )


@part
def place(meta: Any, o: Any, height: Any, width: Any, x: Any, y: Any) -> Any:
    """Make room for image `o`; gives its first cell, or -1 where a side is not within 1..30."""
    if height < 1 or width < 1 or height > SIDE or width > SIDE:
        return np.int64(-1)
    first = np.int64(meta[o, 0])
    meta[o, 1] = height
    meta[o, 2] = width
    meta[o, 3] = x
    meta[o, 4] = y
    meta[o + 1, 0] = first + ((height * width + 7) >> 3 << 3)
    return first


@part
def blank(cells: Any, meta: Any, o: Any, height: Any, width: Any, x: Any, y: Any) -> Any:
    """`place`, with all cells 0."""
    first = place(meta, o, height, width, x, y)
    if first >= 0:
        for p in range(height * width):
            cells[first + p] = 0
    return first


@part
def copy(cells: Any, meta: Any, a: Any, o: Any) -> Any:
    """Image `a` again, as image `o`; gives its first cell."""
    first, height, width, x, y = image(meta, a)
    target = place(meta, o, height, width, x, y)
    for p in range(height * width):
        cells[target + p] = cells[first + p]
    return target


@part
def window(
    cells: Any, meta: Any, a: Any, o: Any, top: Any, left: Any, height: Any, width: Any
) -> Any:
    """The rectangle of image `a` that starts at (top, left), as image `o`; 1 or -1."""
    first, rows, columns, x, y = image(meta, a)
    if top < 0 or left < 0 or top + height > rows or left + width > columns:
        return NONE
    target = place(meta, o, height, width, x + left, y + top)
    if target < 0:
        return NONE
    for r in range(height):
        source = first + (top + r) * columns + left
        for c in range(width):
            cells[target + r * width + c] = cells[source + c]
    return 1


@part
def box(cells: Any, first: Any, height: Any, width: Any) -> Any:
    """Top, left, bottom, right (exclusive) of the non-zero cells; bottom is 0 if there are none."""
    top, left, bottom, right = height, width, 0, 0
    for r in range(height):
        for c in range(width):
            if cells[first + r * width + c] != 0:
                top = min(top, r)
                bottom = max(bottom, r + 1)
                left = min(left, c)
                right = max(right, c + 1)
    return top, left, bottom, right


@part
def boxes_of(numbers: Any, first: Any, height: Any, width: Any, boxes: Any) -> Any:
    """The `box` of the cells of each number (a colour, a label) into the rows of `boxes`."""
    for k in range(len(boxes)):
        boxes[k, 0], boxes[k, 1], boxes[k, 2], boxes[k, 3] = height, width, 0, 0
    for r in range(height):
        for c in range(width):
            k = numbers[first + r * width + c]
            boxes[k, 0] = min(boxes[k, 0], r)
            boxes[k, 1] = min(boxes[k, 1], c)
            boxes[k, 2] = r + 1
            boxes[k, 3] = max(boxes[k, 3], c + 1)


@part
def tally(cells: Any, first: Any, size: Any, counts: Any) -> Any:
    """Cells of each colour into `counts` (10); gives the number of colours other than 0."""
    for colour in range(10):
        counts[colour] = 0
    for p in range(size):
        counts[cells[first + p]] += 1
    kinds = 0
    for colour in range(1, 10):
        kinds += counts[colour] > 0
    return kinds


@part
def most(counts: Any) -> Any:
    """The commonest colour other than 0 (the lowest among equals), or 0 where there is none."""
    best = 0
    for colour in range(1, 10):
        if counts[colour] > 0 and (best == 0 or counts[colour] > counts[best]):
            best = colour
    return best


@part
def least(counts: Any) -> Any:
    """The rarest colour that occurs, other than 0 (the lowest among equals), or 0."""
    best = 0
    for colour in range(1, 10):
        if counts[colour] > 0 and (best == 0 or counts[colour] < counts[best]):
            best = colour
    return best


@part
def majority(cells: Any, first: Any, size: Any) -> Any:
    """The commonest colour other than 0 of `size` cells."""
    counts = np.zeros(10, np.int64)
    tally(cells, first, size, counts)
    return most(counts)


@part
def label(
    cells: Any, first: Any, height: Any, width: Any, eight: Any, rule: Any, labels: Any
) -> Any:
    """Connected components into `labels` (1, 2, ... in reading order, 0 elsewhere); their number.

    `eight`: diagonal neighbours count. `rule` 0: cells of one colour; 1: cells of any colour;
    2: cells of the background.
    """
    # Each cell joins its neighbours before it; `lowest` leads from a label to one that it met.
    lowest = np.empty(height * width + 1, np.int16)
    number = 0
    for r in range(height):
        for c in range(width):
            p = r * width + c
            colour = cells[first + p]
            if (colour == 0) != (rule == 2):
                labels[p] = 0
                continue
            own: Any = 0
            for k in range(4 if eight else 2):
                q = p - 1 if k == 0 else (p - width if k == 1 else p - width + 2 * k - 5)
                if (k == 0 or r > 0) and (k & 1 == 1 or c > 0) and (k != 3 or c + 1 < width):
                    other = np.int64(labels[q])
                    if other == 0 or other == own or (rule == 0 and cells[first + q] != colour):
                        continue
                    while lowest[other] != other:
                        other = np.int64(lowest[other])
                    if own == 0 or own == other:
                        own = other
                    else:
                        lowest[max(own, other)] = min(own, other)
                        own = min(own, other)
            if own == 0:
                number += 1
                own = number
                lowest[own] = own
            labels[p] = own
    lowest[0] = 0
    found = 0
    for k in range(1, number + 1):
        if lowest[k] == k:
            found += 1
            lowest[k] = found
        else:
            lowest[k] = lowest[lowest[k]]
    for p in range(height * width):
        labels[p] = lowest[labels[p]]
    return found


@part
def framed(cells: Any, first: Any, height: Any, width: Any, margin: Any, edge: Any, at: Any) -> Any:
    """The cells with `margin` cells of colour `edge` on every side, written to `at`: neighbours of
    a cell are then there without a test for the image's edge. Gives the number of cells written.

    Behind the image that a primitive writes, where `place` left off (`free`), there is room."""
    wide = width + 2 * margin
    for p in range((height + 2 * margin) * wide):
        cells[at + p] = edge
    for r in range(height):
        start = at + (r + margin) * wide + margin
        for c in range(width):
            cells[start + c] = cells[first + r * width + c]
    return (height + 2 * margin) * wide


@part
def unframed(cells: Any, at: Any, height: Any, width: Any, margin: Any, target: Any) -> Any:
    """`framed` undone: from `at` to `target`."""
    for r in range(height):
        start = at + (r + margin) * (width + 2 * margin) + margin
        for c in range(width):
            cells[target + r * width + c] = cells[start + c]


@part
def free(meta: Any, o: Any) -> Any:
    """The first cell behind image `o`, which was placed."""
    return np.int64(meta[o + 1, 0])


@part
def same_cells(cells: Any, meta: Any, a: Any, b: Any, shapes: Any) -> Any:
    """Whether images a and b have equal cells (`shapes`: equal masks), wherever they lie."""
    if meta[a, 1] != meta[b, 1] or meta[a, 2] != meta[b, 2]:
        return False
    p, q = np.int64(meta[a, 0]), np.int64(meta[b, 0])
    for k in range(meta[a, 1] * meta[a, 2]):
        if shapes:
            if (cells[p + k] != 0) != (cells[q + k] != 0):
                return False
        elif cells[p + k] != cells[q + k]:
            return False
    return True
