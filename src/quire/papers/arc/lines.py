"""Primitives on space: enclosure, outlines, rays, gravity, noise, periods, fields of a board."""

from typing import Any

import numpy as np

from quire.papers.arc.grids import (
    NONE,
    blank,
    copy,
    image,
    label,
    most,
    part,
    place,
)


@part
def neighbour(cells: Any, first: Any, height: Any, width: Any, p: Any, eight: Any) -> Any:
    """The first colour other than 0 next to cell p, or 0."""
    row = p // width
    column = p - row * width
    for r in range(max(row - 1, 0), min(row + 2, height)):
        for c in range(max(column - 1, 0), min(column + 2, width)):
            value = cells[first + r * width + c]
            if value != 0 and (eight or r == row or c == column):
                return np.int64(value)
    return np.int64(0)


def enclosed(cells: Any, meta: Any, a: Any, b: Any, o: Any, e: Any, arg: Any) -> Any:
    """Fill background that cannot reach the edge, in the colour that it meets first.

    arg & 1: paths may go diagonally; arg & 2: the filling alone; arg & 4: what can reach it."""
    first, height, width, x, y = image(meta, a)
    size = height * width
    labels = np.empty(size, np.int16)
    stack = np.empty(size, np.int16)
    number = label(cells, first, height, width, arg & 1 == 1, 2, labels, stack)
    open_region = np.zeros(number + 1, np.bool_)
    colour = np.zeros(number + 1, np.int64)
    for p in range(size):
        k = labels[p]
        r, c = p // width, p % width
        if r == 0 or c == 0 or r == height - 1 or c == width - 1:
            open_region[k] = True
        if k > 0 and colour[k] == 0:
            colour[k] = neighbour(cells, first, height, width, p, False)
    target = place(meta, o, height, width, x, y)
    for p in range(size):
        k = labels[p]
        value = cells[first + p] if arg & 2 == 0 else 0
        if k > 0 and open_region[k] == (arg & 4 != 0):
            value = colour[k] if colour[k] > 0 else 1
        cells[target + p] = value
    return 1


def outline(cells: Any, meta: Any, a: Any, b: Any, o: Any, e: Any, arg: Any) -> Any:
    """Background next to objects, in the neighbour's colour. arg & 1: diagonals too; arg & 2: the
    objects stay; arg & 4: the image grows by one cell a side."""
    first, height, width, x, y = image(meta, a)
    ring = 1 if arg & 4 else 0
    rows, columns = height + 2 * ring, width + 2 * ring
    target = blank(cells, meta, o, rows, columns, x - ring, y - ring)
    if target < 0:
        return NONE
    for r in range(height):
        for c in range(width):
            own = cells[first + r * width + c]
            if own == 0:
                continue
            if arg & 2:
                cells[target + (r + ring) * columns + c + ring] = own
            for i in range(max(r - 1, -ring), min(r + 2, height + ring)):
                for j in range(max(c - 1, -ring), min(c + 2, width + ring)):
                    inside = 0 <= i < height and 0 <= j < width
                    if inside and cells[first + i * width + j] != 0:
                        continue
                    if arg & 1 or i == r or j == c:
                        cells[target + (i + ring) * columns + j + ring] = own
    return 1


def boundary(cells: Any, meta: Any, a: Any, b: Any, o: Any, e: Any, arg: Any) -> Any:
    """Cells of an object that have a neighbour outside it (arg & 2: that have none). arg & 1:
    diagonal neighbours count; arg & 4: other colours are not outside."""
    first, height, width, x, y = image(meta, a)
    target = place(meta, o, height, width, x, y)
    for r in range(height):
        for c in range(width):
            own = cells[first + r * width + c]
            edge = r == 0 or c == 0 or r == height - 1 or c == width - 1
            if own != 0 and not edge:
                for s in range(r - 1, r + 2):
                    for t in range(c - 1, c + 2):
                        if arg & 1 or s == r or t == c:
                            value = cells[first + s * width + t]
                            edge = edge or (value == 0 if arg & 4 else value != own)
            cells[target + r * width + c] = own if edge == (arg & 2 == 0) else 0
    return 1


