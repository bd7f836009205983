"""NumPy versions of primitives, slow and plain, written from the descriptions alone."""

from collections import Counter

import numpy as np
from scipy import ndimage

STEPS = ((0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1))
EIGHT = np.ones((3, 3))


def inside(grid, r, c):
    return 0 <= r < grid.shape[0] and 0 <= c < grid.shape[1]


def ranked(grid):
    """Colours other than 0 that occur, the commonest first, the lowest first among equals."""
    counts = Counter(grid[grid != 0].tolist())
    return sorted(counts, key=lambda colour: (-counts[colour], colour))


def commonest(grid):
    return (ranked(grid) or [0])[0]


def rarest(grid):
    counts = Counter(grid[grid != 0].tolist())
    return min(counts, key=lambda colour: (counts[colour], colour), default=0)


def labelled(grid, eight=True, each=True):
    """Masks of the components, of one colour where `each`, in reading order."""
    masks = []
    for mask in [grid == c for c in range(1, 10)] if each else [grid != 0]:
        labels, number = ndimage.label(mask, EIGHT if eight else None)
        masks += [labels == k + 1 for k in range(number)]
    return sorted(masks, key=lambda mask: int(np.flatnonzero(mask)[0]))


def separating(grid):
    """Masks of rows and columns of the separating lines, or None."""
    for colour in range(1, 10):
        rows, columns = (grid == colour).all(1), (grid == colour).all(0)
        if (rows.any() or columns.any()) and not rows.all() and not columns.all():
            return rows, columns
    return None


def runs(mask):
    """Slices of what lies between separating lines."""
    spans, begin = [], None
    for k, line in enumerate([*mask.tolist(), True]):
        if line and begin is not None:
            spans.append(slice(begin, k))
            begin = None
        elif not line and begin is None:
            begin = k
    return spans


def select_colour(grid, arg):
    return np.where((grid == arg % 10) == (arg < 10), grid, 0)


def select_common(grid, arg):
    if not grid.any():
        return None
    colour = commonest(grid) if arg < 2 else rarest(grid)
    return np.where((grid == colour) == (arg % 2 == 0), grid, 0)


def paint(grid, arg):
    colour = arg if arg < 10 else (commonest(grid) if arg % 2 == 0 else rarest(grid))
    return np.where(grid != 0, colour, 0)


def invert(grid, arg):
    return np.where(grid == 0, commonest(grid) or 1, grid if arg else 0)


def swap(grid, arg):
    colours = ranked(grid)
    if len(colours) != 2:
        return None
    a, b = colours
    return np.where(grid == a, b, np.where(grid == b, a, 0))


def compress(grid, arg):
    if arg == 2:
        lines = separating(grid)
        return None if lines is None else grid[~lines[0]][:, ~lines[1]]
    if arg == 0:
        rows, columns = grid.any(1), grid.any(0)
    else:
        rows = np.array([r == 0 or (grid[r] != grid[r - 1]).any() for r in range(len(grid))])
        columns = np.array(
            [c == 0 or (grid[:, c] != grid[:, c - 1]).any() for c in range(grid.shape[1])]
        )
    return grid[rows][:, columns] if rows.any() else None


def section(grid, arg):
    (height, width), square = grid.shape, min(grid.shape)
    tall, wide = height // 2, width // 2
    parts = [
        grid[:tall], grid[height - tall :], grid[:, :wide], grid[:, width - wide :],
        grid[:tall, :wide], grid[:tall, width - wide :], grid[height - tall :, :wide],
        grid[height - tall :, width - wide :], grid[1:-1, 1:-1], grid[:square, :square],
        grid[height - square :, width - square :], grid[1:], grid[:-1], grid[:, 1:], grid[:, :-1],
        grid[:1], grid[-1:], grid[:, :1], grid[:, -1:],
    ]  # fmt: skip
    return parts[arg] if parts[arg].size else None


def pad(grid, arg):
    return np.pad(grid, 1, constant_values=arg)


