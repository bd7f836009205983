"""Primitives on space: enclosure, outlines, rays, gravity, noise, objects that move or repeat.

Every step of a search runs these on all grids of a task, so they are written for speed: neighbours
are read from a copy with a frame around it (`framed`) instead of being tested for the image's edge,
and choices are written as values in place of branches where that lets the compiler do many cells at
once. Scratch numbers lie in `cells` behind the image that is being made (`free`).
"""

from typing import Any

import numpy as np

from quire.papers.arc.grids import (
    NONE,
    blank,
    copy,
    framed,
    free,
    image,
    label,
    most,
    part,
    place,
    unframed,
)


def enclosed(cells: Any, meta: Any, a: Any, b: Any, o: Any, e: Any, arg: Any) -> Any:
    """Fill background that cannot reach the edge, in the colour that it meets first.

    arg & 1: paths may go diagonally; arg & 2: the filling alone; arg & 4: what can reach it."""
    first, height, width, x, y = image(meta, a)
    size = height * width
    labels = np.empty(size, np.int16)
    # Regions of background: one that touches the edge is open, so it needs no flood from outside.
    number = label(cells, first, height, width, arg & 1 == 1, 2, labels)
    open_region = np.zeros(number + 1, np.bool_)
    colour = np.zeros(number + 1, np.int8)
    for r in range(height):
        for c in range(width):
            p = r * width + c
            k = labels[p]
            if k == 0:
                continue
            if r == 0 or c == 0 or r == height - 1 or c == width - 1:
                open_region[k] = True
            # Cells come in reading order: a region's colour is that of the first neighbour that is
            # not background. Without a test for 0, which would leave the colour at 0 all the same.
            if colour[k] == 0 and r > 0:
                colour[k] = cells[first + p - width]
            if colour[k] == 0 and c > 0:
                colour[k] = cells[first + p - 1]
            if colour[k] == 0 and c + 1 < width:
                colour[k] = cells[first + p + 1]
            if colour[k] == 0 and r + 1 < height:
                colour[k] = cells[first + p + width]
    target = place(meta, o, height, width, x, y)
    for p in range(size):
        k = labels[p]
        value = cells[first + p] if arg & 2 == 0 else 0
        # A region without any neighbour (an empty image) has no colour: 1 stands for it.
        if k > 0 and open_region[k] == (arg & 4 != 0):
            value = colour[k] if colour[k] > 0 else 1
        cells[target + p] = value
    return 1


def outline(cells: Any, meta: Any, a: Any, b: Any, o: Any, e: Any, arg: Any) -> Any:
    """Background next to objects, in the neighbour's colour. arg & 1: diagonals too; arg & 2: the
    objects stay; arg & 4: the image grows by one cell a side."""
    first, height, width, x, y = image(meta, a)
    # The frame is one cell wider than the result: each cell of it then has eight neighbours.
    ring = 1 if arg & 4 else 0
    rows, columns = height + 2 * ring, width + 2 * ring
    target = place(meta, o, rows, columns, x - ring, y - ring)
    if target < 0:
        return NONE
    start, wide = free(meta, o), columns + 2
    size = framed(cells, first, height, width, 1 + ring, 0, start)
    done = start + size
    diagonal = arg & 1 == 1
    stay = arg & 2 != 0
    for p in range(wide + 1, size - wide - 1):
        q = start + p
        # The last neighbour in reading order gives the colour: each one that is not background
        # takes the place of those before it. Without branches, for many cells at once.
        value = cells[q - wide - 1] if diagonal else np.int8(0)
        value = cells[q - wide] if cells[q - wide] != 0 else value
        corner = cells[q - wide + 1] if diagonal else np.int8(0)
        value = corner if corner != 0 else value
        value = cells[q - 1] if cells[q - 1] != 0 else value
        value = cells[q + 1] if cells[q + 1] != 0 else value
        corner = cells[q + wide - 1] if diagonal else np.int8(0)
        value = corner if corner != 0 else value
        value = cells[q + wide] if cells[q + wide] != 0 else value
        corner = cells[q + wide + 1] if diagonal else np.int8(0)
        value = corner if corner != 0 else value
        own = cells[q]
        kept = own if stay else np.int8(0)
        cells[done + p] = kept if own != 0 else value
    unframed(cells, done, rows, columns, 1, target)
    return 1


