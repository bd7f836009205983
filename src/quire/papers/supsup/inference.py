"""Which task is this? Gradients of an objective at a mixture of all tasks (section 3.3).

Legend: G groups of examples, B examples a group, k tasks, n numbers of a task's vector.

A group is named at once: one image, or a batch that is known to be of one task. `Bank` is all that
the rules ask for: a mixture of vectors and inner products with them, so that they serve masks,
whole nets and adapters alike.

The gradient of every alpha_i is <dL/dv, v_i>, v = sum_i alpha_i v_i. So dL/dv is computed once and
k inner products are one product of matrices: no stack of k nets is built (`naive_slopes` does).
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

import torch
from torch import Tensor

from quire.nn.devices import piece_size, without_autocast
from quire.papers.supsup.objectives import Objective, entropy

ROOM = 1 << 25
"""Numbers of the vectors that are held at once on a CPU: 128 MB in single precision."""


class Bank(Protocol):
    """k tasks that are vectors of one net."""

    @property
    def length(self) -> int:
        """n."""
        ...

    def __len__(self) -> int:
        """k."""
        ...

    def mix(self, alphas: Tensor | None) -> Tensor:
        """Mixtures (G, n) of alphas (G, k); of None the uniform one, (n,)."""
        ...

    def take(self, tasks: Tensor) -> Tensor:
        """The vectors (m, n) of tasks (m,)."""
        ...

    def project(self, gradient: Tensor) -> Tensor:
        """What a gradient (G, n) says of each alpha, (G, k)."""
        ...

    def call(self, vector: Tensor, x: Tensor) -> Tensor:
        """x (B, ...) -> logits (B, S) of the net with that vector, (n,)."""
        ...

    def calm(self) -> AbstractContextManager[None]:
        """In evaluation mode inside `with`."""
        ...


Rule = Callable[[Bank, Tensor, Objective], Tensor]
"""From a bank, x (G, B, ...) and an objective to tasks (G,) int64."""


def find_slopes(
    bank: Bank, x: Tensor, objective: Objective, alphas: Tensor | None = None
) -> Tensor:
    """dL/dalpha of every task for every group, (G, k): the steepest way down is the most negative.

    Args:
        bank: The tasks.
        x: (G, B, ...).
        objective: L, of the logits of a group.
        alphas: (G, k) where the gradient is taken; None is 1 / k for all.

    Works under `no_grad`, in inference mode and inside autocast, in the precision of the weights.
    Raises ValueError for a bank without tasks or an empty group.
    """
    check_groups(bank, x)

    def measure(vector: Tensor, group: Tensor) -> Tensor:
        return objective(bank.call(vector, group))

    slope = torch.func.grad(measure)
    mixed_alike = alphas is None
    each = torch.func.vmap(slope, in_dims=(None if mixed_alike else 0, 0), randomness="same")
    found = []
    with torch.inference_mode(False), torch.no_grad(), without_autocast(x), bank.calm():
        x = x.clone() if x.is_inference() else x
        vector = bank.mix(None)
        for rows in split_groups(bank, x):
            if alphas is not None:
                vector = bank.mix(alphas[rows])
            found.append(bank.project(each(vector, x[rows])))
    return torch.cat(found)


def naive_slopes(bank: Bank, x: Tensor, objective: Objective, vectors: Tensor) -> Tensor:
    """`find_slopes` at the uniform mixture, slowly: autograd through a stack of all k vectors.

    Args:
        bank: What calls a vector.
        x: (G, B, ...).
        objective: L.
        vectors: (k, n), every task written out.

    Gives (G, k).
    """
    rows = []
    for group in x:
        alphas = vectors.new_full((len(vectors),), 1 / len(vectors)).requires_grad_()
        with torch.enable_grad(), bank.calm():
            loss = objective(bank.call((alphas[:, None] * vectors).sum(0), group))
            rows.append(torch.autograd.grad(loss, alphas)[0])
    return torch.stack(rows)


# Rules


def one_shot(bank: Bank, x: Tensor, objective: Objective) -> Tensor:
    """The task of the steepest descent at the uniform mixture: one gradient (One-Shot).

    It is one step of Frank and Wolfe's method. x: (G, B, ...) -> (G,).
    """
    return find_slopes(bank, x, objective).argmin(1)


def binary(bank: Bank, x: Tensor, objective: Objective) -> Tensor:
    """Half of the tasks at a time (Binary): log2 k gradients. x: (G, B, ...) -> (G,).

    Those whose gradient is at most the lower median of the survivors survive, and the mixture is
    uniform over them.
    """
    count = len(bank)
    slopes = find_slopes(bank, x, objective)
    alive = torch.ones_like(slopes, dtype=torch.bool)
    left = count
    while left > 1:
        ranked = slopes.masked_fill(~alive, torch.inf).argsort(dim=1, stable=True)
        left = (left + 1) // 2
        # By places, so that of equal gradients as many survive as of others.
        alive = torch.zeros_like(alive).scatter(1, ranked[:, :left], True)
        if left > 1:
            alphas = alive.to(slopes.dtype) / left
            slopes = find_slopes(bank, x, objective, alphas)
    return alive.to(torch.uint8).argmax(1)


def descend(
    bank: Bank, x: Tensor, objective: Objective, *, steps: int = 10, rate: float = 1.0
) -> Tensor:
    """alpha <- normalise(alpha - rate * gradient), `steps` times; the largest alpha (section 3.3).

    Args:
        bank: The tasks.
        x: (G, B, ...).
        objective: What descends.
        steps: Gradients.
        rate: Length of a step, in units of 1 / k.

    What falls below zero is zero; alphas sum to one. Gives (G,).
    """
    count = len(bank)
    alphas = torch.full((len(x), count), 1 / max(1, count), device=x.device)
    for _ in range(steps):
        slopes = find_slopes(bank, x, objective, alphas.to(bank.mix(None).dtype))
        moved = (alphas - rate / count * slopes).clamp(min=0)
        total = moved.sum(1, keepdim=True)
        alphas = torch.where(total > 0, moved / total.clamp(min=1e-12), 1 / count)
    return alphas.argmax(1)


def exhaustive(bank: Bank, x: Tensor, objective: Objective) -> Tensor:
    """The task whose own net has the lowest objective: k forward passes, the slow oracle.

    x: (G, B, ...) -> (G,). Meant for entropy: G compares directions at one net, and not nets.
    """
    check_groups(bank, x)
    flat = x.flatten(0, 1)
    each = torch.func.vmap(bank.call, in_dims=(0, None), randomness="same")
    scores = []
    with torch.inference_mode(False), torch.no_grad(), without_autocast(x), bank.calm():
        for some in torch.arange(len(bank), device=x.device).split(_at_once(bank, x, len(bank))):
            logits = each(bank.take(some), flat).unflatten(1, x.shape[:2])
            scores.append(torch.func.vmap(torch.func.vmap(objective))(logits))
    return torch.cat(scores).argmin(0)


def rescore(bank: Bank, x: Tensor, objective: Objective, *, top: int = 5) -> Tensor:
    """One gradient names the `top` likeliest tasks; their own nets' entropy decides (beyond).

    Args:
        bank: The tasks.
        x: (G, B, ...).
        objective: What the gradient is of.
        top: Nets that are tried, at most all.

    Gives (G,).
    """
    slopes = find_slopes(bank, x, objective)
    likely = slopes.topk(min(top, len(bank)), dim=1, largest=False).indices
    best = score_each(bank, x, entropy, likely).argmin(1, keepdim=True)
    return likely.gather(1, best)[:, 0]


def score_each(bank: Bank, x: Tensor, objective: Objective, tasks: Tensor) -> Tensor:
    """The objective of each group with the nets of some tasks: x (G, B, ...), (G, m) -> (G, m)."""
    check_groups(bank, x)

    def measure(vector: Tensor, group: Tensor) -> Tensor:
        return objective(bank.call(vector, group))

    each = torch.func.vmap(measure, randomness="same")
    columns = []
    with torch.inference_mode(False), torch.no_grad(), without_autocast(x), bank.calm():
        for column in tasks.T:
            pieces = [each(bank.take(column[rows]), x[rows]) for rows in split_groups(bank, x)]
            columns.append(torch.cat(pieces))
    return torch.stack(columns, 1)


def split_groups(bank: Bank, x: Tensor) -> list[slice]:
    """Rows of x (G, B, ...) that are named at once, so that their vectors fit in memory."""
    size = _at_once(bank, x, len(x))
    return [slice(begin, begin + size) for begin in range(0, len(x), size)]


def _at_once(bank: Bank, x: Tensor, count: int) -> int:
    return piece_size(x, max(1, ROOM // max(1, bank.length)), count, bank.length)


def check_groups(bank: Bank, x: Tensor) -> None:
    """Raise ValueError for a bank without tasks, or groups without examples."""
    if not len(bank):
        raise ValueError("the bank has no tasks yet: add one")
    if x.dim() < 2 or not x.shape[0] or not x.shape[1]:
        raise ValueError(f"x must be (groups, examples, ...), none of them 0, got {tuple(x.shape)}")
