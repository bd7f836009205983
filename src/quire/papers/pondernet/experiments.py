"""PonderNet's experiments: each is a function `(config, run) -> metrics` with its config beside it.

Here: identities that are exact, the graded hop task, integer arithmetic. Parity and its ablations
stand in `experiments_parity.py`, the transformers (bAbI, associative inference, images) in
`experiments_transformer.py`; what they share in `experiments_common.py`.
"""

import math
from typing import Literal

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor

from quire.lab import Config, Metrics, Run
from quire.papers.pondernet.act import ACT
from quire.papers.pondernet.experiments_common import (
    Halting,
    Learner,
    descend,
    draw_steps,
    rank_correlation,
    right,
)
from quire.papers.pondernet.experiments_parity import (
    Interpolation,
    Parity,
    Regularisers,
    Sensitivity,
    interpolation,
    parity,
    regularisers,
    sensitivity,
)
from quire.papers.pondernet.experiments_transformer import (
    Babi,
    Images,
    Pai,
    Stories,
    babi,
    images,
    pai,
    stories,
)
from quire.papers.pondernet.rules import sample, stop
from quire.papers.pondernet.steps import DigitStep, HopStep
from quire.papers.pondernet.stopping import (
    GeometricPrior,
    expected_loss,
    kl_to_prior,
    log_stopping_distribution,
)
from quire.papers.pondernet.tasks import Examples, HopMap
from quire.papers.pondernet.tasks import arithmetic as arithmetic_examples


class Identities(Config):
    """What holds exactly, or within Monte-Carlo error, for any halt logits."""

    truncation: Literal["remainder", "renormalise"] = "remainder"
    """What becomes of the mass beyond N."""
    max_steps: PositiveInt = 20
    """N."""
    draws: PositiveInt = 100_000
    """Simulated halts."""


def identities(config: Identities, run: Run) -> Metrics:
    """Sum to one, closed forms, unbiasedness by simulation, ACT's gradient."""
    generator = run.rng("logits")
    shape = (config.max_steps, 64)
    logits = 3 * torch.randn(shape, generator=generator)
    logits[:, :2] = torch.tensor([40.0, -40.0])
    probability = log_stopping_distribution(logits, config.truncation).exp()
    hazard = 0.2
    constant = torch.full(shape, math.log(hazard / (1 - hazard)), dtype=torch.float64)
    log_constant = log_stopping_distribution(constant, config.truncation)
    prior = GeometricPrior(hazard, config.truncation)
    return {
        "sum_error": float((probability.sum(0) - 1).abs().max()),
        "closed_form_error": _closed_form_error(log_constant, hazard, config.truncation),
        "self_divergence": float(kl_to_prior(prior)(log_constant).abs().max()),
        "bias_z": _bias_z(config, run),
        "act_gradient_error": _act_gradient_error(generator),
    }


def _closed_form_error(log_stop: Tensor, hazard: float, truncation: str) -> float:
    n = torch.arange(len(log_stop), dtype=log_stop.dtype)
    closed = hazard * (1 - hazard) ** n
    if truncation == "remainder":
        closed[-1] = (1 - hazard) ** n[-1]
    else:
        closed = closed / (1 - (1 - hazard) ** len(n))
    return float((log_stop.exp() - closed[:, None]).abs().max())


def _bias_z(config: Identities, run: Run) -> float:
    """How far the mean loss of simulated halts is from the expected loss, in standard errors."""
    generator = run.rng("halts")
    logits = torch.randn(config.max_steps, 1, generator=generator) - 1
    losses = torch.rand(config.max_steps, 1, generator=generator)
    wide = (config.max_steps, config.draws)
    answer = stop(losses.expand(wide), logits.expand(wide), sample(generator))
    exact = expected_loss(losses, log_stopping_distribution(logits))
    error = answer.prediction.std() / math.sqrt(config.draws)
    return float((answer.prediction.mean() - exact).abs() / error)


