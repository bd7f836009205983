"""Parity of a vector with k non-zero entries (section 3.1).

Carries out `parity` (train on few, test on more), `interpolation` and `sensitivity`; what
`regularisers` adds is a table of stop rules.
"""

from typing import Any, Literal

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor

from quire.lab import Config, Metrics, Run
from quire.lab.training import update
from quire.papers.pondernet.experiments.learner import (
    LARGEST_NORM,
    Halting,
    Learner,
    TrainingPass,
    keep_means,
    rank_correlation,
    score,
)
from quire.papers.pondernet.experiments.tasks import (
    Examples,
    ParityDraws,
    draw_parity,
    make_parity,
)
from quire.papers.pondernet.rules import sample
from quire.papers.pondernet.steps import HaltingNetwork, RNNStep

RISE, SOLVED = 0.98, 0.95
"""Running accuracies at which the curriculum takes a larger k, and the range counts as learned."""


class Parity(Config):
    """Parity by a recurrent step that sees the whole vector every time."""

    halting: Halting = Halting()
    """How long to think."""
    length: PositiveInt = 96
    """Places of the input vector."""
    seen: PositiveInt = 48
    """Largest k in training; larger ones, up to the length, are only tested."""
    prefix: bool = False
    """Put the non-zero entries of training vectors in the first `seen` places only."""
    hidden: PositiveInt = 128
    """Units of the step."""
    halting_network: Literal["shared", "separate", "separate_detached"] = "shared"
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


def parity(config: Parity, run: Run) -> Metrics:
    """Train on few non-zero entries; test on these, and on more where the vector has room."""
    learner, curriculum = train_parity(config, run)
    return evaluate_parity(config, run, learner, curriculum)


def train_parity(config: Parity, run: Run) -> tuple[Learner, "Curriculum"]:
    """A trained learner in evaluation, and how far its curriculum came."""
    step = RNNStep(config.length, config.hidden, 1)
    network = None
    if config.halting_network != "shared":
        network = HaltingNetwork(config.hidden, 64)
    detach = config.halting_network == "separate_detached"
    learner = run.place(Learner(step, config.halting, network=network, detach=detach))
    optimizer = torch.optim.Adam(learner.parameters(), lr=config.learning_rate)
    curriculum = Curriculum(1 if config.curriculum else config.seen, config.seen)

    def draws_at(step: int) -> ParityDraws:
        return draw_parity(config.batch_size, config.length, run.rng("train", step))

    learner.train()
    for draws in run.steps(config.steps, draws_at, state=(learner, optimizer, curriculum)):
        # A batch may follow from the step alone; the level, which follows from the training so
        # far, comes in here.
        room = config.seen if config.prefix else None
        batch = make_parity(draws, 1, curriculum.level, prefix=room)
        with run.precision():
            trained = learner(batch.x, batch.target)
        update(trained.loss, learner, optimizer, clip=LARGEST_NORM)
        curriculum.take(trained, run.step)
        run.log(
            loss=trained.loss,
            accuracy=trained.accuracy,
            steps=trained.steps,
            level=curriculum.level,
        )
    return learner.eval(), curriculum


class Curriculum:
    """A level that rises when the running accuracy passes a bar; also counts the work done.

    It is training state: it goes into `run.steps(state=...)`.

    Args:
        first: The level at the beginning, `last` at most.
        last: The highest one.
        bar: Running accuracy above which the level rises.
        decay: Weight of the past in the running accuracy.
    """

    def __init__(self, first: int, last: int, *, bar: float = RISE, decay: float = 0.97) -> None:
        self.level, self.last, self.bar, self.decay = min(first, last), last, bar, decay
        self.running = 0.0
        self.evaluations = 0
        self.reached = 0

    def take(self, trained: TrainingPass, step: int) -> None:
        """Take in what a training pass gave."""
        self.evaluations += trained.unrolled
        self.running = self.decay * self.running + (1 - self.decay) * float(trained.accuracy)
        if self.level == self.last and self.running > SOLVED and not self.reached:
            self.reached = step + 1
        if self.level < self.last and self.running > self.bar:
            # From zero again: a new level must prove itself, whatever the one before reached.
            self.level, self.running = self.level + 1, 0.0

    def state_dict(self) -> dict[str, Any]:
        """The changing part."""
        names = ("level", "running", "evaluations", "reached")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put it back."""
        for name, value in state.items():
            setattr(self, name, value)


def evaluate_parity(config: Parity, run: Run, learner: Learner, curriculum: Curriculum) -> Metrics:
    """Accuracy and steps for every k, with stopping sampled as in the paper.

    Args:
        config: The experiment's.
        run: Where the answers are drawn and the series kept.
        learner: What answers, in evaluation.
        curriculum: How far the training came.
    """
    test = draw_test_set(config, run, "test", most=config.length)
    rule = sample(run.rng("halting"), truncation=config.halting.truncation)
    answer = learner.answer(test.x, rule)
    good, k = score(answer.prediction, test.target), test.difficulty
    seen = k <= config.seen
    steps = answer.steps.float()
    keep_means(run, "steps", k, steps, label="non-zero entries")
    keep_means(run, "accuracy", k, 100 * good, label="non-zero entries", of="accuracy, %")
    metrics = {
        "seen_accuracy": 100 * float(good[seen].mean()),
        "seen_steps": float(steps[seen].mean()),
        "correlation": rank_correlation(steps, k),
        "seen_correlation": rank_correlation(steps[seen], k[seen]),
        "solved": float(good[seen].mean() > SOLVED),
        "updates": float(curriculum.reached or config.steps),
        "evaluations": curriculum.evaluations / 1000,
    }
    if not bool(seen.all()):
        metrics["unseen_accuracy"] = 100 * float(good[~seen].mean())
        metrics["unseen_steps"] = float(steps[~seen].mean())
    if config.halting.method == "ponder":
        # What training optimises, beside what is deployed.
        assert isinstance(test.x, Tensor)
        with torch.no_grad():
            expected = learner(test.x[seen], test.target[seen]).accuracy
        metrics["expected_accuracy"] = 100 * float(expected)
    return metrics


def draw_test_set(config: Parity, run: Run, name: str, *, most: int) -> Examples:
    """`test_examples` vectors for every k, on the run's device.

    Args:
        config: The experiment's.
        run: What they are drawn from.
        name: The stream of random numbers: sets of different names differ.
        most: Largest k.
    """
    parts = []
    for k in range(1, most + 1):
        draws = draw_parity(config.test_examples, config.length, run.rng(name, k))
        parts.append(make_parity(draws, k, k))
    return Examples(*(torch.cat(column).to(run.device) for column in zip(*parts, strict=True)))