def enlarge(grid, arg):
    kinds, cells = len(ranked(grid)), np.count_nonzero(grid)
    down, across = {0: (kinds, kinds), 1: (cells, cells), 12: (len(grid), len(grid)),
                    10: (1, 2), 11: (2, 1)}.get(arg, (arg, arg))  # fmt: skip
    if max(grid.shape[0] * down, grid.shape[1] * across) > 30 or down == 0:
        return None
    return np.kron(grid, np.ones((down, across), np.int8))


def shrink(grid, arg):
    for size in range(min(grid.shape), 1, -1):
        if grid.shape[0] % size == 0 and grid.shape[1] % size == 0:
            small = grid[::size, ::size]
            if (np.kron(small, np.ones((size, size), np.int8)) == grid).all():
                return small
    return None


def tile(grid, arg):
    if arg == 0:
        return grid
    result = np.tile(grid, (arg // 10, arg % 10))
    return result if max(result.shape) <= 30 else None


def mirror(grid, arg):
    across, down, turn = grid[:, ::-1], grid[::-1], grid[::-1, ::-1]
    if arg >= 8:
        if grid.shape[0] != grid.shape[1]:
            return None
        way = -1 if arg == 8 else 1
        turns = [np.rot90(grid, way * k) for k in range(4)]
        return np.block([[turns[0], turns[1]], [turns[3], turns[2]]])
    blocks = [
        [[grid, across]], [[across, grid]], [[grid], [down]], [[down], [grid]],
        [[grid, across], [down, turn]], [[across, grid], [turn, down]],
        [[down, turn], [grid, across]], [[turn, down], [across, grid]],
    ]  # fmt: skip
    return np.block(blocks[arg])


def shift(grid, arg):
    dy, dx = arg // 3 - 1, arg % 3 - 1
    return np.pad(grid, 1)[1 - dy :, 1 - dx :][: grid.shape[0], : grid.shape[1]]


def symmetrise(grid, arg):
    if arg & 4 and grid.shape[0] != grid.shape[1]:
        return None
    result = grid.copy()
    for bit, move in ((1, np.fliplr), (2, np.flipud), (4, np.transpose)):
        if arg & bit:
            result = np.where(result == 0, move(result), result)
    return result


def scene(grid, arg):
    colour = rarest(grid) if arg % 3 == 1 else commonest(grid)
    if arg % 3 == 2:
        background = np.count_nonzero(grid == 0) > np.count_nonzero(grid == colour) or colour == 0
        colour = 0 if background else colour
    return np.full(grid.shape if arg >= 3 else (1, 1), colour)


def outer(grid, arg):
    if max(np.array(grid.shape) ** 2) > 30:
        return None
    chosen = [grid != 0, grid == 0, grid == commonest(grid), grid == rarest(grid), grid != 0][arg]
    return np.kron(chosen.astype(np.int8), grid)


def boundary(grid, arg):
    result = np.zeros_like(grid)
    for r, c in np.argwhere(grid):
        edge = r in (0, grid.shape[0] - 1) or c in (0, grid.shape[1] - 1)
        for dy, dx in STEPS[: 8 if arg & 1 else 4]:
            if inside(grid, r + dy, c + dx):
                other = grid[r + dy, c + dx]
                edge = edge or (other == 0 if arg & 4 else other != grid[r, c])
        if edge == (arg & 2 == 0):
            result[r, c] = grid[r, c]
    return result


def enclosed_cells(grid, arg):
    """Which cells `enclosed` fills: their colours are of a neighbour, for which see below."""
    labels, number = ndimage.label(grid == 0, EIGHT if arg & 1 else None)
    filled = np.zeros(grid.shape, bool)
    for k in range(1, number + 1):
        region = labels == k
        touches = region[0].any() or region[-1].any() or region[:, 0].any() or region[:, -1].any()
        filled |= region & (touches == (arg & 4 != 0))
    return filled


def outline(grid, arg):
    grid = np.pad(grid, 1) if arg & 4 else grid
    result = grid.copy() if arg & 2 else np.zeros_like(grid)
    for r, c in np.argwhere(grid):
        for dy, dx in STEPS[: 8 if arg & 1 else 4]:
            if inside(grid, r + dy, c + dx) and grid[r + dy, c + dx] == 0:
                result[r + dy, c + dx] = grid[r, c]
    return result


def rays(grid, arg):
    result = grid.copy()
    for k, (dy, dx) in enumerate(STEPS):
        for r, c in np.argwhere(grid) if arg >> k & 1 else ():
            s, t = r + dy, c + dx
            while inside(grid, s, t) and grid[s, t] == 0:
                result[s, t] = grid[r, c]
                s, t = s + dy, t + dx
    return result


def connect(grid, arg):
    result = np.zeros_like(grid) if arg & 8 else grid.copy()
    for r, c in np.argwhere(grid):
        for group, (dy, dx) in ((1, (0, 1)), (2, (1, 0)), (4, (1, 1)), (4, (1, -1))):
            path, s, t = [], r + dy, c + dx
            while inside(grid, s, t) and grid[s, t] == 0:
                path.append((s, t))
                s, t = s + dy, t + dx
            if arg & group and inside(grid, s, t) and (arg & 16 or grid[s, t] == grid[r, c]):
                for spot in path:
                    result[spot] = grid[r, c]
    return result


def fall(grid, arg):
    masks = labelled(grid, each=bool(arg & 4))
    dy, dx = STEPS[arg & 3]
    spots = [set(map(tuple, np.argwhere(mask).tolist())) for mask in masks]
    where = {spot: k for k, cells in enumerate(spots) for spot in cells}
    travel = [100] * len(spots)
    changed = True
    while changed:  # each cell bounds its object: by the edge, or by the next object's travel
        changed = False
        for (r, c), k in where.items():
            gap, s, t = 0, r + dy, c + dx
            while inside(grid, s, t) and (s, t) not in where:
                gap, s, t = gap + 1, s + dy, t + dx
            bound = gap + (travel[where[s, t]] if inside(grid, s, t) else 0)
            if where.get((s, t)) != k and bound < travel[k]:
                travel[k], changed = bound, True
    result = np.zeros_like(grid)
    for (r, c), k in where.items():
        result[r + dy * travel[k], c + dx * travel[k]] = grid[r, c]
    return result if len(spots) <= 40 else None


def attract(grid, arg):
    masks = labelled(grid)
    if not 2 <= len(masks) <= 60:
        return None
    sizes = [int(mask.sum()) for mask in masks]
    anchor = masks[sizes.index(max(sizes))]
    result = np.where(anchor, grid, 0)
    moved = []
    for mask in masks:
        if mask is anchor:
            continue
        best = (100, 0, 0, 0)
        for r, c in np.argwhere(mask):
            for dy, dx in STEPS[:4]:
                gap, s, t = 0, r + dy, c + dx
                while inside(grid, s, t) and not anchor[s, t]:
                    gap, s, t = gap + 1, s + dy, t + dx
                if inside(grid, s, t) and gap < best[0]:
                    best = (gap, dy * gap, dx * gap, 1)
        moves = best[3] and (arg != 2 or grid[mask][0] == grid[anchor][0])
        if moves or arg == 0:
            moved += [(r, c, best[1:3] if moves else (0, 0)) for r, c in np.argwhere(mask)]
    for r, c, (down, across) in sorted(moved, key=lambda cell: cell[:2]):
        if inside(grid, r + down, c + across):
            result[r + down, c + across] = grid[r, c]
    return result


def denoise(grid, arg):
    result = np.zeros_like(grid)
    for mask in labelled(grid):
        if (mask.sum() <= arg >> 1) == (arg & 1 == 1):
            result[mask] = grid[mask]
    return result


def vote(grid, arg):
    result = grid.copy()
    for r, c in np.ndindex(grid.shape):
        if (arg == 1 and grid[r, c]) or (arg == 2 and not grid[r, c]):
            continue
        around = [int(grid[r + dy, c + dx]) for dy, dx in STEPS if inside(grid, r + dy, c + dx)]
        for colour, number in Counter(around).items():
            if number >= 5:
                result[r, c] = colour
    return result


def broadcast(grid, arg):
    lines = grid if arg < 3 else grid.T
    result = np.zeros_like(lines)
    for k, line in enumerate(lines):
        filled = line[line != 0]
        if len(filled):
            result[k] = (filled[0], filled[-1], commonest(line))[arg % 3]
    return result if arg < 3 else result.T


def march(grid, arg):
    result = np.zeros_like(grid)
    for k, (dy, dx) in enumerate(STEPS):
        if arg >> k & 1:
            result = grid.copy()  # of the whole frame: every further copy lies outside
            assert dy or dx
    return result


def periodic(grid, arg):
    def fits(dy, dx):
        return all(
            not grid[r, c] or not inside(grid, r + dy, c + dx)
            or grid[r + dy, c + dx] in (0, grid[r, c]) for r, c in np.ndindex(grid.shape)
        )  # fmt: skip

    height, width = grid.shape
    if arg >= 3:
        slope = 1 if arg == 3 else -1
        if not fits(1, slope):
            return None

        def key(r, c):
            return c - slope * r
    else:
        down = next((p for p in range(1, height) if fits(p, 0)), height) if arg != 1 else height
        across = next((p for p in range(1, width) if fits(0, p)), width) if arg != 2 else width
        if (down, across) == grid.shape:
            return None

        def key(r, c):
            return r % down, c % across

    known = {key(r, c): grid[r, c] for r, c in np.argwhere(grid)}
    result = grid.copy()
    for r, c in np.argwhere(grid == 0):
        result[r, c] = known.get(key(r, c), 0)
    return result


def board(grid, arg):
    lines = separating(grid)
    if lines is None:
        return None
    fields = [[grid[down, across] for across in runs(lines[1])] for down in runs(lines[0])]
    if len(fields) * len(fields[0]) < 2:
        return None
    filled = np.array([[np.count_nonzero(field) for field in row] for row in fields])
    colours = np.array([[commonest(field) for field in row] for row in fields])
    if arg == 1:
        most = np.array([[np.count_nonzero(f == c) for f, c in zip(row, line, strict=True)]
                         for row, line in zip(fields, colours, strict=True)])  # fmt: skip
        empty = np.array([[np.count_nonzero(field == 0) for field in row] for row in fields])
        return np.where(empty > most, 0, colours)
    if arg == 2:
        return np.minimum(filled, 9)
    return np.where(filled == filled.max(), colours, 0) if arg == 3 else colours


def lines_only(grid, arg):
    lines = separating(grid)
    if lines is None:
        return None
    mask = lines[0][:, None] | lines[1][None]
    return np.where(mask == (arg == 0), grid, 0)


def sort_lines(grid, arg):
    order = sorted(range(len(grid)), key=lambda r: np.count_nonzero(grid[r]) * (-1 if arg else 1))
    return grid[order]


def histogram(grid, arg):
    counts = Counter(grid[grid != 0].tolist())
    order = sorted(counts, key=lambda c: ((1 if arg & 1 else -1) * counts[c], c))
    if not order:
        return None
    result = np.zeros((len(order), max(counts.values()) if arg & 2 else 1), np.int8)
    for k, colour in enumerate(order):
        result[k, : counts[colour] if arg & 2 else 1] = colour
    return result if result.shape[1] <= 30 else None


def rectangles(grid, arg):
    result = np.zeros_like(grid)
    (height, width), best, found = grid.shape, 4, []
    if arg >= 2:
        for r, c in np.ndindex(grid.shape):
            for tall in range(1, height - r + 1):
                wide = 0
                while c + wide < width and not grid[r : r + tall, c + wide].any():
                    wide += 1
                if wide and (arg == 2 or wide >= tall):
                    wide = tall if arg == 3 else wide
                    found.append((tall * wide, r, c, tall, wide))
        best = max([best, *(area for area, *_ in found)])
        for area, r, c, tall, wide in found:
            if area == best:
                result[r : r + tall, c : c + wide] = 1
        return result
    boxes = []
    for colour in ranked(grid):
        rows, columns = np.nonzero(grid == colour)
        top, left, bottom, right = rows.min(), columns.min(), rows.max() + 1, columns.max() + 1
        boxes.append((-(bottom - top) * (right - left), colour, top, left, bottom, right))
    for _, colour, top, left, bottom, right in sorted(boxes):
        if arg == 1:
            ring = np.ones((bottom - top, right - left), bool)
            ring[1:-1, 1:-1] = False
        else:
            ring = np.ones((bottom - top, right - left), bool)
        result[top:bottom, left:right][ring] = colour
    return result


def feature(grid, arg):
    (height, width), (r, c) = grid.shape, np.indices(grid.shape)
    edge = np.minimum(np.minimum(r, height - 1 - r), np.minimum(c, width - 1 - c))
    values = [
        r % 2, c % 2, (r + c) % 2, r % 3, c % 3, (r + c) % 3, edge, edge % 2, edge == 0, r == c,
        r + c == width - 1, r, c, height - 1 - r, width - 1 - c, (r - c) % 3, 0 * r,
    ]  # fmt: skip
    return 1 + np.minimum(values[arg].astype(int), 8)


def surroundings(grid, arg):
    numbers = np.zeros(grid.shape, int)
    if arg > 2:
        filled = (grid != 0).sum(1 if arg % 2 else 0, keepdims=True)
        numbers = np.broadcast_to(filled == 0 if arg > 4 else filled, grid.shape).astype(int)
    for r, c in np.ndindex(grid.shape) if arg <= 2 else ():
        for dy, dx in STEPS[: 4 if arg == 1 else 8]:
            if inside(grid, r + dy, c + dx):
                other = grid[r + dy, c + dx]
                numbers[r, c] += other != 0 and (arg != 2 or other == grid[r, c])
    return 1 + np.minimum(numbers, 8)


def canvas(grid, arg):
    result = np.zeros((grid.shape[0] * (arg // 10), grid.shape[1] * (arg % 10)), np.int8)
    result[: grid.shape[0], : grid.shape[1]] = grid
    return result


def spread(grid, arg):
    result, steps = grid.copy(), STEPS[: 8 if arg else 4]
    queue = [tuple(spot) for spot in np.argwhere(grid)]
    for r, c in queue:  # grows while it is read
        for dy, dx in steps:
            if inside(grid, r + dy, c + dx) and result[r + dy, c + dx] == 0:
                result[r + dy, c + dx] = result[r, c]
                queue.append((r + dy, c + dx))
    return result


TWINS = {
    name: twin
    for names, twin in (
        ("keep_colour remove_colour", select_colour), ("common_colour", select_common),
        ("paint", paint), ("paint_common", paint), ("invert", invert), ("swap", swap),
        ("compress", compress), ("section", section), ("pad ring", pad), ("enlarge", enlarge),
        ("shrink", shrink), ("tile", tile), ("mirror", mirror), ("shift", shift),
        ("symmetrise", symmetrise), ("scene", scene), ("outer", outer), ("boundary", boundary),
        ("outline", outline), ("rays", rays), ("connect", connect), ("fall", fall),
        ("attract", attract), ("denoise", denoise), ("vote", vote), ("broadcast", broadcast),
        ("march", march), ("periodic", periodic), ("board", board), ("separators", lines_only),
        ("sort_rows", sort_lines), ("histogram", histogram), ("rectangles", rectangles),
        ("feature", feature), ("surroundings", surroundings), ("canvas", canvas),
        ("spread", spread),
    )
    for name in names.split()
}  # fmt: skip
