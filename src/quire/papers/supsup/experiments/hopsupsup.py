"""HopSupSup on pairs of MNIST's classes: masks of neurons that come back from a Hopfield net."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn

from quire.lab import Config, Metrics, Run
from quire.lab.training import update
from quire.papers.supsup.attractors import (
    MaskMemory,
    NeuronMask,
    NeuronMaskNet,
    Recovered,
    WritingRule,
    recover,
)
from quire.papers.supsup.experiments.figures import draw_path
from quire.papers.supsup.experiments.learner import percent
from quire.papers.supsup.experiments.tasks import Dataset, Tasks, make_tasks

PAIRS = 5
OUTPUTS = 10
"""The classes keep their own numbers, as in the published code, so no output tells of a pair."""
RULES: tuple[WritingRule, ...] = ("hebb", "storkey")
"""In this order, so that the figure that stays is the published code's."""
UNLABELLED = 64
"""Images a minibatch of recovery."""
SMALL = 30
"""Steps in which the paper's masks came back."""


class HopSupSup(Config):
    """Pairs of classes: masks of neurons are trained, written into a matrix a layer, recovered."""

    dataset: Dataset = "mnist"
    """scikit-learn's 8x8 digits, or MNIST."""
    hidden: tuple[PositiveInt, ...] = (2048, 2048)
    """Widths of the masked layers."""
    epochs: PositiveFloat = 1.0
    """Passes over a pair's training images."""
    batch_size: PositiveInt = 128
    """Images a minibatch in training."""
    learning_rate: PositiveFloat = 0.1
    """SGD's, with momentum 0.9, in training."""
    recovery_rate: PositiveFloat = 500.0
    """SGD's in recovery."""
    recovery_steps: PositiveInt | None = None
    """T, minibatches of 64 unlabelled test images; as many as a pair's test images make if none."""


def hopsupsup(config: HopSupSup, run: Run) -> Metrics:
    """How many masks come back, when, and the accuracy under what came back, by both rules."""
    tasks = make_tasks("pairs", config.dataset, PAIRS, run)
    net = NeuronMaskNet(tasks.pixels, hidden=config.hidden, outputs=OUTPUTS, seed=run.seed)
    masks = [NeuronMask(net).to(run.device) for _ in range(PAIRS)]
    for task, mask in enumerate(masks):
        train(config, run, mask, tasks, task)
    stored = [[2 * m.detach() - 1 for m in mask.masks()] for mask in masks]
    metrics = measure_masks(run, net, tasks, stored)
    for rule in RULES:
        memories = [MaskMemory(width, rule=rule) for width in config.hidden]
        for layer, memory in enumerate(memories):
            for own in stored:
                memory.write(own[layer])
        found = recover_all(config, run, net, tasks, stored, memories)
        seen = measure_recovery(run, net, tasks, stored, found)
        seen["stable"] = min(
            100 * float(((m.matrix @ own[i]) * own[i] > 0).float().mean())
            for i, m in enumerate(memories) for own in stored
        )  # fmt: skip
        metrics |= {f"{rule}_{name}": value for name, value in seen.items()}
    return metrics