def boundary(cells: Any, meta: Any, a: Any, b: Any, o: Any, e: Any, arg: Any) -> Any:
    """Cells of an object that have a neighbour outside it (arg & 2: that have none). arg & 1:
    diagonal neighbours count; arg & 4: other colours are not outside."""
    first, height, width, x, y = image(meta, a)
    target = place(meta, o, height, width, x, y)
    start, wide = free(meta, o), width + 2
    # Cells beyond the image count as background, so an object at the edge has its boundary there.
    size = framed(cells, first, height, width, 1, 0, start)
    done = start + size
    if arg & 4:  # any colour is as good as another
        for p in range(size):
            cells[start + p] = 1 if cells[start + p] != 0 else 0
    diagonal = arg & 1 == 1
    inner = arg & 2 != 0
    # `done` holds 1 where a cell is kept. Its colour comes from the image at the end, as the copy
    # may have lost it above.
    for p in range(wide + 1, size - wide - 1):
        q = start + p
        own = cells[q]
        inside = (cells[q - wide] == own) & (cells[q + wide] == own)
        inside = inside & (cells[q - 1] == own) & (cells[q + 1] == own)
        corners = (cells[q - wide - 1] == own) & (cells[q - wide + 1] == own)
        corners = corners & (cells[q + wide - 1] == own) & (cells[q + wide + 1] == own)
        inside = inside & (corners | (not diagonal))
        cells[done + p] = 1 if inside == inner else 0
    unframed(cells, done, height, width, 1, target)
    for p in range(height * width):
        cells[target + p] = cells[first + p] if cells[target + p] != 0 else 0
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
    # A ray is carried from cell to cell: each holds its own colour, or else what the cell before it
    # holds. So one pass a direction does, whatever the rays' lengths.
    # `held`: what a ray brings to each cell of a row, with a cell on either side for diagonals.
    wide = width + 2
    held = free(meta, o)
    for direction in range(8):
        if arg >> direction & 1 == 0:
            continue
        dy, dx = step(direction)
        if dy == 0:  # along a row the cell before is the last one seen
            for r in range(height):
                value = np.int8(0)
                for k in range(width):
                    p = r * width + (k if dx > 0 else width - 1 - k)
                    own = cells[first + p]
                    value = own if own != 0 else value
                    cells[target + p] = value if own == 0 and value != 0 else cells[target + p]
            continue
        # Else it lies in the row before: two rows take turns, of which `before` starts shifted
        # against the ray's slope.
        for p in range(2 * wide):
            cells[held + p] = 0
        for k in range(height):
            row = (k if dy > 0 else height - 1 - k) * width
            now, before = held + (k & 1) * wide + 1, held + (1 - (k & 1)) * wide + 1 - dx
            for c in range(width):
                own, value = cells[first + row + c], cells[before + c]
                old = cells[target + row + c]
                cells[now + c] = own if own != 0 else value
                cells[target + row + c] = value if (own == 0) & (value != 0) else old
    if arg & 512:  # without what sent the rays out
        for p in range(height * width):
            if cells[first + p] != 0:
                cells[target + p] = 0
    return 1


