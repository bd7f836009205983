"""Primitives against plain NumPy versions of them."""

from collections import Counter

import numpy as np
import pytest
from scipy import ndimage

pytest.importorskip("numba")

from papers.arc.solver.twins import (
    EIGHT,
    TWINS,
    commonest,
    enclosed_cells,
    labelled,
    runs,
    separating,
)
from quire.papers.arc.solver.primitives import PRIMITIVES, Kind
from quire.papers.arc.solver.program import evaluate_chain

BY_NAME = {primitive.name: primitive for primitive in PRIMITIVES}
SPLIT = ("components", 3)


def random_grid(rng, trial):
    """Small grids, sparse or full, of few or all colours."""
    shape = rng.integers(1, 9, 2)
    if trial % 3 == 0:
        shape[1] = shape[0]
    colours = (2, 3, 4, 10)[trial % 4]
    grid = (rng.integers(0, colours, shape) * (rng.random(shape) < rng.random())).astype(np.int8)
    return np.kron(grid[:4, :4], np.ones((2, 2), np.int8)) if trial % 5 == 4 else grid


@pytest.mark.parametrize("name", TWINS)
def test_an_image_is_what_its_numpy_twin_makes(name):
    rng = np.random.default_rng(0)
    made = 0
    for trial in range(60):
        grid = random_grid(rng, trial)
        for arg in BY_NAME[name].values(range(10), range(10)):
            images = evaluate_chain(((name, arg),), grid, BY_NAME)
            wanted = TWINS[name](grid, arg)
            if images is None or wanted is None:
                assert images is wanted is None, (arg, grid.tolist())
                continue
            made += 1
            np.testing.assert_array_equal(images[0][0], wanted, err_msg=f"{arg} {grid.tolist()}")
    assert made > 5


def test_enclosed_cells_take_a_colour_that_touches_them():
    rng = np.random.default_rng(1)
    for trial in range(60):
        grid = random_grid(rng, trial)
        for arg in range(5):
            result = evaluate_chain((("enclosed", arg),), grid, BY_NAME)[0][0]
            filled = enclosed_cells(grid, arg)
            kept = grid if arg & 2 == 0 else np.zeros_like(grid)
            np.testing.assert_array_equal(result[~filled], kept[~filled])
            labels, number = ndimage.label(filled, EIGHT if arg & 1 else None)
            for k in range(1, number + 1):
                region = labels == k
                touching = set(grid[ndimage.binary_dilation(region) & ~region].tolist()) - {0}
                assert len(set(result[region].tolist())) == 1
                assert int(result[region][0]) in (touching or {1})


def splits(grid, name, arg):
    """Images and places that a split should give, or None."""
    height, width = grid.shape
    if name == "lines":
        if arg == 0:
            return [(grid[r : r + 1], 0, r) for r in range(height)]
        return [(grid[:, c : c + 1], c, 0) for c in range(width)]
    if name == "colours":
        images = []
        for colour in range(1, 10):
            rows, columns = np.nonzero(grid == colour)
            if len(rows) == 0:
                continue
            only = np.where(grid == colour, grid, 0)
            top, left = (rows.min(), columns.min()) if arg else (0, 0)
            bottom, right = (rows.max() + 1, columns.max() + 1) if arg else grid.shape
            images.append((only[top:bottom, left:right], left, top))
        return images
    lines = separating(grid)
    if lines is None:
        return None
    return [(grid[down, across], across.start, down.start)
            for down in runs(lines[0]) for across in runs(lines[1])]  # fmt: skip


@pytest.mark.parametrize("name", ["lines", "colours", "fields"])
def test_splits_are_those_of_numpy(name):
    rng = np.random.default_rng(2)
    found = 0
    for trial in range(90):
        grid = random_grid(rng, trial)
        for arg in BY_NAME[name].arguments:
            images = evaluate_chain(((name, arg),), grid, BY_NAME)
            wanted = splits(grid, name, arg)
            if wanted is None or images is None:
                assert images is wanted is None
                continue
            assert len(images) == len(wanted)
            for (one, x, y), (other, left, top) in zip(images, wanted, strict=True):
                np.testing.assert_array_equal(one, other)
                assert (x, y) == (left, top)
            found += 1
    assert found > 5


