"""What the experiments share: a panel is drawn, taught and asked.

The unit of replication is a panel, one a seed of the lab: `members` nets with first weights of
their own, stacked in one graph. What is said of members is a share within a panel.
"""

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, nn

from quire.lab import Run
from quire.lab.training import Kept, update
from quire.papers.two_plus_two.court import LEAST, Mass, weigh_classes, weigh_numbers
from quire.papers.two_plus_two.families import Fitted, Learner, Witness, measure_losses
from quire.papers.two_plus_two.table import Lesson

Family = Literal[
    "linear", "onehot_linear", "bayes", "lookup", "mlp_reg", "onehot_reg", "embed_reg",
    "scalar_class", "mlp_onehot", "shared_embed", "transformer", "transformer_reversed",
    "nac", "nalu", "nau", "nau_nmu",
]  # fmt: skip
QUESTION = (2, 2)
ROWS = 100
"""Cells that are asked at once."""


class Taught(nn.Module):
    """Its call is what a step computes: the loss of each member, (M,)."""

    def __init__(self, net: Learner) -> None:
        super().__init__()
        self.net = net

    def forward(self, pairs: Tensor, sums: Tensor, weight: Tensor) -> Tensor:
        """The parts of a `Lesson`."""
        return measure_losses(self.net, Lesson(pairs, sums, weight))


def train(
    net: Learner,
    lesson: Lesson,
    run: Run,
    *,
    steps: int,
    learning_rate: float,
    weight_decay: float = 0.0,
    kept: Kept | None = None,
    name: str = "train",
) -> Iterator[int]:
    """Train all members at once by AdamW on whole batches; gives the updates done, after each.

    Args:
        net: Moved to the run's device.
        lesson: What each member is shown.
        run: The run.
        steps: Updates.
        learning_rate: AdamW's.
        weight_decay: AdamW's.
        kept: Saved with the run.
        name: Of the loop.
    """
    lesson = lesson.to(run.device)
    model = run.place(Taught(net))
    # One kernel for all numbers of a parameter; meta tensors have none.
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=learning_rate, weight_decay=weight_decay,
        fused=run.device.type in ("cpu", "cuda"),
    )  # fmt: skip
    state = (model, optimizer, kept or Kept())
    for step in run.steps(steps, state=state, name=name):
        losses = model(lesson.pairs, lesson.sums, lesson.weight)
        update(losses.sum(), model, optimizer)
        # Members are independent: one that diverges is counted as wrong and stops no other.
        run.log(loss=losses.detach().nanmedian())
        yield step + 1


def teach_panel(
    witness: Witness,
    lesson: Lesson,
    run: Run,
    *,
    steps: int,
    learning_rate: float,
    weight_decay: float = 0.0,
    name: str = "train",
) -> Learner | Fitted:
    """A panel that was taught, or fitted in one step; first weights follow from `name`.

    Args:
        witness: The family.
        lesson: What each member is shown.
        run: The run.
        steps: Updates.
        learning_rate: AdamW's.
        weight_decay: AdamW's.
        name: Of the loop.
    """
    net = witness.swear_in(len(lesson.sums), generator=run.rng("weights", name))
    if not isinstance(net, Learner):
        return net.fit(lesson)
    for _ in train(
        net, lesson, run, steps=steps, learning_rate=learning_rate, weight_decay=weight_decay,
        name=name,
    ):  # fmt: skip
        pass
    return net


def ask(net: Learner | Fitted, pairs: Tensor) -> Tensor:
    """Answers to pairs (N, 2) or (M, N, 2): (M, N) or (M, N, C), on the CPU."""
    device = next(net.parameters()).device if isinstance(net, nn.Module) else pairs.device
    with torch.no_grad():
        found = [net(part.to(device)) for part in pairs.split(ROWS, dim=-2)]
    return torch.cat(found, 1).double().cpu()


def read_point(witness: Witness, answers: Tensor) -> Tensor:
    """The number that each answer is, (M, N): a regressor's own, a classifier's likeliest."""
    return answers if witness.answers == "number" else answers.argmax(-1).double()


def round_half_up(numbers: Tensor) -> Tensor:
    """The nearest whole number; half of one is rounded up."""
    return (numbers + 0.5).floor()


def find_right(witness: Witness, answers: Tensor, sums: Tensor) -> Tensor:
    """Whether each answer's nearest whole number is the sum, bool (M, N)."""
    return round_half_up(read_point(witness, answers)) == sums


def weigh(witness: Witness, answers: Tensor, scale: Tensor | float) -> Mass:
    """Masses of 4 and 5; scale is a temperature of a classifier, a deviation of a regressor."""
    if witness.answers == "class":
        return weigh_classes(answers, temperature=scale)
    return weigh_numbers(answers, scale)


def measure_confidence(witness: Witness, answers: Tensor, scale: Tensor | float) -> Tensor:
    """Probability that a member gives to its own answer, (M, N)."""
    if witness.answers == "class":
        return (answers / scale).softmax(-1).amax(-1)
    whole = round_half_up(answers)
    deviation = torch.as_tensor(scale, dtype=answers.dtype).clamp(min=LEAST)
    ends = [(whole + side - answers) / deviation for side in (0.5, -0.5)]
    return torch.special.ndtr(ends[0]) - torch.special.ndtr(ends[1])


def percent(flags: Tensor) -> float:
    """The share of true ones, %."""
    return 100 * float(flags.double().mean())
