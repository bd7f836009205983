"""Ponder: any step function in a loop that learns when to stop (section 2).

The step is called as `step(context, state) -> (prediction, state, halt_logit)`. Shapes: B
examples, T tokens, N steps; prediction (B, ...), halt_logit (B,) for one stopping time an example
or (B, T) for one a token, state any tuple, list or dict of tensors whose first dimension is B. A
step may also offer

    prepare(x) -> context            what does not change over the steps, computed once; a dropout
                                     mask belongs here, so that it serves the whole sequence
    initial_state(context) -> state  used when no state is given
    keep_stopped(new, old, running) -> state
                                     the new state, with the old one at tokens that do not run,
                                     (B, T); see `Ponder.infer`

Without `prepare`, the context is x itself.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid
from torch.utils.checkpoint import checkpoint

from quire.nn import devices
from quire.papers.pondernet.rules import (
    Answer,
    StopRule,
    advance_survival,
    begin_answer,
    blend,
    forces_last,
)
from quire.papers.pondernet.stopping import (
    CERTAIN,
    Regulariser,
    Truncation,
    check_truncation,
    expected_steps,
    kl_geometric,
    log_stopping_distribution,
    ponder_loss,
    stopping_distribution,
    widen,
)

Tree = Any
"""A tensor, or a tuple, list or dict of trees, or None."""

Step = Callable[[Tree, Tree], tuple[Tensor, Tree, Tensor]]


class Unroll(NamedTuple):
    """All steps of a pondering network."""

    predictions: Tensor
    """(N, B, ...)"""
    halt_logits: Tensor
    """(N, B) or (N, B, T): input of `stopping_distribution`."""
    state: Tree
    """State after the last step."""

    def stop_prob(self, truncation: Truncation = "remainder") -> Tensor:
        """p_n, the probability of stopping at each step, shaped as the halt logits: to log it."""
        return stopping_distribution(self.halt_logits, truncation)

    def expected_steps(self, truncation: Truncation = "remainder") -> Tensor:
        """Mean of the stopping time, sum_n n p_n, (B[, T])."""
        return expected_steps(log_stopping_distribution(self.halt_logits, truncation))


class Ponder(nn.Module):
    """Repeat a step; each pass gives a prediction and the logit of stopping now.

    Args:
        step: Module or function `(context, state) -> (prediction, state, halt_logit)`.
        max_steps: N, the longest unroll.
        min_steps: No halting before this step.
        eps: Train until all have stopped with probability above 1 - eps; None unrolls N steps. The
            paper has 0.05.
        check_every: Steps between two looks at the eps rule.
        halting: A halting network of its own, `(context, state) -> halt_logit`; None is the step's.
        detach_halting: That network reads a detached state, so that halting never trains the step.
        recompute: Keep only the states; each step is run again in the backward pass.

    The eps rule (section 2.1) shortens training as a network grows sure of when to stop; give its
    prior a horizon then (see `GeometricPrior`). A GPU is waited for at every fourth look, and what
    was computed too much by then is dropped. Without the rule the graph is fixed, as
    `torch.compile` and CUDA graphs like it, and nothing waits. Raises `ValueError` for `max_steps`
    or `check_every` below 1, `min_steps` outside 1..max_steps and `eps` outside (0, 1).

    Example:
        >>> import torch
        >>> from quire.papers.pondernet import Ponder, RNNStep
        >>> ponder = Ponder(RNNStep(6, 16, 1), max_steps=5)
        >>> predictions, halt_logits, state = ponder(torch.randn(3, 6))
        >>> predictions.shape, halt_logits.shape
        (torch.Size([5, 3, 1]), torch.Size([5, 3]))
    """

    def __init__(
        self,
        step: Step,
        max_steps: int = 20,
        *,
        min_steps: int = 1,
        eps: float | None = None,
        check_every: int = 1,
        halting: Callable[[Tree, Tree], Tensor] | None = None,
        detach_halting: bool = False,
        recompute: bool = False,
    ) -> None:
        super().__init__()
        if max_steps < 1:
            raise ValueError(f"max_steps must be at least 1, got {max_steps}")
        if not 1 <= min_steps <= max_steps:
            raise ValueError(f"min_steps must lie in 1..max_steps ({max_steps}), got {min_steps}")
        if eps is not None and not 0 < eps < 1:
            raise ValueError(f"eps must lie in (0, 1) or be None, got {eps}")
        if check_every < 1:
            raise ValueError(f"check_every must be at least 1, got {check_every}")
        self.step = step
        self.max_steps = max_steps
        self.min_steps = min_steps
        self.eps = eps
        self.check_every = check_every
        self.halting = halting
        self.detach_halting = detach_halting
        self.recompute = recompute

    def forward(self, x: Tree, state: Tree = None, *, max_steps: int | None = None) -> Unroll:
        """All steps, at most N. `max_steps` overrides N, to think longer at evaluation.

        Raises `ValueError` where that is less than `min_steps`.
        """
        steps = self._steps(max_steps)
        context, state = self.begin(x, state)
        # Evaluation sees the whole distribution: the rule belongs to training.
        eps = self.eps if self.training else None
        predictions, logits, states = [], [], []
        log_survival: Tensor | None = None
        sure: list[Tensor] = []  # at each look, whether all have stopped
        for n in range(1, steps + 1):
            prediction, state, logit = self.advance(n, context, state)
            predictions.append(prediction)
            logits.append(logit)
            if eps is None:
                continue
            # The rule only cuts the unroll: no gradient, and no survival kept where it is off.
            log_continue = logsigmoid(-widen(logit.detach()))
            log_survival = log_continue if log_survival is None else log_survival + log_continue
            if n % self.check_every:
                continue
            states.append(state)
            sure.append((log_survival < math.log(eps)).all())
            # A device has to be waited for: several looks are read at once, and what was computed
            # after the one that ends the unroll is dropped.
            more = n + self.check_every <= steps
            if more and len(sure) < devices.STRIDE and devices.is_accelerator(logit):
                continue
            ends = devices.read(sure)
            if True in ends:
                late = len(sure) - 1 - ends.index(True)
                kept = (n // self.check_every - late) * self.check_every
                predictions, logits, state = predictions[:kept], logits[:kept], states[-1 - late]
                break
            states, sure = [], []
        return Unroll(torch.stack(predictions), torch.stack(logits), state)

    def _steps(self, max_steps: int | None) -> int:
        if max_steps is None:
            return self.max_steps
        if max_steps < self.min_steps:
            raise ValueError(
                f"max_steps must be at least min_steps ({self.min_steps}), got {max_steps}"
            )
        return max_steps

    def begin(self, x: Tree, state: Tree = None) -> tuple[Tree, Tree]:
        """(context, first state) of a sequence of steps."""
        return begin(self.step, x, state)

    def advance(self, n: int, context: Tree, state: Tree) -> tuple[Tensor, Tree, Tensor]:
        """Step number n (from 1): (prediction, state, halt_logit)."""
        if self.recompute and torch.is_grad_enabled():
            prediction, state, logit = checkpoint(self.step, context, state, use_reentrant=False)
        else:
            prediction, state, logit = self.step(context, state)
        if self.halting is not None:
            seen = map_tensors(Tensor.detach, state) if self.detach_halting else state
            logit = self.halting(context, seen)
        if n < self.min_steps:
            # A finite logit that is a hazard of zero: logarithms and gradients stay finite.
            logit = torch.full_like(logit, -CERTAIN)
        return prediction, state, logit

    @torch.no_grad()
    def infer(
        self,
        x: Tree,
        state: Tree = None,
        *,
        rule: StopRule,
        max_steps: int | None = None,
        compact: bool = True,
        freeze: bool = True,
    ) -> Answer:
        """Answer each example as soon as the rule stops it; stopped examples cost nothing more.

        Args:
            x: Input, first dimension B in every tensor.
            state: First state; None is the step's own.
            rule: `sample()`, `argmax()`, `median()`, `threshold(tau)` or any `StopRule`.
            max_steps: N at evaluation; it may be larger than in training.
            compact: False keeps stopped examples in the batch until all have stopped.
            freeze: A stopped token keeps its state, where tokens halt one by one.

        With one halt logit an example, the batch shrinks to the running examples after every step,
        and the result equals running each example alone. With one a token, an example leaves when
        all its tokens have stopped. Until then a stopped token keeps its state while the others
        attend to it. Training has nothing to freeze, because every token stops at every step with
        some probability; with `freeze=False` stopped tokens go on changing as they do there, and
        the result is that of `stop` on a full unroll. What is kept is every state tensor
        (B, T, ...) of three or more dimensions, or what the step's `keep_stopped` says.

        Raises `ValueError` where `max_steps` is less than `min_steps`, and where it cannot be told
        which dimension of a state holds the tokens.
        """
        last = self._steps(max_steps)
        context, state = self.begin(x, state)
        rows: _Rows | None = None
        for n in range(1, last + 1):
            before = state
            prediction, state, logit = self.advance(n, context, state)
            if rows is None:
                # Shapes are known only now. `final` is by place in the whole batch; what is in
                # `rows` belongs to those that still run.
                rows = _Rows.start(prediction, widen(logit), rule)
                final, final_steps = torch.zeros_like(prediction), torch.zeros_like(rows.steps)
            if freeze and logit.dim() == 2:
                # A token that stopped in an earlier step keeps what the others attend to.
                keep = getattr(self.step, "keep_stopped", _keep_stopped)
                state = keep(state, before, rows.running)
            forced = n == last and forces_last(rule)
            rows = rows.decide(prediction, widen(logit), rule, forced=forced)
            if n < last and n % devices.STRIDE and devices.is_accelerator(logit):
                continue  # who has stopped changes no more, and to look would wait for the device
            # An example stays until its last token has stopped.
            alive = rows.running.any(1) if logit.dim() == 2 else rows.running
            none_left = n == last or not alive.any()
            if none_left or (compact and not alive.all()):
                # All rows are written: those that go on will be written again when they leave.
                final[rows.place] = rows.answer.to(final.dtype)
                final_steps[rows.place] = rows.steps
                if none_left:
                    break
                kept = alive.nonzero().squeeze(1)
                rows, context, state = _take((rows, context, state), kept)
        return Answer(final, final_steps)


class PonderLoss(nn.Module):
    """PonderNet's objective in one call: `loss(ponder(x), target)`.

    Args:
        criterion: Loss of predictions and targets for each example, as PyTorch's criteria with
            `reduction="none"`. It sees all steps at once, (N * B, ...), and the target as often.
        lambda_p: Hazard of the geometric prior, which is not truncated (`horizon=math.inf`): so
            no number of steps is given twice, and the eps rule makes no early stop free.
        regulariser: Another penalty in its place.
        beta: Weight of the penalty.
        truncation: See `stopping_distribution`.

    What the criterion gives beyond one number a halt logit is averaged; a last dimension of one
    in the predictions is dropped where the target lacks it. Raises `ValueError` where the criterion
    gives less than a number for each example.

    Example:
        >>> import torch
        >>> from quire.papers.pondernet import PonderLoss, Unroll
        >>> unroll = Unroll(torch.randn(5, 4, 3), torch.zeros(5, 4), None)  # or ponder(x)
        >>> loss = PonderLoss(torch.nn.CrossEntropyLoss(reduction="none"))
        >>> loss(unroll, torch.tensor([0, 2, 1, 1])).shape
        torch.Size([])
    """

    def __init__(
        self,
        criterion: Callable[[Tensor, Tensor], Tensor],
        *,
        lambda_p: float = 0.2,
        regulariser: Regulariser | None = None,
        beta: float = 0.01,
        truncation: Truncation = "remainder",
    ) -> None:
        super().__init__()
        check_truncation(truncation)
        self.criterion = criterion
        self.regulariser = regulariser or kl_geometric(lambda_p, horizon=math.inf)
        self.beta = beta
        self.truncation = truncation

    def forward(self, unroll: Unroll, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Scalar loss of an unroll for targets (B, ...); `weight` as in `ponder_loss`."""
        losses = self.losses(unroll, target)
        return ponder_loss(
            losses,
            unroll.halt_logits,
            regulariser=self.regulariser,
            beta=self.beta,
            truncation=self.truncation,
            weight=weight,
        )

    def losses(self, unroll: Unroll, target: Tensor) -> Tensor:
        """The criterion at every step, (N, B[, T]) as the halt logits."""
        predictions, shape = unroll.predictions, unroll.halt_logits.shape
        if len(target) != shape[1]:
            raise ValueError(f"target must have {shape[1]} examples, got {len(target)}")
        # (B, 1) against (B,) would be broadcast to (B, B) by some criteria.
        if predictions.shape[-1] == 1 and predictions.dim() == target.dim() + 2:
            predictions = predictions.squeeze(-1)
        every = target.expand(len(predictions), *target.shape).flatten(0, 1)
        losses = self.criterion(predictions.flatten(0, 1), every)
        if losses.shape[: len(shape) - 1] != (shape[0] * shape[1], *shape[2:]):
            raise ValueError(
                f'criterion must give a loss for each example (reduction="none"): '
                f"{(shape[0] * shape[1], *shape[2:])}, got {tuple(losses.shape)}"
            )
        losses = losses.unflatten(0, shape[:2])
        return losses.flatten(len(shape)).mean(-1) if losses.dim() > len(shape) else losses


