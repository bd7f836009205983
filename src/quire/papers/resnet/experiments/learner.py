"""How nets are trained and tested here; `CifarTraining` and `train` are section 4.2.

Legend: N images, B batch, C channels, H and W height and width.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor, nn

from quire import data
from quire.lab import Config, Metrics, Run
from quire.lab.training import divided_at, set_rate, update
from quire.nn.residual import ShortcutKind
from quire.papers.resnet.experiments.images import Part, Prepared
from quire.papers.resnet.resnet import CifarResNet
from quire.papers.resnet.schedule import WarmUp
from quire.papers.resnet.testers import evaluating

N = TypeVar("N", bound=nn.Module)
Augment = Callable[[Tensor, torch.Generator], Tensor]
"""Images (B, C, H, W) and a generator -> as many augmented ones."""


class CifarTraining(Config):
    """A net of 6n + 2 layers and how it is trained (section 4.2); a step is a minibatch."""

    depth: PositiveInt = 20
    """Weighted layers, 6n + 2."""
    residual: bool = True
    """False trains the plain twin, without shortcuts."""
    shortcut: ShortcutKind = "A"
    """Shortcuts where the shape changes: A pads with zeros, B projects, C projects everywhere."""
    version: Literal["1", "2"] = "1"
    """1 is the paper's block, 2 activates before each convolution."""
    width: PositiveFloat = 1.0
    """Factor on the channels 16, 32, 64."""
    steps: PositiveInt = 64_000
    """Minibatches to train on; the rate is divided by 10 after a half and three quarters."""
    batch_size: PositiveInt = 128
    """Images a minibatch."""
    learning_rate: PositiveFloat = 0.1
    """Learning rate at the start."""
    weight_decay: float = Field(1e-4, ge=0)
    """Factor of the squared weights' penalty."""
    decay_norm: bool = True
    """Whether scales, shifts and biases decay too, as in the paper."""
    warm_up: bool = False
    """Starts at a tenth of the rate until the training error is below 80 % (110 layers)."""
    recompute: bool = False
    """Activation checkpointing: less memory, a third more time (1202 layers)."""


class Rows(NamedTuple):
    """Which images make a minibatch: their row numbers (B,)."""

    row: NDArray[np.int64]


def train(
    config: CifarTraining, run: Run, images: Prepared, *, augment: Augment | None = None
) -> CifarResNet:
    """Trains a net and returns it.

    Args:
        config: The net and how it is trained.
        run: The run whose loop this is.
        images: What it is trained on.
        augment: What is done to a minibatch of centred images.
    """
    net = CifarResNet(
        config.depth,
        config.residual,
        shortcut=config.shortcut,
        version=config.version,
        width=config.width,
        in_channels=images.train.image.shape[1],
        recompute=config.recompute,
    )
    net = net_channels_last(net)
    model = run.place(net)
    optimizer = sgd(
        net,
        config.learning_rate,
        weight_decay=config.weight_decay,
        decay_norm=config.decay_norm,
    )
    warm_up = WarmUp() if config.warm_up else None
    pixels, labels = images.train
    # Only row numbers leave the CPU in a step: the images lie on the device as uint8 already.
    rows = data.batches(Rows(np.arange(len(labels))), config.batch_size, seed=run.seed)
    drops = (0.5 * config.steps, 0.75 * config.steps)
    state = (net, optimizer) if warm_up is None else (net, optimizer, warm_up)
    for batch in run.steps(config.steps, rows, state=state):
        factor = 1.0 if warm_up is None else warm_up.factor
        set_rate(optimizer, config.learning_rate * factor * divided_at(run.step, drops))
        image, label = images.centre(pixels[batch.row]), labels[batch.row]
        # After the mean is taken away, so that the padding of a crop is the mean colour.
        if augment is not None:
            image = augment(image, run.rng("augment", run.step))
        with run.precision():
            score = model(channels_last(image))
            loss = F.cross_entropy(score, label)
        update(loss, net, optimizer)
        error = (score.argmax(1) != label).float().mean()
        # Reading a number waits for the accelerator: no longer than the rule needs it.
        if warm_up is not None and not warm_up.done:
            warm_up.update(error)
        run.log(loss=loss, error=100 * error)
    return net


def measure_errors(net: CifarResNet, images: Prepared, run: Run) -> Metrics:
    """Loss and error over (at most 10,000) training images without augmentation, and test error."""
    seen = Part(images.train.image[:10_000], images.train.label[:10_000])
    train_loss, train_error = evaluate(net, seen, images.centre, precision=run.precision)
    test_error = evaluate(net, images.test, images.centre, precision=run.precision)[1]
    return {"train_loss": train_loss, "train_error": train_error, "test_error": test_error}


@torch.no_grad()
def evaluate(
    net: nn.Module,
    part: Part,
    centre: Callable[[Tensor], Tensor],
    *,
    precision: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> tuple[float, float]:
    """Mean cross-entropy (nats) and error rate (%) in evaluation mode, 500 images at a time.

    Args:
        net: Gives class scores; is left in the mode it was in.
        part: The images to test on.
        centre: Makes the net's input of images (B, C, H, W) of the part.
        precision: Gives the context that the net computes in.

    Raises ValueError for a part without images.
    """
    if not len(part.label):
        raise ValueError("evaluate needs at least one image; got none")
    loss = wrong = 0.0
    with evaluating(net):
        for image, label in zip(part.image.split(500), part.label.split(500), strict=True):
            with precision():
                score = net(channels_last(centre(image))).float()
            loss += float(F.cross_entropy(score, label, reduction="sum"))
            wrong += float((score.argmax(1) != label).sum())
    return loss / len(part.label), 100 * wrong / len(part.label)


def sgd(
    net: nn.Module,
    learning_rate: float,
    *,
    weight_decay: float = 1e-4,
    decay_norm: bool = True,
) -> torch.optim.SGD:
    """Makes the paper's optimizer: momentum 0.9 in the form v = 0.9 v + g, w = w - rate v.

    Args:
        net: What it trains.
        learning_rate: The rate at the start.
        weight_decay: Factor of the squared weights' penalty.
        decay_norm: See `group_parameters`.
    """
    groups = group_parameters(net, weight_decay, decay_norm=decay_norm)
    fused = next(net.parameters()).is_cuda
    return torch.optim.SGD(groups, lr=learning_rate, momentum=0.9, fused=fused, foreach=not fused)


def group_parameters(
    model: nn.Module, weight_decay: float, *, decay_norm: bool = True
) -> list[dict[str, object]]:
    """Parameter groups for an optimizer: with `decay_norm` everything decays, as in the paper.

    Without it only the weights of convolutions and linear layers do: no scale, shift or bias.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    if decay_norm:
        return [{"params": parameters, "weight_decay": weight_decay}]
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def channels_last(image: Tensor) -> Tensor:
    """The same images with channels innermost in memory, as convolutions like them."""
    return image.contiguous(memory_format=torch.channels_last)


def net_channels_last(net: N) -> N:
    """`net` itself, its convolutions' weights with channels innermost in memory."""
    return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]
