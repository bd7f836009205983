"""How an encoder is trained and how it is tested, whatever the task."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from quire.lab import Run
from quire.lab.training import (
    linear_decay,
    rows_at_once,
    set_rate,
    split_rows,
    update_in_parts,
    warm_up,
)
from quire.papers.bigbird.experiments.settings import Training
from quire.papers.bigbird.experiments.tasks import Examples


def train_tagger(
    config: Training, run: Run, model: nn.Module, batch_at: Callable[[int], Examples]
) -> None:
    """Train to give the word that is asked for.

    Args:
        config: rate, steps, and how much is in memory at a time.
        run: the run that it belongs to.
        model: a `Tagger`, on the run's device.
        batch_at: gives the minibatch of a step.
    """

    def sum_part(words: Tensor, target: Tensor) -> Tensor:
        asked = target >= 0
        with run.precision():
            scores = model(words, asked)
        return sum_nats(scores, target[asked])

    # Parts hold different numbers of questions: sums over one count give the mean of the whole.
    descend(config, run, model, batch_at, sum_part, count=lambda target: (target >= 0).sum())


def descend(
    config: Training,
    run: Run,
    model: nn.Module,
    batch_at: Callable[[int], Any],
    sum_part: Callable[[Tensor, Tensor], Tensor],
    *,
    count: Callable[[Tensor], int | Tensor] = len,
) -> None:
    """Train with Adam, with the gradient's norm clipped at 1.

    Args:
        config: rate, steps, and how much is in memory at a time.
        run: the run that it belongs to.
        model: on the run's device.
        batch_at: gives the minibatch of a step, inputs (B, N) and targets (B, ...) first.
        sum_part: the loss of a part of a minibatch, summed.
        count: what the loss is a mean over, of the targets: by default examples.
    """
    adam = torch.optim.Adam(model.parameters(), lr=config.learning_rate)
    for words, target, *_ in run.steps(config.steps, batch_at, state=(model, adam)):
        set_rate(adam, decide_rate(config, run.step))
        number = count(target)
        parts = split_rows(words, target, rows=rows_at_once(config.tokens_at_once, words.shape[1]))
        run.log(loss=update_in_parts((sum_part(*p) / number for p in parts), model, adam, clip=1.0))


def decide_rate(config: Training, step: int) -> float:
    """The learning rate at a step: a rise, at most a tenth of all steps long, then a fall to 0."""
    rise = min(config.warm_up, max(1, config.steps // 10))
    factor = min(warm_up(step, rise), linear_decay(step, config.steps, begin=rise))
    return config.learning_rate * factor


def sum_nats(scores: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of scores (M, V) and target (M,), in single precision at least, summed."""
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    return cross_entropy(scores, target, reduction="sum")


@torch.no_grad()
def measure_answers(
    run: Run, model: nn.Module, batches: list[Examples], *, kinds: int = 1
) -> tuple[list[float], list[float]]:
    """For each kind of question the share of right answers, %, and the mean loss, bits.

    Args:
        run: the run that the model belongs to.
        model: a `Tagger`, on the run's device.
        batches: what it is asked.
        kinds: how many kinds are told apart; questions of later kinds count as the last one.
    """
    model.eval()
    right, nats, count = (torch.zeros(kinds, dtype=torch.float64) for _ in range(3))
    for words, target, kind in batches:
        asked = target >= 0
        with run.precision():
            scores = model(words.to(run.device), asked.to(run.device)).float().cpu()
        good = (scores.argmax(-1) == target[asked]).double()
        loss = cross_entropy(scores, target[asked], reduction="none").double()
        for into, value in ((right, good), (nats, loss), (count, torch.ones_like(loss))):
            into.index_add_(0, kind[asked].clamp(max=kinds - 1), value)
    model.train()
    bits = nats / count / math.log(2)
    return (100 * right / count).tolist(), bits.tolist()