class _Rows(NamedTuple):
    """The examples that are still in the batch: R of them, or (R, T) where tokens halt."""

    place: Tensor
    """Their places in the whole batch, (R,)."""
    answer: Tensor
    steps: Tensor
    carry: Tensor
    log_survival: Tensor
    running: Tensor

    @classmethod
    def start(cls, prediction: Tensor, logit: Tensor, rule: StopRule) -> "_Rows":
        running = torch.ones_like(logit, dtype=torch.bool)
        steps = torch.zeros_like(running, dtype=torch.int64)
        place = torch.arange(len(logit), device=logit.device)
        return cls(
            place,
            begin_answer(prediction),
            steps,
            rule.begin(logit),
            torch.zeros_like(logit),
            running,
        )

    def decide(self, prediction: Tensor, logit: Tensor, rule: StopRule, *, forced: bool) -> "_Rows":
        log_stop, log_survival = advance_survival(self.log_survival, logit, forced=forced)
        carry, mix, halt = rule(self.carry, log_stop, log_survival)
        answer = blend(self.answer, prediction, mix * self.running)
        steps, running = self.steps + self.running, self.running & ~halt
        return _Rows(self.place, answer, steps, carry, log_survival, running)


class _OneStep(nn.Module):
    def __init__(self, ponder: Ponder) -> None:
        super().__init__()
        self.ponder = ponder

    def forward(self, context: Tree, state: Tree) -> tuple[Tensor, Tree, Tensor]:
        return self.ponder.advance(self.ponder.max_steps, context, state)


