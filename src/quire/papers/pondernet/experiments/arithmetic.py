"""Integer operations digit by digit: steps against the longest carry chain (beyond the paper)."""

from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor

from quire.lab import Config, Metrics, Run
from quire.papers.pondernet.experiments.learner import (
    Halting,
    Learner,
    keep_means,
    rank_correlation,
    score,
    train,
)
from quire.papers.pondernet.experiments.tasks import Examples, Operation, make_arithmetic
from quire.papers.pondernet.rules import sample
from quire.papers.pondernet.steps import DigitStep


class Arithmetic(Config):
    """Integer operations with a step that sees neighbouring digits only."""

    halting: Halting = Halting(max_steps=16)
    """How long to think."""
    operation: Operation = "add"
    """What is done with the operands."""
    digits: PositiveInt = 6
    """Digits of a training operand at most."""
    test_digits: PositiveInt = 12
    """Digits of a test operand at most; those longer than in training are the unseen ones."""
    token_wise: bool = False
    """One stopping time a digit, in place of one an example."""
    hidden: PositiveInt = 96
    """Channels of the state at each digit."""
    learning_rate: PositiveFloat = 2e-3
    """Adam's."""
    batch_size: PositiveInt = 128
    """Examples a step."""
    steps: PositiveInt = 20_000
    """Minibatches."""
    test_examples: PositiveInt = Field(default=2000, ge=20)
    """Test examples of each length class (seen, unseen)."""


def arithmetic(config: Arithmetic, run: Run) -> Metrics:
    """Steps against the longest carry chain; accuracy on longer numbers than in training."""
    step = DigitStep(20, config.hidden, token_wise=config.token_wise)
    learner = run.place(Learner(step, config.halting))

    def batch_at(step: int) -> Examples:
        generator = run.rng("train", step)
        return make_arithmetic(
            config.operation, config.batch_size, config.digits, generator=generator
        )

    train(learner, run, batch_at=batch_at, steps=config.steps, learning_rate=config.learning_rate)
    metrics = {}
    ranges = {"seen": (1, config.digits), "unseen": (config.digits + 1, config.test_digits)}
    for name, (fewest, most) in ranges.items():
        test = make_arithmetic(
            config.operation,
            config.test_examples,
            most,
            generator=run.rng("test", name),
            fewest=fewest,
        )
        target, chain = test.target.to(run.device), test.difficulty.to(run.device)
        assert isinstance(test.x, Tensor)
        answer = learner.answer(test.x.to(run.device), sample(run.rng("halting", name)))
        # An example whose digits stop one by one takes as long as the last of them.
        steps = answer.steps.flatten(1).amax(1) if answer.steps.dim() > 1 else answer.steps
        metrics[f"{name}_accuracy"] = 100 * float(score(answer.prediction, target).mean())
        metrics[f"{name}_steps"] = float(steps.float().mean())
        metrics[f"{name}_correlation"] = rank_correlation(steps, chain)
        keep_means(run, f"{name}_steps", chain, steps, label="longest carry chain")
    return metrics