def _act_gradient_error(generator: torch.Generator) -> float:
    """Distance of d(N + R)/dh_n from -1 before N and 0 from N on."""
    hazards = torch.rand(10, 32, generator=generator, dtype=torch.float64) * 0.3 + 0.05
    hazards.requires_grad_()

    def step(context: Tensor, count: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        row = context.gather(1, count[:, None]).squeeze(1)
        return row, count + 1, row.logit()

    start = torch.zeros(32, dtype=torch.int64)
    out = ACT(step, 10)(hazards.T, start)
    (gradient,) = torch.autograd.grad(out.ponder_cost.sum(), hazards)
    before = torch.arange(1, 11)[:, None] < out.steps
    return float((gradient + before.double()).abs().max())


class Hops(Halting):
    """Follow a fixed map from a start for k hops, with a step that can do one."""

    max_steps: PositiveInt = 12
    """N."""
    eps: float = Field(default=0.0, ge=0)
    """0: always unroll N steps."""
    beta: float = Field(default=0.1, ge=0)
    """Weight of the regulariser."""
    elements: PositiveInt = 8
    """Elements of the map."""
    hops: PositiveInt = 5
    """Largest k."""
    learning_rate: PositiveFloat = 1e-2
    """Adam's."""
    batch_size: PositiveInt = 256
    """Examples a step."""
    steps: PositiveInt = 1000
    """Minibatches."""


def hops(config: Hops, run: Run) -> Metrics:
    """Steps must follow k, one for one."""
    hop_map = HopMap.draw(config.elements, run.rng("map"))
    learner = run.place(Learner(HopStep(config.elements, config.hops), config))
    optimizer = torch.optim.Adam(learner.parameters(), lr=config.learning_rate)

    def draws(step: int) -> Tensor:
        return torch.rand(config.batch_size, 2, generator=run.rng("train", step))

    learner.train()
    for batch in run.steps(config.steps, draws, state=(learner, optimizer)):
        made = hop_map.examples(batch, config.hops, hops=config.hops)
        with run.precision():
            trained = learner(made.x, made.target)
        descend(trained.loss, learner, optimizer)
        run.log(loss=trained.loss, accuracy=trained.accuracy, steps=trained.steps)
    learner.eval()
    uniform = torch.rand(4000, 2, generator=run.rng("test")).to(run.device)
    test = hop_map.examples(uniform, config.hops, hops=config.hops)
    answer = learner.answer(test.x, sample(run.rng("halting")))
    draw_steps(run, "steps", test.difficulty, answer.steps, "hops")
    return {
        "accuracy": 100 * float(right(answer.prediction, test.target).mean()),
        "steps": float(answer.steps.float().mean()),
        "correlation": rank_correlation(answer.steps, test.difficulty),
    }


class Arithmetic(Halting):
    """Integer operations digit by digit, with a step that sees neighbouring digits only."""

    operation: Literal["add", "subtract", "multiply", "modulo"] = "add"
    """What is done with the operands."""
    digits: PositiveInt = 6
    """Digits of a training operand at most."""
    test_digits: PositiveInt = 12
    """Digits of a test operand at most; those longer than in training are the unseen ones."""
    max_steps: PositiveInt = 16
    """N."""
    halting: Literal["example", "digit"] = "example"
    """One stopping time an example, or one a digit."""
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
    step = DigitStep(20, config.hidden, token_wise=config.halting == "digit")
    learner = run.place(Learner(step, config))
    optimizer = torch.optim.Adam(learner.parameters(), lr=config.learning_rate)

    def batch_at(step: int) -> Examples:
        generator = run.rng("train", step)
        return arithmetic_examples(
            config.operation, config.batch_size, config.digits, generator=generator
        )

    learner.train()
    for batch in run.steps(config.steps, batch_at, state=(learner, optimizer)):
        with run.precision():
            trained = learner(batch.x, batch.target)
        descend(trained.loss, learner, optimizer)
        run.log(loss=trained.loss, accuracy=trained.accuracy, steps=trained.steps)
    learner.eval()
    metrics = {}
    ranges = {"seen": (1, config.digits), "unseen": (config.digits + 1, config.test_digits)}
    for name, (fewest, most) in ranges.items():
        test = arithmetic_examples(
            config.operation,
            config.test_examples,
            most,
            generator=run.rng("test", name),
            fewest=fewest,
        )
        target, chain = test.target.to(run.device), test.difficulty.to(run.device)
        assert isinstance(test.x, Tensor)
        answer = learner.answer(test.x.to(run.device), sample(run.rng("halting", name)))
        steps = answer.steps.flatten(1).amax(1) if answer.steps.dim() > 1 else answer.steps
        good = right(answer.prediction, target)
        metrics[f"{name}_accuracy"] = 100 * float(good.mean())
        metrics[f"{name}_steps"] = float(steps.float().mean())
        metrics[f"{name}_correlation"] = rank_correlation(steps, chain)
        draw_steps(run, f"{name}_steps", chain, steps, "longest carry chain")
    return metrics


__all__ = [
    "Arithmetic",
    "Babi",
    "Hops",
    "Identities",
    "Images",
    "Interpolation",
    "Pai",
    "Parity",
    "Regularisers",
    "Sensitivity",
    "Stories",
    "arithmetic",
    "babi",
    "hops",
    "identities",
    "images",
    "interpolation",
    "pai",
    "parity",
    "regularisers",
    "sensitivity",
    "stories",
]
