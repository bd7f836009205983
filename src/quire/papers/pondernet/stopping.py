"""When to stop, as mathematics: the stopping distribution, its priors, its penalties and the loss.

Four quantities that are easily mixed up, and their names here (N steps, B examples, T tokens):

halt_logit    a_n, any real number, shape (N, B) or (N, B, T)
hazard        lambda_n = sigmoid(a_n): probability of stopping at n *if n is reached*
survival      prod_{j<n} (1 - lambda_j): probability that n is reached
stop_prob     p_n = lambda_n * survival: probability of stopping exactly at n

Everything is computed from logits in the log domain, in float32 or better: no logarithm of zero,
no clamp.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from quire.nn import devices

Truncation = Literal["remainder", "renormalise"]

CERTAIN = 1e4
"""A logit this large is a hazard of exactly one (its negative: zero) with finite logarithms."""

Regulariser = Callable[[Tensor], Tensor]
"""Penalty on log stopping probabilities (N, B[, T]): gives (B[, T]), or one number for all.

Only `kl_empirical` looks at averaging weights too; `ponder_loss` hands them on to it.
"""


def stopping_distribution(halt_logits: Tensor, truncation: Truncation = "remainder") -> Tensor:
    """Probability of stopping at each step (section 2.1, eq. 3).

    From logits (N, B[, T]), any real numbers, to probabilities of the same shape that sum to one
    over the first dimension, in float32 or better. `truncation` says what becomes of the mass left
    after the last step N: `remainder` gives it to step N, as if the last hazard were one;
    `renormalise` conditions on stopping within N steps.

    For a constant hazard `c` they are `c (1-c)^(n-1)` for n < N, with `(1-c)^(N-1)` at N under
    `remainder`, and `c (1-c)^(n-1) / (1 - (1-c)^N)` under `renormalise`. Raises `ValueError` for
    no step or an unknown truncation.
    """
    return log_stopping_distribution(halt_logits, truncation).exp()


def log_stopping_distribution(halt_logits: Tensor, truncation: Truncation = "remainder") -> Tensor:
    """Logarithm of `stopping_distribution`, same shape; finite for every finite logit.

    An infinite logit is a hazard of zero or one: what cannot be reached has -inf.
    """
    if halt_logits.dim() < 1 or halt_logits.shape[0] < 1:
        raise ValueError(
            f"halt_logits must be (steps, batch) or (steps, batch, tokens) with at least one step, "
            f"got shape {tuple(halt_logits.shape)}"
        )
    check_truncation(truncation)
    logits = widen(halt_logits)
    # The survival before step n is the product over j < n: step 1 is reached for certain.
    log_survival = logsigmoid(-logits[:-1]).cumsum(0)
    log_reached = torch.cat([torch.zeros_like(logits[:1]), log_survival])
    if truncation == "remainder":
        # log p_N = log reached(N): the last logit plays no part and gets no gradient.
        return log_reached + torch.cat([logsigmoid(logits[:-1]), torch.zeros_like(logits[:1])])
    # A softmax over log p_n divides by their sum without leaving the log domain.
    return (log_reached + logsigmoid(logits)).log_softmax(0)


def widen(logits: Tensor) -> Tensor:
    """Halt logits in float32 or better, as everything is computed from them."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def truncate_examples(halt_logits: Tensor, eps: float) -> Tensor:
    """The eps rule for each example: force its halt at its own first n with CDF(n) > 1 - eps.

    A batch is unrolled to the longest example; this makes the others end where they would have
    ended alone. Logits (N, B[, T]) in and out; use with `truncation="remainder"`. Raises
    `ValueError` for `eps` outside (0, 1).
    """
    if not 0 < eps < 1:
        raise ValueError(f"eps must lie in (0, 1), got {eps}")
    log_survival = logsigmoid(-widen(halt_logits.detach())).cumsum(0)
    over = log_survival < math.log(eps)
    return halt_logits.masked_fill(over, CERTAIN)


