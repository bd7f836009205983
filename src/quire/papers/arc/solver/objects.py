"""Primitives on objects: split an image into a list, measure, pick, keep, sort, recolour, join."""

from typing import Any

import numpy as np

from quire.papers.arc.grids import (
    CROWD,
    NONE,
    blank,
    box,
    boxes_of,
    copy,
    image,
    label,
    majority,
    most,
    part,
    place,
    same_cells,
    tally,
    window,
)

PROPERTIES = (
    "size", "area", "height", "width", "number of colours", "number of holes", "top edge",
    "left edge", "bottom edge", "right edge", "empty cells", "density", "number of symmetries",
    "number of equal objects", "number of objects of its shape", "number of objects of its colour",
    "colour", "number of parts", "cells of minor colours", "contact with the border",
    "place in order", "longer side",
)  # fmt: skip
"""What objects are compared by; the index is what `measure` takes."""


def components(cells: Any, meta: Any, a: Any, b: Any, o: Any, e: Any, arg: Any) -> Any:
    """Connected components, cropped, in reading order. arg: connectivity 8 (bit 0), rule (bits 1-2:
    one colour, any colour, background), not cropped (bit 3)."""
    first, height, width, x, y = image(meta, a)
    labels = np.empty(height * width, np.int16)
    number = label(cells, first, height, width, arg & 1 == 1, arg >> 1 & 3, labels)
    if number > (CROWD if arg < 8 else 12):
        return NONE
    boxes = np.empty((number + 1, 4), np.int64)
    boxes_of(labels, 0, height, width, boxes)
    for k in range(1, number + 1):
        if arg & 8:
            boxes[k, 0], boxes[k, 1], boxes[k, 2], boxes[k, 3] = 0, 0, height, width
        top, left = boxes[k, 0], boxes[k, 1]
        columns = boxes[k, 3] - left
        target = blank(cells, meta, o + k - 1, boxes[k, 2] - top, columns, x + left, y + top)
        for r in range(top, boxes[k, 2]):
            for c in range(left, boxes[k, 3]):
                if labels[r * width + c] == k:
                    colour = cells[first + r * width + c]
                    cells[target + (r - top) * columns + c - left] = colour if colour else 1
    return number


def split_colours(cells: Any, meta: Any, a: Any, b: Any, o: Any, e: Any, arg: Any) -> Any:
    """One image a colour, in the order of colours; cropped where arg is 1."""
    first, height, width, x, y = image(meta, a)
    boxes = np.empty((10, 4), np.int64)
    boxes_of(cells, first, height, width, boxes)
    number = 0
    for colour in range(1, 10):
        if boxes[colour, 2] == 0:
            continue
        top, left, bottom, right = 0, 0, height, width
        if arg == 1:
            top, left, bottom, right = boxes[colour]
        columns = right - left
        target = place(meta, o + number, bottom - top, columns, x + left, y + top)
        for r in range(top, bottom):
            for c in range(left, right):
                value = cells[first + r * width + c]
                kept = colour if value == colour else 0
                cells[target + (r - top) * columns + c - left] = kept
        number += 1
    return number


@part
def separators(cells: Any, first: Any, height: Any, width: Any, rows: Any, columns: Any) -> Any:
    """Mark full lines of one colour (not 0) in `rows` and `columns`; gives their colour, or 0: the
    lowest that makes a line and leaves some cells between lines."""
    kinds = np.zeros(10, np.bool_)
    lines = np.zeros(60, np.int8)  # the colour of each full row, then of each full column
    for k in range(height + width):
        start = first + (k * width if k < height else k - height)
        pace, length = (1, width) if k < height else (width, height)
        value = cells[start]
        p = 1
        while p < length and cells[start + p * pace] == value:
            p += 1
        lines[k] = value if p == length else 0
        kinds[lines[k]] = True
    for colour in range(1, 10):
        if not kinds[colour]:
            continue
        across, left = 0, 0
        for r in range(height):
            rows[r] = lines[r] == colour
            across += not rows[r]
        for c in range(width):
            columns[c] = lines[height + c] == colour
            left += not columns[c]
        if across > 0 and left > 0:
            return colour
    return 0


def split_lines(cells: Any, meta: Any, a: Any, b: Any, o: Any, e: Any, arg: Any) -> Any:
    """The fields between separating lines, in reading order."""
    first, height, width, _, _ = image(meta, a)
    rows = np.zeros(height + 1, np.bool_)
    columns = np.zeros(width + 1, np.bool_)
    if separators(cells, first, height, width, rows, columns) == 0:
        return NONE
    rows[height] = True
    columns[width] = True
    number, top = 0, 0
    for r in range(height + 1):
        if not rows[r]:
            continue
        if r > top:
            left = 0
            for c in range(width + 1):
                if not columns[c]:
                    continue
                if c > left:
                    if number == CROWD:
                        return NONE
                    window(cells, meta, a, o + number, top, left, r - top, c - left)
                    number += 1
                left = c + 1
        top = r + 1
    return number


