"""How much of the table must be shown (E5): panels that saw 30 to 99 cells, side by side."""

import torch
from pydantic import PositiveFloat, PositiveInt

from quire.lab import Config, Metrics, Run
from quire.papers.two_plus_two.experiments.figures import draw_curves
from quire.papers.two_plus_two.experiments.learner import (
    QUESTION,
    Family,
    ask,
    find_right,
    percent,
    read_point,
    teach_panel,
)
from quire.papers.two_plus_two.families import witnesses
from quire.papers.two_plus_two.table import check_leak, list_cells, make_lesson, only, random_cells

COUNTS = (30, 50, 70, 90, 99)


class Fraction(Config):
    """A family, and members for each number of cells. Steps are updates on whole batches."""

    family: Family = "mlp_reg"
    """The witness."""
    members: PositiveInt = 10
    """Nets for each number of cells."""
    steps: PositiveInt = 2000
    """Updates."""
    learning_rate: PositiveFloat = 3e-3
    """AdamW's."""


def fraction(config: Fraction, run: Run) -> Metrics:
    """Teach nets that see 30, 50, 70, 90 and 99 cells, all in one graph; ask what they missed."""
    pairs, held = list_cells(), only(*QUESTION)
    generator, rows = run.rng("cells"), []
    for count in COUNTS:
        # One more is held out with the rest: 2 + 2, which is never shown.
        draw = random_cells(len(pairs) - 1 - count, generator=generator, never=held)
        rows += [~held(pairs) & ~draw(pairs) for _ in range(config.members)]
    shown = torch.stack(rows)
    lesson = make_lesson(shown, pairs)
    check_leak(lesson, held)
    witness = witnesses()[config.family]
    net = teach_panel(
        witness, lesson, run, steps=config.steps, learning_rate=config.learning_rate
    )  # fmt: skip
    answers = ask(net, pairs)
    right = find_right(witness, answers, pairs.sum(-1))
    error = (read_point(witness, answers) - pairs.sum(-1)).abs()
    metrics: Metrics = {}
    unseen, four = [], []
    for place, count in enumerate(COUNTS):
        panel = slice(place * config.members, (place + 1) * config.members)
        hidden, known = ~shown[panel], shown[panel]
        unseen.append(percent(right[panel][hidden]))
        four.append(percent(right[panel][:, held(pairs)]))
        metrics |= {
            f"unseen_{count}": unseen[-1],
            f"error_{count}": float(error[panel][hidden].mean()),
            f"says_four_{count}": four[-1],
            f"seen_{count}": percent(right[panel][known]),
        }
    cells = [float(count) for count in COUNTS]
    run.series("unseen", cells, unseen, x_label="cells shown", y_label="hidden cells right, %")
    run.series("says four", cells, four, x_label="cells shown", y_label="members, %")
    curves = {"hidden cells right": (cells, unseen), "2 + 2 is 4": (cells, four)}
    run.figure("fraction", draw_curves(config.family, curves))
    return metrics