@dataclass(frozen=True)
class GeometricPrior:
    """Geometric distribution over 1, 2, ..., N: `lambda_p (1 - lambda_p)^(n-1)`, truncated at N.

    `renormalise` (the paper's) divides by `1 - (1 - lambda_p)^N`; `remainder` gives the tail to N.
    With the truncation of the stopping distribution, a constant hazard of `lambda_p` has
    divergence zero. Its mean is `1 / lambda_p` steps as N grows.

    `horizon` is N. None takes the length of each unroll, as the paper writes it; but where the eps
    rule (`Ponder(eps=...)`) chooses that length, stopping at once is then free (N = 1 has
    divergence zero) and networks find it. Give `max_steps` there, or `math.inf` for a prior that is
    not truncated at all: either is cut to the unroll and not normalised again, and the gradients
    are the same.

    Raises `ValueError` for `lambda_p` outside (0, 1): at 1 the prior forbids a second step, and the
    divergence is infinite; and for a horizon that is no whole number from 1.
    """

    lambda_p: float
    truncation: Truncation = "renormalise"
    horizon: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.lambda_p < 1:
            raise ValueError(f"lambda_p must lie in (0, 1), got {self.lambda_p}")
        horizon = math.inf if self.horizon is None else self.horizon
        if not (horizon >= 1 and (horizon == math.inf or horizon == int(horizon))):
            raise ValueError(
                f"horizon must be a whole number from 1, math.inf or None, got {horizon}"
            )
        check_truncation(self.truncation)

    def log_prob(self, steps: int) -> Tensor:
        """Log-probabilities of stopping at 1..steps, (steps,) float64.

        Raises `ValueError` for more steps than the horizon.
        """
        horizon = self.horizon or steps
        if steps > horizon:
            raise ValueError(
                f"the prior has a horizon of {horizon} steps, got an unroll of {steps}"
            )
        odds = torch.tensor(self.lambda_p, dtype=torch.float64).logit()
        if horizon == math.inf:
            before = torch.arange(steps, dtype=torch.float64)
            return logsigmoid(odds) + before * logsigmoid(-odds)
        return log_stopping_distribution(odds.expand(int(horizon)), self.truncation)[:steps]


def kl_to_prior(prior: GeometricPrior | Tensor) -> Regulariser:
    """KL(p || prior), the paper's direction, for each example.

    The prior is a `GeometricPrior`, or a tensor of weights, one a step and N at least (uniform,
    Poisson, learned): normalised over its whole length, then cut to the steps at hand. A weight of
    zero forbids a step: the divergence is infinite unless p is zero there too (`min_steps`).

    Raises `ValueError` for a tensor that is not (steps,), and on the CPU for weights below zero or
    a sum of zero.
    """
    _check_prior(prior)

    def penalty(log_stop: Tensor) -> Tensor:
        return _kl(log_stop, _log_prior(prior, log_stop))

    return penalty


def kl_geometric(
    lambda_p: float, truncation: Truncation = "renormalise", *, horizon: float | None = None
) -> Regulariser:
    """KL(p || `GeometricPrior`): the paper's regulariser (section 2.2, eq. 4)."""
    return kl_to_prior(GeometricPrior(lambda_p, truncation, horizon))


def kl_empirical(prior: GeometricPrior | Tensor) -> Regulariser:
    """KL(mean of p over the batch || prior): the prior holds for the population, not for each one.

    An easy example may then always stop early and a hard one late at no cost. The mean is over all
    examples and tokens, or weighted: `kl_empirical(prior)(log_stop, weight)`, as `ponder_loss` does
    with its own. Raises as `kl_to_prior`.
    """
    _check_prior(prior)
    return _KLOfMean(prior)


@dataclass(frozen=True, eq=False)
class _KLOfMean:
    prior: GeometricPrior | Tensor

    def __call__(self, log_stop: Tensor, weight: Tensor | None = None) -> Tensor:
        # log of the mean of p_n over all examples and tokens.
        flat = log_stop.flatten(1)
        if weight is None:
            total = torch.tensor(float(flat.shape[1]))
        else:
            # A mean of nothing is not a number: with all weights zero it is that of all alike.
            weight = torch.where(weight.sum() == 0, 1.0, weight.to(flat)).flatten()
            flat, total = flat + weight.log(), weight.sum()
        mean = flat.logsumexp(1, keepdim=True) - torch.log(total)
        return _kl(mean, _log_prior(self.prior, mean)).squeeze(0)


def expected_steps(log_stop: Tensor) -> Tensor:
    """Mean number of steps, sum_n n p_n: (N, B[, T]) -> (B[, T])."""
    count = torch.arange(1, log_stop.shape[0] + 1, device=log_stop.device, dtype=log_stop.dtype)
    return torch.einsum("n...,n->...", log_stop.exp(), count)


def entropy_bonus(log_stop: Tensor) -> Tensor:
    """Negative entropy of p in nats, a penalty on early certainty; shapes as `expected_steps`."""
    probability = log_stop.exp()
    return (probability * log_stop.masked_fill(probability == 0, 0.0)).sum(0)