def export_step(ponder: Ponder, x: Tree, state: Tree = None) -> torch.export.ExportedProgram:
    """One step (with its halting network) as an exported program that takes any batch size.

    `ponder` is in evaluation; `x` is an example input with at least two rows, and `state` one of a
    first state where the step has no `initial_state`. The loop over steps stays in Python, because
    compaction changes the batch from step to step; what counts steps (`max_steps`, `min_steps`)
    stays with it. To run it elsewhere: `run = program.module()`, then
    `Ponder(lambda context, state: run(context, state), ponder.max_steps,
    min_steps=ponder.min_steps)`, given the context and the first state of `ponder.begin(x)`.
    """
    with torch.no_grad():
        # Copies: a view (of a bias, say) would be taken for a condition that every state meets.
        example = map_tensors(torch.clone, ponder.begin(x, state))
    rows = torch.export.Dim("rows", min=1)
    shapes = map_tensors(lambda leaf: {0: rows}, example)
    return torch.export.export(_OneStep(ponder), example, dynamic_shapes=shapes)


def begin(step: Step, x: Tree, state: Tree = None) -> tuple[Tree, Tree]:
    """(context, first state) from a step's optional `prepare` and `initial_state`.

    Raises `ValueError` where neither a state nor `initial_state` is given.
    """
    prepare = getattr(step, "prepare", None)
    context = x if prepare is None else prepare(x)
    if state is None:
        initial_state = getattr(step, "initial_state", None)
        if initial_state is None:
            raise ValueError("a step without initial_state(context) needs state=..., got None")
        state = initial_state(context)
    return context, state


