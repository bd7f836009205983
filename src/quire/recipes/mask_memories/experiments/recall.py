"""Masks of neurons for permutations of digits, each broken and recalled by one of the memories."""

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from quire import data
from quire.lab import Config, Metrics, Run
from quire.lab.training import update
from quire.papers.supsup import NeuronMask, NeuronMaskNet
from quire.recipes.mask_memories import memories

TRAINED = 1400
"""Digits to train on; the other 397 are held out."""


class Masks(Config):
    """Tasks are permutations of 8x8 digits; a task's mask is of all hidden neurons together."""

    memory: Literal["hebb", "storkey", "dense", "modern"] = "storkey"
    """What stores the masks."""
    tasks: PositiveInt = 60
    """Masks."""
    hidden: tuple[PositiveInt, ...] = (256, 256)
    """Widths of the masked layers."""
    broken: PositiveFloat = 0.1
    """Share of a mask's neurons that are turned before it is recalled."""
    steps: PositiveInt = 60
    """Minibatches a task."""
    batch_size: PositiveInt = 128
    """Images a minibatch."""
    learning_rate: PositiveFloat = 0.1
    """SGD's, with momentum 0.9."""


def recall(config: Masks, run: Run) -> Metrics:
    """Masks that come back exactly, neurons that do not, accuracies and bytes."""
    train, test = load(run)
    orders = [torch.randperm(64, generator=run.rng("order", t)) for t in range(config.tasks)]
    net = NeuronMaskNet(64, hidden=config.hidden, seed=run.seed).to(run.device)
    rows = [learn(config, run, net, train, order, t) for t, order in enumerate(orders)]
    masks = torch.stack(rows).cpu()
    turned = torch.rand(masks.shape, generator=run.rng("broken")) < config.broken
    broken = torch.where(turned, -masks, masks)
    stored = getattr(memories, config.memory)(masks)
    back = torch.stack([stored.recall(state) for state in broken])
    own, found, worse = (
        [measure(net, test, order, row) for order, row in zip(orders, some, strict=True)]
        for some in (masks, back, broken)
    )
    return {
        "recalled": 100 * float((back == masks).all(1).float().mean()),
        "wrong_neurons": 100 * float((back != masks).float().mean()),
        "own_accuracy": sum(own) / len(own),
        "recalled_accuracy": sum(found) / len(found),
        "broken_accuracy": sum(worse) / len(worse),
        "likeness": 100 * float((masks[0] == masks[1:]).float().mean()),
        "bytes": stored.bytes,
    }


def load(run: Run) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Digits (N, 64) in 0..1, labels (N,): to train on and held out, as the seed orders them."""
    parts = data.digits()
    image = torch.cat([torch.from_numpy(part.image).flatten(1) / 16 for part in parts])
    label = torch.cat([torch.from_numpy(part.label) for part in parts])
    order = torch.randperm(len(label), generator=run.rng("split"))
    image, label = image[order].float().to(run.device), label[order].to(run.device)
    return (image[:TRAINED], label[:TRAINED]), (image[TRAINED:], label[TRAINED:])


def learn(
    config: Masks,
    run: Run,
    net: NeuronMaskNet,
    train: tuple[Tensor, Tensor],
    order: Tensor,
    task: int,
) -> Tensor:
    """The mask of a permutation, -1 and 1, all layers side by side.

    Args:
        config: Steps, batch, rate.
        run: The run.
        net: The frozen net.
        train: Images and labels.
        order: The permutation of the pixels.
        task: Its number.
    """
    mask = NeuronMask(net).to(run.device)
    trained = [p for p in mask.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=config.learning_rate, momentum=0.9)
    for step in run.steps(config.steps, state=(mask, optimizer), name=f"task{task}"):
        generator = run.rng("batch", task, step)
        rows = torch.randint(TRAINED, (config.batch_size,), generator=generator).to(run.device)
        loss = F.cross_entropy(mask(train[0][rows][:, order]), train[1][rows])
        update(loss, mask, optimizer)
        run.log(loss=loss)
    return torch.cat([2 * row.detach() - 1 for row in mask.masks()])


@torch.no_grad()
def measure(net: NeuronMaskNet, test: tuple[Tensor, Tensor], order: Tensor, mask: Tensor) -> float:
    """Accuracy (%) on held-out digits of a permutation under a mask (d,) of -1 and 1.

    Args:
        net: The frozen net.
        test: Images and labels.
        order: The permutation.
        mask: All layers side by side.
    """
    parts = ((mask.to(test[0].device) + 1) / 2).split(list(net.hidden))
    logits = net(test[0][:, order], parts)
    return 100 * float((logits.argmax(1) == test[1]).float().mean())
