"""Made-up tasks with a planted rule each: what runs without the corpus, and what must be solved.

The rules are general ones (moves, sizes, objects, colours, gravity), drawn at random sizes and
colours; none is copied from a task of the corpus.
"""

from collections.abc import Callable

import numpy as np

from quire.papers.arc.tasks import Grid, Pair, Task

Rule = Callable[[Grid], Grid]


def toy_tasks(
    per_rule: int, generator: np.random.Generator, *, demonstrations: int = 3
) -> dict[str, Task]:
    """`per_rule` tasks of each rule, by id `<rule>-<number>`, with one test pair each.

    Example:
        >>> import numpy as np
        >>> from quire.papers.arc.experiments.planted import toy_tasks
        >>> tasks = toy_tasks(1, np.random.default_rng(0))
        >>> len(tasks), tasks["mirror-0"].test[0].output.dtype
        (12, dtype('int8'))
    """
    if per_rule < 1 or demonstrations < 1:
        raise ValueError("per_rule and demonstrations must be at least 1")
    tasks = {}
    for name, make in RULES.items():
        for number in range(per_rule):
            rule, draw = make(generator)
            pairs: list[Pair] = []
            while len(pairs) < demonstrations + 1:
                grid = draw(generator)
                pairs.append(Pair(grid, np.ascontiguousarray(rule(grid), dtype=np.int8)))
            id = f"{name}-{number}"
            tasks[id] = Task(id, tuple(pairs[:-1]), tuple(pairs[-1:]))
    return tasks


Draw = Callable[[np.random.Generator], Grid]


def noise(generator: np.random.Generator) -> Grid:
    """3 to 8 cells a side of black and three colours."""
    height, width = generator.integers(3, 9, 2)
    return generator.choice([0, 0, 1, 2, 3], (height, width)).astype(np.int8)


def scene(generator: np.random.Generator) -> Grid:
    """Three filled rectangles of different sizes and colours that do not touch, on black."""
    grid: Grid = np.zeros((14, 14), np.int8)
    sizes, colours = generator.permutation([2, 3, 4]), generator.permutation(9)[:3] + 1
    for place, (size, colour) in enumerate(zip(sizes, colours, strict=True)):
        top = int(generator.integers(0, 10)) if place != 1 else int(generator.integers(0, 9))
        left = 5 * place
        grid[top : top + size, left : left + min(size, 4)] = colour
    return grid


def _fixed(rule: Rule, draw: Draw = noise) -> Callable[[np.random.Generator], tuple[Rule, Draw]]:
    return lambda generator: (rule, draw)


def crop(grid: Grid) -> Grid:
    """The smallest rectangle around what is not black."""
    rows, columns = np.nonzero(grid)
    return grid if not len(rows) else grid[rows.min() : rows.max() + 1,
                                           columns.min() : columns.max() + 1]  # fmt: skip


def fall(grid: Grid) -> Grid:
    """Every column's colours sink to the bottom in their order."""
    return np.stack([np.concatenate([c[c == 0], c[c != 0]]) for c in grid.T], axis=1)


def largest(grid: Grid) -> Grid:
    """The colour with most cells, cut out."""
    counts = np.bincount(grid.ravel(), minlength=10)
    counts[0] = 0
    return crop(np.where(grid == counts.argmax(), grid, 0))


def _recolour(generator: np.random.Generator) -> tuple[Rule, Draw]:
    table = np.concatenate([[0], generator.permutation(9) + 1]).astype(np.int8)
    return (lambda grid: table[grid]), noise


def _keep(generator: np.random.Generator) -> tuple[Rule, Draw]:
    colour = int(generator.integers(1, 4))
    return (lambda grid: np.where(grid == colour, grid, 0)), noise


RULES: dict[str, Callable[[np.random.Generator], tuple[Rule, Draw]]] = {
    "mirror": _fixed(lambda grid: grid[:, ::-1]),
    "flip": _fixed(lambda grid: grid[::-1]),
    "rotate": _fixed(lambda grid: np.rot90(grid)),
    "transpose": _fixed(lambda grid: grid.T),
    "crop": _fixed(crop, scene),
    "largest": _fixed(largest, scene),
    "fall": _fixed(fall),
    "enlarge": _fixed(lambda grid: grid.repeat(2, 0).repeat(2, 1)),
    "tile": _fixed(lambda grid: np.tile(grid, (1, 2))),
    "complete": _fixed(lambda grid: np.concatenate([grid, grid[::-1]])),
    "recolour": _recolour,
    "keep": _keep,
}
"""Rule -> how one instance of it is drawn."""
