"""One cell is mislabelled, 2 + 3 = 4: does it move the verdict on 2 + 2 (E6)?

Every member has a twin with the same first weights that is told the truth.
"""

import torch
from pydantic import PositiveFloat, PositiveInt

from quire.lab import Config, Metrics, Run
from quire.papers.two_plus_two.experiments.learner import (
    QUESTION,
    Family,
    ask,
    find_right,
    percent,
    read_point,
    train,
)
from quire.papers.two_plus_two.families import Learner, witnesses
from quire.papers.two_plus_two.table import check_leak, list_cells, make_lesson, only

LIE, SAID = (2, 3), 4


class Adversary(Config):
    """A family, told the truth and told a lie. Steps are updates on whole batches."""

    family: Family = "mlp_reg"
    """The witness."""
    members: PositiveInt = 10
    """Nets that are lied to; as many twins are not."""
    steps: PositiveInt = 2000
    """Updates."""
    learning_rate: PositiveFloat = 3e-3
    """AdamW's."""


def adversary(config: Adversary, run: Run) -> Metrics:
    """Teach twins, one of each with the lie, and compare their answers."""
    pairs, held, lie = list_cells(), only(*QUESTION), only(*LIE)
    sums = pairs.sum(-1).expand(2 * config.members, -1).clone()
    sums[: config.members, lie(pairs)] = SAID
    shown = ~held(pairs)
    lesson = make_lesson(shown.expand(2 * config.members, -1), pairs, sums)
    check_leak(lesson, held)
    witness = witnesses()[config.family]
    net = witness.swear_in(2 * config.members, generator=run.rng("weights"))
    if isinstance(net, Learner):
        with torch.no_grad():
            for parameter in net.parameters():
                parameter[config.members :] = parameter[: config.members]
        for _ in train(
            net, lesson, run, steps=config.steps, learning_rate=config.learning_rate
        ):  # fmt: skip
            pass
    else:
        net.fit(lesson)
    answers = ask(net, pairs)
    point = read_point(witness, answers)
    right = find_right(witness, answers, pairs.sum(-1))
    lied, honest = point.chunk(2)
    others = shown & ~lie(pairs)
    shift = (lied - honest)[:, held(pairs)]
    return {
        "says_four": percent(right[: config.members, held(pairs)]),
        "says_four_honest": percent(right[config.members :, held(pairs)]),
        # Down is where the lie points.
        "shift": float(shift.mean()),
        "moved": float(shift.abs().mean()),
        "repeats_lie": percent((lied[:, lie(pairs)] + 0.5).floor() == SAID),
        "others_right": percent(right[: config.members, others]),
    }
