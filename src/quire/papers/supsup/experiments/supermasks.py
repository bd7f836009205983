"""Many tasks from one data set: supermasks, and what else learns them, in every scenario."""

from typing import Literal

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from quire.lab import Config, Metrics, Run
from quire.papers.supsup.bank import MaskBank
from quire.papers.supsup.baselines import ContextKind
from quire.papers.supsup.experiments.figures import draw_naming
from quire.papers.supsup.experiments.learner import (
    Nets,
    Schedule,
    draw_trial,
    measure_bank,
    percent,
    train_masks,
    train_nets,
)
from quire.papers.supsup.experiments.rivals import (
    FIRST,
    make_rival,
    measure_rival,
    train_rival,
)
from quire.papers.supsup.experiments.tasks import Dataset, Kind, make_tasks
from quire.papers.supsup.frozen import FrozenNet
from quire.papers.supsup.masks import THRESHOLD, Sparsity, TopFraction
from quire.papers.supsup.networks import make_mlp


class Supermasks(Config):
    """Tasks of one data set, one after the other, and which of them a new image is of."""

    dataset: Dataset = "mnist"
    """scikit-learn's 8x8 digits, or MNIST."""
    kind: Kind = "permutations"
    """What tells tasks apart: the order of pixels, rotations by 10 degrees, pairs of classes."""
    tasks: PositiveInt = 250
    """How many."""
    method: Literal["supsup", "separate", "sequential", "batche", "psp", "hat", "ewc", "si"] = (
        "supsup"
    )
    """Supermasks; a net for each task; or one net that is trained on task after task."""
    hidden: tuple[PositiveInt, ...] = (300, 100)
    """Widths of the net."""
    outputs: PositiveInt = 100
    """Outputs; those beyond the labels are superfluous. Rivals have as many as there are labels."""
    keep: PositiveFloat | None = None
    """Share of the weights that edge-popup keeps; none for a threshold, which keeps any share."""
    steps: PositiveInt = 1000
    """Minibatches a task."""
    batch_size: PositiveInt = 128
    """Images a minibatch."""
    learning_rate: PositiveFloat = 1e-4
    """RMSProp's; Adam's of BatchE's factors, and that of plain descent for HAT."""
    at_once: PositiveInt = 10
    """Tasks that are trained together; a divisor of the tasks."""
    images: PositiveInt = 40
    """Single test images of each task."""
    group: PositiveInt = 128
    """Test images of a task that are named together."""
    strength: NonNegativeFloat = 0.1
    """Weight of EWC's or SI's penalty."""
    context: ContextKind = "orthogonal"
    """How PSP turns the inputs of a layer."""


def supermasks(config: Supermasks, run: Run) -> Metrics:
    """Accuracies with the task given, inferred and to be named; identification; bytes; controls."""
    tasks = make_tasks(config.kind, config.dataset, config.tasks, run)
    trial = draw_trial(run, tasks, images=config.images, group=config.group)
    schedule = Schedule(config.steps, config.batch_size, config.learning_rate, config.at_once)
    if config.method == "supsup":
        sparsity: Sparsity = THRESHOLD if config.keep is None else TopFraction(config.keep)
        net = make_mlp(tasks.pixels, config.outputs, hidden=config.hidden)
        bank = MaskBank(net, sparsity=sparsity, seed=run.seed)
        change = train_masks(run, bank, tasks, schedule)
        run.figure("naming", draw_naming(bank, trial, tasks.labels))
        return {"forgetting": float(change), **measure_bank(run, bank, tasks, trial)}
    if config.method == "separate":
        shape = FrozenNet(make_mlp(tasks.pixels, tasks.labels, hidden=config.hidden))
        shape = shape.to(run.device)
        vectors = train_nets(run, Nets(shape, config.at_once), tasks, schedule, alike=False)
        right = [
            shape.call(vector, trial.x[trial.task == task]).argmax(1)
            == trial.label[trial.task == task]
            for task, vector in enumerate(vectors)
        ]
        accuracy = [percent(row) for row in right]
        return {
            "gg_accuracy": sum(accuracy) / len(accuracy),
            "first_accuracy": sum(accuracy[:FIRST]) / len(accuracy[:FIRST]),
        }
    rival = make_rival(
        config.method,
        run,
        tasks,
        hidden=config.hidden,
        learning_rate=config.learning_rate,
        strength=config.strength,
        context=config.context,
    )
    train_rival(run, rival, tasks, schedule)
    return measure_rival(rival, tasks, trial)
