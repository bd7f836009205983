"""Primitives on patterns: periods, boards of fields, stamps, rectangles, numbers as colours."""

from typing import Any

import numpy as np

from quire.papers.arc.grids import (
    NONE,
    blank,
    boxes_of,
    copy,
    framed,
    free,
    image,
    label,
    least,
    most,
    part,
    place,
    tally,
    unframed,
)
from quire.papers.arc.solver.objects import separators


@part
def period_fits(cells: Any, first: Any, height: Any, width: Any, dy: Any, dx: Any) -> Any:
    """Whether no two cells other than 0 that are (dy, dx) apart differ."""
    for r in range(max(0, -dy), min(height, height - dy)):
        for c in range(max(0, -dx), min(width, width - dx)):
            value = cells[first + r * width + c]
            other = cells[first + (r + dy) * width + c + dx]
            if value != 0 and other != 0 and value != other:
                return False
    return True


def periodic(cells: Any, meta: Any, a: Any, b: Any, o: Any, e: Any, arg: Any) -> Any:
    """Fill background by the smallest repetition that the other cells allow: 0 rows and columns
    each with their period, 1 along rows, 2 along columns, 3 along falling, 4 along rising
    diagonals of period 1."""
    first, height, width, _, _ = image(meta, a)
    down, across = height, width
    if arg == 0 or arg == 2:
        down = 1
        while down < height and not period_fits(cells, first, height, width, down, 0):
            down += 1
    if arg == 0 or arg == 1:
        across = 1
        while across < width and not period_fits(cells, first, height, width, 0, across):
            across += 1
    slope = 1 if arg == 3 else -1
    if arg >= 3 and not period_fits(cells, first, height, width, 1, slope):
        return NONE
    if arg < 3 and down == height and across == width:
        return NONE
    target = copy(cells, meta, a, o)
    known = np.zeros(3600, np.int8)
    for phase in range(2):
        for r in range(height):
            for c in range(width):
                key = c - r * slope + 60 if arg >= 3 else (r % down) * across + c % across
                p = target + r * width + c
                if phase == 0 and cells[p] != 0:
                    known[key] = cells[p]
                elif phase == 1 and cells[p] == 0:
                    cells[p] = known[key]
    return 1


def board(cells: Any, meta: Any, a: Any, b: Any, o: Any, e: Any, arg: Any) -> Any:
    """One cell for each field between separating lines: 0 the field's commonest colour other than
    0, 1 its commonest colour, 2 how many cells are not 0, 3 that colour in the fullest fields."""
    first, height, width, x, y = image(meta, a)
    rows = np.zeros(height + 1, np.bool_)
    columns = np.zeros(width + 1, np.bool_)
    if separators(cells, first, height, width, rows, columns) == 0:
        return NONE
    down, across = np.zeros(height, np.int64), np.zeros(width, np.int64)
    tall = wide = 0
    for r in range(height):
        down[r] = tall if not rows[r] else -1
        tall += not rows[r] and (r == height - 1 or rows[r + 1])
    for c in range(width):
        across[c] = wide if not columns[c] else -1
        wide += not columns[c] and (c == width - 1 or columns[c + 1])
    if tall * wide < 2:
        return NONE
    counts = np.zeros((tall * wide, 10), np.int64)
    for r in range(height):
        for c in range(width):
            if down[r] >= 0 and across[c] >= 0:
                counts[down[r] * wide + across[c], cells[first + r * width + c]] += 1
    target = place(meta, o, tall, wide, x, y)
    fullest: Any = 0
    for k in range(tall * wide):
        fullest = max(fullest, np.sum(counts[k, 1:]))
    for k in range(tall * wide):
        colour = most(counts[k])
        filled = np.sum(counts[k, 1:])
        if arg == 1 and counts[k, 0] > counts[k, colour]:
            colour = 0
        elif arg == 2:
            colour = min(filled, 9)
        elif arg == 3 and filled < fullest:
            colour = 0
        cells[target + k] = colour
    return 1