def split_evenly(cells: Any, meta: Any, a: Any, b: Any, o: Any, e: Any, arg: Any) -> Any:
    """arg = 10 * rows + columns equal parts (0: as many squares as the longer side holds)."""
    _, height, width, _, _ = image(meta, a)
    down, across = (arg // 10, arg % 10) if arg else (1, 1)
    if arg == 0:
        if height > width and height % width == 0:
            down = height // width
        elif width > height and width % height == 0:
            across = width // height
        else:
            return NONE
    # One line in the middle may separate halves of an odd side.
    gap_down = 1 if height % down != 0 and (height - down + 1) % down == 0 else 0
    gap_across = 1 if width % across != 0 and (width - across + 1) % across == 0 else 0
    rows, columns = height - gap_down * (down - 1), width - gap_across * (across - 1)
    if rows % down != 0 or columns % across != 0 or down * across > CROWD:
        return NONE
    rows, columns = rows // down, columns // across
    if rows == 0 or columns == 0:
        return NONE
    for k in range(down * across):
        top, left = (k // across) * (rows + gap_down), (k % across) * (columns + gap_across)
        window(cells, meta, a, o + k, top, left, rows, columns)
    return down * across


def split_rows(cells: Any, meta: Any, a: Any, b: Any, o: Any, e: Any, arg: Any) -> Any:
    """Rows (arg 0) or columns (arg 1)."""
    _, height, width, _, _ = image(meta, a)
    for k in range(width if arg == 1 else height):
        if arg == 1:
            window(cells, meta, a, o + k, 0, k, height, 1)
        else:
            window(cells, meta, a, o + k, k, 0, 1, width)
    return width if arg == 1 else height


@part
def symmetries(cells: Any, first: Any, height: Any, width: Any) -> Any:
    """How many of left-right, up-down, half turn, transposition leave the image as it is."""
    across, down, turn, diagonal = 1, 1, 1, 1 if height == width else 0
    for r in range(height):
        for c in range(width):
            value = cells[first + r * width + c]
            if value != cells[first + r * width + width - 1 - c]:
                across = 0
            if value != cells[first + (height - 1 - r) * width + c]:
                down = 0
            if value != cells[first + (height - 1 - r) * width + width - 1 - c]:
                turn = 0
            if diagonal == 1 and value != cells[first + c * width + r]:
                diagonal = 0
    return across + down + turn + diagonal


@part
def count_holes(cells: Any, first: Any, height: Any, width: Any) -> Any:
    """Regions of background (4-connected) that do not touch the image's edge."""
    labels = np.empty(height * width, np.int16)
    number = label(cells, first, height, width, False, 2, labels)
    open_region = np.zeros(number + 1, np.bool_)
    for r in range(height):
        for c in range(width):
            if r == 0 or c == 0 or r == height - 1 or c == width - 1:
                open_region[labels[r * width + c]] = True
    holes = 0
    for k in range(1, number + 1):
        holes += not open_region[k]
    return holes


@part
def count_parts(cells: Any, first: Any, height: Any, width: Any) -> Any:
    """8-connected components of one colour."""
    return label(cells, first, height, width, True, 0, np.empty(height * width, np.int16))


@part
def count_equal(cells: Any, meta: Any, a: Any, b: Any, k: Any, prop: Any) -> Any:
    """How many images of the list equal image k (13: cells, 14: shape, 15: commonest colour)."""
    number = 0
    colour = majority(cells, meta[k, 0], meta[k, 1] * meta[k, 2]) if prop == 15 else 0
    for j in range(a, b):
        if prop == 15:
            number += majority(cells, meta[j, 0], meta[j, 1] * meta[j, 2]) == colour
        else:
            number += same_cells(cells, meta, j, k, prop == 14)
    return number


@part
def measure(cells: Any, meta: Any, a: Any, b: Any, k: Any, e: Any, prop: Any) -> Any:
    """Property `prop` (its index in PROPERTIES) of image k of the list a .. b - 1."""
    first, height, width, x, y = image(meta, k)
    if prop == 1:
        return height * width
    if prop == 2:
        return height
    if prop == 3:
        return width
    if prop == 5:
        return np.int64(count_holes(cells, first, height, width))
    if prop == 6:
        return y
    if prop == 7:
        return x
    if prop == 8:
        return y + height
    if prop == 9:
        return x + width
    if prop == 12:
        return np.int64(symmetries(cells, first, height, width))
    if 13 <= prop <= 15:
        return np.int64(count_equal(cells, meta, a, b, k, prop))
    if prop == 17:
        return np.int64(count_parts(cells, first, height, width))
    if prop == 19:
        inside = x > 0 and y > 0 and x + width < meta[e, 2] and y + height < meta[e, 1]
        return np.int64(0 if inside else 1)
    if prop == 20:
        return np.int64(k - a)
    if prop == 21:
        return max(height, width)
    counts = np.zeros(10, np.int64)
    kinds = tally(cells, first, height * width, counts)
    filled = height * width - counts[0]
    if prop == 4:
        return np.int64(kinds)
    if prop == 10:
        return counts[0]
    if prop == 11:
        return (1000 * filled) // (height * width)
    best = most(counts)
    if prop == 16:
        return np.int64(best)
    if prop == 18:
        return filled - (counts[best] if best > 0 else 0)
    return filled


@part
def measure_all(cells: Any, meta: Any, a: Any, b: Any, e: Any, prop: Any, values: Any) -> Any:
    """`measure` of every image into `values`; gives the least and the greatest."""
    low, high = np.int64(1 << 40), np.int64(-1)
    for k in range(a, b):
        value = measure(cells, meta, a, b, k, e, prop)
        values[k - a] = value
        low, high = min(low, value), max(high, value)
    return low, high


def pick(cells: Any, meta: Any, a: Any, b: Any, o: Any, e: Any, arg: Any) -> Any:
    """The one image with the greatest (even arg) or least (odd) value of property arg // 2.

    Where several share it they must be equal images: then the first.
    """
    if b <= a:
        return NONE
    values = np.empty(b - a, np.int64)
    low, high = measure_all(cells, meta, a, b, e, arg >> 1, values)
    wanted = low if arg & 1 else high
    chosen = -1
    for k in range(a, b):
        if values[k - a] == wanted and chosen < 0:
            chosen = k
        elif values[k - a] == wanted and not same_cells(cells, meta, chosen, k, False):
            return NONE
    copy(cells, meta, chosen, o)
    return 1


def keep(cells: Any, meta: Any, a: Any, b: Any, o: Any, e: Any, arg: Any) -> Any:
    """Images that have (arg % 4: 0), have not (1) the greatest value, have (2), have not (3) the
    least value of property arg // 4."""
    values = np.empty(b - a, np.int64)
    low, high = measure_all(cells, meta, a, b, e, arg >> 2, values)
    wanted = low if arg & 2 else high
    number = 0
    for k in range(a, b):
        if (values[k - a] == wanted) == (arg & 1 == 0):
            copy(cells, meta, k, o + number)
            number += 1
    return number


def arrange(cells: Any, meta: Any, a: Any, b: Any, o: Any, e: Any, arg: Any) -> Any:
    """The images sorted by property arg // 2, ascending (even arg) or descending; stable."""
    number = b - a
    values = np.empty(number, np.int64)
    measure_all(cells, meta, a, b, e, arg >> 1, values)
    used = np.zeros(number, np.bool_)
    for place_ in range(number):
        best = -1
        for k in range(number):
            if used[k]:
                continue
            if best < 0 or (values[k] > values[best] if arg & 1 else values[k] < values[best]):
                best = k
        used[best] = True
        copy(cells, meta, a + best, o + place_)
    return number


def recolour(cells: Any, meta: Any, a: Any, b: Any, o: Any, e: Any, arg: Any) -> Any:
    """Paint each image in one colour that says its property arg // 4.

    arg % 4: 0 the value (1 to 9), 1 its rank from below, 2 its rank from above, 3 whether it is the
    greatest (1) or not (2).
    """
    number = b - a
    values = np.empty(number, np.int64)
    _, high = measure_all(cells, meta, a, b, e, arg >> 2, values)
    mode = arg & 3
    for k in range(number):
        if mode == 0:
            colour = min(max(values[k], 1), 9)
        elif mode == 3:
            colour = 1 if values[k] == high else 2
        else:
            colour = 1
            for j in range(number):
                before = values[j] < values[k] if mode == 1 else values[j] > values[k]
                if before:
                    fresh = True  # equal values count once
                    for i in range(j):
                        fresh = fresh and values[i] != values[j]
                    colour += fresh
            colour = min(colour, 9)
        target = copy(cells, meta, a + k, o + k)
        for p in range(meta[o + k, 1] * meta[o + k, 2]):
            if cells[target + p] != 0:
                cells[target + p] = colour
    return number


def overlay(cells: Any, meta: Any, a: Any, b: Any, o: Any, e: Any, arg: Any) -> Any:
    """All images laid over one another at their places, later ones on top (arg & 2: earlier ones).

    The canvas is their bounding box, or the input's frame where arg & 1.
    """
    if b <= a and arg & 1 == 0:
        return NONE
    top, left = 1000, 1000
    bottom: Any = -1000
    right: Any = -1000
    for k in range(a, b):
        _, height, width, x, y = image(meta, k)
        top, bottom = min(top, y), max(bottom, y + height)
        left, right = min(left, x), max(right, x + width)
    if arg & 1:
        top, left, bottom, right = 0, 0, np.int64(meta[e, 1]), np.int64(meta[e, 2])
    target = blank(cells, meta, o, bottom - top, right - left, left, top)
    if target < 0:
        return NONE
    columns = right - left
    for j in range(b - a):
        first, height, width, x, y = image(meta, b - 1 - j if arg & 2 else a + j)
        for r in range(max(0, top - y), min(height, bottom - y)):
            for c in range(max(0, left - x), min(width, right - x)):
                colour = cells[first + r * width + c]
                if colour != 0:
                    cells[target + (y + r - top) * columns + x + c - left] = colour
    return 1


def concatenate(cells: Any, meta: Any, a: Any, b: Any, o: Any, e: Any, arg: Any) -> Any:
    """Images side by side (arg 0) or one below another (arg 1); smaller ones are filled with 0."""
    height, width = 0, 0
    for k in range(a, b):
        _, rows, columns, _, _ = image(meta, k)
        height = height + rows if arg == 1 else max(height, rows)
        width = max(width, columns) if arg == 1 else width + columns
    target = blank(cells, meta, o, height, width, 0, 0)
    if target < 0:
        return NONE
    done = 0
    for k in range(a, b):
        first, rows, columns, _, _ = image(meta, k)
        for r in range(rows):
            for c in range(columns):
                spot = (done + r) * width + c if arg == 1 else r * width + done + c
                cells[target + spot] = cells[first + r * columns + c]
        done += rows if arg == 1 else columns
    return 1


def combine(cells: Any, meta: Any, a: Any, b: Any, o: Any, e: Any, arg: Any) -> Any:
    """Cell by cell, images of one size: 0 and, 1 or, 2 exclusive or, 3 nor, 4 vote, 5 agreed."""
    if b - a < 2:
        return NONE
    _, height, width, _, _ = image(meta, a)
    for k in range(a + 1, b):
        if meta[k, 1] != height or meta[k, 2] != width:
            return NONE
    target = place(meta, o, height, width, 0, 0)
    counts = np.zeros(10, np.int64)
    for p in range(height * width):
        for colour in range(10):
            counts[colour] = 0
        top: Any = 0
        for k in range(a, b):
            colour = cells[meta[k, 0] + p]
            counts[colour] += 1
            if colour != 0 and top == 0:
                top = np.int64(colour)
        empty = counts[0]
        value = 0
        if arg == 0:
            value = top if empty == 0 else 0
        elif arg == 1:
            value = top
        elif arg == 2:
            value = top if empty == b - a - 1 else 0
        elif arg == 3:
            value = 1 if empty == b - a else 0
        else:
            for colour in range(10):
                if counts[colour] > counts[value]:
                    value = colour
            if arg == 5 and counts[value] != b - a:
                value = 0
        cells[target + p] = value
    return 1


def tally_objects(cells: Any, meta: Any, a: Any, b: Any, o: Any, e: Any, arg: Any) -> Any:
    """As many cells as there are images, in the first image's colour: 0 a row, 1 a diagonal."""
    number = b - a
    if number < 1:
        return NONE
    colour = majority(cells, meta[a, 0], meta[a, 1] * meta[a, 2])
    target = blank(cells, meta, o, number if arg == 1 else 1, number, 0, 0)
    if target < 0:
        return NONE
    for k in range(number):
        cells[target + (k * number + k if arg == 1 else k)] = colour
    return 1


def crop_all(cells: Any, meta: Any, a: Any, b: Any, o: Any, e: Any, arg: Any) -> Any:
    """Each image cropped to its cells other than 0; empty images are left out."""
    number = 0
    for k in range(a, b):
        first, height, width, _, _ = image(meta, k)
        top, left, bottom, right = box(cells, first, height, width)
        if bottom > 0:
            window(cells, meta, k, o + number, top, left, bottom - top, right - left)
            number += 1
    return number
