"""Scenario NNs: a stream whose tasks change unsaid, and a mask allocated where none fits."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn

from quire.lab import Config, Metrics, Run
from quire.lab.training import Kept, update
from quire.papers.supsup.allocation import choose_mask, count_columns
from quire.papers.supsup.experiments.learner import Trial, draw_trial, percent
from quire.papers.supsup.experiments.tasks import Dataset, make_tasks
from quire.papers.supsup.frozen import FrozenNet
from quire.papers.supsup.inference import find_slopes, one_shot
from quire.papers.supsup.masks import THRESHOLD, draw_scores
from quire.papers.supsup.networks import make_mlp
from quire.papers.supsup.objectives import entropy
from quire.papers.supsup.superposition import NetBank


class NewTasks(Config):
    """A stream of permutations, shown twice; nobody says when the next one begins."""

    dataset: Dataset = "mnist"
    """scikit-learn's 8x8 digits, or MNIST."""
    tasks: PositiveInt = 2500
    """Permutations in the stream."""
    budget: PositiveInt = 2500
    """Masks there may be; when all are in use, the likeliest one is trained."""
    passes: PositiveInt = 1
    """Times that the stream is shown: from the second on, every new mask is a false one."""
    hidden: tuple[PositiveInt, ...] = (300, 100)
    """Widths of the net."""
    outputs: PositiveInt = 500
    """Outputs, ten of which are labels."""
    steps: PositiveInt = 1000
    """Minibatches of a task in a row."""
    every: PositiveInt = 100
    """Minibatches from one look at whether the task is new to the next."""
    margin: PositiveFloat = 0.125
    """epsilon: how much steeper than even the steepest direction of a known task is at least."""
    least: PositiveInt = 5
    """Masks that are compared at the least; trained or not."""
    batch_size: PositiveInt = 128
    """Images a minibatch."""
    learning_rate: PositiveFloat = 1e-4
    """RMSProp's."""
    images: PositiveInt = 40
    """Single test images of each task."""


class Masks(nn.Module):
    """Score vectors of a budget, drawn before anything is learned, on one frozen net."""

    def __init__(self, net: FrozenNet, budget: int, run: Run) -> None:
        super().__init__()
        self.net = net
        self.scores = nn.ParameterList(
            nn.Parameter(draw_scores(net.shapes, run.rng("scores", number)))
            for number in range(budget)
        )

    def forward(self, x: Tensor, number: int) -> Tensor:
        """x (B, P) -> logits (B, S) under one of the masks."""
        out: Tensor = self.net(x, THRESHOLD(self.scores[number], self.net.shapes))
        return out

    @torch.no_grad()
    def as_bank(self, count: int) -> NetBank:
        """The first `count` masks, as what they make of the net."""
        scores = torch.stack([self.scores[number].detach() for number in range(count)])
        return NetBank(self.net, self.net.weights * THRESHOLD(scores, self.net.shapes))


class Look(NamedTuple):
    """One look at the stream: the task it showed, the mask that was chosen, whether it is new."""

    task: int
    mask: int
    is_new: bool


def new_tasks(config: NewTasks, run: Run) -> Metrics:
    """Masks that are allocated, how many of them falsely, and what they know at the end."""
    tasks = make_tasks("permutations", config.dataset, config.tasks, run)
    net = FrozenNet(make_mlp(tasks.pixels, config.outputs, hidden=config.hidden), seed=run.seed)
    masks = Masks(net, max(config.budget, config.least), run).to(run.device)
    # A mask that gets no gradient keeps its moments, so that none leaks from one to another.
    optimizer = torch.optim.RMSprop(masks.scores.parameters(), lr=config.learning_rate)
    kept = Kept(known=1, mask=0)
    total = config.passes * config.tasks * config.steps
    for step in run.steps(total, state=(masks, optimizer, kept)):
        task = step // config.steps % config.tasks
        x, label = tasks.draw(
            torch.tensor([task]), config.batch_size, run.rng("batch", step)
        )  # fmt: skip
        if step % config.every == 0:
            look(config, masks, x[0], task, kept)
        loss = F.cross_entropy(masks(x[0], int(kept.numbers["mask"])), label[0])
        update(loss, masks, optimizer)
        run.log(loss=loss)
    return measure(config, run, masks, kept, draw_trial(run, tasks, images=config.images, group=1))


def look(config: NewTasks, masks: Masks, x: Tensor, task: int, kept: Kept) -> None:
    """Choose the mask for the next minibatches by one gradient of x (B, P); keep what was seen."""
    known = int(kept.numbers["known"])
    if not kept.series:  # the first data there are need no question
        kept.add("looks", [task, 0, 1])
        return
    columns = min(count_columns(known, least=config.least), len(masks.scores))
    slopes = find_slopes(masks.as_bank(columns), x[None], entropy)[0]
    choice = choose_mask(slopes, known, margin=config.margin)
    chosen, is_new = int(choice.mask), bool(choice.is_new)
    if is_new and known >= config.budget:
        chosen, is_new = int(slopes[:known].argmin()), False
    kept.numbers["known"] = known + int(is_new)
    kept.numbers["mask"] = chosen
    kept.add("looks", [task, chosen, int(is_new)])
    kept.add("peak", float(choice.peak))


def measure(config: NewTasks, run: Run, masks: Masks, kept: Kept, trial: Trial) -> Metrics:
    """What the looks tell, and accuracy with tasks inferred from single images."""
    looks = [Look(task, mask, bool(new)) for task, mask, new in kept.series["looks"]]
    seen: set[int] = set()
    served: set[int] = set()
    false = old = missed = 0
    for one in looks:
        missed += one.task not in seen and not one.is_new
        # A task that was missed at first and got its mask later got no false one.
        if one.task in served:
            old, false = old + 1, false + one.is_new
        seen.add(one.task)
        served |= {one.task} if one.is_new else set()
    known = int(kept.numbers["known"])
    bank = masks.as_bank(known)
    named = one_shot(bank, trial.x[:, None], entropy)
    hits = [
        masks(trial.x[named == mask], mask).argmax(1) == trial.label[named == mask]
        for mask in range(known)
    ]
    run.series("peak", range(1, 1 + len(kept.series.get("peak", []))), kept.series.get("peak", []),
               x_label="looks", y_label="columns times the largest share")  # fmt: skip
    return {
        "masks": known,
        "masks_per_task": known / config.tasks,
        "false_allocations": 100 * false / max(1, old),
        "missed_tasks": 100 * missed / len(seen),
        "nns_accuracy": percent(torch.cat(hits)),
    }