@part
def step(direction: Any) -> Any:
    """Row and column steps of the directions 0..7: right, left, down, up, then diagonals."""
    if direction < 4:
        sign = 1 if direction % 2 == 0 else -1
        return (0, sign) if direction < 2 else (sign, 0)
    return (1 if direction & 2 == 0 else -1), (1 if direction & 1 == 0 else -1)


def rays(cells: Any, meta: Any, a: Any, b: Any, o: Any, e: Any, arg: Any) -> Any:
    """Extend every cell over the background up to the next cell: arg & 255 the set of directions
    (see `step`); arg & 512: the rays alone."""
    first, height, width, _x, _y = image(meta, a)
    target = copy(cells, meta, a, o)
    ray = np.zeros(height * width, np.int8)
    for direction in range(8):
        if arg >> direction & 1 == 0:
            continue
        dy, dx = step(direction)
        for k in range(height):
            r = k if dy >= 0 else height - 1 - k
            for m in range(width):
                c = m if dx >= 0 else width - 1 - m
                p = r * width + c
                before = p - dy * width - dx
                ray[p] = 0
                if 0 <= r - dy < height and 0 <= c - dx < width:
                    value = cells[first + before]
                    ray[p] = value if value != 0 else ray[before]
                    if ray[p] != 0 and cells[first + p] == 0:
                        cells[target + p] = ray[p]
    if arg & 512:
        for p in range(height * width):
            if cells[first + p] != 0:
                cells[target + p] = 0
    return 1


def connect(cells: Any, meta: Any, a: Any, b: Any, o: Any, e: Any, arg: Any) -> Any:
    """Background between two cells of one colour in a row (arg & 1), column (2), diagonal (4);
    arg & 8: the connections alone; arg & 16: cells of different colours are connected too."""
    first, height, width, _x, _y = image(meta, a)
    target = copy(cells, meta, a, o)
    if arg & 8:
        for p in range(height * width):
            cells[target + p] = 0
    for r in range(height):
        for c in range(width):
            colour = cells[first + r * width + c]
            if colour == 0:
                continue
            for direction in range(8):
                group = 4 if direction >= 4 else (1 if direction < 2 else 2)
                if arg & group == 0 or direction == 1 or direction == 3 or direction >= 6:
                    continue
                dy, dx = step(direction)
                s, t = r + dy, c + dx
                while 0 <= s < height and 0 <= t < width and cells[first + s * width + t] == 0:
                    s += dy
                    t += dx
                if not (0 <= s < height and 0 <= t < width):
                    continue
                if cells[first + s * width + t] != colour and arg & 16 == 0:
                    continue
                s, t = r + dy, c + dx
                while cells[first + s * width + t] == 0:
                    cells[target + s * width + t] = colour
                    s += dy
                    t += dx
    return 1


def gravity(cells: Any, meta: Any, a: Any, b: Any, o: Any, e: Any, arg: Any) -> Any:
    """Every cell falls as far as it can: 0 right, 1 left, 2 down, 3 up."""
    first, height, width, x, y = image(meta, a)
    target = blank(cells, meta, o, height, width, x, y)
    lines, length = (height, width) if arg < 2 else (width, height)
    for line in range(lines):
        free = 0
        for k in range(length):
            back = k if arg % 2 == 1 else length - 1 - k
            p = line * width + back if arg < 2 else back * width + line
            if cells[first + p] != 0:
                spot = free if arg % 2 == 1 else length - 1 - free
                q = line * width + spot if arg < 2 else spot * width + line
                cells[target + q] = cells[first + p]
                free += 1
    return 1


