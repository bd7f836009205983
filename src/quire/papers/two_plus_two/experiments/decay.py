"""Does weight decay ever turn the wrong verdict right (E4)? With grokking as a positive control.

The control is the same code on addition modulo 97 with 40 % of the table shown, where weight
decay is known to bring generalisation long after the lesson is learned. Without it, that nothing
happens on the table of ten would prove nothing.
"""

from collections.abc import Iterator
from typing import Literal

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor

from quire.lab import Config, Metrics, Run
from quire.lab.training import Kept, update
from quire.papers.two_plus_two.court import poll, verdict, weigh_classes
from quire.papers.two_plus_two.experiments.figures import draw_curves
from quire.papers.two_plus_two.experiments.learner import QUESTION, Taught, ask, percent
from quire.papers.two_plus_two.nets import Classes, Net, OneHot, SharedEmbedding
from quire.papers.two_plus_two.stacked import stack_mlp
from quire.papers.two_plus_two.table import check_leak, list_cells, make_lesson, only

DIM, HIDDEN, MODULUS, SHOWN = 32, 128, 97, 0.4
BATCH = 512
"""Pairs of a minibatch of the control; the table of ten is one batch."""
BETAS = (0.9, 0.98)
LOOKS = 25
"""How often the panel is asked while it learns."""


class Decay(Config):
    """A family and its weight decay. Steps are updates."""

    family: Literal["shared_embed", "mlp_onehot"] = "shared_embed"
    """How the net reads: an embedding for both numbers, or one-hot digits. Both classify."""
    task: Literal["table", "modular"] = "table"
    """The table of ten without 2 + 2, or 40 % of addition modulo 97."""
    weight_decay: NonNegativeFloat = 0.0
    """AdamW's."""
    members: PositiveInt = 10
    """Nets of the panel."""
    steps: PositiveInt = 50_000
    """Updates."""
    learning_rate: PositiveFloat = 1e-2
    """AdamW's."""


def decay(config: Decay, run: Run) -> Metrics:
    """Train with weight decay, and look how the panel's answers change."""
    task = make_table() if config.task == "table" else make_modular(run.rng("shown"))
    pairs, sums, shown = task
    if config.task == "table":
        check_leak_of(pairs[shown])
    net = make_net(config, int(sums.max()) + 1, run)
    kept = Kept()
    for step in train(config, net, task, run, kept):
        if step % max(1, config.steps // LOOKS) == 0 or step == config.steps:
            found = look(config, net, task)
            kept.add("step", step)
            for name, value in found.items():
                kept.add(name, value)
    series = kept.series
    names = [name for name in series if name != "step"]
    if not names:
        return {}
    for name in names:
        run.series(name, series["step"], series[name], x_label="updates", y_label=name)
    wanted: list[str] = [name for name in ("seen", "unseen", "says_four") if name in series]
    shares = {name: (series["step"], series[name]) for name in wanted}
    run.figure("learning", draw_curves(f"weight decay {config.weight_decay:g}", shares))
    metrics = {name: float(series[name][-1]) for name in names}
    best = "unseen" if config.task == "modular" else "says_four"
    return metrics | {f"{best}_ever": float(max(series[best]))}


def make_table() -> tuple[Tensor, Tensor, Tensor]:
    """The table of ten: pairs (N, 2), sums (N,), and whether each is shown, bool (N,)."""
    pairs = list_cells()
    return pairs, pairs.sum(-1), ~only(*QUESTION)(pairs)


def make_modular(generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """The same of addition modulo 97, a pair in one order alone: a + b would tell b + a."""
    pairs = list_cells(MODULUS)
    pairs = pairs[pairs[:, 0] <= pairs[:, 1]]
    shown = torch.zeros(len(pairs), dtype=torch.bool)
    shown[torch.randperm(len(pairs), generator=generator)[: round(SHOWN * len(pairs))]] = True
    return pairs, pairs.sum(-1) % MODULUS, shown


def check_leak_of(pairs: Tensor) -> None:
    """Raise ValueError where pairs (n, 2) contain the question."""
    shown = torch.ones(1, len(pairs), dtype=torch.bool)
    check_leak(make_lesson(shown, pairs), only(*QUESTION))


def make_net(config: Decay, classes: int, run: Run) -> Net:
    """An embedding or one-hot digits, one hidden layer, a classifier."""
    generator = run.rng("weights")
    size = MODULUS if config.task == "modular" else 10
    if config.family == "shared_embed":
        reading = SharedEmbedding(config.members, size, dim=DIM, generator=generator)
        sizes = [DIM, HIDDEN, classes]
        return Net(reading, stack_mlp(config.members, sizes, generator=generator), Classes())
    sizes = [2 * size, HIDDEN, classes]
    return Net(OneHot(size), stack_mlp(config.members, sizes, generator=generator), Classes())


def train(
    config: Decay, net: Net, task: tuple[Tensor, Tensor, Tensor], run: Run, kept: Kept
) -> Iterator[int]:
    """A loop over the updates: whole batches, or minibatches where there are more pairs."""
    pairs, sums, shown = task
    pairs, sums = pairs[shown].to(run.device), sums[shown].to(run.device)
    count = min(BATCH, len(pairs))
    weight = torch.full((config.members, count), 1 / count, device=run.device)

    def rows_at(step: int) -> Tensor:
        if len(pairs) <= BATCH:
            return torch.arange(count)
        return torch.randint(len(pairs), (count,), generator=run.rng("batch", step))

    model = run.place(Taught(net))
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=config.learning_rate, betas=BETAS,
        weight_decay=config.weight_decay, fused=run.device.type in ("cpu", "cuda"),
    )  # fmt: skip
    for rows in run.steps(config.steps, rows_at, state=(model, optimizer, kept)):
        losses = model(pairs[rows], sums[rows], weight)
        update(losses.sum(), model, optimizer)
        run.log(loss=losses.detach().nanmedian())
        yield run.step + 1


def look(config: Decay, net: Net, task: tuple[Tensor, Tensor, Tensor]) -> dict[str, float]:
    """What the panel knows at this moment."""
    pairs, sums, shown = task
    answers = ask(net, pairs)
    right = answers.argmax(-1) == sums
    found = {"seen": percent(right[:, shown])}
    if config.task == "modular":
        return found | {"unseen": percent(right[:, ~shown])}
    question = answers[:, ~shown][:, 0]
    mass, said = weigh_classes(question), question.argmax(-1)
    votes = poll([verdict(mass)]).votes
    return found | {
        "says_four": percent(said == 4),
        "says_five": percent(said == 5),
        "prefers_four": percent(mass.share > 0.5),
        "four": float(mass.first.mean()),
        "five": float(mass.second.mean()),
        "outside": float(mass.outside.mean()),
        "answer": float(said.double().mean()),
        "votes_four": 100 * votes[4] / config.members,
        "votes_five": 100 * votes[5] / config.members,
        "abstain": 100 * votes[0] / config.members,
    }