def connect(cells: Any, meta: Any, a: Any, b: Any, o: Any, e: Any, arg: Any) -> Any:
    """Background between two cells of one colour in a row (arg & 1), column (2), diagonal (4);
    arg & 8: the connections alone; arg & 16: cells of different colours are connected too."""
    first, height, width, _x, _y = image(meta, a)
    target = copy(cells, meta, a, o)
    size, wide = height * width, width + 2
    if arg & 8:
        for p in range(size):
            cells[target + p] = 0
    # For each cell the nearest colours before and after it, the row of the former, and the row
    # that the connection drawn there came from: of several, that from the lowest is seen.
    # Each is a framed image of at most 32 x 32 = 1024 cells.
    before = free(meta, o)
    after, rows, drawn = before + 1024, before + 2048, before + 3072
    for p in range(size):
        cells[drawn + p] = -1
    for turn in range(3):  # falling diagonals, columns, rising diagonals
        dx = 1 - turn
        if arg & (2 if turn == 1 else 4) == 0:
            continue
        for p in range((height + 2) * wide):
            cells[before + p] = 0
            cells[after + p] = 0
            cells[rows + p] = 0
        # Down: the nearest colour before each cell, itself included, is its own or that of the cell
        # before it on the line.
        for r in range(height):
            q = (r + 1) * wide + 1
            for c in range(width):
                own = cells[first + r * width + c]
                near, row = cells[before + q + c - wide - dx], cells[rows + q + c - wide - dx]
                cells[before + q + c] = own if own != 0 else near
                cells[rows + q + c] = np.int8(r) if own != 0 else row
        # Up: the nearest after it likewise. Both are known now, so the connection is drawn at once.
        for k in range(height):
            r = height - 1 - k
            q = (r + 1) * wide + 1
            for c in range(width):
                p = r * width + c
                own, far = cells[first + p], cells[after + q + c + wide + dx]
                cells[after + q + c] = own if own != 0 else far
                near, row = cells[before + q + c], cells[rows + q + c]
                joined = own == 0 and near != 0 and far != 0 and (near == far or arg & 16)
                if joined and row >= cells[drawn + p]:
                    cells[target + p] = near
                    cells[drawn + p] = row
    if arg & 1:  # rows last, over the others; along a row the gap is known when its end is met
        for r in range(height):
            last = np.int64(-1)
            for c in range(width):
                p = first + r * width + c
                if cells[p] == 0:
                    continue
                if last >= 0 and (cells[p] == cells[last] or arg & 16):
                    for q in range(last + 1, p):
                        cells[target + q - first] = cells[last]
                last = p
    return 1


