"""Primitives on colours, symmetry, size: image to image."""

from typing import Any

import numpy as np

from quire.papers.arc.grids import (
    NONE,
    SIDE,
    blank,
    box,
    boxes_of,
    copy,
    image,
    least,
    majority,
    most,
    part,
    place,
    tally,
    window,
)
from quire.papers.arc.solver.objects import separators


def select_colour(cells: Any, meta: Any, a: Any, b: Any, o: Any, e: Any, arg: Any) -> Any:
    """Keep (arg = colour) or remove (arg = 10 + colour) one colour."""
    first, height, width, x, y = image(meta, a)
    target = place(meta, o, height, width, x, y)
    colour = arg % 10
    for p in range(height * width):
        value = cells[first + p]
        cells[target + p] = value if (value == colour) == (arg < 10) else 0
    return 1


def select_common(cells: Any, meta: Any, a: Any, b: Any, o: Any, e: Any, arg: Any) -> Any:
    """Keep (0) or remove (1) the commonest colour; keep (2) or remove (3) the rarest."""
    first, height, width, x, y = image(meta, a)
    counts = np.zeros(10, np.int64)
    tally(cells, first, height * width, counts)
    colour = most(counts) if arg < 2 else least(counts)
    if colour == 0:
        return NONE
    target = place(meta, o, height, width, x, y)
    for p in range(height * width):
        value = cells[first + p]
        cells[target + p] = value if (value == colour) == (arg & 1 == 0) else 0
    return 1


def paint(cells: Any, meta: Any, a: Any, b: Any, o: Any, e: Any, arg: Any) -> Any:
    """All cells other than 0 in colour arg; 10: the commonest, 11: the rarest colour of the image,
    12: the commonest, 13: the rarest of the input."""
    first, height, width, x, y = image(meta, a)
    colour = arg
    if arg >= 10:
        counts = np.zeros(10, np.int64)
        if arg >= 12:
            tally(cells, meta[e, 0], meta[e, 1] * meta[e, 2], counts)
        else:
            tally(cells, first, height * width, counts)
        colour = most(counts) if arg % 2 == 0 else least(counts)
    target = place(meta, o, height, width, x, y)
    for p in range(height * width):
        cells[target + p] = colour if cells[first + p] != 0 else 0
    return 1


def invert(cells: Any, meta: Any, a: Any, b: Any, o: Any, e: Any, arg: Any) -> Any:
    """Background cells in the commonest colour; others 0 (arg 0) or kept (arg 1)."""
    first, height, width, x, y = image(meta, a)
    colour = majority(cells, first, height * width)
    colour = colour if colour > 0 else 1
    target = place(meta, o, height, width, x, y)
    for p in range(height * width):
        value = cells[first + p]
        cells[target + p] = colour if value == 0 else (value if arg == 1 else 0)
    return 1


def swap(cells: Any, meta: Any, a: Any, b: Any, o: Any, e: Any, arg: Any) -> Any:
    """Exchange the two colours of an image that has two besides 0."""
    first, height, width, x, y = image(meta, a)
    counts = np.zeros(10, np.int64)
    if tally(cells, first, height * width, counts) != 2:
        return NONE
    total = 0
    for colour in range(1, 10):
        total += colour if counts[colour] > 0 else 0
    target = place(meta, o, height, width, x, y)
    for p in range(height * width):
        value = cells[first + p]
        cells[target + p] = total - value if value != 0 else 0
    return 1


@part
def moved(r: Any, c: Any, height: Any, width: Any, move: Any) -> Any:
    """Where the cell (r, c) of the result of a rigid move comes from.

    Moves 0..7: bit 0 left-right, bit 1 up-down, bit 2 transposition (of the source, first)."""
    rows, columns = (width, height) if move & 4 else (height, width)
    if move & 1:
        c = columns - 1 - c
    if move & 2:
        r = rows - 1 - r
    return c * width + r if move & 4 else r * width + c


