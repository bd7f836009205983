"""Ponder: any step function in a loop that learns when to stop (section 2).

The step is called as `step(context, state) -> (prediction, state, halt_logit)`. Shapes: B
examples, T tokens; prediction `(B, ...)`, halt_logit `(B,)` for one stopping time an example or
`(B, T)` for one a token, state any tuple, list or dict of tensors whose first dimension is B. A
step may also offer

    prepare(x) -> context            what does not change over the steps, computed once; a dropout
                                     mask belongs here, so that it serves the whole sequence
    initial_state(context) -> state  used when no state is given

Without `prepare`, the context is x itself.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid
from torch.utils.checkpoint import checkpoint as recompute

from quire.papers.pondernet.rules import Answer, StopRule, advance_survival, blend
from quire.papers.pondernet.stopping import CERTAIN

Tree = Any
"""A tensor, or a tuple, list or dict of trees, or None."""

Step = Callable[[Tree, Tree], tuple[Tensor, Tree, Tensor]]


class Unroll(NamedTuple):
    """All steps of a pondering network."""

    predictions: Tensor
    """`(steps, batch, ...)`"""
    halt_logits: Tensor
    """`(steps, batch)` or `(steps, batch, tokens)`: input of `stopping_distribution`."""
    state: Tree
    """State after the last step."""


class Ponder(nn.Module):
    """Repeat a step; each pass gives a prediction and the logit of stopping now.

    Args:
        step: module or function `(context, state) -> (prediction, state, halt_logit)`.
        max_steps: N, the longest unroll.
        min_steps: no halting before this step.
        eps: in training, unroll only until every example has stopped with probability above `1 -
            eps` (section 2.1: 0.05). None always unrolls N steps: a fixed graph for
            `torch.compile`.
        check_every: steps between two looks at the eps rule (each look waits for the GPU).
        halting: None takes the step's own halt logit. Else a module or function `(context, state)
            -> halt_logit` that reads the state after each step: a separate halting network.
        detach_halting: the separate network reads a detached state, so that halting never trains
            the step.
        checkpoint: keep only the states and recompute each step in the backward pass: memory for
            time.

    Raises:
        ValueError: `max_steps` below one, `min_steps` outside 1..max_steps, `eps` outside (0, 1).

    Example:
        >>> import torch
        >>> from quire.papers.pondernet import Ponder, RNNStep
        >>> ponder = Ponder(RNNStep(6, 16, 1), max_steps=5, eps=None)
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
        eps: float | None = 0.05,
        check_every: int = 1,
        halting: Callable[[Tree, Tree], Tensor] | None = None,
        detach_halting: bool = False,
        checkpoint: bool = False,
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
        self.checkpoint = checkpoint

    def forward(self, x: Tree, state: Tree = None, *, max_steps: int | None = None) -> Unroll:
        """Unroll. `max_steps` overrides N, for example to think longer at evaluation."""
        context, state = self.begin(x, state)
        steps = max_steps or self.max_steps
        eps = self.eps if self.training else None
        predictions, logits = [], []
        log_survival: Tensor | None = None
        for n in range(1, steps + 1):
            prediction, state, logit = self.advance(n, context, state)
            predictions.append(prediction)
            logits.append(logit)
            if eps is not None:
                log_continue = logsigmoid(-logit.detach().float())
                log_survival = log_continue if log_survival is None else log_survival + log_continue
                if n % self.check_every == 0 and bool(log_survival.max() < math.log(eps)):
                    break
        return Unroll(torch.stack(predictions), torch.stack(logits), state)

    def begin(self, x: Tree, state: Tree = None) -> tuple[Tree, Tree]:
        """(context, first state) of a sequence of steps."""
        return begin(self.step, x, state)

    def advance(self, n: int, context: Tree, state: Tree) -> tuple[Tensor, Tree, Tensor]:
        """Step number n (from 1): (prediction, state, halt_logit)."""
        if self.checkpoint and torch.is_grad_enabled():
            prediction, state, logit = recompute(self.step, context, state, use_reentrant=False)
        else:
            prediction, state, logit = self.step(context, state)
        if self.halting is not None:
            seen = map_tensors(Tensor.detach, state) if self.detach_halting else state
            logit = self.halting(context, seen)
        if n < self.min_steps:
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
    ) -> Answer:
        """Answer each example as soon as the rule stops it; stopped examples cost nothing more.

        With one halt logit an example, the batch shrinks to the running examples after every step,
        and the result equals running each example alone. With one a token, a stopped token keeps
        its state (every state tensor `(B, T, ...)` of three or more dimensions is copied) while
        the others attend to it, and an example leaves when all its tokens have stopped.

        Args:
            x: input, first dimension B in every tensor.
            state: first state, or None for the step's own.
            rule: `sample()`, `argmax()`, `median()`, `threshold(tau)`, `expected()`, or any
            `StopRule`.
            max_steps: N at evaluation; it may be larger than in training.
            compact: False keeps stopped examples in the batch until all have stopped (for
                comparison).
        """
        context, state = self.begin(x, state)
        last = max_steps or self.max_steps
        rows: _Rows | None = None
        for n in range(1, last + 1):
            before = state
            prediction, state, logit = self.advance(n, context, state)
            if rows is None:
                rows = _Rows.start(prediction, logit.float(), rule)
                final, final_steps = torch.zeros_like(prediction), torch.zeros_like(rows.steps)
            if logit.dim() == 2:
                state = _freeze(state, before, rows.running)
            rows = rows.decide(prediction, logit.float(), rule, forced=n == last)
            alive = rows.running.reshape(len(logit), -1).any(1)
            none_left = not alive.any()
            if none_left or (compact and not alive.all()):
                final[rows.place], final_steps[rows.place] = rows.answer, rows.steps
                if none_left:
                    break
                kept = alive.nonzero().squeeze(1)
                rows, context, state = _take((rows, context, state), kept)
        return Answer(final, final_steps)


class _Rows(NamedTuple):
    """The examples that are still in the batch: R of them, or `(R, T)` where tokens halt."""

    place: Tensor
    """Their places in the whole batch, `(R,)`."""
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
        answer = torch.zeros_like(prediction)
        return cls(place, answer, steps, rule.begin(logit), torch.zeros_like(logit), running)

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

    The loop over steps stays in Python, because compaction changes the batch from step to step. To
    run it elsewhere: `run = program.module()`, then `Ponder(lambda context, state: run(context,
    state))`, given the context and the first state of `ponder.begin(x)`.

    Args:
        ponder: in evaluation mode.
        x: an example input with at least two rows.
        state: an example of a first state, where the step has no `initial_state`.
    """
    with torch.no_grad():
        example = ponder.begin(x, state)
    rows = torch.export.Dim("rows", min=1)
    shapes = map_tensors(lambda leaf: {0: rows}, example)
    return torch.export.export(_OneStep(ponder), example, dynamic_shapes=shapes)


def begin(step: Step, x: Tree, state: Tree = None) -> tuple[Tree, Tree]:
    """(context, first state) from a step's optional `prepare` and `initial_state`.

    Raises ValueError where neither a state nor `initial_state` is given.
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
    """Apply a function to the tensors of a tree (and to those at the same places of other
    trees)."""
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


def _freeze(state: Tree, before: Tree, running: Tensor) -> Tree:
    """Keep the old value at stopped tokens: leaves `(B, T, ...)` against `(B, T)`."""

    def keep(new: Tensor, old: Tensor) -> Tensor:
        if new.dim() < 3:
            return new
        return torch.where(running.reshape(*running.shape, *[1] * (new.dim() - 2)), new, old)

    return map_tensors(keep, state, before)


def _take(tree: Tree, rows: Tensor) -> Tree:
    return map_tensors(lambda leaf: leaf.index_select(0, rows), tree)
