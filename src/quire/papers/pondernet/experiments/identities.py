"""What holds exactly, or within Monte-Carlo error, for any halt logits (section 2)."""

import math

import torch
from pydantic import PositiveInt
from torch import Tensor

from quire.lab import Config, Metrics, Run
from quire.lab.measure import largest
from quire.papers.pondernet.act import ACT
from quire.papers.pondernet.rules import sample, stop
from quire.papers.pondernet.stopping import (
    GeometricPrior,
    Truncation,
    expected_loss,
    kl_to_prior,
    log_stopping_distribution,
)

MAX_STEPS = 20
"""N of the paper's own task."""
HAZARD = 0.2


class Identities(Config):
    """The stopping distribution under one truncation, and the number of simulated halts."""

    truncation: Truncation = "remainder"
    """What becomes of the mass beyond N."""
    draws: PositiveInt = 100_000
    """Simulated halts."""


def identities(config: Identities, run: Run) -> Metrics:
    """Sum to one, closed forms, unbiasedness by simulation, ACT's gradient."""
    generator = run.rng("logits")
    shape = (MAX_STEPS, 64)
    logits = 3 * torch.randn(shape, generator=generator)
    # Two columns that are certain to stop at once, or never: where a product of hazards fails.
    logits[:, :2] = torch.tensor([40.0, -40.0])
    probability = log_stopping_distribution(logits, config.truncation).exp()
    constant = torch.full(shape, math.log(HAZARD / (1 - HAZARD)), dtype=torch.float64)
    log_constant = log_stopping_distribution(constant, config.truncation)
    prior = GeometricPrior(HAZARD, config.truncation)
    return {
        "sum_error": largest(probability.sum(0) - 1),
        "closed_form_error": measure_closed_form(log_constant, config.truncation),
        "self_divergence": largest(kl_to_prior(prior)(log_constant)),
        "bias_z": simulate_bias(config.draws, run.rng("halts"), config.truncation),
        "act_gradient_error": measure_act_gradient(generator),
    }


def measure_closed_form(log_stop: Tensor, truncation: Truncation) -> float:
    """Distance of exp(log_stop), (N, B), from the truncated geometric distribution."""
    n = torch.arange(len(log_stop), dtype=log_stop.dtype)
    closed = HAZARD * (1 - HAZARD) ** n
    if truncation == "remainder":
        closed[-1] = (1 - HAZARD) ** n[-1]
    else:
        closed = closed / (1 - (1 - HAZARD) ** len(n))
    return largest(log_stop.exp() - closed[:, None])


def simulate_bias(draws: int, generator: torch.Generator, truncation: Truncation) -> float:
    """How far the mean loss of simulated halts is from the expected loss, in standard errors.

    Args:
        draws: Simulated halts.
        generator: What they, the logits and the losses are drawn from.
        truncation: What becomes of the mass beyond N.
    """
    logits = torch.randn(MAX_STEPS, 1, generator=generator) - 1
    losses = torch.rand(MAX_STEPS, 1, generator=generator)
    wide = (MAX_STEPS, draws)
    rule = sample(generator, truncation=truncation)
    answer = stop(losses.expand(wide), logits.expand(wide), rule)
    exact = expected_loss(losses, log_stopping_distribution(logits, truncation))
    error = answer.prediction.std() / math.sqrt(draws)
    return float((answer.prediction.mean() - exact).abs() / error)


def measure_act_gradient(generator: torch.Generator) -> float:
    """Distance of ACT's d(N + R)/dh_n from -1 before N and 0 from N on."""
    # Between 0.05 and 0.35, so that examples stop at steps from 3 to 10.
    hazards = torch.rand(10, 32, generator=generator, dtype=torch.float64) * 0.3 + 0.05
    hazards.requires_grad_()

    def step(context: Tensor, count: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        row = context.gather(1, count[:, None]).squeeze(1)
        return row, count + 1, row.logit()

    start = torch.zeros(32, dtype=torch.int64)
    out = ACT(step, 10)(hazards.T, start)
    (gradient,) = torch.autograd.grad(out.ponder_cost.sum(), hazards)
    before = torch.arange(1, 11)[:, None] < out.steps
    return largest(gradient + before.double())