def rigid(cells: Any, meta: Any, a: Any, b: Any, o: Any, e: Any, arg: Any) -> Any:
    """One of the eight moves of the square: see `moved`."""
    first, height, width, x, y = image(meta, a)
    rows, columns = (width, height) if arg & 4 else (height, width)
    target = place(meta, o, rows, columns, x, y)
    for r in range(rows):
        for c in range(columns):
            cells[target + r * columns + c] = cells[first + moved(r, c, height, width, arg)]
    return 1


def crop(cells: Any, meta: Any, a: Any, b: Any, o: Any, e: Any, arg: Any) -> Any:
    """The bounding box of all cells other than 0 (arg 0) or of the colour arg; 10: of the rarest
    colour, 11: of the commonest."""
    first, height, width, _, _ = image(meta, a)
    colour = arg
    if arg >= 10:
        counts = np.zeros(10, np.int64)
        tally(cells, first, height * width, counts)
        colour = least(counts) if arg == 10 else most(counts)
        if colour == 0:
            return NONE
    if colour == 0:
        top, left, bottom, right = box(cells, first, height, width)
    else:
        boxes = np.empty((10, 4), np.int64)
        boxes_of(cells, first, height, width, boxes)
        top, left, bottom, right = boxes[colour]
    if bottom == 0:
        return NONE
    return window(cells, meta, a, o, top, left, bottom - top, right - left)


def compress(cells: Any, meta: Any, a: Any, b: Any, o: Any, e: Any, arg: Any) -> Any:
    """Leave out rows and columns that are empty (0), repeat the one before (1), are lines of one
    colour that separate fields (2)."""
    first, height, width, x, y = image(meta, a)
    rows = np.zeros(height, np.bool_)  # True: left out
    columns = np.zeros(width, np.bool_)
    if arg == 2:
        if separators(cells, first, height, width, rows, columns) == 0:
            return NONE
    else:
        for r in range(height):
            drop = arg == 0 or r > 0
            for c in range(width):
                value = cells[first + r * width + c]
                before = cells[first + (r - 1) * width + c] if arg == 1 and r > 0 else 0
                drop = drop and value == before
            rows[r] = drop
        for c in range(width):
            drop = arg == 0 or c > 0
            for r in range(height):
                value = cells[first + r * width + c]
                before = cells[first + r * width + c - 1] if arg == 1 and c > 0 else 0
                drop = drop and value == before
            columns[c] = drop
    tall, wide = height, width
    for r in range(height):
        tall -= rows[r]
    for c in range(width):
        wide -= columns[c]
    target = place(meta, o, tall, wide, x, y)
    if target < 0:
        return NONE
    p = target
    for r in range(height):
        for c in range(width):
            if not rows[r] and not columns[c]:
                cells[p] = cells[first + r * width + c]
                p += 1
    return 1


def section(cells: Any, meta: Any, a: Any, b: Any, o: Any, e: Any, arg: Any) -> Any:
    """A part: 0-3 top, bottom, left, right half; 4-7 quarters; 8 without its edge; 9 first, 10 last
    square; 11-14 one row or column off (top, bottom, left, right); 15-18 that row or column."""
    _, height, width, _, _ = image(meta, a)
    tall, wide = height // 2, width // 2
    top, left = 0, 0
    if arg < 2:
        top, wide = height - tall if arg == 1 else 0, width
    elif arg < 4:
        left, tall = width - wide if arg == 3 else 0, height
    elif arg < 8:
        top = height - tall if arg & 2 else 0
        left = width - wide if arg & 1 else 0
    elif arg == 8:
        top, left, tall, wide = 1, 1, height - 2, width - 2
    elif arg < 11:
        tall = wide = min(height, width)
        if arg == 10:
            top, left = height - tall, width - wide
    elif arg < 15:
        tall, wide = height - (1 if arg < 13 else 0), width - (1 if arg >= 13 else 0)
        top, left = 1 if arg == 11 else 0, 1 if arg == 13 else 0
    else:
        tall, wide = 1 if arg < 17 else height, 1 if arg >= 17 else width
        top, left = height - 1 if arg == 16 else 0, width - 1 if arg == 18 else 0
    return window(cells, meta, a, o, top, left, tall, wide)


