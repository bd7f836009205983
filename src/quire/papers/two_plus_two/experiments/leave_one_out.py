"""Each cell of the table is left out in turn: what does a net answer that saw the others (E2)?

The nets of the hundred cells are the members of one panel. Calibration is over all hundred
questions: scale and temperature are fitted on half of the cells and judged on the other half.
"""

from typing import Literal

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from quire.lab import Config, Metrics, Run
from quire.papers.two_plus_two.court import calibration_error
from quire.papers.two_plus_two.experiments.figures import draw_table
from quire.papers.two_plus_two.experiments.jury import calibrate
from quire.papers.two_plus_two.experiments.learner import (
    Family,
    ask,
    find_right,
    measure_confidence,
    percent,
    read_point,
    teach_panel,
)
from quire.papers.two_plus_two.families import Witness, witnesses
from quire.papers.two_plus_two.table import list_cells, make_lesson

FOLDS = 2


class LeaveOneOut(Config):
    """A family, a net for each cell. Steps are updates on whole batches."""

    family: Family = "mlp_reg"
    """The witness."""
    cells: Literal["all", "diagonal"] = "all"
    """The cells that are left out in turn: all, or only a + a."""
    steps: PositiveInt = 2000
    """Updates."""
    learning_rate: PositiveFloat = 3e-3
    """AdamW's."""


def leave_one_out(config: LeaveOneOut, run: Run) -> Metrics:
    """Teach a net for each cell without it, and ask each for its own cell."""
    pairs = list_cells()
    a, b = pairs.unbind(-1)
    asked = torch.arange(len(pairs)) if config.cells == "all" else (a == b).nonzero()[:, 0]
    shown = torch.ones(len(asked), len(pairs), dtype=torch.bool)
    shown[torch.arange(len(asked)), asked] = False
    witness = witnesses()[config.family]
    net = teach_panel(
        witness, make_lesson(shown, pairs), run, steps=config.steps,
        learning_rate=config.learning_rate,
    )  # fmt: skip
    sums = pairs.sum(-1)
    answers = ask(net, pairs)
    seen = find_right(witness, answers, sums)[shown]
    own, truth = answers[torch.arange(len(asked)), asked], sums[asked]
    error = read_point(witness, own) - truth
    right = find_right(witness, own, truth)
    at = pairs[asked]
    border = ((at == 0) | (at == 9)).any(-1)
    if config.cells == "all":
        run.figure("table", draw_table(config.family, error.view(10, 10)))
    totals = [int(total) for total in truth.unique()]
    run.series(
        "error by sum", totals, [float(error[truth == t].abs().mean()) for t in totals],
        x_label="a + b", y_label="mean absolute error",
    )  # fmt: skip
    return {
        "right": percent(right),
        "right_inside": percent(right[~border]),
        "right_border": percent(right[border]),
        "two_plus_two": float(read_point(witness, own)[(at == 2).all(-1)].mean()),
        "error": float(error.abs().mean()),
        "constant_error": float((truth - (sums.sum() - truth) / 99).abs().mean()),
        "seen": percent(seen),
    } | measure_calibration(witness, own, truth, right, run.rng("folds"))


def measure_calibration(
    witness: Witness, answers: Tensor, truth: Tensor, right: Tensor, generator: torch.Generator
) -> Metrics:
    """Expected calibration error of the answers (N,) or (N, C), as they are and calibrated, %.

    A regressor has no probability of its own before it is calibrated.
    """
    fold = torch.randperm(len(truth), generator=generator) % FOLDS
    confidence = torch.zeros(len(truth), dtype=torch.float64)
    for number in range(FOLDS):
        here = fold == number
        scale = calibrate(witness, answers[~here], truth[~here])
        confidence[here] = measure_confidence(witness, answers[here], scale)
    found = {
        "calibration_error": 100 * float(calibration_error(confidence, right)),
        "confidence": 100 * float(confidence.mean()),
    }
    if witness.answers == "class":
        raw = measure_confidence(witness, answers, 1.0)
        found["raw_calibration_error"] = 100 * float(calibration_error(raw, right))
        found["raw_confidence"] = 100 * float(raw.mean())
    return found