def fall(cells: Any, meta: Any, a: Any, b: Any, o: Any, e: Any, arg: Any) -> Any:
    """Every object falls as a whole until it meets another or the edge: arg & 3 as `gravity`,
    arg & 4: objects are of one colour (else of any), 8-connected."""
    first, height, width, x, y = image(meta, a)
    size = height * width
    labels = np.empty(size, np.int16)
    stack = np.empty(size, np.int16)
    number = label(cells, first, height, width, True, 0 if arg & 4 else 1, labels, stack)
    if number > 40:
        return NONE
    dy, dx = step(arg & 3)
    travel = np.zeros(number + 1, np.int64)
    # The least travel that leaves every gap between two objects, or to the edge, closed at most.
    for p in range(number + 1):
        travel[p] = 100
    for _ in range(number + 1):
        changed = False
        for p in range(size):
            k = labels[p]
            if k == 0:
                continue
            r, c = p // width + dy, p % width + dx
            gap = 0
            while 0 <= r < height and 0 <= c < width and labels[r * width + c] == 0:
                r += dy
                c += dx
                gap += 1
            if 0 <= r < height and 0 <= c < width:
                other = labels[r * width + c]
                bound = gap + travel[other] if other != k else 100
            else:
                bound = gap
            if bound < travel[k]:
                travel[k] = bound
                changed = True
        if not changed:
            break
    target = blank(cells, meta, o, height, width, x, y)
    for p in range(size):
        k = labels[p]
        if k > 0:
            r, c = p // width + dy * travel[k], p % width + dx * travel[k]
            if 0 <= r < height and 0 <= c < width:
                cells[target + r * width + c] = cells[first + p]
    return 1


def denoise(cells: Any, meta: Any, a: Any, b: Any, o: Any, e: Any, arg: Any) -> Any:
    """Remove components of one colour of arg // 2 cells or fewer (arg & 1: keep only those)."""
    first, height, width, x, y = image(meta, a)
    size = height * width
    labels = np.empty(size, np.int16)
    stack = np.empty(size, np.int16)
    number = label(cells, first, height, width, True, 0, labels, stack)
    sizes = np.zeros(number + 1, np.int64)
    for p in range(size):
        sizes[labels[p]] += 1
    target = place(meta, o, height, width, x, y)
    for p in range(size):
        small = sizes[labels[p]] <= arg >> 1
        cells[target + p] = cells[first + p] if small == (arg & 1 == 1) else 0
    return 1


def vote(cells: Any, meta: Any, a: Any, b: Any, o: Any, e: Any, arg: Any) -> Any:
    """Each cell (0 all, 1 background only, 2 others only) takes the colour of at least five of its
    eight neighbours."""
    first, height, width, _x, _y = image(meta, a)
    target = copy(cells, meta, a, o)
    counts = np.zeros(10, np.int64)
    for r in range(height):
        for c in range(width):
            own = cells[first + r * width + c]
            if (arg == 1 and own != 0) or (arg == 2 and own == 0):
                continue
            for colour in range(10):
                counts[colour] = 0
            for s in range(max(r - 1, 0), min(r + 2, height)):
                for t in range(max(c - 1, 0), min(c + 2, width)):
                    if s != r or t != c:
                        counts[cells[first + s * width + t]] += 1
            for colour in range(10):
                if counts[colour] >= 5:
                    cells[target + r * width + c] = colour
    return 1


def broadcast(cells: Any, meta: Any, a: Any, b: Any, o: Any, e: Any, arg: Any) -> Any:
    """Each row (arg < 3) or column in one colour: that of its first cell other than 0 (arg % 3: 0),
    of its last (1), or its commonest (2)."""
    first, height, width, x, y = image(meta, a)
    target = place(meta, o, height, width, x, y)
    lines, length = (height, width) if arg < 3 else (width, height)
    counts = np.zeros(10, np.int64)
    for line in range(lines):
        colour = np.int64(0)
        for k in range(10):
            counts[k] = 0
        for k in range(length):
            value = np.int64(cells[first + (line * width + k if arg < 3 else k * width + line)])
            if value != 0:
                counts[value] += 1
                colour = value if arg % 3 == 1 or colour == 0 else colour
        if arg % 3 == 2:
            colour = most(counts)
        for k in range(length):
            cells[target + (line * width + k if arg < 3 else k * width + line)] = colour
    return 1