def recover_all(
    config: HopSupSup,
    run: Run,
    net: NeuronMaskNet,
    tasks: Tasks,
    stored: list[list[Tensor]],
    memories: list[MaskMemory],
) -> list[Recovered]:
    """What comes back for the unlabelled images of each pair, from the mean of the stored masks.

    Args:
        config: Steps and rate.
        run: What images are drawn from.
        net: The frozen net.
        tasks: The pairs.
        stored: Of each task z of each layer.
        memories: One a layer.
    """
    assert tasks.pools is not None
    start = [torch.stack(rows).mean(0) for rows in zip(*stored, strict=True)]
    return [
        recover(
            net,
            memories,
            draw_unlabelled(run, tasks, task),
            start,
            steps=config.recovery_steps or -(-len(pool) // UNLABELLED),
            learning_rate=config.recovery_rate,
        )
        for task, pool in enumerate(tasks.pools["test"])
    ]


def train(config: HopSupSup, run: Run, mask: nn.Module, tasks: Tasks, task: int) -> None:
    """One task's scores by SGD on cross-entropy."""
    assert tasks.pools is not None
    steps = max(1, round(config.epochs * len(tasks.pools["train"][task]) / config.batch_size))
    optimizer = torch.optim.SGD(
        [p for p in mask.parameters() if p.requires_grad],
        lr=config.learning_rate, momentum=0.9, weight_decay=1e-4,
    )  # fmt: skip
    for step in run.steps(steps, state=(mask, optimizer), name=f"train{task}"):
        x, label = draw(tasks, task, config.batch_size, run.rng("batch", task, step), "train")
        loss = F.cross_entropy(mask(x), label)
        update(loss, mask, optimizer)
        run.log(loss=loss)


def draw(
    tasks: Tasks, task: int, size: int, generator: torch.Generator, part: str
) -> tuple[Tensor, Tensor]:
    """Images (B, P) of a pair, and their classes 0..9 (B,).

    Args:
        tasks: The pairs.
        task: Which one.
        size: B.
        generator: On the CPU.
        part: train or test.
    """
    x, side = tasks.draw(
        torch.tensor([task]), size, generator, "train" if part == "train" else "test"
    )
    return x[0], side[0] + 2 * task


def draw_unlabelled(run: Run, tasks: Tasks, task: int) -> Iterator[Tensor]:
    """Test images (B, P) of a pair, one minibatch after the other."""
    step = 0
    while True:
        yield draw(tasks, task, UNLABELLED, run.rng("recovery", task, step), "test")[0]
        step += 1


def measure_masks(
    run: Run, net: NeuronMaskNet, tasks: Tasks, stored: list[list[Tensor]]
) -> Metrics:
    """Accuracy under the stored masks, and how far the two closest ones are apart.

    Args:
        run: What images are drawn from.
        net: The frozen net.
        tasks: The pairs.
        stored: Of each task z of each layer.
    """
    own = [test(run, net, tasks, task, masks) for task, masks in enumerate(stored)]
    apart = min(
        float((a[i] != b[i]).float().mean())
        for i in range(len(net.hidden)) for n, a in enumerate(stored) for b in stored[:n]
    )  # fmt: skip
    return {"own_accuracy": sum(own) / len(own), "closest_pair": 100 * apart}


def test(run: Run, net: NeuronMaskNet, tasks: Tasks, task: int, masks: list[Tensor]) -> float:
    """Accuracy (%) on 512 test images of a pair under masks of -1 and 1."""
    x, label = draw(tasks, task, 512, run.rng("test", task), "test")
    return percent(net(x, [(z + 1) / 2 for z in masks]).argmax(1) == label)


def measure_recovery(
    run: Run,
    net: NeuronMaskNet,
    tasks: Tasks,
    stored: list[list[Tensor]],
    found: list[Recovered],
) -> Metrics:
    """Distances on the way, masks that came back, and the accuracy under what came back.

    Args:
        run: Where the figure goes.
        net: The frozen net.
        tasks: The pairs.
        stored: Of each task z of each layer.
        found: Of each task what came back.
    """
    layers = range(len(net.hidden))
    paths = {
        f"layer {i + 1}": [
            (back.path[i] != own[i]).sum(1).cpu() for back, own in zip(found, stored, strict=True)
        ]
        for i in layers
    }
    run.figure("recovery", draw_path(paths))
    # Of each task the share of neurons that differ in the worse layer, (T + 1,).
    curves = [
        torch.stack([(b.path[i] != own[i]).float().mean(1).cpu() for i in layers]).amax(0)
        for b, own in zip(found, stored, strict=True)
    ]
    steps = [first_at_zero(curve) for curve in curves]
    exact = [
        step < SMALL and float(curve[-1]) == 0 for step, curve in zip(steps, curves, strict=True)
    ]
    accuracy = [test(run, net, tasks, task, back.masks) for task, back in enumerate(found)]
    overlaps = [
        torch.stack([(other[-1] * back.masks[-1]).sum() for other in stored]).argmax()
        for back in found
    ]
    return {
        "recovered": float(sum(exact)),
        "nearest": float(sum(int(best) == task for task, best in enumerate(overlaps))),
        "steps": sum(steps) / len(steps),
        "distance": 100 * sum(float(curve[-1]) for curve in curves) / len(curves),
        "begin_distance": 100 * sum(float(curve[0]) for curve in curves) / len(curves),
        "accuracy": sum(accuracy) / len(accuracy),
    }


def first_at_zero(curve: Tensor) -> float:
    """The first step from which a curve (T + 1,) stays at 0; T + 1 if it does not."""
    above = (curve > 0).nonzero()
    return float(above.max() + 1) if len(above) else 0.0
