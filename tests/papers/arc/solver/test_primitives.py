"""The compiled primitives against NumPy twins, scipy and the laws that they must obey."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

pytest.importorskip("numba")

from numba import types
from numba.core import caching

from quire.papers.arc.grids import CROWD, OPTIONS, UNWRAPPED, image, keep_compiled, place
from quire.papers.arc.solver import lines, objects, patterns, shapes
from quire.papers.arc.solver.primitives import PRIMITIVES, Kind, Palette, Primitive
from quire.papers.arc.solver.program import evaluate_chain

grids = arrays(np.int8, st.tuples(st.integers(1, 8), st.integers(1, 8)), elements=st.integers(0, 3))
BY_NAME = {
    p.name: p
    for p in (
        Primitive(shapes.rigid, "rigid", 1.0),
        Primitive(shapes.crop, "crop", 1.0),
        Primitive(objects.components, "components", 1.0, Kind.SPLIT),
        Primitive(objects.overlay, "overlay", 1.0, Kind.JOIN),
        Primitive(lines.gravity, "gravity", 1.0),
        Primitive(lines.enclosed, "enclosed", 1.0),
        Primitive(lines.outline, "outline", 1.0),
        Primitive(lines.rays, "rays", 1.0),
        Primitive(objects.pick, "pick", 1.0, Kind.JOIN),
        Primitive(shapes.outer, "outer", 1.0),
    )
}


def call(name, grid, arg=0):
    """All images that one primitive makes of a grid."""
    return evaluate_chain(((name, arg),), grid, BY_NAME)


def one(name, grid, arg=0):
    """The image that a primitive makes of a grid."""
    images = call(name, grid, arg)
    return None if images is None else images[0][0]


@given(grids)
@settings(max_examples=60, deadline=None)
def test_rigid_moves_are_those_of_numpy_and_form_a_group(grid):
    twins = [
        lambda g: g, np.fliplr, np.flipud, lambda g: np.rot90(g, 2), np.transpose,
        lambda g: np.rot90(g, -1), lambda g: np.rot90(g, 1), lambda g: np.rot90(g, 2).T,
    ]  # fmt: skip
    moved = [one("rigid", grid, move) for move in range(8)]
    for result, twin in zip(moved, twins, strict=True):
        np.testing.assert_array_equal(result, twin(grid))
    for result in moved:  # closed: each move of each result is a result
        for move in range(8):
            again = one("rigid", result, move)
            assert any(np.array_equal(again, other) for other in moved)


def test_rigid_moves_of_a_generic_grid_have_the_table_of_d4():
    grid = np.arange(4, dtype=np.int8).reshape(2, 2) + 1
    moved = [one("rigid", grid, move).tobytes() for move in range(8)]
    assert len(set(moved)) == 8
    table = [
        [moved.index(one("rigid", one("rigid", grid, a), b).tobytes()) for b in range(8)]
        for a in range(8)
    ]
    for row in (*table, *zip(*table, strict=True)):
        assert sorted(row) == list(range(8))
    assert table[4][5] != table[5][4]


@given(grids)
@settings(max_examples=60, deadline=None)
def test_crop_is_the_bounding_box_and_idempotent(grid):
    result = call("crop", grid)
    rows, columns = np.nonzero(grid)
    if len(rows) == 0:
        assert result is None
        return
    cropped, x, y = result[0]
    twin = grid[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    np.testing.assert_array_equal(cropped, twin)
    assert (x, y) == (columns.min(), rows.min())
    np.testing.assert_array_equal(one("crop", cropped), cropped)


def paste(images, shape):
    """The images at their places, on 0."""
    canvas = np.zeros(shape, np.int8)
    for image_, x, y in images:
        spot = canvas[y : y + image_.shape[0], x : x + image_.shape[1]]
        spot[image_ != 0] = image_[image_ != 0]
    return canvas


@given(grids, st.sampled_from([0, 1, 2, 3, 4, 5]))
@settings(max_examples=120, deadline=None)
def test_components_are_those_of_scipy(grid, arg):
    eight, rule = arg & 1, arg >> 1
    structure = np.ones((3, 3)) if eight else None
    masks = {0: [grid == c for c in range(1, 4)], 1: [grid != 0], 2: [grid == 0]}[rule]
    wanted = set()
    for mask in masks:
        labels, number = ndimage.label(mask, structure)
        wanted |= {np.flatnonzero(labels == k + 1).tobytes() for k in range(number)}
    images = call("components", grid, arg)
    if len(wanted) > CROWD:
        assert images is None
        return
    found = [np.flatnonzero(paste([item], grid.shape)) for item in images]
    assert {cells.tobytes() for cells in found} == wanted
    # A partition: every cell that is asked for lies in exactly one component.
    assert (
        sorted(np.concatenate([*found, []]).tolist())
        == np.flatnonzero(grid == 0 if rule == 2 else grid).tolist()
    )


@given(grids, st.sampled_from([0, 1, 2, 3]))
@settings(max_examples=60, deadline=None)
def test_components_laid_over_one_another_are_the_original(grid, arg):
    chain = (("components", arg), ("overlay", 1))
    result = evaluate_chain(chain, grid, BY_NAME)
    np.testing.assert_array_equal(result[0][0], grid)


@given(grids, st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_gravity_preserves_lines_and_leaves_no_gap(grid, arg):
    fallen = one("gravity", grid, arg)
    lines_, before = (fallen, grid) if arg < 2 else (fallen.T, grid.T)
    for line, old in zip(lines_, before, strict=True):
        kept = [v for v in old.tolist() if v]
        assert [v for v in line.tolist() if v] == kept
        filled = (line != 0).tolist()
        assert filled == sorted(filled, reverse=arg % 2 == 1)


@given(grids, st.booleans())
@settings(max_examples=60, deadline=None)
def test_enclosed_is_binary_fill_holes(grid, diagonal):
    mask = one("enclosed", grid, 2 + diagonal)
    structure = np.ones((3, 3)) if diagonal else None
    holes = ndimage.binary_fill_holes(grid != 0, structure) & (grid == 0)
    np.testing.assert_array_equal(mask != 0, holes)


@given(grids, st.booleans())
@settings(max_examples=60, deadline=None)
def test_outline_is_a_dilation_less_the_objects(grid, diagonal):
    grown = ndimage.binary_dilation(grid != 0, np.ones((3, 3)) if diagonal else None)
    np.testing.assert_array_equal(one("outline", grid, int(diagonal)) != 0, grown & (grid == 0))
    np.testing.assert_array_equal(one("outline", grid, 2 + diagonal) != 0, grown)
    padded = ndimage.binary_dilation(np.pad(grid, 1) != 0, np.ones((3, 3)) if diagonal else None)
    np.testing.assert_array_equal(one("outline", grid, 6 + diagonal) != 0, padded)


@given(grids, st.integers(0, 7))
@settings(max_examples=80, deadline=None)
def test_rays_fill_up_to_the_next_cell(grid, direction):
    dy, dx = [(0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1)][direction]
    twin = grid.copy()
    for r, c in np.argwhere(grid):
        s, t = r + dy, c + dx
        while 0 <= s < grid.shape[0] and 0 <= t < grid.shape[1] and grid[s, t] == 0:
            twin[s, t] = grid[r, c]
            s, t = s + dy, t + dx
    np.testing.assert_array_equal(one("rays", grid, 1 << direction), twin)


@given(grids.filter(lambda g: max(g.shape) <= 5))
@settings(max_examples=40, deadline=None)
def test_outer_is_a_kronecker_product(grid):
    np.testing.assert_array_equal(one("outer", grid), np.kron((grid != 0).astype(np.int8), grid))


@given(grids)
@settings(max_examples=40, deadline=None)
def test_pick_takes_the_object_of_most_cells_or_nothing(grid):
    images = [item for item, _, _ in call("components", grid, 1) or []]
    result = evaluate_chain((("components", 1), ("pick", 0)), grid, BY_NAME)
    if not images:
        assert result is None
        return
    sizes = [np.count_nonzero(item) for item in images]
    best = [item for item, size in zip(images, sizes, strict=True) if size == max(sizes)]
    if all(np.array_equal(best[0], other) for other in best):
        np.testing.assert_array_equal(result[0][0], best[0])
    else:
        assert result is None


def test_a_function_of_ones_own_is_a_primitive():
    def corner(cells, meta, a, b, o, e, arg):
        first, _, _, x, y = image(meta, a)
        target = place(meta, o, 1, 1, x, y)
        cells[target] = cells[first]
        return 1

    own = Primitive(corner, "corner", 3.0)
    grid = np.array([[7, 1], [2, 3]], np.int8)
    images = evaluate_chain((("corner", 0),), grid, {"corner": own})
    assert images[0][0].tolist() == [[7]]


def no_place(self, function):
    raise RuntimeError(f"cannot cache function {function.__name__!r}: no locator available")


def full_disk(self, *args):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize(
    ("method", "fault", "why"),
    [("__init__", no_place, "no locator"), ("save_overload", full_disk, "No space left"),
     ("load_overload", full_disk, "No space left")],
)  # fmt: skip
def test_without_a_place_to_keep_code_it_is_compiled_for_now(monkeypatch, method, fault, why):
    """A home and site-packages that cannot be written, a full disk, a damaged cache."""
    monkeypatch.setattr(caching.FunctionCache, method, fault)
    twice = types.int64(types.int64)
    with pytest.warns(UserWarning, match=f"set NUMBA_CACHE_DIR to a folder .*{why}") as caught:
        compiled = keep_compiled(lambda n: 2 * n, twice, UNWRAPPED | {"no_cpython_wrapper": False})
    assert compiled(21) == 42 and len(caught) == 1


def test_what_was_typed_in_at_a_prompt_needs_no_file(monkeypatch):
    typed = {}
    exec(compile("def triple(n):\n    return 3 * n", "<stdin>", "exec"), typed)
    assert keep_compiled(typed["triple"], types.int64(types.int64), OPTIONS)(2) == 6


def test_every_instance_has_words_and_a_name_of_its_own():
    names = [p.name for p in PRIMITIVES]
    assert len(set(names)) == len(names)
    for primitive in PRIMITIVES:
        values = primitive.values(range(10), range(10))
        texts = [primitive.says(arg) for arg in values]
        assert len(set(texts)) == len(texts) == len(values)
        if not isinstance(primitive.arguments, Palette):
            distinct = set(primitive.arguments)
            assert len(distinct) == len(primitive.arguments)


def test_bad_primitives_are_named():
    with pytest.raises(ValueError, match="primitive flip: bits must be at least 0, not -1"):
        Primitive(shapes.rigid, "flip", -1)
    with pytest.raises(ValueError, match="primitive flip: 3 words for 2 arguments"):
        Primitive(shapes.rigid, "flip", 1.0, arguments=(1, 2), words=("a", "b", "c"))
    with pytest.raises(ValueError, match="needs the primitive 'gone'"):
        evaluate_chain((("gone", 0),), np.zeros((1, 1), np.int8), {})


@pytest.mark.slow
@pytest.mark.parametrize("primitive", PRIMITIVES, ids=lambda p: p.name)
def test_every_primitive_stays_within_its_room(primitive):
    # On random lists and images, whatever is written has sides of 1..30 and colours 0..9, and the
    # inputs are left as they were.
    rng = np.random.default_rng(0)
    by_name = {p.name: p for p in (*PRIMITIVES,)}
    split = (("components", 1),) if primitive.kind in (Kind.LIST, Kind.JOIN) else ()
    for trial in range(30):
        shape = rng.integers(1, 31, 2) if trial % 3 else rng.integers(1, 6, 2)
        grid = (rng.integers(0, 10, shape) * (rng.random(shape) < 0.2)).astype(np.int8)
        for arg in primitive.values(range(10), range(10)):
            before = grid.copy()
            images = evaluate_chain((*split, (primitive.name, arg)), grid, by_name)
            np.testing.assert_array_equal(grid, before)
            for result, _, _ in images or []:
                assert min(result.shape) >= 1 and max(result.shape) <= 30
                assert result.min() >= 0 and result.max() <= 9


def test_patterns_continue():
    by_name = {"periodic": Primitive(patterns.periodic, "periodic", 1.0)}
    tile = np.array([[1, 2, 3], [4, 5, 6]], np.int8)
    full = np.tile(tile, (4, 3))
    holed = full.copy()
    holed[2:5, 3:6] = 0
    images = evaluate_chain((("periodic", 0),), holed, by_name)
    np.testing.assert_array_equal(images[0][0], full)
