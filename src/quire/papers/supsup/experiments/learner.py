"""Masks of many tasks, trained some at a time, and how well tasks and classes are named.

Legend: T tasks at once, B examples of each, P pixels, k tasks, S outputs.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from quire.lab import Metrics, Run
from quire.lab.training import Kept, update
from quire.papers.supsup.bank import MaskBank, measure_loss
from quire.papers.supsup.experiments.tasks import Tasks, find_means, name_by_mean
from quire.papers.supsup.frozen import FrozenNet, evaluating
from quire.papers.supsup.inference import Bank, binary, exhaustive, one_shot
from quire.papers.supsup.objectives import Objective, entropy, superfluous

MEAN_OF = 250
"""Training images that the control's mean of a task is of."""
COMPARED = 200
"""Images on which One-Shot is compared with k forward passes."""
ROWS = 256
"""Test images classified at once, each under a mask of its own."""


class Schedule(NamedTuple):
    """How tasks are trained: `at_once` of them together, each for `steps` minibatches."""

    steps: int
    batch_size: int
    learning_rate: float
    at_once: int


class Nets(nn.Module):
    """T whole nets of one architecture, trained together: the tasks' own nets, an upper bound.

    net: the architecture. tasks: T.
    """

    def __init__(self, net: FrozenNet, tasks: int) -> None:
        super().__init__()
        self.net = net
        self.tasks = tasks
        self.vectors = nn.Parameter(torch.empty(tasks, net.size))

    @torch.no_grad()
    def reset(self, generator: torch.Generator, *, alike: bool = False) -> None:
        """Kaiming-normal weights; those of all tasks are the same where `alike`."""
        rows = 1 if alike else self.tasks
        parts = [
            torch.randn(rows, shape.numel(), generator=generator) * (2 / shape[1:].numel()) ** 0.5
            for shape in self.net.shapes
        ]
        self.vectors.copy_(torch.cat(parts, 1).expand(self.tasks, -1))

    def forward(self, x: Tensor) -> Tensor:
        """(T, B, P) -> (T, B, S)."""
        out: Tensor = torch.func.vmap(self.net.call)(self.vectors, x)
        return out


def train_masks(run: Run, bank: MaskBank, tasks: Tasks, schedule: Schedule) -> Tensor:
    """Add a mask for every task to `bank`; gives what the first task's mask says then and now.

    Args:
        run: Its steps, and where the masks go.
        bank: Empty.
        tasks: What is learned, `at_once` tasks at a time by vmap.
        schedule: Steps, batch, rate.

    Gives the largest change of any logit of the first task, from when it was learned to the end.
    """
    stack = bank.new(tasks=schedule.at_once)
    model = run.place(stack)
    bank.to(run.device)
    kept = Kept()
    optimizer = torch.optim.RMSprop(model.parameters(), lr=schedule.learning_rate)
    first = tasks.draw(torch.zeros(1, dtype=torch.int64), 64, run.rng("first"), "test").x[0]
    for x, label in run.steps(
        count_steps(tasks, schedule),
        lambda step: draw_rows(run, tasks, schedule, step),
        state=(model, optimizer, bank, kept),
    ):
        piece, position = divmod(run.step, schedule.steps)
        if position == 0:
            stack.reset(run.rng("scores", piece))
            optimizer.state.clear()  # moments of one task are nothing to the next
        with run.precision():
            loss = measure_loss(model(x.transpose(0, 1)), label.T)
        update(loss, model, optimizer)
        run.log(loss=loss / schedule.at_once)
        if position == schedule.steps - 1:
            bank.add(stack)
            if piece == 0:
                kept.add("first", bank(first, 0))
    return (bank(first, 0) - torch.tensor(kept.series["first"][0]).to(first)).abs().max()


def train_nets(run: Run, nets: Nets, tasks: Tasks, schedule: Schedule, *, alike: bool) -> Tensor:
    """A net of its own for every task, by RMSProp; gives their vectors (k, n).

    Args:
        run: Its steps, and where the nets go.
        nets: T of them.
        tasks: What is learned.
        schedule: Steps, batch, rate.
        alike: Whether all nets begin with the same weights.
    """
    model = run.place(nets)
    optimizer = torch.optim.RMSprop([nets.vectors], lr=schedule.learning_rate)
    store = Vectors(tasks.count, nets.net.size).to(run.device)
    for x, label in run.steps(
        count_steps(tasks, schedule),
        lambda step: draw_rows(run, tasks, schedule, step),
        state=(model, optimizer, store),
    ):
        piece, position = divmod(run.step, schedule.steps)
        if position == 0:
            nets.reset(run.rng("weights", 0 if alike else piece), alike=alike)
            optimizer.state.clear()
        loss = measure_loss(model(x.transpose(0, 1)), label.T)
        update(loss, model, optimizer)
        run.log(loss=loss / schedule.at_once)
        if position == schedule.steps - 1:
            begin = piece * schedule.at_once
            store.rows[begin : begin + schedule.at_once] = nets.vectors.detach()
    return store.rows


class Vectors(nn.Module):
    """Rows (k, n) that a checkpoint keeps."""

    rows: Tensor

    def __init__(self, tasks: int, size: int) -> None:
        super().__init__()
        self.register_buffer("rows", torch.zeros(tasks, size))


def count_steps(tasks: Tasks, schedule: Schedule) -> int:
    """Steps in all. Raises ValueError where the tasks are no multiple of those at once."""
    if tasks.count % schedule.at_once:
        raise ValueError(
            f"tasks must be a multiple of at_once, got {tasks.count} and {schedule.at_once}"
        )
    return tasks.count // schedule.at_once * schedule.steps


