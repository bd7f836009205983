"""Random blocks as google-research/bigbird and transformers draw them.

Weights that were trained elsewhere belong to the blocks that they were trained with. These are two
numbers of rules, both for a window of 3 and a global block at each end; the numbers come from
NumPy's old generator, whose stream does not change.
"""

import numpy as np
from numpy.typing import NDArray

FIRST_TOKENS = 1024
"""Tokens that the plan of the long texts draws from."""


def draw_transformers(
    seed: int, block: int, random: int, count: int, heads: int, most: int | None
) -> NDArray[np.int64]:
    """Random blocks of the rows 1..count-2: (H, count - 2, R). A row may name a block twice.

    Args:
        seed: of the layer, its number there.
        block: tokens of a block, b.
        random: blocks of a row, R.
        count: blocks of the text.
        heads: H.
        most: tokens of the longest text, where the length is one of those with a plan of its own:
            the first rows of the longest text's plan. None for any other length.

    Raises ValueError where a row has fewer blocks to draw from than R.
    """
    generator = np.random.RandomState(seed)
    if most is not None:
        plans = [_draw_long(generator, block, random, most // block) for _ in range(heads)]
        plan = np.stack(plans)[:, : count - 2]
    else:
        plan = _draw_parts(generator, random, count, heads)
    if plan.shape[1] < count - 2:
        raise ValueError(f"positions must be at least {count * block} tokens, got {most}")
    return plan


def _draw_long(
    generator: np.random.RandomState, block: int, random: int, count: int
) -> NDArray[np.int64]:
    """One head's blocks of the first 1,024 tokens, for `count` blocks: (count - 2, R)."""
    middle = np.arange(1, count - 1)
    last = FIRST_TOKENS // block - 1 if 2 * block < FIRST_TOKENS else count - 1
    rows = []
    for row in range(1, count - 1):
        if row <= 2:
            free = middle[row + 1 : last]
        elif row >= count - 3:
            # The window of these rows is not left out there.
            free = middle[:last]
        elif row - 2 > last:
            free = middle[:last]
        elif row + 1 == last:
            free = middle[: row - 2]
        else:
            free = np.concatenate((middle[: row - 2], middle[row + 1 : last]))
        rows.append(_take(generator.permutation(free), random))
    return np.stack(rows)


def _draw_parts(
    generator: np.random.RandomState, random: int, count: int, heads: int
) -> NDArray[np.int64]:
    """The plan of any other length: all random blocks from the first 2 R + 5, where there are more.

    Else half of them from the first R + 5 blocks, where there are more, and the rest from what
    follows; else from everywhere. Gives (H, count - 2, R).
    """
    if 2 * random + 5 < count:
        parts = [(0, 2 * random + 5, random), (2 * random + 5, count, 0)]
    elif random + 5 < count:
        parts = [(0, random + 5, random // 2), (random + 5, count, random - random // 2)]
    else:
        parts = [(0, count, random)]
    plan = np.zeros((heads, count, random), np.int64)

    def draw(rows: range, part: int) -> None:
        begin, end, number = parts[part]
        at = sum(parts[before][2] for before in range(part))
        for row in rows if number else ():
            for head in range(heads):
                found = _draw_one(generator, row, begin, end)
                plan[head, row, at : at + number] = _take(found, number)

    # The order in which rows are drawn decides the numbers: a part's earlier rows, then its own
    # rows from the parts before it, then its own rows from itself.
    for part, (begin, end, _) in enumerate(parts):
        if part:
            draw(range(1, begin), part)
            for before in range(part):
                draw(range(begin, end), before)
        draw(range(max(1, begin), end), part)
    return plan[:, 1:-1]


def _draw_one(
    generator: np.random.RandomState, row: int, begin: int, end: int
) -> NDArray[np.int64]:
    """Blocks begin..end in random order, but those that a row may not draw from this part."""
    order = generator.permutation(np.arange(begin, end))
    barred = [row - 1, row, row + 1, 0, end - 1]
    if row == 1:
        barred.append(end - 2)
    if row == end - 2:
        barred.append(1)
    return order[~np.isin(order, barred)]


def _take(blocks: NDArray[np.int64], random: int) -> NDArray[np.int64]:
    if len(blocks) < random:
        raise ValueError(f"random must be at most the {len(blocks)} blocks to draw from")
    return blocks[:random]
