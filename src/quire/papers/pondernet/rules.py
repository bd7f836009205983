"""When to stop at evaluation: five rules, each usable step by step or on a full unroll.

A rule sees, for every running example (or token), log p_n and the log survival after step n, and
says how the answer changes and who stops. It never looks ahead, so that stopping saves the later
steps. The last step always stops everyone (truncation `remainder`). B examples, T tokens, N steps.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


class Decision(NamedTuple):
    """What a rule says after one step; every field has the shape of the halt logit."""

    carry: Tensor
    """What the rule remembers."""
    mix: Tensor
    """Weight in [0, 1] of this step's prediction in the answer, see `blend`."""
    halt: Tensor
    """True where no later step can change the answer."""


class StopRule(Protocol):
    """An evaluation rule: `begin` before the first step, then one call a step."""

    def begin(self, like: Tensor) -> Tensor:
        """The first carry; `like` is a halt logit, (B,) or (B, T)."""

    def __call__(self, carry: Tensor, log_stop: Tensor, log_survival: Tensor) -> Decision:
        """Decide after a step with log p_n and log survival after it."""


class Answer(NamedTuple):
    """The result of a rule."""

    prediction: Tensor
    """(B, ...)"""
    steps: Tensor
    """Steps computed for each example or token, (B[, T]) int64."""


@dataclass(frozen=True)
class _Quantile:
    """Stop when survival has fallen to a level: fixed (threshold) or uniform (sampling)."""

    level: float | None
    generator: torch.Generator | None = None

    def begin(self, like: Tensor) -> Tensor:
        if self.level is not None:
            return torch.full_like(like, self.level)
        device = "cpu" if self.generator is None else self.generator.device
        draw = torch.rand(like.shape, generator=self.generator, device=device)
        return draw.to(like.device)

    def __call__(self, carry: Tensor, log_stop: Tensor, log_survival: Tensor) -> Decision:
        return Decision(carry, torch.ones_like(log_stop), log_survival.exp() <= carry)


@dataclass(frozen=True)
class _Argmax:
    def begin(self, like: Tensor) -> Tensor:
        return torch.full_like(like, -math.inf)

    def __call__(self, carry: Tensor, log_stop: Tensor, log_survival: Tensor) -> Decision:
        best = torch.maximum(carry, log_stop)
        # No later p_n can exceed the mass that is left.
        return Decision(best, (log_stop > carry).to(log_stop), log_survival <= best)


@dataclass(frozen=True)
class _Expected:
    tolerance: float

    def begin(self, like: Tensor) -> Tensor:
        return torch.full_like(like, -math.inf)

    def __call__(self, carry: Tensor, log_stop: Tensor, log_survival: Tensor) -> Decision:
        log_cdf = torch.logaddexp(carry, log_stop)
        done = log_survival.exp() <= self.tolerance
        return Decision(log_cdf, (log_stop - log_cdf).exp(), done)


def sample(generator: torch.Generator | None = None) -> StopRule:
    """The paper's rule: stop at n with probability lambda_n.

    Drawn by inverting the CDF with one uniform number an example, which has exactly the
    distribution of step-by-step Bernoulli draws and needs no random number inside the loop.
    """
    return _Quantile(None, generator)


def threshold(tau: float) -> StopRule:
    """Stop at the first n whose CDF, sum_{j<=n} p_j, reaches `tau` in (0, 1] (PALBERT's Q-exit)."""
    if not 0 < tau <= 1:
        raise ValueError(f"tau must lie in (0, 1], got {tau}")
    return _Quantile(1 - tau)


def median() -> StopRule:
    """Stop at the median of the stopping distribution: `threshold(0.5)`."""
    return threshold(0.5)


def argmax() -> StopRule:
    """Answer with the most probable stopping step; runs until no later one can be more probable."""
    return _Argmax()


def expected(tolerance: float = 0.0) -> StopRule:
    """Answer with sum_n p_n prediction_n, as ACT does; stops when survival falls to `tolerance`.

    With a tolerance above zero the weights of the steps that were run are normalised.
    """
    if not 0 <= tolerance < 1:
        raise ValueError(f"tolerance must lie in [0, 1), got {tolerance}")
    return _Expected(tolerance)


@torch.no_grad()
def stop(predictions: Tensor, halt_logits: Tensor, rule: StopRule) -> Answer:
    """Apply a rule to a full unroll: predictions (N, B, ...) and halt logits (N, B[, T]).

    The slow twin of `Ponder.infer`; and one unroll serves many rules.
    """
    logits = halt_logits.to(torch.promote_types(halt_logits.dtype, torch.float32))
    last = len(logits) - 1
    carry = rule.begin(logits[0])
    log_survival = torch.zeros_like(logits[0])
    running = torch.ones_like(logits[0], dtype=torch.bool)
    steps = torch.zeros_like(running, dtype=torch.int64)
    answer = predictions[0]
    for n, (prediction, logit) in enumerate(zip(predictions, logits, strict=True)):
        steps += running
        log_stop, log_survival = advance_survival(log_survival, logit, forced=n == last)
        carry, mix, halt = rule(carry, log_stop, log_survival)
        answer = blend(answer, prediction, mix * running)
        running = running & ~halt
    return Answer(answer, steps)


def advance_survival(log_survival: Tensor, logit: Tensor, *, forced: bool) -> tuple[Tensor, Tensor]:
    """(log p_n, log survival after n) from log survival before n; the last halt is `forced`."""
    if forced:
        return log_survival, torch.full_like(log_survival, -math.inf)
    return log_survival + logsigmoid(logit), log_survival + logsigmoid(-logit)


def blend(answer: Tensor, prediction: Tensor, mix: Tensor) -> Tensor:
    """answer + mix * (prediction - answer), exact at 0 and 1; `mix` (B[, T]) is broadcast."""
    weight = mix.to(prediction.dtype).reshape(*mix.shape, *[1] * (prediction.dim() - mix.dim()))
    return torch.lerp(answer, prediction, weight.expand_as(prediction))


def calibrate_threshold(
    halt_logits: Tensor, correct: Tensor, *, tolerance: float = 0.01, candidates: int = 99
) -> float:
    """The smallest tau that costs at most `tolerance` of accuracy on validation data.

    Args:
        halt_logits: (N, B) on validation data.
        correct: (N, B), how right each step's prediction is, from 0 to 1.
        tolerance: Accuracy that may be lost against the best candidate.
        candidates: How many evenly spaced values of tau in (0, 1) are tried.

    The result is for `threshold`. Raises `ValueError` where the shapes differ.
    """
    if correct.shape != halt_logits.shape:
        raise ValueError(
            f"correct must be {tuple(halt_logits.shape)} like halt_logits, "
            f"got {tuple(correct.shape)}"
        )
    # What is "predicted" here is how right the answer is, so that a rule's mean answer is its
    # accuracy.
    grid = torch.linspace(0, 1, candidates + 2)[1:-1].tolist()
    right = correct.to(torch.float32)
    accuracy = [stop(right, halt_logits, threshold(tau)).prediction.mean().item() for tau in grid]
    floor = max(accuracy) - tolerance
    return next(tau for tau, value in zip(grid, accuracy, strict=True) if value >= floor)
