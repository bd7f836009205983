"""Parity (section 3.1): extrapolation, interpolation, priors and penalties."""

from typing import Any, Literal

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor

from quire.lab import Metrics, Run
from quire.papers.pondernet.experiments_common import (
    Curriculum,
    Halting,
    Learner,
    descend,
    draw_steps,
    rank_correlation,
    right,
)
from quire.papers.pondernet.rules import (
    StopRule,
    argmax,
    calibrate_threshold,
    expected,
    median,
    sample,
    stop,
    threshold,
)
from quire.papers.pondernet.steps import GRUStep, HaltingNetwork, RNNStep
from quire.papers.pondernet.tasks import Examples, ParityDraws, parity_draws
from quire.papers.pondernet.tasks import parity as parity_examples


class ParityTask(Halting):
    """Parity of a vector with k non-zero entries, by a recurrent step that sees the vector every
    time."""

    length: PositiveInt = 64
    """Places of the input vector."""
    seen: PositiveInt = 64
    """Largest k in training; larger ones, up to the length, are only tested."""
    prefix: bool = False
    """Put the non-zero entries of training vectors in the first `seen` places only."""
    step: Literal["rnn", "gru"] = "rnn"
    """The step: tanh units or a GRU cell."""
    hidden: PositiveInt = 128
    """Units of the step."""
    halting: Literal["shared", "separate", "separate_detached"] = "shared"
    """Where the halt logit comes from: the step, or a network of its own that does or does not
    train the step."""
    curriculum: bool = False
    """Start at k = 1 and raise the largest k whenever the running accuracy passes 98 %."""
    learning_rate: PositiveFloat = 3e-4
    """Adam's."""
    batch_size: PositiveInt = 128
    """Examples a step."""
    steps: PositiveInt = 200_000
    """Minibatches."""
    test_examples: PositiveInt = Field(default=500, ge=20)
    """Test vectors for each k."""


class Parity(ParityTask):
    """Extrapolation: train on k in 1..48 of 96 places, test on 49..96 (figure 1b)."""

    length: PositiveInt = 96
    """Places of the input vector."""
    seen: PositiveInt = 48
    """Largest k in training; larger ones, up to the length, are only tested."""


class Interpolation(ParityTask):
    """Train and test on the same range of k (figure 1a and 1c)."""


class Sensitivity(ParityTask):
    """Interpolation under different priors (figure 2)."""


class Regularisers(ParityTask):
    """Interpolation under different penalties, and every stop rule on the same network."""


def parity(config: Parity, run: Run) -> Metrics:
    """Train on few non-zero entries, test on more."""
    return _parity(config, run)


def interpolation(config: Interpolation, run: Run) -> Metrics:
    """Train and test on any number of non-zero entries."""
    return _parity(config, run)


def sensitivity(config: Sensitivity, run: Run) -> Metrics:
    """The same for another prior."""
    return _parity(config, run)


def regularisers(config: Regularisers, run: Run) -> Metrics:
    """The same for another penalty, with a table of stop rules from one unroll of the test set."""
    learner, progress = _train(config, run)
    metrics = _measure(config, run, learner, progress, _test_set(config, run))
    test = _test_set(config, run, "rules", most=config.seen)
    logits, predictions = _unroll(learner, test)
    valid = _test_set(config, run, "valid", most=config.seen)
    valid_logits, valid_predictions = _unroll(learner, valid)
    tau = calibrate_threshold(valid_logits, right(valid_predictions, valid.target, 2))
    rules: dict[str, StopRule] = {
        "sample": sample(run.rng("rules")),
        "argmax": argmax(),
        "median": median(),
        "threshold90": threshold(0.9),
        "expected_prediction": expected(),
        "calibrated": threshold(tau),
    }
    for name, rule in rules.items():
        answer = stop(predictions, logits, rule)
        metrics[f"{name}_accuracy"] = 100 * float(right(answer.prediction, test.target).mean())
        metrics[f"{name}_steps"] = float(answer.steps.float().mean())
    return metrics | {"calibrated_tau": tau}


