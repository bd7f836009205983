"""Adaptive computation time (Graves 2016, arXiv 1603.08983): PonderNet's baseline.

ACT reads sigmoid(halt_logit) as the *probability of stopping at n*, where PonderNet reads it as the
probability of stopping at n given that n was reached; so sums of hazards reach one by themselves.
B examples, T tokens.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from quire.nn import devices
from quire.papers.pondernet.ponder import Step, Tree, begin, map_tensors


class ACTOutput(NamedTuple):
    """ACT's weighted means, its cost and its steps."""

    prediction: Tensor
    """Weighted mean of the steps' predictions, (B, ...)."""
    state: Tree
    """Weighted mean of the steps' states (integer tensors: the last one)."""
    ponder_cost: Tensor
    """N + R for each example or token, (B[, T]); add `tau` times its mean to the loss."""
    steps: Tensor
    """N, the number of steps used, (B[, T]) int64."""


class ACT(nn.Module):
    """Run a step until its summed hazards reach `1 - eps`; answer with the weighted mean.

    Section 2.1 there: N = min{n : h_1 + ... + h_n >= 1 - eps} (or `max_steps`), weights h_n before
    N and R = 1 - sum_{n<N} h_n at N. The derivative of N + R is -1 for every h_n before N and 0 at
    N, whatever the task needs: the bias that PonderNet removes.

    The step is as `Ponder`'s, with its optional `prepare` and `initial_state`; `eps` is the room
    that lets a first hazard near one stop at once. Raises `ValueError` for `max_steps` below 1 and
    `eps` outside [0, 1).

    Example:
        >>> import torch
        >>> from quire.papers.pondernet import ACT, RNNStep
        >>> act = ACT(RNNStep(6, 16, 1), max_steps=5)
        >>> output = act(torch.randn(3, 6))
        >>> output.prediction.shape, output.ponder_cost.shape
        (torch.Size([3, 1]), torch.Size([3]))
    """

    def __init__(self, step: Step, max_steps: int = 20, *, eps: float = 0.01) -> None:
        super().__init__()
        if max_steps < 1:
            raise ValueError(f"max_steps must be at least 1, got {max_steps}")
        if not 0 <= eps < 1:
            raise ValueError(f"eps must lie in [0, 1), got {eps}")
        self.step = step
        self.max_steps = max_steps
        self.eps = eps

    def forward(self, x: Tree, state: Tree = None, *, max_steps: int | None = None) -> ACTOutput:
        """Run until every example (or token) has stopped, `max_steps` (None: N) at most."""
        last = self.max_steps if max_steps is None else max_steps
        if last < 1:
            raise ValueError(f"max_steps must be at least 1, got {last}")
        context, state = begin(self.step, x, state)
        for n in range(1, last + 1):
            prediction, state, logit = self.step(context, state)
            hazard = logit.to(torch.promote_types(logit.dtype, torch.float32)).sigmoid()
            if n == 1:
                spent = torch.zeros_like(hazard)
                running = torch.ones_like(hazard, dtype=torch.bool)
                steps, remainder = torch.zeros_like(running, dtype=torch.int64), spent
                mean: Tree = None
            # Whoever would reach one stops here, with what is left of one as the weight: weights
            # of every example sum to one.
            stops = running & ((spent + hazard >= 1 - self.eps) | (n == last))
            left = 1 - spent
            weight = torch.where(stops, left, torch.where(running, hazard, 0.0))
            remainder = torch.where(stops, left, remainder)
            steps = steps + running
            mean = _accumulate(mean, (prediction, state), weight, running)
            running = running & ~stops
            spent = torch.where(running, spent + hazard, spent)
            # Looking at values would break a compiled graph, where all `last` steps run, and wait
            # for a device.
            look = not devices.is_accelerator(logit) or n % devices.STRIDE == 0
            if look and not torch.compiler.is_compiling() and not running.any():
                break
        mean = map_tensors(lambda total, leaf: total.to(leaf.dtype), mean, (prediction, state))
        return ACTOutput(mean[0], mean[1], steps + remainder, steps)


def _scale(leaf: Tensor, weight: Tensor) -> Tensor:
    """A leaf (B[, T], ...) times its weight (B[, T]): zero at zero, whatever the leaf holds there.

    An example that has stopped goes on with those that have not: its later predictions may be
    infinite (a masked class) or overflow, and must not touch its mean.
    """
    if leaf.shape[: weight.dim()] != weight.shape:
        raise ValueError(
            f"predictions and states must begin with the halt logit's shape {tuple(weight.shape)}, "
            f"got {tuple(leaf.shape)}"
        )
    # Half precision would lose a little at every step: sums are in float32 or better.
    wide = torch.promote_types(leaf.dtype, torch.float32)
    weight = weight.reshape(*weight.shape, *[1] * (leaf.dim() - weight.dim())).to(wide)
    return leaf.to(wide).masked_fill(weight == 0, 0.0) * weight


def _accumulate(total: Tree, state: Tree, weight: Tensor, running: Tensor) -> Tree:
    """The weighted sum so far with one more term; a counter is not averaged but the last one.

    Args:
        total: The sum, None before the first term.
        state: The term.
        weight: (B[, T]).
        running: (B[, T]), who ran in this step: where nobody did, a counter stays.
    """
    if total is None:
        return map_tensors(
            lambda leaf: _scale(leaf, weight) if leaf.is_floating_point() else leaf, state
        )
    return map_tensors(
        lambda leaf, sum_: (
            sum_ + _scale(leaf, weight)
            if leaf.is_floating_point()
            else torch.where(running.any(), leaf, sum_)
        ),
        state,
        total,
    )