def lines_only(cells: Any, meta: Any, a: Any, b: Any, o: Any, e: Any, arg: Any) -> Any:
    """The separating lines alone (arg 0) or everything but them (1)."""
    first, height, width, x, y = image(meta, a)
    rows = np.zeros(height, np.bool_)
    columns = np.zeros(width, np.bool_)
    if separators(cells, first, height, width, rows, columns) == 0:
        return NONE
    target = place(meta, o, height, width, x, y)
    for r in range(height):
        for c in range(width):
            line = rows[r] or columns[c]
            value = cells[first + r * width + c]
            cells[target + r * width + c] = value if line == (arg == 0) else 0
    return 1


def sort_lines(cells: Any, meta: Any, a: Any, b: Any, o: Any, e: Any, arg: Any) -> Any:
    """Rows sorted by their number of cells other than 0: 0 rising, 1 falling; stable."""
    first, height, width, x, y = image(meta, a)
    counts = np.zeros(height, np.int64)
    for r in range(height):
        for c in range(width):
            counts[r] += cells[first + r * width + c] != 0
    target = place(meta, o, height, width, x, y)
    for r in range(height):
        best = -1
        for s in range(height):
            if counts[s] >= 0 and (
                best < 0 or (counts[s] > counts[best] if arg == 1 else counts[s] < counts[best])
            ):
                best = s
        counts[best] = -1
        for c in range(width):
            cells[target + r * width + c] = cells[first + best * width + c]
    return 1


def histogram(cells: Any, meta: Any, a: Any, b: Any, o: Any, e: Any, arg: Any) -> Any:
    """Colours (not 0) by their number of cells, falling (arg & 1: rising): as one column, or as
    bars of cells from the left (arg & 2)."""
    first, height, width, _, _ = image(meta, a)
    counts = np.zeros(10, np.int64)
    kinds = tally(cells, first, height * width, counts)
    longest = counts[most(counts)]
    columns = longest if arg & 2 else 1
    target = blank(cells, meta, o, kinds, columns, 0, 0)
    if target < 0:
        return NONE
    for k in range(kinds):
        colour = least(counts) if arg & 1 else most(counts)
        for c in range(counts[colour] if arg & 2 else 1):
            cells[target + k * columns + c] = colour
        counts[colour] = 0
    return 1


def rectangles(cells: Any, meta: Any, a: Any, b: Any, o: Any, e: Any, arg: Any) -> Any:
    """The bounding rectangle of each colour, filled (0) or as a frame (1), small ones on top;
    2: the largest empty rectangles, 3: the largest empty squares, in colour 1."""
    first, height, width, x, y = image(meta, a)
    target = blank(cells, meta, o, height, width, x, y)
    if arg >= 2:
        # The empty cells from each cell on to the right, behind the result.
        run = free(meta, o)
        for r in range(height):
            length = 0
            for c in range(width):
                p = r * width + width - 1 - c
                length = length + 1 if cells[first + p] == 0 else 0
                cells[run + p] = length
        best = 4
        for phase in range(2):
            for r in range(height):
                for c in range(width):
                    wide: Any = np.int64(cells[run + r * width + c])
                    for s in range(r, height):
                        wide = min(wide, np.int64(cells[run + s * width + c]))
                        tall = s - r + 1
                        if wide == 0 or (arg == 3 and wide < tall):
                            break
                        across = tall if arg == 3 else wide
                        if phase == 0:
                            best = max(best, tall * across)
                        elif tall * across == best:
                            for p in range(tall):
                                for q in range(across):
                                    cells[target + (r + p) * width + c + q] = 1
        return 1
    boxes = np.empty((10, 4), np.int64)
    boxes_of(cells, first, height, width, boxes)
    done = np.zeros(10, np.bool_)
    for _ in range(9):
        best, area = 0, 0
        for k in range(1, 10):
            if not done[k] and boxes[k, 2] > 0:
                own = (boxes[k, 2] - boxes[k, 0]) * (boxes[k, 3] - boxes[k, 1])
                if own > area:
                    best, area = k, own
        if best == 0:
            break
        done[best] = True
        for r in range(boxes[best, 0], boxes[best, 2]):
            for c in range(boxes[best, 1], boxes[best, 3]):
                edge = r == boxes[best, 0] or r == boxes[best, 2] - 1
                edge = edge or c == boxes[best, 1] or c == boxes[best, 3] - 1
                if arg == 0 or edge:
                    cells[target + r * width + c] = best
    return 1