def gravity(cells: Any, meta: Any, a: Any, b: Any, o: Any, e: Any, arg: Any) -> Any:
    """Every cell falls as far as it can: 0 right, 1 left, 2 down, 3 up."""
    first, height, width, x, y = image(meta, a)
    target = blank(cells, meta, o, height, width, x, y)
    lines, length = (height, width) if arg < 2 else (width, height)
    # Each line is read from the side that cells fall to; `free` cells there are taken already.
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
    number = label(cells, first, height, width, True, 0 if arg & 4 else 1, labels)
    if number > 40:  # noise rather than objects
        return NONE
    # Object, the one in its way (0: the edge), cells between: each pair of neighbours in a line.
    way = np.empty((size, 3), np.int8)
    pairs = 0
    lines, length = (height, width) if arg & 2 == 0 else (width, height)
    for line in range(lines):
        last, other = -1, 0
        for k in range(length):
            along = k if arg & 1 else length - 1 - k
            p = line * width + along if arg & 2 == 0 else along * width + line
            own = labels[p]
            if own == 0:
                continue
            if own != other:
                way[pairs, 0], way[pairs, 1], way[pairs, 2] = own, other, k - last - 1
                pairs += 1
            last, other = k, own
    # The least travel that leaves every gap between two objects, or to the edge, closed at most:
    # an object goes no further than the gap before it and what is in its way goes. These are the
    # shortest paths to the edge (Bellman and Ford); few objects, so few rounds.
    travel = np.full(number + 1, 100, np.int64)
    travel[0] = 0
    changed = True
    while changed:
        changed = False
        for k in range(pairs):
            bound = way[k, 2] + travel[way[k, 1]]
            if bound < travel[way[k, 0]]:
                travel[way[k, 0]] = bound
                changed = True
    dy, dx = step(arg & 3)
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
    number = label(cells, first, height, width, True, 0, labels)
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
    first, height, width, x, y = image(meta, a)
    target = place(meta, o, height, width, x, y)
    start, wide = free(meta, o), width + 2
    # Beyond the edge is -1, a colour that never wins.
    size = framed(cells, first, height, width, 1, -1, start)
    done = start + size
    for p in range(wide + 1, size - wide - 1):
        q = start + p
        own = cells[q]
        value = own
        north, west, east, south = cells[q - wide], cells[q - 1], cells[q + 1], cells[q + wide]
        above, beyond = cells[q - wide - 1], cells[q - wide + 1]
        below, beneath = cells[q + wide - 1], cells[q + wide + 1]
        # Of five equal ones among eight, one is among any four: so four candidates are enough.
        for k in range(4):
            one = north if k == 0 else (west if k == 1 else (east if k == 2 else south))
            same = np.int8(north == one) + np.int8(west == one) + np.int8(east == one)
            same += np.int8(south == one) + np.int8(above == one) + np.int8(beyond == one)
            same += np.int8(below == one) + np.int8(beneath == one)
            value = one if (same >= 5) & (one >= 0) else value
        chosen = (arg == 0) | ((arg == 1) & (own == 0)) | ((arg == 2) & (own != 0))
        cells[done + p] = value if chosen else own
    unframed(cells, done, height, width, 1, target)
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
                # The last one always takes over, the first one only from nothing.
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
    # Breadth first from all coloured cells at once: the queue holds cells by their distance, and
    # equally far ones in the reading order of their sources, which decides between these.
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
            # A cell that has a colour was reached by a path as short, and earlier.
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
        for n in range(31):  # a frame holds no more copies; 0 is the image itself
            top, left = y + n * dy * (height + gap), x + n * dx * (width + gap)
            if top >= rows or left >= columns or top + height <= 0 or left + width <= 0:
                break
            # Only the part of a copy that lies in the frame; its background covers nothing.
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
    number = label(cells, first, height, width, True, 0, labels)
    if number < 2 or number > 60:
        return NONE
    sizes = np.zeros(number + 1, np.int64)
    for p in range(size):
        sizes[labels[p]] += 1
    # The largest object stays; of equal ones, that which comes first.
    anchor = 1
    for k in range(2, number + 1):
        anchor = k if sizes[k] > sizes[anchor] else anchor
    way = np.full(number + 1, -1, np.int64)
    travel = np.full(number + 1, 100, np.int64)
    # The cells between each cell and the largest object, by direction; 100: it is not met.
    between = np.full((4, size), 100, np.int8)
    for direction in range(4):
        dy, dx = step(direction)
        ahead = dy * width + dx
        # From the side that they move to, so that the cell ahead is known when a cell needs it.
        for n in range(size):
            p = n if ahead < 0 else size - 1 - n
            r, c = p // width + dy, p % width + dx
            if labels[p] != anchor and 0 <= r < height and 0 <= c < width:
                far = between[direction, p + ahead] + 1
                between[direction, p] = 0 if labels[p + ahead] == anchor else min(far, 100)
    # An object touches as soon as its nearest cell does, and goes the way that is shortest for it.
    colour = 0
    for p in range(size):
        k = labels[p]
        if k == anchor:
            colour = cells[first + p]
        if k == 0 or k == anchor:
            continue
        for direction in range(4):
            if between[direction, p] < travel[k]:
                travel[k], way[k] = between[direction, p], direction
    target = blank(cells, meta, o, height, width, x, y)
    for p in range(size):
        k = labels[p]
        if k == 0:
            continue
        value = cells[first + p]
        moves = way[k] >= 0 and (arg != 2 or value == colour)
        if k == anchor or moves or arg == 0:  # what neither stays nor moves is left out
            dy, dx = step(way[k]) if moves else (0, 0)
            r, c = p // width + dy * travel[k], p % width + dx * travel[k]
            if k == anchor or not moves:
                r, c = p // width, p % width
            if 0 <= r < height and 0 <= c < width:
                cells[target + r * width + c] = value
    return 1
