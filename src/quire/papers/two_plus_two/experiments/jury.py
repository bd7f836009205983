"""A panel that never saw 2 + 2 is asked what it is, and to decide between 4 and 5 (E1, E7)."""

from typing import Literal

import torch
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from quire.lab import Config, Metrics, Run
from quire.papers.two_plus_two.closed import BayesianLinear
from quire.papers.two_plus_two.court import (
    Mass,
    conformal_set,
    fit_temperature,
    mix,
    poll,
    pool,
    verdict,
    weigh_numbers,
)
from quire.papers.two_plus_two.experiments.figures import draw_testimony
from quire.papers.two_plus_two.experiments.learner import (
    QUESTION,
    Family,
    ask,
    find_right,
    percent,
    read_point,
    teach_panel,
    weigh,
)
from quire.papers.two_plus_two.families import Witness, witnesses
from quire.papers.two_plus_two.record import Statement, write_statement
from quire.papers.two_plus_two.table import (
    check_leak,
    containing,
    list_cells,
    make_lesson,
    only,
    random_cells,
    with_sum,
)

HOLDOUTS = {"cell": only(*QUESTION), "sum": with_sum(4), "number": containing(2)}
ASIDE = 2
"""Cells besides the question that each member is not shown: its panel is calibrated on them."""
CLASSES = 20
"""One more than there are sums, for what is shifted by one."""


class Panel(Config):
    """A family, and what it is shown. Steps are updates on whole batches."""

    family: Family = "mlp_reg"
    """The witness."""
    members: PositiveInt = 10
    """Nets of the panel."""
    holdout: Literal["cell", "sum", "number"] = "cell"
    """What no member sees: 2 + 2, every pair whose sum is 4, or every pair with a 2."""
    shift: NonNegativeInt = 0
    """Added to every sum: with 1 an honest panel says 5."""
    steps: PositiveInt = 2000
    """Updates."""
    learning_rate: PositiveFloat = 3e-3
    """AdamW's."""


def jury(config: Panel, run: Run) -> Metrics:
    """Teach a panel without 2 + 2, calibrate it on other cells, and hear it."""
    pairs, held = list_cells(), HOLDOUTS[config.holdout]
    sums = pairs.sum(-1) + config.shift
    generator = run.rng("aside")
    draw = random_cells(ASIDE, generator=generator, never=held)
    aside = torch.stack([draw(pairs) for _ in range(config.members)])
    shown = ~held(pairs) & ~aside
    lesson = make_lesson(shown, pairs, sums)
    check_leak(lesson, held)
    witness = witnesses(CLASSES)[config.family]
    net = teach_panel(
        witness, lesson, run, steps=config.steps, learning_rate=config.learning_rate
    )  # fmt: skip
    answers = ask(net, pairs)
    right = find_right(witness, answers, sums)
    scale = calibrate(witness, answers[aside], sums.expand(config.members, -1)[aside])
    question = answers[:, only(*QUESTION)(pairs)][:, 0]
    metrics = hear(config, witness, question, scale, run, seen=percent(right[shown]))
    if isinstance(net, BayesianLinear):
        deviation = net.deviation(torch.tensor([QUESTION]))[:, 0]
        metrics["posterior_deviation"] = float(deviation.mean())
        metrics["posterior_four"] = float(weigh_numbers(question, deviation).first.mean())
    return metrics | {
        "least_seen": 100 * float((right & shown).sum(1).div(shown.sum(1)).min()),
        "aside_right": percent(right[aside]),
        "hidden_right": percent(right[:, held(pairs)]),
        "scale": float(scale),
        "conformal_size": measure_conformal(
            witness, answers[aside], sums.expand(config.members, -1)[aside], question
        ),
    }


def calibrate(witness: Witness, answers: Tensor, sums: Tensor) -> Tensor:
    """The temperature of a classifier or the deviation of a regressor, () from answers (n,)."""
    if witness.answers == "class":
        return fit_temperature(answers, sums)
    return (answers - sums).square().nanmean().sqrt()


def hear(
    config: Panel, witness: Witness, question: Tensor, scale: Tensor, run: Run, *, seen: float
) -> Metrics:
    """What the panel says: answers at 2 + 2, (M,) or (M, C)."""
    point = read_point(witness, question)
    raw = weigh(witness, question, 1.0)
    own = weigh(witness, question, scale)
    whole = pool(own) if witness.answers == "class" else weigh_numbers(*mix(question, scale))
    votes, panel = poll([verdict(own)]), verdict(whole)
    says = int(panel.says)
    run.note(write_statement(Statement(
        config.family, witness.who, float(point.mean()), float(whole.first), float(whole.second),
        float(whole.outside), votes.votes, says, seen,
    )))  # fmt: skip
    keep_series(run, point, own)
    run.figure("testimony", draw_testimony(config.family, point, own))
    metrics = {
        "answer": float(point.mean()),
        "answer_deviation": float(point.std()) if len(point) > 1 else 0.0,
        "says_four": percent((point + 0.5).floor() == 4),
        "says_five": percent((point + 0.5).floor() == 5),
        # A regressor prefers the nearer number; a classifier is forced to choose, as it is.
        "prefers_four": percent(raw.share > 0.5),
        "four": float(whole.first),
        "five": float(whole.second),
        "outside": float(whole.outside),
        "share": float(whole.share),
        "votes_four": 100 * votes.votes[4] / config.members,
        "votes_five": 100 * votes.votes[5] / config.members,
        "abstain": 100 * votes.votes[0] / config.members,
        "panel": float(says),
        "seen": seen,
    }
    if witness.answers == "class":
        p = question.softmax(-1)
        metrics |= {
            "raw_outside": float(raw.outside.mean()),
            "confidence": float(p.amax(-1).mean()),
            "panel_confidence": float(p.mean(0).amax()),
        }
    return metrics


def keep_series(run: Run, point: Tensor, own: Mass) -> None:
    """Each member's answer and its calibrated probabilities."""
    members = list(range(1, len(point) + 1))
    for name, values in (("answers", point), ("four", own.first), ("five", own.second),
                         ("neither", own.outside)):  # fmt: skip
        label = "what 2 + 2 is" if name == "answers" else "probability, calibrated"
        run.series(name, members, values, x_label="member", y_label=label)


def measure_conformal(witness: Witness, answers: Tensor, sums: Tensor, question: Tensor) -> float:
    """Mean size of the members' conformal sets at 2 + 2 among the sums, at 90 %."""
    options = torch.arange(CLASSES)
    if witness.answers == "class":
        scores = 1 - answers.softmax(-1).gather(-1, sums[:, None])[:, 0]
        strange = 1 - question.softmax(-1)
    else:
        scores = (answers - sums).abs()
        # A number is as strange as the part of its half-unit neighbourhood that is nearest.
        strange = ((question[:, None] - options).abs() - 0.5).clamp(min=0)
    return float(conformal_set(scores, strange).sum(-1).double().mean())