PLACES = (
    "row parity", "column parity", "chequer", "row modulo 3", "column modulo 3",
    "rising diagonal modulo 3", "distance to the edge", "parity of the distance to the edge",
    "edge", "main diagonal", "other diagonal", "row", "column", "row from below",
    "column from the right", "falling diagonal modulo 3", "every cell",
)  # fmt: skip
SURROUNDINGS = (
    "neighbours (8)", "neighbours (4)", "neighbours of its colour", "cells in its row",
    "cells in its column", "whole row empty", "whole column empty",
)  # fmt: skip
"""What `feature` and `surroundings` write into cells: 1 + a number up to 8."""


def feature(cells: Any, meta: Any, a: Any, b: Any, o: Any, e: Any, arg: Any) -> Any:
    """A number about each cell's place, as a colour: see PLACES."""
    _first, height, width, x, y = image(meta, a)
    target = place(meta, o, height, width, x, y)
    for r in range(height):
        for c in range(width):
            edge = min(min(r, height - 1 - r), min(c, width - 1 - c))
            value: Any = 0
            if arg <= 2:
                value = (r if arg == 0 else (c if arg == 1 else r + c)) % 2
            elif arg <= 5:
                value = (r if arg == 3 else (c if arg == 4 else r + c)) % 3
            elif arg <= 8:
                value = edge if arg == 6 else (edge % 2 if arg == 7 else 1 - min(edge, 1))
            elif arg <= 10:
                value = 1 if (r == c if arg == 9 else r + c == width - 1) else 0
            elif arg <= 14:
                value = r if arg == 11 else (c if arg == 12 else height - 1 - r)
                value = width - 1 - c if arg == 14 else value
            elif arg == 15:
                value = (r - c) % 3
            cells[target + r * width + c] = 1 + min(value, 8)
    return 1


def surroundings(cells: Any, meta: Any, a: Any, b: Any, o: Any, e: Any, arg: Any) -> Any:
    """A number about each cell's surroundings, as a colour: see SURROUNDINGS."""
    first, height, width, x, y = image(meta, a)
    target = place(meta, o, height, width, x, y)
    if arg > 2:
        rows, columns = np.zeros(height, np.int64), np.zeros(width, np.int64)
        for r in range(height):
            for c in range(width):
                filled = cells[first + r * width + c] != 0
                rows[r] += filled
                columns[c] += filled
        for r in range(height):
            for c in range(width):
                value = rows[r] if arg & 1 else columns[c]
                value = (1 if value == 0 else 0) if arg > 4 else value
                cells[target + r * width + c] = 1 + min(value, 8)
        return 1
    start, wide = free(meta, o), width + 2
    size = framed(cells, first, height, width, 1, 0, start)
    done = start + size
    for p in range(wide + 1, size - wide - 1):
        q = start + p
        own = cells[q]
        number = np.int8(1)
        for k in range(4 if arg == 1 else 8):
            s = q + (wide if k < 2 else (1 if k < 4 else (wide + 1 if k < 6 else wide - 1))) * (
                1 if k & 1 else -1
            )
            if arg == 2:
                number += np.int8(cells[s] == own)
            else:
                number += np.int8(cells[s] != 0)
        cells[done + p] = 1 if arg == 2 and own == 0 else min(number, 9)
    unframed(cells, done, height, width, 1, target)
    return 1