def map_tensors(function: Callable[..., Any], tree: Tree, *others: Tree) -> Tree:
    """The tree with a function applied to its tensors, and to those at the same place in others.

    Raises `ValueError` for a leaf that is neither a tensor nor None.
    """
    if isinstance(tree, Tensor):
        return function(tree, *others)
    if isinstance(tree, dict):
        return {key: map_tensors(function, tree[key], *(o[key] for o in others)) for key in tree}
    if isinstance(tree, list | tuple):
        parts = [map_tensors(function, *leaves) for leaves in zip(tree, *others, strict=True)]
        if hasattr(tree, "_fields"):
            return type(tree)(*parts)
        return type(tree)(parts)
    if tree is None:
        return None
    raise ValueError(
        f"state and context are tensors, tuples, lists, dicts or None, got {type(tree).__name__}"
    )


def _keep_stopped(state: Tree, before: Tree, running: Tensor) -> Tree:
    """Keep the old value at stopped tokens: leaves (B, T, ...) against `running`, (B, T)."""
    tokens = running.shape[1]

    def keep(new: Tensor, old: Tensor) -> Tensor:
        # A leaf of two dimensions or less (a step counter, say) is not one value a token.
        if new.dim() < 3:
            return new
        # (B, heads, T, K) would be frozen by heads where there are as many as tokens.
        if new.shape[1] != tokens or (new.dim() > 3 and new.shape[2] == tokens):
            raise ValueError(
                f"a state of {tokens} tokens that stop one by one must be (B, T, ...), got "
                f"{tuple(new.shape)}: give the step a method keep_stopped(new, old, running)"
            )
        return torch.where(running.reshape(*running.shape, *[1] * (new.dim() - 2)), new, old)

    return map_tensors(keep, state, before)


def _take(tree: Tree, rows: Tensor) -> Tree:
    return map_tensors(lambda leaf: leaf.index_select(0, rows), tree)