def _parity(config: ParityTask, run: Run) -> Metrics:
    learner, progress = _train(config, run)
    return _measure(config, run, learner, progress, _test_set(config, run))


def _train(config: ParityTask, run: Run) -> tuple[Learner, Curriculum]:
    make = RNNStep if config.step == "rnn" else GRUStep
    step = make(config.length, config.hidden, 1)
    options: dict[str, Any] = {}
    if config.halting != "shared":
        options["halting"] = HaltingNetwork(config.hidden, 64, read=_recurrent)
        options["detach_halting"] = config.halting == "separate_detached"
    learner = run.place(Learner(step, config, **options))
    optimizer = torch.optim.Adam(learner.parameters(), lr=config.learning_rate)
    progress = Curriculum(1 if config.curriculum else config.seen, config.seen)

    def draws(step: int) -> ParityDraws:
        return parity_draws(config.batch_size, config.length, run.rng("train", step))

    learner.train()
    for batch in run.steps(config.steps, draws, state=(learner, optimizer, progress)):
        prefix = config.seen if config.prefix else None
        examples = parity_examples(batch, 1, progress.level, prefix=prefix)
        with run.precision():
            trained = learner(examples.x, examples.target)
        descend(trained.loss, learner, optimizer)
        progress.update(trained, run.step)
        run.log(
            loss=trained.loss, accuracy=trained.accuracy, steps=trained.steps, level=progress.level
        )
    return learner.eval(), progress


def _recurrent(state: Tensor | tuple[Tensor, ...]) -> Tensor:
    """The part of a recurrent state that the halting network reads, `(B, H)`."""
    return state if isinstance(state, Tensor) else state[0]


def _test_set(
    config: ParityTask, run: Run, name: str = "test", *, most: int | None = None
) -> Examples:
    """`test_examples` vectors for every k in 1..most (default: the length)."""
    parts = []
    for k in range(1, (most or config.length) + 1):
        draws = parity_draws(config.test_examples, config.length, run.rng(name, k))
        parts.append(parity_examples(draws, k, k))
    return Examples(*(torch.cat(column).to(run.device) for column in zip(*parts, strict=True)))


def _measure(
    config: ParityTask, run: Run, learner: Learner, progress: Curriculum, test: Examples
) -> Metrics:
    answer = learner.answer(test.x, sample(run.rng("halting")))
    good, k = right(answer.prediction, test.target), test.difficulty
    seen = k <= config.seen
    steps = answer.steps.float()
    draw_steps(run, "steps", k, steps, "non-zero entries")
    draw_steps(run, "accuracy", k, 100 * good, "non-zero entries")
    metrics = {
        "seen_accuracy": 100 * float(good[seen].mean()),
        "seen_steps": float(steps[seen].mean()),
        "correlation": rank_correlation(steps, k),
        "seen_correlation": rank_correlation(steps[seen], k[seen]),
        "solved": float(good[seen].mean() > 0.95),
        "updates": float(progress.reached or config.steps),
        "evaluations": progress.evaluations / 1000,
    }
    if not bool(seen.all()):
        metrics["unseen_accuracy"] = 100 * float(good[~seen].mean())
        metrics["unseen_steps"] = float(steps[~seen].mean())
    if config.method == "ponder":
        metrics["expected_accuracy"] = _expected_accuracy(learner, test, seen)
    return metrics


def _unroll(learner: Learner, test: Examples) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        predictions, logits, _ = learner.net(test.x)
    return logits, predictions


def _expected_accuracy(learner: Learner, test: Examples, seen: Tensor) -> float:
    """sum_n p_n accuracy_n on the seen range, %: what training optimises, beside what is
    deployed."""
    x, target = test.x[seen], test.target[seen]
    assert isinstance(x, Tensor)
    with torch.no_grad():
        return 100 * float(learner(x, target).accuracy)
