"""The witnesses: families of nets and closed forms that are asked what 2 + 2 is.

They differ in how they read a number, in what they compute and in how they answer, and in nothing
that training would show: all but the look-up table and its like fit what they were shown.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from quire.papers.two_plus_two.arithmetic import NAC, NALU, NAU, NMU
from quire.papers.two_plus_two.closed import (
    BayesianLinear,
    LeastSquares,
    Lookup,
    one_hot,
    with_bias,
)
from quire.papers.two_plus_two.nets import Classes, Net, Number, OneHot, Scalar, SharedEmbedding
from quire.papers.two_plus_two.stacked import stack_mlp
from quire.papers.two_plus_two.table import Lesson
from quire.papers.two_plus_two.transformer import DigitTransformer

Learner = Net | DigitTransformer
Fitted = LeastSquares | BayesianLinear | Lookup
Generator = torch.Generator | None
PENALTY = 0.01
"""Weight of the penalty of NAU and NMU."""
HIDDEN, DIM = 64, 32


@dataclass(frozen=True)
class Witness:
    """A family that can be asked."""

    who: str
    """One line for the record."""
    answers: Literal["number", "class"]
    """Whether its answer is a number (M, N), or logits of the sums (M, N, C)."""
    make: Callable[[int, Generator], Learner | Fitted]
    """A panel of so many members with first weights from a generator."""

    def swear_in(self, members: int, *, generator: Generator = None) -> Learner | Fitted:
        """A panel of `members` nets to train, or a closed form with `fit(lesson)`."""
        return self.make(members, generator)


def witnesses(answers: int = 19) -> dict[str, Witness]:
    """Every family by name, the plainest first.

    answers: C, the classes of those that classify: sums from 0 to C - 1.

    Example:
        >>> net = witnesses()["mlp_onehot"].swear_in(10)
        >>> net(torch.tensor([[2, 2]])).shape
        torch.Size([10, 1, 19])
    """
    return _closed() | _numbers() | _classes(answers) | _units()


def _closed() -> dict[str, Witness]:
    return {
        "linear": Witness(
            "two weights and a bias, by least squares", "number",
            lambda m, g: LeastSquares(with_bias)),
        "onehot_linear": Witness(
            "twenty weights on one-hot digits, by least squares", "number",
            lambda m, g: LeastSquares(one_hot)),
        "bayes": Witness(
            "a Bayesian linear probe on one-hot digits", "number",
            lambda m, g: BayesianLinear(one_hot)),
        "lookup": Witness(
            "a clerk who reads out the nearest entry", "number",
            lambda m, g: Lookup(generator=g)),
    }  # fmt: skip


def _numbers() -> dict[str, Witness]:
    return {
        "mlp_reg": Witness(
            "a multilayer perceptron from number to number", "number",
            lambda m, g: Net(Scalar(), stack_mlp(m, [2, HIDDEN, HIDDEN, 1], generator=g),
                             Number())),
        "onehot_reg": Witness(
            "one-hot digits in, a number out", "number",
            lambda m, g: Net(OneHot(), stack_mlp(m, [20, HIDDEN, 1], generator=g), Number())),
        "embed_reg": Witness(
            "a shared embedding in, a number out", "number",
            lambda m, g: Net(SharedEmbedding(m, dim=DIM, generator=g),
                             stack_mlp(m, [DIM, HIDDEN, 1], generator=g), Number())),
    }  # fmt: skip


def _classes(answers: int) -> dict[str, Witness]:
    return {
        "scalar_class": Witness(
            "numbers in, one of the sums out", "class",
            lambda m, g: Net(Scalar(), stack_mlp(m, [2, HIDDEN, HIDDEN, answers], generator=g),
                             Classes())),
        "mlp_onehot": Witness(
            "one-hot digits in, one of the sums out: it knows digits by name only", "class",
            lambda m, g: Net(OneHot(), stack_mlp(m, [20, HIDDEN, answers], generator=g),
                             Classes())),
        "shared_embed": Witness(
            "a shared embedding in, one of the sums out: it knows no order", "class",
            lambda m, g: Net(SharedEmbedding(m, dim=DIM, generator=g),
                             stack_mlp(m, [DIM, HIDDEN, answers], generator=g), Classes())),
        "transformer": Witness(
            "a transformer that writes the sum digit by digit", "class",
            lambda m, g: DigitTransformer(m, answers, dim=DIM, generator=g)),
        "transformer_reversed": Witness(
            "a transformer that writes the units first", "class",
            lambda m, g: DigitTransformer(m, answers, dim=DIM, reverse=True, generator=g)),
    }  # fmt: skip


def _units() -> dict[str, Witness]:
    def pair(first: Callable[..., nn.Module], second: Callable[..., nn.Module]) -> Witness:
        names = " and ".join(dict.fromkeys(part.__name__ for part in (first, second)))
        return Witness(
            f"units made for sums ({names}), two inputs, two hidden, one output", "number",
            lambda m, g: Net(
                Scalar(1.0),
                nn.Sequential(first(m, 2, outputs=2, generator=g), second(m, 2, generator=g)),
                Number(1.0),
            ))  # fmt: skip

    return {
        "nac": pair(NAC, NAC), "nalu": pair(NALU, NALU), "nau": pair(NAU, NAU),
        "nau_nmu": pair(NAU, NMU),
    }  # fmt: skip


def measure_losses(net: Learner, lesson: Lesson) -> Tensor:
    """What each member is trained on, (M,): the mean over its cells, and its units' penalty.

    The sum over members has the gradients of training each one alone.
    """
    cells = (net.losses(lesson.pairs, lesson.sums) * lesson.weight).sum(1)
    return cells + PENALTY * net.penalty()


def teach(
    net: Learner,
    lesson: Lesson,
    *,
    learning_rate: float = 3e-3,
    weight_decay: float = 0.0,
    steps: int = 2000,
) -> Tensor:
    """Train all members at once by AdamW on whole batches; gives their last losses, (M,).

    Args:
        net: From `Witness.swear_in`.
        lesson: What each member is shown.
        learning_rate: AdamW's.
        weight_decay: AdamW's; without it this is Adam.
        steps: Updates.

    Example:
        >>> from quire.papers.two_plus_two import list_cells, make_lesson, only, witnesses
        >>> pairs = list_cells()
        >>> lesson = make_lesson(~only(2, 2)(pairs).expand(3, -1), pairs)
        >>> teach(witnesses()["nac"].swear_in(3), lesson, steps=2).shape
        torch.Size([3])
    """
    optimizer = torch.optim.AdamW(net.parameters(), lr=learning_rate, weight_decay=weight_decay)
    losses = measure_losses(net, lesson)
    for _ in range(steps):
        optimizer.zero_grad()
        losses.sum().backward()
        optimizer.step()
        losses = measure_losses(net, lesson)
    return losses.detach()