def expected_loss(losses: Tensor, log_stop: Tensor) -> Tensor:
    """Expectation of the loss over the stopping time, sum_n p_n l_n, for each example.

    This is not the loss of the expected prediction: that would be ACT's objective, and biased.
    Both arguments are (N, B[, T]); the result is (B[, T]). A step that is never the last counts for
    nothing, even where its loss is infinite. Raises `ValueError` for other shapes.
    """
    if losses.shape != log_stop.shape:
        raise ValueError(
            f"losses must have one entry a step and example, {tuple(log_stop.shape)} like the halt "
            f"logits, got {tuple(losses.shape)}"
        )
    probability = log_stop.exp()
    return (probability * losses.masked_fill(probability == 0, 0.0)).sum(0)


def ponder_loss(
    losses: Tensor,
    halt_logits: Tensor,
    *,
    regulariser: Regulariser | None,
    beta: float = 0.01,
    truncation: Truncation = "remainder",
    weight: Tensor | None = None,
) -> Tensor:
    """PonderNet's objective: expected loss over stopping times plus `beta` times a penalty (eq. 5).

    Args:
        losses: Loss of every step's prediction for every example, (N, B[, T]).
        halt_logits: Same shape.
        regulariser: The paper's is `kl_geometric(lambda_p)`; None is no penalty.
        beta: Weight of the penalty.
        truncation: See `stopping_distribution`.
        weight: Averaging weights (B[, T]), zero at padding; None is all equal.

    Gives a scalar; 0 where the batch is empty or all weights are zero. What stands at padding does
    not matter, infinities and not-a-number included. Other penalties: `expected_steps`,
    `entropy_bonus`, `kl_to_prior(...)`, `kl_empirical(...)`. Raises `ValueError` for other shapes.
    """
    if weight is not None:
        if weight.shape != halt_logits.shape[1:]:
            raise ValueError(
                f"weight must have one entry an example (or token), {tuple(halt_logits.shape[1:])} "
                f"like the halt logits, got {tuple(weight.shape)}"
            )
        # A product with a weight of zero would not hide an infinity, nor its gradient.
        padding = weight == 0
        losses = losses.masked_fill(padding, 0.0)
        halt_logits = halt_logits.masked_fill(padding, 0.0)
    log_stop = log_stopping_distribution(halt_logits, truncation)
    total = expected_loss(losses, log_stop)
    if isinstance(regulariser, _KLOfMean):
        total = total + beta * regulariser(log_stop, weight)
    elif regulariser is not None:
        total = total + beta * regulariser(log_stop)
    if weight is None:
        return total.mean() if total.numel() else total.sum()
    everything = weight.sum()
    return (total * weight).sum() / everything.masked_fill(everything == 0, 1)


def _kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """sum_n p_n (log p_n - log q_n) over the first dimension; `log_q` is (N,)."""
    log_q = log_q.reshape(-1, *[1] * (log_p.dim() - 1))
    probability = log_p.exp()
    # 0 log(0 / q) is 0, also for q = 0: the product and its gradient would be 0 times infinity.
    ratio = (log_p - log_q).masked_fill(probability == 0, 0.0)
    return (probability * ratio).sum(0)


def _log_prior(prior: GeometricPrior | Tensor, like: Tensor) -> Tensor:
    """Log-prior (N,) for log stopping probabilities `like`, (N, ...)."""
    steps = like.shape[0]
    if isinstance(prior, GeometricPrior):
        return prior.log_prob(steps).to(like)
    if prior.shape[0] < steps:
        raise ValueError(
            f"prior must be one weight a step, at least {steps}, got {tuple(prior.shape)}"
        )
    return (prior / prior.sum()).log()[:steps].to(like)


def _check_prior(prior: GeometricPrior | Tensor) -> None:
    if isinstance(prior, GeometricPrior):
        return
    if prior.dim() != 1:
        raise ValueError(f"prior must be one weight a step, got shape {tuple(prior.shape)}")
    # A learned prior is made anew each step: looking at its values would make a GPU wait.
    looked_at = not devices.is_accelerator(prior) and not torch.compiler.is_compiling()
    if looked_at and not ((prior >= 0).all() and prior.sum() > 0):
        raise ValueError("prior must hold weights of zero or more with a sum above zero")


def check_truncation(truncation: str) -> None:
    """Raises `ValueError` for what is no truncation."""
    if truncation not in get_args(Truncation):
        raise ValueError(f"truncation must be one of {get_args(Truncation)}, got {truncation!r}")