def spread(cells: Any, meta: Any, a: Any, b: Any, o: Any, e: Any, arg: Any) -> Any:
    """Every background cell in the colour of the nearest other cell by steps (arg 0 in four, 1 in
    eight directions); of equally near ones, that which comes first in reading order."""
    first, height, width, _x, _y = image(meta, a)
    target = copy(cells, meta, a, o)
    queue = np.empty(height * width, np.int64)
    end = 0
    for p in range(height * width):
        if cells[first + p] != 0:
            queue[end] = p
            end += 1
    done = 0
    while done < end:
        p = queue[done]
        done += 1
        for direction in range(8 if arg == 1 else 4):
            dy, dx = step(direction)
            r, c = p // width + dy, p % width + dx
            if 0 <= r < height and 0 <= c < width and cells[target + r * width + c] == 0:
                cells[target + r * width + c] = cells[target + p]
                queue[end] = r * width + c
                end += 1
    return 1


def march(cells: Any, meta: Any, a: Any, b: Any, o: Any, e: Any, arg: Any) -> Any:
    """Copies of the image, one beside the other, to the end of the input's frame: arg & 255 the set
    of directions (see `step`), arg & 256: with one cell between."""
    first, height, width, x, y = image(meta, a)
    rows, columns = np.int64(meta[e, 1]), np.int64(meta[e, 2])
    target = blank(cells, meta, o, rows, columns, 0, 0)
    gap = 1 if arg & 256 else 0
    for direction in range(8):
        if arg >> direction & 1 == 0:
            continue
        dy, dx = step(direction)
        for n in range(31):
            top, left = y + n * dy * (height + gap), x + n * dx * (width + gap)
            if top >= rows or left >= columns or top + height <= 0 or left + width <= 0:
                break
            for r in range(max(0, -top), min(height, rows - top)):
                for c in range(max(0, -left), min(width, columns - left)):
                    value = cells[first + r * width + c]
                    if value != 0:
                        cells[target + (top + r) * columns + left + c] = value
    return 1


def attract(cells: Any, meta: Any, a: Any, b: Any, o: Any, e: Any, arg: Any) -> Any:
    """Every other object moves straight towards the largest one until they touch, where a row or
    column holds cells of both; the rest stays (arg 0) or goes (1). Objects are 8-connected and of
    one colour; arg 2: only cells of the largest one's colour move, others go."""
    first, height, width, x, y = image(meta, a)
    size = height * width
    labels = np.empty(size, np.int16)
    stack = np.empty(size, np.int16)
    number = label(cells, first, height, width, True, 0, labels, stack)
    if number < 2 or number > 60:
        return NONE
    sizes = np.zeros(number + 1, np.int64)
    for p in range(size):
        sizes[labels[p]] += 1
    anchor = 1
    for k in range(2, number + 1):
        anchor = k if sizes[k] > sizes[anchor] else anchor
    way = np.full(number + 1, -1, np.int64)
    travel = np.full(number + 1, 100, np.int64)
    colour = 0
    for p in range(size):
        k = labels[p]
        if k == anchor:
            colour = cells[first + p]
        if k == 0 or k == anchor:
            continue
        for direction in range(4):
            dy, dx = step(direction)
            r, c = p // width + dy, p % width + dx
            gap = 0
            while 0 <= r < height and 0 <= c < width and labels[r * width + c] != anchor:
                r += dy
                c += dx
                gap += 1
            if 0 <= r < height and 0 <= c < width and gap < travel[k]:
                travel[k], way[k] = gap, direction
    target = blank(cells, meta, o, height, width, x, y)
    for p in range(size):
        k = labels[p]
        if k == 0:
            continue
        value = cells[first + p]
        moves = way[k] >= 0 and (arg != 2 or value == colour)
        if k == anchor or moves or arg == 0:
            dy, dx = step(way[k]) if moves else (0, 0)
            r, c = p // width + dy * travel[k], p % width + dx * travel[k]
            if k == anchor or not moves:
                r, c = p // width, p % width
            if 0 <= r < height and 0 <= c < width:
                cells[target + r * width + c] = value
    return 1
