"""What is mixed: masks of one net, whole nets, or low-rank adapters of a pretrained one."""

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn

from quire.lab import Config, Metrics, Run
from quire.lab.training import update
from quire.papers.supsup.bank import MaskBank, measure_loss
from quire.papers.supsup.experiments.learner import (
    Nets,
    Schedule,
    Trial,
    draw_rows,
    draw_trial,
    measure_control,
    measure_naming,
    percent,
    train_masks,
    train_nets,
)
from quire.papers.supsup.experiments.tasks import Dataset, Kind, Tasks, make_tasks
from quire.papers.supsup.frozen import FrozenNet
from quire.papers.supsup.inference import Bank, exhaustive
from quire.papers.supsup.networks import make_mlp
from quire.papers.supsup.objectives import entropy, superfluous
from quire.papers.supsup.superposition import LoraBank, NetBank

PRETRAINED = 2
"""Times the steps of a task that the net of the adapters is trained for on the upright images."""


class Mixed(Config):
    """The same tasks by masks, by whole nets and by adapters, and one gradient to name each."""

    what: Literal["masks", "nets", "nets_alike", "lora"] = "masks"
    """Masks of a frozen net; nets of their own, from starts of their own or from one; adapters."""
    dataset: Dataset = "mnist"
    """scikit-learn's 8x8 digits, or MNIST."""
    kind: Kind = "permutations"
    """What tells tasks apart."""
    tasks: PositiveInt = 20
    """How many, all trained together."""
    hidden: tuple[PositiveInt, ...] = (300, 100)
    """Widths of the net."""
    outputs: PositiveInt = 100
    """Outputs, ten of which are labels."""
    rank: PositiveInt = 8
    """R of the adapters."""
    steps: PositiveInt = 1000
    """Minibatches a task."""
    batch_size: PositiveInt = 128
    """Images a minibatch."""
    learning_rate: PositiveFloat = 1e-4
    """RMSProp's."""
    images: PositiveInt = 40
    """Single test images of each task."""
    group: PositiveInt = 32
    """Test images of a task that are named together."""


def superposition(config: Mixed, run: Run) -> Metrics:
    """Accuracy of each task's own vector and of the uniform mixture, and naming by one gradient."""
    tasks = make_tasks(config.kind, config.dataset, config.tasks, run)
    trial = draw_trial(run, tasks, images=config.images, group=config.group)
    schedule = Schedule(
        config.steps, config.batch_size, config.learning_rate, config.tasks
    )  # fmt: skip
    net = make_mlp(tasks.pixels, config.outputs, hidden=config.hidden)
    bank: Bank
    if config.what == "masks":
        masks = MaskBank(net, seed=run.seed)
        train_masks(run, masks, tasks, schedule)
        bank, each = masks, float(masks.bits.shape[1])
    elif config.what == "lora":
        bank, each = train_adapters(config, run, tasks, schedule)
    else:
        shape = FrozenNet(net).to(run.device)
        alike = config.what == "nets_alike"
        vectors = train_nets(run, Nets(shape, config.tasks), tasks, schedule, alike=alike)
        bank, each = NetBank(shape, vectors), 4.0 * shape.size
    every = torch.arange(len(bank), device=run.device)
    return {
        "bytes": each,
        "accuracy": measure_own(bank, trial),
        "mixture_accuracy": measure_mixture(bank, trial),
        **measure_naming(bank, trial, entropy, "h"),
        **measure_naming(bank, trial, superfluous(tasks.labels), "g"),
        "exhaustive_one": percent(exhaustive(bank, trial.x[:, None], entropy) == trial.task),
        "exhaustive_group": percent(exhaustive(bank, trial.groups, entropy) == every),
        **measure_control(run, tasks, trial),
    }


def train_adapters(
    config: Mixed, run: Run, tasks: Tasks, schedule: Schedule
) -> tuple[LoraBank, float]:
    """A net trained on the images as they are, then an adapter a task; and an adapter's bytes."""
    net = make_mlp(tasks.pixels, config.outputs, hidden=config.hidden).to(run.device)
    net = pretrain(config, run, tasks, net)
    bank = LoraBank(net, tasks=config.tasks, rank=config.rank, generator=run.rng("adapters"))
    model = run.place(bank)
    trained = [p for p in bank.parameters() if p.requires_grad]
    optimizer = torch.optim.RMSprop(trained, lr=schedule.learning_rate)
    for x, label in run.steps(
        schedule.steps,
        lambda step: draw_rows(run, tasks, schedule, step),
        state=(model, optimizer),
        name="adapters",
    ):
        loss = measure_loss(model(x.transpose(0, 1)), label.T)
        update(loss, model, optimizer)
        run.log(loss=loss / config.tasks)
    return bank, 4.0 * sum(p.numel() for p in trained) / config.tasks


def pretrain(config: Mixed, run: Run, tasks: Tasks, net: nn.Sequential) -> nn.Sequential:
    """The net on the images as they are, which is no task of its own."""
    model = run.place(net)
    optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-3)
    pictures = tasks.parts["train"]
    for _ in run.steps(PRETRAINED * config.steps, state=(model, optimizer), name="pretrain"):
        generator = run.rng("pretrain", run.step)
        rows = torch.randint(len(pictures.image), (config.batch_size,), generator=generator)
        x = tasks.normalise(pictures.image[rows.to(run.device)])
        loss = F.cross_entropy(model(x), pictures.label[rows.to(run.device)])
        update(loss, model, optimizer)
        run.log(loss=loss)
    return net


@torch.no_grad()
def measure_own(bank: Bank, trial: Trial) -> float:
    """Accuracy (%) with the task given."""
    every = torch.arange(len(bank), device=trial.x.device)
    with bank.calm():
        return percent(torch.cat([
            bank.call(vector, trial.x[trial.task == task]).argmax(1)
            == trial.label[trial.task == task]
            for task, vector in enumerate(bank.take(every))
        ]))  # fmt: skip


@torch.no_grad()
def measure_mixture(bank: Bank, trial: Trial) -> float:
    """Accuracy (%) of the uniform mixture, for what it still knows of any task."""
    with bank.calm():
        logits: Tensor = bank.call(bank.mix(None), trial.x)
    return percent(logits.argmax(1) == trial.label)