def properties(images, frame):
    """The measures of `objects.PROPERTIES` that follow from images and places, by name."""
    for image, x, y in images:
        counts = Counter(image[image != 0].tolist())
        size, (height, width) = np.count_nonzero(image), image.shape
        holes, _ = ndimage.label(np.pad(image, 1, constant_values=0) == 0)
        closed = set(np.unique(holes[1:-1, 1:-1])) - {0}
        ring = {*holes[1, 1:-1], *holes[-2, 1:-1], *holes[1:-1, 1], *holes[1:-1, -2]}
        flips = [image[:, ::-1], image[::-1], image[::-1, ::-1]]
        square = [image.T] if height == width else []
        yield {
            "size": size, "area": image.size, "height": height, "width": width,
            "number_of_colours": len(counts), "top_edge": y, "left_edge": x,
            "bottom_edge": y + height, "right_edge": x + width, "empty_cells": image.size - size,
            "density": 1000 * size // image.size, "longer_side": max(height, width),
            "number_of_holes": len(closed - ring), "colour": commonest(image),
            "number_of_symmetries": sum(bool((flip == image).all()) for flip in flips + square),
            "number_of_parts": len(labelled(image)),
            "cells_of_minor_colours": size - max(counts.values(), default=0),
            "number_of_equal_objects": sum(np.array_equal(image, i) for i, _, _ in images),
            "number_of_objects_of_its_shape": sum(
                np.array_equal(image != 0, i != 0) for i, _, _ in images
            ),
            "number_of_objects_of_its_colour": sum(
                commonest(i) == commonest(image) for i, _, _ in images
            ),
            "contact_with_the_border": int(
                not (x > 0 and y > 0 and x + width < frame[1] and y + height < frame[0])
            ),
        }  # fmt: skip


def test_objects_are_kept_picked_sorted_and_recoloured_by_their_measures():
    rng = np.random.default_rng(3)
    for trial in range(40):
        grid = random_grid(rng, trial)
        images = evaluate_chain((SPLIT,), grid, BY_NAME)
        measured = list(properties(images, grid.shape)) if images else []
        for name in measured[0] if measured else ():
            values = [row[name] for row in measured]
            check_objects(grid, [image for image, _, _ in images], name, values)


def check_objects(grid, images, name, values):
    """The primitives that go by one measure, with its values."""
    levels, high, low = sorted(set(values)), max(values), min(values)
    pairs = list(zip(images, values, strict=True))

    def run(step, number):
        step = f"{step}_by_{name}"
        if step not in BY_NAME:
            return None
        chain = (SPLIT, (step, BY_NAME[step].arguments[number]))
        return [image for image, _, _ in evaluate_chain(chain, grid, BY_NAME) or []]

    rules = (lambda v: v == high, lambda v: v != high, lambda v: v == low, lambda v: v != low)
    for k, rule in enumerate(rules):
        assert_equal(run("keep", k), [image for image, v in pairs if rule(v)])
    for k, end in enumerate((high, low)):
        best = [image for image, v in pairs if v == end]
        alike = all(np.array_equal(best[0], other) for other in best)
        assert_equal(run("pick", k), best[:1] if alike else [])
        order = sorted(range(len(values)), key=lambda n: values[n] * (-1 if end == low else 1))
        result = run("sort", k)
        if result is not None and low < high:
            assert_equal(result, [images[n] for n in order])
    colours = (
        lambda v: min(max(v, 1), 9), lambda v: min(levels.index(v) + 1, 9),
        lambda v: min(len(levels) - levels.index(v), 9), lambda v: 1 if v == high else 2,
    )  # fmt: skip
    for k, colour in enumerate(colours):
        assert_equal(run("recolour", k), [np.where(i != 0, colour(v), 0) for i, v in pairs])


def assert_equal(found, wanted):
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one, other)


def test_all_kinds_of_primitive_are_tested_here_or_beside():
    # A primitive without a twin is named here, so that new ones are not forgotten.
    without = {p.name for p in PRIMITIVES if p.kind in (Kind.EACH, Kind.WHOLE, Kind.FIRST)}
    assert without - TWINS.keys() == {
        "rigid", "crop", "crop_colour", "crop_common", "with_input", "on_input", "complete",
        "enclosed", "gravity", "unboard", "stamp",
    }  # fmt: skip
