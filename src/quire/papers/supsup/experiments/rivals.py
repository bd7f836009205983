"""Other ways to learn task after task with one net, each told the task in training.

Legend: B examples, P pixels, S outputs. Each has `begin`, `learn`, `finish` and `answer`.
"""

from typing import Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Adam, Optimizer, RMSprop

from quire.lab import Metrics, Run
from quire.lab.training import update
from quire.papers.supsup.baselines import (
    BatchEnsemble,
    ContextKind,
    HardAttention,
    ParameterSuperposition,
)
from quire.papers.supsup.experiments.learner import Schedule, Trial, percent
from quire.papers.supsup.experiments.tasks import Tasks
from quire.papers.supsup.networks import make_mlp
from quire.papers.supsup.sequential import OnlineEWC, SynapticIntelligence

Name = Literal["sequential", "batche", "psp", "hat", "ewc", "si"]
FIRST = 5
"""Tasks whose accuracy at the end tells of forgetting."""
FISHER = 512
"""Examples that the Fisher information of a task is of."""
USE = 0.75
"""Weight of HAT's penalty, as published."""


class Rival(Protocol):
    """A net that learns one task after the other."""

    module: nn.Module
    optimizer: Optimizer

    def begin(self, task: int) -> None:
        """Before the first minibatch of a task."""
        ...

    def learn(self, x: Tensor, label: Tensor, task: int, position: float) -> Tensor:
        """One step on x (B, P) and labels (B,) at a share of the task's steps; gives the loss."""
        ...

    def finish(self, x: Tensor, task: int) -> None:
        """After its last one. x: some of its examples (B, P)."""
        ...

    def answer(self, x: Tensor, task: int) -> Tensor:
        """Logits (B, S) of x (B, P), task given."""
        ...


class Dense:
    """One net on task after task: bare, with EWC or with SI.

    Args:
        net: The net. Where `unshared`, task t has the outputs 10 t to 10 t + 9, of which those so
            far take part, and nobody says at test which task it is.
        learning_rate: RMSProp's.
        guard: What holds its weights.
        unshared: Whether tasks have classes of their own.
    """

    def __init__(
        self,
        net: nn.Module,
        learning_rate: float,
        *,
        guard: OnlineEWC | SynapticIntelligence | None = None,
        unshared: bool = False,
    ) -> None:
        self.module = net
        self.guard = guard
        self.unshared = unshared
        self.optimizer: Optimizer = RMSprop(net.parameters(), lr=learning_rate)

    def begin(self, task: int) -> None:
        self.optimizer.state.clear()

    def learn(self, x: Tensor, label: Tensor, task: int, position: float) -> Tensor:
        logits = self.module(x)
        if self.unshared:
            logits, label = logits[:, : 10 * (task + 1)], label + 10 * task
        loss = F.cross_entropy(logits, label)
        if self.guard is None:
            update(loss, self.module, self.optimizer)
            return loss
        if isinstance(self.guard, OnlineEWC):
            update(loss + self.guard.penalty(), self.module, self.optimizer)
            return loss
        # The path integral is of the task's own gradient, so the penalty's is added afterwards.
        self.optimizer.zero_grad()
        loss.backward()
        before = self.guard.remember()
        self.guard.penalty().backward()
        self.optimizer.step()
        self.guard.watch(before)
        return loss

    def finish(self, x: Tensor, task: int) -> None:
        if isinstance(self.guard, OnlineEWC):
            outputs = 10 * (task + 1) if self.unshared else None
            self.guard.finish(x.split(128), outputs=outputs)
        elif self.guard is not None:
            self.guard.finish()

    def answer(self, x: Tensor, task: int) -> Tensor:
        logits: Tensor = self.module(x)
        return logits


class Batche:
    """BatchE: the shared weights are trained on the first task alone, factors on every one."""

    def __init__(self, net: BatchEnsemble, learning_rate: float) -> None:
        self.module: nn.Module = net
        self.net = net
        # Two groups, so that a resumed run finds the same parameters.
        self.optimizer: Optimizer = Adam(
            [{"params": net.own(), "lr": learning_rate}, {"params": net.shared(), "lr": 1e-3}]
        )

    def begin(self, task: int) -> None:
        self.optimizer.state.clear()

    def learn(self, x: Tensor, label: Tensor, task: int, position: float) -> Tensor:
        self.net.net.requires_grad_(False)
        if task == 0:
            self.net.shared()
        loss = F.cross_entropy(self.net(x, task), label)
        update(loss, self.net, self.optimizer)
        return loss

    def finish(self, x: Tensor, task: int) -> None:
        self.net.freeze()

    def answer(self, x: Tensor, task: int) -> Tensor:
        logits: Tensor = self.net(x, task)
        return logits


