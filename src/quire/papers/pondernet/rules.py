"""When to stop at evaluation: five rules, each usable step by step or on a full unroll.

A rule sees, for every running example (or token), log p_n and the log survival after step n, and
says how the answer changes and who stops. It never looks ahead, so that stopping saves the later
steps. The last step always ends it: with what is left as its probability (truncation `remainder`),
or with its own p_N where a rule says `truncation="renormalise"`. B examples, T tokens, N steps.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from quire.papers.pondernet.stopping import Truncation, check_truncation, widen


class Decision(NamedTuple):
    """What a rule says after one step; every field has the shape of the halt logit."""

    carry: Tensor
    """What the rule remembers."""
    mix: Tensor
    """Weight in [0, 1] of this step's prediction in the answer, see `blend`."""
    halt: Tensor
    """True where no later step can change the answer."""


class StopRule(Protocol):
    """An evaluation rule: `begin` before the first step, then one call a step.

    A rule with an attribute `truncation = "renormalise"` is given p_N of the last step as it is;
    any other is given all the probability that is left.
    """

    def begin(self, like: Tensor) -> Tensor:
        """The first carry; `like` is a halt logit, (B,) or (B, T)."""

    def __call__(self, carry: Tensor, log_stop: Tensor, log_survival: Tensor) -> Decision:
        """Decide after a step with log p_n and log survival after it."""


LEAST = -24 * math.log(2)
"""Logarithm of the smallest step between two uniform numbers in float32."""


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
        return _draw(like, self.generator)

    def __call__(self, carry: Tensor, log_stop: Tensor, log_survival: Tensor) -> Decision:
        return Decision(carry, torch.ones_like(log_stop), log_survival.exp() <= carry)


@dataclass(frozen=True)
class _Reservoir:
    """Replace the answer by step n's with probability p_n / (p_1 + ... + p_n).

    In the end each n is kept with its share of the sum: sampling without looking ahead, at the
    price of running on (weighted reservoir sampling with room for one).
    """

    generator: torch.Generator | None
    truncation: Truncation = "renormalise"

    def begin(self, like: Tensor) -> Tensor:
        return torch.full_like(like, -math.inf)

    def __call__(self, carry: Tensor, log_stop: Tensor, log_survival: Tensor) -> Decision:
        log_cdf = torch.logaddexp(carry, log_stop)
        kept = _draw(log_stop, self.generator) < _share(log_stop, log_cdf)
        # What is left would be kept less often than a number in float32 can say.
        return Decision(log_cdf, kept.to(log_stop), log_survival <= log_cdf + LEAST)


@dataclass(frozen=True)
class _Argmax:
    truncation: Truncation

    def begin(self, like: Tensor) -> Tensor:
        return torch.full_like(like, -math.inf)

    def __call__(self, carry: Tensor, log_stop: Tensor, log_survival: Tensor) -> Decision:
        best = torch.maximum(carry, log_stop)
        # No later p_n can exceed the mass that is left.
        return Decision(best, (log_stop > carry).to(log_stop), log_survival <= best)


@dataclass(frozen=True)
class _Expected:
    tolerance: float
    truncation: Truncation

    def begin(self, like: Tensor) -> Tensor:
        return torch.full_like(like, -math.inf)

    def __call__(self, carry: Tensor, log_stop: Tensor, log_survival: Tensor) -> Decision:
        log_cdf = torch.logaddexp(carry, log_stop)
        done = log_survival.exp() <= self.tolerance
        return Decision(log_cdf, _share(log_stop, log_cdf), done)


