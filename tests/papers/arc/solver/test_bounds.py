"""No primitive reads or writes outside its images, its room and its own arrays."""

import os
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("numba")

from quire.papers.arc.grids import CROWD, SIDE
from quire.papers.arc.solver.primitives import PRIMITIVES, Kind
from quire.papers.arc.solver.search import address, step

SHAPES = ((1, 1), (1, 30), (30, 1), (30, 30), (5, 5))
START = 64
ROOM = 2 * CROWD * SIDE * SIDE
BY_NAME = {primitive.name: primitive for primitive in PRIMITIVES}


JUNK = np.random.default_rng(1).integers(0, 10, (2, START + 904 + ROOM)).astype(np.int8)
ROWS = np.random.default_rng(2).integers(0, 9, (2, 8 * CROWD, 5)).astype(np.int32)


def arena(grid, junk):
    """A grid among junk, with its rows of meta."""
    cells, meta = JUNK[junk].copy(), ROWS[junk].copy()
    size = -(-grid.size // 8) * 8
    cells[START : START + size] = 0
    cells[START : START + grid.size] = grid.reshape(-1)
    meta[0] = START, *grid.shape, 0, 0
    meta[1, 0] = START + size
    return cells, meta


def apply(cells, meta, primitive, arg, span):
    """The images that a primitive makes behind those of `span`, in the arena."""
    a, b = span
    many = primitive.kind in (Kind.LIST, Kind.JOIN)
    end = step()(
        address(primitive.function), cells, cells.view(np.uint64), meta, a, b, arg,
        int(primitive.kind), many,
    )  # fmt: skip
    return b, end


def images(cells, meta, span):
    """What lies in the arena: rows of meta but their first cell, and the cells."""
    return [
        (meta[k, 1:].tolist(), cells[meta[k, 0] : meta[k, 0] + meta[k, 1] * meta[k, 2]].tolist())
        for k in range(*span)
    ]


def grids_to_try():
    rng = np.random.default_rng(0)
    for shape in SHAPES:
        for share in (0.15, 0.8):
            yield (rng.integers(1, 5, shape) * (rng.random(shape) < share)).astype(np.int8)


@pytest.mark.parametrize("kind", Kind)
def test_what_lies_around_an_image_does_not_matter_and_stays(kind):
    made = 0
    for primitive in (p for p in PRIMITIVES if p.kind is kind):
        for grid in grids_to_try():
            for arg in primitive.values((1, 4), (2, 3)):
                results = []
                for junk in (0, 1):
                    cells, meta = arena(grid, junk)
                    span = (0, 1)
                    if kind in (Kind.LIST, Kind.JOIN):
                        span = apply(cells, meta, BY_NAME["components"], 1, span)
                        if span[1] < 0:
                            continue
                    where = int(meta[span[1], 0])
                    before = cells[:where].copy(), meta[: span[1]].copy()
                    span = apply(cells, meta, primitive, arg, span)
                    assert (cells[:where] == before[0]).all()
                    assert (meta[: span[0], 1:] == before[1][:, 1:]).all()
                    results.append(images(cells, meta, span) if span[1] >= 0 else None)
                assert len(results) == 0 or results[0] == results[1], (primitive.name, arg)
                made += bool(results) and results[0] is not None
    assert made > 10


CHECKED = """
import numpy as np
from numba import int8, int32, int64, njit

from quire.papers.arc.grids import CROWD, SIDE, image
from quire.papers.arc.solver.primitives import PRIMITIVES, Kind

SIGNATURE = int64(int8[::1], int32[:, ::1], int64, int64, int64, int64, int64)
SHAPES = ((1, 1), (1, 30), (30, 1), (30, 30), (2, 3), (9, 12))
checked = {p.function: njit(SIGNATURE, error_model="numpy")(p.function) for p in PRIMITIVES}

def beyond(cells, meta, a, b, o, e, arg):
    return cells[len(cells)] + image(meta, a)[0]

try:
    njit(SIGNATURE)(beyond)(np.zeros(8, np.int8), np.zeros((2, 5), np.int32), 0, 1, 1, 0, 0)
except IndexError:
    pass
else:
    raise SystemExit("indices are not checked")
rng, runs = np.random.default_rng(0), 0
split = next(p for p in PRIMITIVES if p.name == "components")
for shape in SHAPES:
    for share in (0.0, 0.15, 0.6, 1.0):
        grid = (rng.integers(1, 10, shape) * (rng.random(shape) < share)).astype(np.int8)
        for primitive in PRIMITIVES:
            for arg in primitive.values((1, 4), (2, 3)):
                # Just the room that the search leaves behind the stored images.
                start = -(-grid.size // 8) * 8
                cells = np.zeros(start + 2 * CROWD * SIDE * SIDE, np.int8)
                cells[: grid.size] = grid.reshape(-1)
                meta = np.zeros((8 * CROWD, 5), np.int32)
                meta[0, 1:3], meta[1, 0] = grid.shape, start
                a, b = 0, 1
                if primitive.kind in (Kind.LIST, Kind.JOIN):
                    number = checked[split.function](cells, meta, 0, 1, 1, 0, 1)
                    if number < 0:
                        continue
                    a, b = 1, 1 + number
                checked[primitive.function](cells, meta, a, b, b, 0, arg)
                runs += 1
print(runs)
"""


@pytest.mark.slow
def test_every_index_is_within_its_array(tmp_path):
    # Compiled anew for arrays, which unlike pointers can be checked.
    environment = os.environ | {"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", CHECKED], capture_output=True, text=True, timeout=900, check=False,
        env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) > 5000