class Psp:
    """PSP: every task trains the whole net, through contexts of its own."""

    def __init__(self, net: ParameterSuperposition, learning_rate: float) -> None:
        self.module: nn.Module = net
        trained = [p for p in net.parameters() if p.requires_grad]
        self.optimizer: Optimizer = RMSprop(trained, lr=learning_rate)

    def begin(self, task: int) -> None:
        self.optimizer.state.clear()

    def learn(self, x: Tensor, label: Tensor, task: int, position: float) -> Tensor:
        loss = F.cross_entropy(self.module(x, task), label)
        update(loss, self.module, self.optimizer)
        return loss

    def finish(self, x: Tensor, task: int) -> None:
        pass

    def answer(self, x: Tensor, task: int) -> Tensor:
        logits: Tensor = self.module(x, task)
        return logits


class Hat:
    """HAT: gates of units, and gradients that spare the units of earlier tasks."""

    def __init__(self, net: HardAttention, learning_rate: float) -> None:
        self.module: nn.Module = net
        self.net = net
        # Plain descent: with moments a weight would move although its gradient is taken away.
        self.optimizer: Optimizer = torch.optim.SGD(net.parameters(), lr=learning_rate)

    def begin(self, task: int) -> None:
        pass

    def learn(self, x: Tensor, label: Tensor, task: int, position: float) -> Tensor:
        scale = self.net.find_scale(position)
        loss = F.cross_entropy(self.net(x, task, scale), label)
        self.optimizer.zero_grad()
        (loss + USE * self.net.measure_use(task, scale)).backward()
        self.net.spare(scale)
        nn.utils.clip_grad_norm_(self.net.parameters(), 1e4)
        self.optimizer.step()
        return loss

    def finish(self, x: Tensor, task: int) -> None:
        self.net.finish(task)

    def answer(self, x: Tensor, task: int) -> Tensor:
        logits: Tensor = self.net(x, task)
        return logits


def make_rival(
    name: Name,
    run: Run,
    tasks: Tasks,
    *,
    hidden: tuple[int, ...],
    learning_rate: float,
    strength: float,
    context: ContextKind,
) -> Rival:
    """The rival of that name, on the run's device.

    Args:
        name: Which one.
        run: What it is drawn from.
        tasks: What it is to learn.
        hidden: Widths.
        learning_rate: Of its optimizer.
        strength: EWC's and SI's.
        context: PSP's.
    """
    sizes = {"hidden": hidden}
    inputs, count = tasks.pixels, tasks.count
    if name == "batche":
        own = BatchEnsemble(make_mlp(inputs, tasks.labels, **sizes), tasks=count)
        return Batche(own.to(run.device), learning_rate)
    if name == "psp":
        turned = ParameterSuperposition(
            inputs, tasks.labels, tasks=count, hidden=hidden, kind=context, generator=run.rng("psp")
        )
        return Psp(turned.to(run.device), learning_rate)
    if name == "hat":
        gated = HardAttention(inputs, tasks.labels, tasks=count, hidden=hidden)
        return Hat(gated.to(run.device), learning_rate)
    unshared = name in ("ewc", "si")
    net = make_mlp(inputs, 10 * count if unshared else tasks.labels, **sizes).to(run.device)
    guard: OnlineEWC | SynapticIntelligence | None = None
    if name == "ewc":
        guard = OnlineEWC(net, strength=strength)
    elif name == "si":
        guard = SynapticIntelligence(net, strength=strength)
    return Dense(net, learning_rate, guard=guard, unshared=unshared)


def train_rival(run: Run, rival: Rival, tasks: Tasks, schedule: Schedule) -> None:
    """Task after task, `steps` minibatches each; of the schedule, at_once and rate do not count."""
    guard = getattr(rival, "guard", None)
    state = [rival.module, rival.optimizer, *([] if guard is None else [guard])]
    for step in run.steps(tasks.count * schedule.steps, state=state):
        task, place = divmod(step, schedule.steps)
        if place == 0:
            rival.begin(task)
        one = torch.tensor([task])
        x, label = tasks.draw(one, schedule.batch_size, run.rng("batch", step))
        run.log(loss=rival.learn(x[0], label[0], task, place / max(1, schedule.steps - 1)))
        if place == schedule.steps - 1:
            rival.finish(tasks.draw(one, FISHER, run.rng("fisher", task)).x[0], task)


@torch.no_grad()
def measure_rival(rival: Rival, tasks: Tasks, trial: Trial) -> Metrics:
    """Accuracy over all tasks and over the first five, task given; or class and task, where that
    is what its outputs name."""
    unshared = getattr(rival, "unshared", False)
    rival.module.eval()
    hits = []
    for task in range(tasks.count):
        own = trial.task == task
        wanted = trial.label[own] + (10 * task if unshared else 0)
        hits.append(rival.answer(trial.x[own], task).argmax(1) == wanted)
    first = percent(torch.cat(hits[:FIRST]))
    whole = percent(torch.cat(hits))
    return {"gnu_accuracy" if unshared else "gg_accuracy": whole, "first_accuracy": first}