def draw_rows(run: Run, tasks: Tasks, schedule: Schedule, step: int) -> tuple[Tensor, Tensor]:
    """The minibatch of a step, examples first: x (B, T, P) and labels (B, T).

    So that under torchrun each process gets its share of the examples, and not of the tasks.
    """
    begin = step // schedule.steps * schedule.at_once
    some = torch.arange(begin, begin + schedule.at_once)
    x, label = tasks.draw(some, schedule.batch_size, run.rng("batch", step))
    return x.transpose(0, 1), label.T


# How well tasks and classes are named


class Trial(NamedTuple):
    """Test images of every task: single ones (G, P) with task and label (G,), and groups."""

    x: Tensor
    label: Tensor
    task: Tensor
    groups: Tensor
    """(k, B, P), one group a task."""
    group_label: Tensor
    """(k, B)."""


def draw_trial(run: Run, tasks: Tasks, *, images: int, group: int) -> Trial:
    """Random test images: `images` single ones of each task and a group of `group`."""
    singles, groups = [], []
    for some in torch.arange(tasks.count).split(50):
        generator = run.rng("test", int(some[0]))
        singles.append(tasks.draw(some, images, generator, "test"))
        groups.append(tasks.draw(some, group, generator, "test"))
    x = torch.cat([batch.x for batch in singles]).flatten(0, 1)
    label = torch.cat([batch.label for batch in singles]).flatten()
    task = torch.arange(tasks.count, device=x.device).repeat_interleave(images)
    whole, group_label = (torch.cat([batch[i] for batch in groups]) for i in (0, 1))
    return Trial(x, label, task, whole, group_label)


def measure_naming(bank: Bank, trial: Trial, objective: Objective, name: str) -> Metrics:
    """Tasks (%) that One-Shot names from single images and from groups: `<name>_one`, `_group`."""
    every = torch.arange(len(trial.groups), device=trial.x.device)
    return {
        f"{name}_one": percent(one_shot(bank, trial.x[:, None], objective) == trial.task),
        f"{name}_group": percent(one_shot(bank, trial.groups, objective) == every),
    }


def measure_bank(run: Run, bank: MaskBank, tasks: Tasks, trial: Trial) -> Metrics:
    """All that is asked of a bank: every scenario, both objectives, both rules, and its size."""
    every = torch.arange(len(trial.groups), device=trial.x.device)
    by_entropy = one_shot(bank, trial.x[:, None], entropy)
    metrics = {
        "h_one": percent(by_entropy == trial.task),
        "h_group": percent(one_shot(bank, trial.groups, entropy) == every),
    }
    named = by_entropy
    if bank(trial.x[:1], 0).shape[-1] > tasks.labels:
        objective = superfluous(tasks.labels)
        named = one_shot(bank, trial.x[:, None], objective)
        metrics["g_one"] = percent(named == trial.task)
        metrics["g_group"] = percent(one_shot(bank, trial.groups, objective) == every)
    some = torch.randperm(len(trial.x), generator=run.rng("compared"))[:COMPARED].to(named.device)
    slow = exhaustive(bank, trial.x[some, None], entropy)
    halved = binary(bank, trial.groups, entropy)
    given, found = (classify(bank, trial.x, task) == trial.label for task in (trial.task, named))
    storage = bank.measure_storage()
    return {
        **metrics,
        "gg_accuracy": percent(given),
        "gns_accuracy": percent(found),
        "gnu_accuracy": percent(found & (named == trial.task)),
        "named": percent(named == trial.task),
        "agreement": percent(slow == by_entropy[some]),
        "exhaustive_one": percent(slow == trial.task[some]),
        "binary_group": percent(halved == every),
        "gnu_group_accuracy": measure_groups(bank, trial, halved),
        "kept": 100 * float(bank.kept().mean()),
        "packed_bytes": storage.packed / len(bank),
        "sparse_bytes": storage.sparse / len(bank),
        **measure_control(run, tasks, trial),
    }


def measure_control(run: Run, tasks: Tasks, trial: Trial) -> Metrics:
    """Naming by the nearest mean image of each task, and the bytes of a mean."""
    means = find_means(tasks, MEAN_OF, run.rng("means"))
    every = torch.arange(len(trial.groups), device=trial.x.device)
    return {
        "control_one": percent(name_by_mean(means, trial.x[:, None]) == trial.task),
        "control_group": percent(name_by_mean(means, trial.groups) == every),
        "control_bytes": 4 * tasks.pixels,
    }


@torch.no_grad()
def measure_groups(bank: MaskBank, trial: Trial, found: Tensor) -> float:
    """Accuracy (%) of groups under the masks (k,) that were found; 0 where the task is wrong."""
    hits = []
    with evaluating(bank):
        for own, task in enumerate(found.tolist()):
            right = bank(trial.groups[own], task).argmax(1) == trial.group_label[own]
            hits.append(right & (own == task))
    return percent(torch.cat(hits))


@torch.no_grad()
def classify(bank: MaskBank, x: Tensor, task: Tensor) -> Tensor:
    """The class (G,) that each image (G, P) has under the mask of its task (G,)."""
    with evaluating(bank):
        rows = [
            bank(some, own).argmax(1)
            for some, own in zip(x.split(ROWS), task.split(ROWS), strict=True)
        ]
    return torch.cat(rows)


def percent(hits: Tensor) -> float:
    """Share of trues, %."""
    return 100 * float(hits.float().mean())