def pad(cells: Any, meta: Any, a: Any, b: Any, o: Any, e: Any, arg: Any) -> Any:
    """A ring of cells in colour arg (0 included) around the image."""
    first, height, width, x, y = image(meta, a)
    target = blank(cells, meta, o, height + 2, width + 2, x - 1, y - 1)
    if target < 0:
        return NONE
    for r in range(height + 2):
        for c in range(width + 2):
            inside = 0 < r <= height and 0 < c <= width
            value = cells[first + (r - 1) * width + c - 1] if inside else arg
            cells[target + r * (width + 2) + c] = value
    return 1


def enlarge(cells: Any, meta: Any, a: Any, b: Any, o: Any, e: Any, arg: Any) -> Any:
    """Each cell as arg x arg cells; 0: as many as the image has colours, 1: as the cells other
    than 0; 10 only in width by 2, 11 only in height by 2, 12: as many as the image is high."""
    first, height, width, x, y = image(meta, a)
    down = across = arg
    if arg < 2:
        counts = np.zeros(10, np.int64)
        kinds = tally(cells, first, height * width, counts)
        down = across = kinds if arg == 0 else height * width - counts[0]
    elif arg == 12:
        down = across = height
    elif arg >= 10:
        down, across = (2, 1) if arg == 11 else (1, 2)
    target = place(meta, o, height * down, width * across, x, y)
    if target < 0:
        return NONE
    for r in range(height * down):
        for c in range(width * across):
            value = cells[first + (r // down) * width + c // across]
            cells[target + r * width * across + c] = value
    return 1


def shrink(cells: Any, meta: Any, a: Any, b: Any, o: Any, e: Any, arg: Any) -> Any:
    """Undo `enlarge`: every block of equal cells, of the largest size that fits, to one cell."""
    first, height, width, x, y = image(meta, a)
    for step in range(min(height, width), 1, -1):
        if height % step != 0 or width % step != 0:
            continue
        equal = True
        for r in range(height):
            for c in range(width):
                corner = (r - r % step) * width + c - c % step
                equal = equal and cells[first + r * width + c] == cells[first + corner]
        if equal:
            columns = width // step
            target = place(meta, o, height // step, columns, x, y)
            for r in range(height // step):
                for c in range(columns):
                    cells[target + r * columns + c] = cells[first + r * step * width + c * step]
            return 1
    return NONE


def tile(cells: Any, meta: Any, a: Any, b: Any, o: Any, e: Any, arg: Any) -> Any:
    """arg // 10 x arg % 10 copies; 0: until the size of the input, 1: until 30 x 30 is full."""
    first, height, width, x, y = image(meta, a)
    rows, columns = height * (arg // 10), width * (arg % 10)
    if arg == 0:
        rows, columns = np.int64(meta[e, 1]), np.int64(meta[e, 2])
    target = place(meta, o, rows, columns, x if arg else 0, y if arg else 0)
    if target < 0:
        return NONE
    for r in range(rows):
        source = first + (r % height) * width
        t = 0
        for c in range(columns):
            cells[target + r * columns + c] = cells[source + t]
            t = t + 1 if t + 1 < width else 0
    return 1


def mirror(cells: Any, meta: Any, a: Any, b: Any, o: Any, e: Any, arg: Any) -> Any:
    """The image and its mirror images: 0 to the right, 1 to the left, 2 below, 3 above, 4-7 in four
    quarters (the image itself top left, top right, bottom left, bottom right), 8 its four turns,
    9 its four turns the other way."""
    first, height, width, x, y = image(meta, a)
    if arg >= 8 and height != width:
        return NONE
    down = 1 if arg < 2 else 2
    across = 1 if arg == 2 or arg == 3 else 2
    target = place(meta, o, height * down, width * across, x, y)
    if target < 0:
        return NONE
    for quarter in range(down * across):
        below, beside = quarter // across, quarter % across
        if arg >= 8:
            turn = (2 * below + (below ^ beside)) % 4
            turn = turn if arg == 8 else (4 - turn) % 4
            move = 0 if turn == 0 else (5 if turn == 1 else (3 if turn == 2 else 6))
        else:
            home_below = 1 if arg == 3 or arg == 6 or arg == 7 else 0
            home_beside = 1 if arg == 1 or arg == 5 or arg == 7 else 0
            move = (1 if beside != home_beside else 0) + (2 if below != home_below else 0)
        for r in range(height):
            corner = target + (below * height + r) * width * across + beside * width
            for c in range(width):
                cells[corner + c] = cells[first + moved(r, c, height, width, move)]
    return 1


def shift(cells: Any, meta: Any, a: Any, b: Any, o: Any, e: Any, arg: Any) -> Any:
    """The content one cell further within the image: arg = 3 * (dy + 1) + dx + 1."""
    first, height, width, x, y = image(meta, a)
    dy, dx = arg // 3 - 1, arg % 3 - 1
    target = place(meta, o, height, width, x, y)
    for r in range(height):
        for c in range(width):
            s, t = r - dy, c - dx
            inside = 0 <= s < height and 0 <= t < width
            cells[target + r * width + c] = cells[first + s * width + t] if inside else 0
    return 1


def with_input(cells: Any, meta: Any, a: Any, b: Any, o: Any, e: Any, arg: Any) -> Any:
    """Together with the input, at the image's place: 0 on the input, 1 under it, 2 the input where
    the image is not 0, 3 where it is 0, 4 the input's cells in the image's rectangle, 5 alone."""
    first, height, width, x, y = image(meta, a)
    source, rows, columns, _, _ = image(meta, e)
    if arg == 4:
        return window(cells, meta, e, o, y, x, height, width)
    target = place(meta, o, rows, columns, 0, 0)
    for r in range(rows):
        for c in range(columns):
            inside = 0 <= r - y < height and 0 <= c - x < width
            own = cells[first + (r - y) * width + c - x] if inside else 0
            given = cells[source + r * columns + c]
            value = own
            if arg == 0:
                value = own if own != 0 else given
            elif arg == 1:
                value = given if given != 0 else own
            elif arg == 2:
                value = given if own != 0 else 0
            elif arg == 3:
                value = given if own == 0 else 0
            cells[target + r * columns + c] = value
    return 1


def outer(cells: Any, meta: Any, a: Any, b: Any, o: Any, e: Any, arg: Any) -> Any:
    """A copy of the image for each of its own cells that is not 0 (arg 0), is 0 (1), has the
    commonest (2) or the rarest (3) colour; 4: the input's copies at the image's cells."""
    first, height, width, x, y = image(meta, a)
    source, rows, columns, _, _ = image(meta, e) if arg == 4 else image(meta, a)
    counts = np.zeros(10, np.int64)
    tally(cells, first, height * width, counts)
    colour = most(counts) if arg == 2 else (least(counts) if arg == 3 else 0)
    target = blank(cells, meta, o, height * rows, width * columns, x, y)
    if target < 0:
        return NONE
    for r in range(height):
        for c in range(width):
            value = cells[first + r * width + c]
            chosen = (value == colour) if 1 <= arg <= 3 else value != 0
            if chosen:
                for s in range(rows):
                    for t in range(columns):
                        spot = (r * rows + s) * width * columns + c * columns + t
                        cells[target + spot] = cells[source + s * columns + t]
    return 1


def symmetrise(cells: Any, meta: Any, a: Any, b: Any, o: Any, e: Any, arg: Any) -> Any:
    """Cells that are 0 take the colour of their image under a symmetry of the whole image: arg a
    set of left-right (1), up-down (2), transposition (4), all in turn."""
    _, height, width, _, _ = image(meta, a)
    if arg & 4 and height != width:
        return NONE
    target = copy(cells, meta, a, o)
    for move in (1, 2, 4):
        if arg & move == 0:
            continue
        for p in range(height * width):
            if cells[target + p] == 0:
                source = moved(p // width, p % width, height, width, move)
                cells[target + p] = cells[target + source]
    return 1


@part
def agreement(cells: Any, first: Any, height: Any, width: Any, across: Any, twice: Any) -> Any:
    """How many mirror pairs are equal; -1 where one is unequal (0 is not compared)."""
    score = 0
    length = width if across else height
    low = max(0, twice - length + 1)
    if across:
        for r in range(height):
            row = first + r * width
            for c in range(low, (twice + 1) // 2):
                value, other = cells[row + c], cells[row + twice - c]
                if value != 0 and other != 0:
                    if value != other:
                        return -1
                    score += 1
        return score
    for r in range(low, (twice + 1) // 2):
        row, mirror_row = first + r * width, first + (twice - r) * width
        unequal = 0
        for c in range(width):
            value, other = cells[row + c], cells[mirror_row + c]
            both = (value != 0) & (other != 0)
            unequal += both & (value != other)
            score += both
        if unequal > 0:
            return -1
    return score


def complete(cells: Any, meta: Any, a: Any, b: Any, o: Any, e: Any, arg: Any) -> Any:
    """`symmetrise` about the axes that fit the image best: arg a set of left-right (1), up-down
    (2), both taken together where 4 (diagonals through their crossing)."""
    first, height, width, _, _ = image(meta, a)
    target = copy(cells, meta, a, o)
    axes = np.zeros(2, np.int64)
    for axis in range(2):
        if arg & (1 + axis) == 0:
            continue
        length = width if axis == 0 else height
        best, chosen = 0, np.int64(-1)
        for twice in range(length // 2, 2 * length - 2 - length // 2 + 1):
            score = agreement(cells, first, height, width, axis == 0, twice)
            if score > best:
                best, chosen = score, np.int64(twice)
        if chosen < 0:
            return NONE
        axes[axis] = chosen
    for turn in range(4):
        for r in range(height):
            for c in range(width):
                p = target + r * width + c
                if cells[p] != 0:
                    continue
                s, t = r, c
                if turn == 0 and arg & 1:
                    t = axes[0] - c
                elif turn == 1 and arg & 2:
                    s = axes[1] - r
                elif turn == 2 and arg & 4 and (axes[1] - axes[0]) % 2 == 0:
                    gap = (axes[1] - axes[0]) // 2
                    s, t = c + gap, r - gap
                if 0 <= s < height and 0 <= t < width:
                    cells[p] = cells[target + s * width + t]
    return 1


def scene(cells: Any, meta: Any, a: Any, b: Any, o: Any, e: Any, arg: Any) -> Any:
    """A plain image: arg // 3 its size (0 one cell, 1 the image's own), arg % 3 its colour (0
    the commonest, 1 the rarest, 2 the commonest with the background counted)."""
    first, height, width, x, y = image(meta, a)
    counts = np.zeros(10, np.int64)
    tally(cells, first, height * width, counts)
    colour = least(counts) if arg % 3 == 1 else most(counts)
    if arg % 3 == 2 and counts[0] > counts[colour]:
        colour = 0
    rows, columns = (height, width) if arg >= 3 else (1, 1)
    target = blank(cells, meta, o, rows, columns, x, y)
    if target < 0 or target + SIDE * SIDE < 0:
        return NONE
    for p in range(rows * columns):
        cells[target + p] = colour
    return 1