def unboard(cells: Any, meta: Any, a: Any, b: Any, o: Any, e: Any, arg: Any) -> Any:
    """`board` undone: the input, with each field in the colour of its cell (arg 0: 0 leaves the
    field as it is; 1: it empties it)."""
    first, height, width, _, _ = image(meta, a)
    source, rows, columns, _, _ = image(meta, e)
    across = np.zeros(rows + 1, np.bool_)
    down = np.zeros(columns + 1, np.bool_)
    if separators(cells, source, rows, columns, across, down) == 0:
        return NONE
    target = copy(cells, meta, e, o)
    r = 0
    for i in range(rows):
        c = 0
        if across[i]:
            r += i > 0 and not across[i - 1]
            continue
        for j in range(columns):
            if down[j]:
                c += j > 0 and not down[j - 1]
                continue
            if r >= height or c >= width:
                return NONE
            value = cells[first + r * width + c]
            if value != 0 or arg == 1:
                cells[target + i * columns + j] = value
        if c + (0 if down[columns - 1] else 1) != width:
            return NONE
    return 1 if r + (0 if across[rows - 1] else 1) == height else NONE


def canvas(cells: Any, meta: Any, a: Any, b: Any, o: Any, e: Any, arg: Any) -> Any:
    """The image at the top left of an empty one arg // 10 times as high and arg % 10 as wide."""
    first, height, width, x, y = image(meta, a)
    columns = width * (arg % 10)
    target = blank(cells, meta, o, height * (arg // 10), columns, x, y)
    if target < 0:
        return NONE
    for r in range(height):
        for c in range(width):
            cells[target + r * columns + c] = cells[first + r * width + c]
    return 1


@part
def turned(r: Any, c: Any, move: Any) -> Any:
    """An offset under one of the eight rigid moves."""
    if move & 4:
        r, c = c, r
    return (-r if move & 2 else r), (-c if move & 1 else c)


def stamp(cells: Any, meta: Any, a: Any, b: Any, o: Any, e: Any, arg: Any) -> Any:
    """Copies of a template at its marks. The template is the object with most colours (8-connected,
    of any colours), its key the cells that are not of its commonest colour; wherever the key occurs
    outside it, the whole is drawn. arg 0: as it lies; 1: also turned and mirrored; 2: the key is
    one colour, the rarest, each of whose cells elsewhere is a mark."""
    first, height, width, _x, _y = image(meta, a)
    size = height * width
    labels = np.empty(size, np.int16)
    number = label(cells, first, height, width, True, 1, labels)
    if number < 2:
        return NONE
    counts = np.zeros((number + 1, 10), np.int64)
    for p in range(size):
        counts[labels[p], cells[first + p]] += 1
    best, score = 0, 1
    for k in range(1, number + 1):
        kinds = 0
        for colour in range(1, 10):
            kinds += counts[k, colour] > 0
        if kinds > 1 and kinds * 1000 + np.sum(counts[k]) > score:
            best, score = k, kinds * 1000 + np.sum(counts[k])
    if best == 0:
        return NONE
    common, rare = most(counts[best]), least(counts[best])
    anchor = np.int64(-1)
    for p in range(size):
        value = cells[first + p]
        key = value == rare if arg == 2 else value != common
        if labels[p] == best and key and anchor < 0:
            anchor = np.int64(p)
    if anchor < 0:
        return NONE
    target = copy(cells, meta, a, o)
    found = 0
    for move in range(8 if arg == 1 else 1):
        for p in range(size):
            if labels[p] == best or cells[first + p] != cells[first + anchor]:
                continue
            for phase in range(2):
                fits = True
                for q in range(size):
                    value = cells[first + q]
                    key = value == rare if arg == 2 else value != common
                    if labels[q] != best or (phase == 0 and (not key or arg == 2)):
                        continue
                    dr, dc = turned(q // width - anchor // width, q % width - anchor % width, move)
                    r, c = p // width + dr, p % width + dc
                    inside = 0 <= r < height and 0 <= c < width
                    if phase == 1:
                        if inside:
                            cells[target + r * width + c] = value
                    elif not inside or cells[first + r * width + c] != value:
                        fits = False
                        break
                if not fits:
                    break
                found += phase
    return 1 if found > 0 else NONE