def _draw(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Uniform numbers in [0, 1) of a tensor's shape, from wherever the generator is."""
    device = "cpu" if generator is None else generator.device
    return torch.rand(like.shape, generator=generator, device=device).to(like.device)


def _share(log_stop: Tensor, log_cdf: Tensor) -> Tensor:
    """p_n / (p_1 + ... + p_n); a step without probability has no share, first or not."""
    return torch.where(log_stop == -math.inf, 0.0, (log_stop - log_cdf).exp())


def sample(
    generator: torch.Generator | None = None, *, truncation: Truncation = "remainder"
) -> StopRule:
    """The paper's rule: stop at n with probability lambda_n, at N for certain.

    Drawn by inverting the CDF with one uniform number an example, which has exactly the
    distribution of step-by-step Bernoulli draws and needs no random number inside the loop.

    `truncation="renormalise"` draws from p_n / sum p_n, for a network that was trained with it.
    How much there is to divide by is known after N steps only: it runs on until no later step could
    be drawn, mostly all N.
    """
    check_truncation(truncation)
    return _Quantile(None, generator) if truncation == "remainder" else _Reservoir(generator)


def threshold(tau: float) -> StopRule:
    """Stop at the first n whose CDF, sum_{j<=n} p_j, reaches `tau` in (0, 1] (PALBERT's Q-exit)."""
    if not 0 < tau <= 1:
        raise ValueError(f"tau must lie in (0, 1], got {tau}")
    return _Quantile(1 - tau)


def median() -> StopRule:
    """Stop at the median of the stopping distribution: `threshold(0.5)`."""
    return threshold(0.5)


def argmax(*, truncation: Truncation = "remainder") -> StopRule:
    """Answer with the most probable stopping step; runs until no later one can be more probable."""
    check_truncation(truncation)
    return _Argmax(truncation)


def expected(tolerance: float = 0.0, *, truncation: Truncation = "remainder") -> StopRule:
    """Answer with sum_n p_n prediction_n, as ACT does; stops when survival falls to `tolerance`.

    With a tolerance above zero, or `truncation="renormalise"`, the weights of the steps that were
    run are normalised. Predictions must be floating-point numbers.
    """
    if not 0 <= tolerance < 1:
        raise ValueError(f"tolerance must lie in [0, 1), got {tolerance}")
    check_truncation(truncation)
    return _Expected(tolerance, truncation)


@torch.no_grad()
def stop(predictions: Tensor, halt_logits: Tensor, rule: StopRule) -> Answer:
    """Apply a rule to a full unroll: predictions (N, B, ...) and halt logits (N, B[, T]).

    The slow twin of `Ponder.infer`; and one unroll serves many rules. Raises `ValueError` where
    the predictions do not begin with the logits' shape, or there is no step.
    """
    if not len(halt_logits) or predictions.shape[: halt_logits.dim()] != halt_logits.shape:
        raise ValueError(
            f"predictions must begin with the shape of the halt logits, which have a step at least;"
            f" got {tuple(predictions.shape)} and {tuple(halt_logits.shape)}"
        )
    logits = widen(halt_logits)
    last = len(logits) - 1
    carry = rule.begin(logits[0])
    log_survival = torch.zeros_like(logits[0])
    running = torch.ones_like(logits[0], dtype=torch.bool)
    steps = torch.zeros_like(running, dtype=torch.int64)
    answer = begin_answer(predictions[0])
    for n, (prediction, logit) in enumerate(zip(predictions, logits, strict=True)):
        steps += running
        forced = n == last and forces_last(rule)
        log_stop, log_survival = advance_survival(log_survival, logit, forced=forced)
        carry, mix, halt = rule(carry, log_stop, log_survival)
        answer = blend(answer, prediction, mix * running)
        running = running & ~halt
    return Answer(answer.to(predictions.dtype), steps)


def begin_answer(prediction: Tensor) -> Tensor:
    """What `blend` begins with: in half precision every step would lose a little of a mean."""
    if not prediction.is_floating_point():
        return prediction
    return prediction.to(torch.promote_types(prediction.dtype, torch.float32))


def forces_last(rule: StopRule) -> bool:
    """Whether the last step takes all the probability that is left."""
    return getattr(rule, "truncation", "remainder") == "remainder"


def advance_survival(log_survival: Tensor, logit: Tensor, *, forced: bool) -> tuple[Tensor, Tensor]:
    """(log p_n, log survival after n) from log survival before n; the last halt is `forced`."""
    if forced:
        return log_survival, torch.full_like(log_survival, -math.inf)
    return log_survival + logsigmoid(logit), log_survival + logsigmoid(-logit)


def blend(answer: Tensor, prediction: Tensor, mix: Tensor) -> Tensor:
    """(1 - mix) * answer + mix * prediction; `mix` (B[, T]) in [0, 1] is broadcast.

    At 0 and 1 it is one of the two, whatever the other holds (infinities, not-a-number), and so it
    is for integers. Raises `ValueError` for a mixture of integers.
    """
    shape = *mix.shape, *[1] * (prediction.dim() - mix.dim())
    prediction = prediction.to(answer.dtype)
    if not (prediction.is_floating_point() or prediction.is_complex()):
        if bool(((mix > 0) & (mix < 1)).any()):
            raise ValueError(
                f"this rule averages predictions, which must be floating-point numbers, "
                f"got {prediction.dtype}"
            )
        return torch.where(mix.reshape(shape) == 0, answer, prediction)
    weight = mix.to(prediction.dtype).reshape(shape)
    mixed = torch.lerp(answer, prediction, weight.expand_as(prediction))
    # lerp subtracts the two, which infinities (masked classes) do not survive; a sum they do.
    mixed = torch.where(mixed.isfinite(), mixed, (1 - weight) * answer + weight * prediction)
    return torch.where(weight == 0, answer, torch.where(weight == 1, prediction, mixed))


def calibrate_threshold(
    halt_logits: Tensor,
    correct: Tensor,
    *,
    tolerance: float = 0.01,
    candidates: int = 99,
    weight: Tensor | None = None,
) -> float:
    """The smallest tau that costs at most `tolerance` of accuracy on validation data.

    Args:
        halt_logits: (N, B[, T]) on validation data.
        correct: Same shape, how right each step's prediction is, from 0 to 1.
        tolerance: Accuracy that may be lost against the best candidate, 0 or more.
        candidates: How many evenly spaced values of tau in (0, 1) are tried.
        weight: Averaging weights (B[, T]), zero at padding; None is all equal.

    The result is for `threshold`. Raises `ValueError` where the shapes differ, there is nothing to
    average, or a number is out of its range.
    """
    if correct.shape != halt_logits.shape:
        raise ValueError(
            f"correct must be {tuple(halt_logits.shape)} like halt_logits, "
            f"got {tuple(correct.shape)}"
        )
    if candidates < 1 or not tolerance >= 0:
        raise ValueError(
            f"candidates must be at least 1 and tolerance at least 0, got {candidates} "
            f"and {tolerance}"
        )
    weights = torch.ones_like(widen(halt_logits[0])) if weight is None else weight
    if weights.shape != halt_logits.shape[1:] or not weights.sum() > 0:
        raise ValueError(
            f"weight must be {tuple(halt_logits.shape[1:])} with a sum above zero, "
            f"got {tuple(weights.shape)} and {float(weights.sum())}"
        )
    # What is "predicted" here is how right the answer is: a rule's mean answer is its accuracy.
    grid = torch.linspace(0, 1, candidates + 2)[1:-1].tolist()
    right, total = correct.float().masked_fill(weights == 0, 0.0), weights.sum()
    answers = (stop(right, halt_logits, threshold(tau)).prediction for tau in grid)
    accuracy = [((answer * weights).sum() / total).item() for answer in answers]
    floor = max(accuracy) - tolerance
    return next(tau for tau, value in zip(grid, accuracy, strict=True) if value >= floor)
