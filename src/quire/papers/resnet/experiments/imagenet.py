"""The ImageNet nets (sections 3.4 and 4.1): augmentation, rate by plateau, all three tests."""

from collections.abc import Callable, Iterable, Iterator
from typing import Literal, Self

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import PositiveFloat, PositiveInt, model_validator
from torch import Tensor

from quire import data
from quire.data.store import folder
from quire.lab import Config, Metrics, Run
from quire.lab.training import set_rate, update
from quire.nn.residual import ShortcutKind, Version
from quire.papers.resnet.experiments.learner import Rows, channels_last, net_channels_last, sgd
from quire.papers.resnet.experiments.sources import Drawn, Folder, centre_crop, shift_colours
from quire.papers.resnet.resnet import ResNet
from quire.papers.resnet.schedule import DivideOnPlateau
from quire.papers.resnet.testers import (
    evaluating,
    fully_convolutional_test,
    recalibrate,
    resize_shorter_side,
    ten_crop_test,
)


class ImageNet(Config):
    """The ImageNet nets (sections 3.4 and 4.1) on the user's own copy of ImageNet-2012."""

    source: Literal["folder", "drawn"] = "folder"
    """folder reads <data>/imagenet/{train,val}/<class>/; drawn proves the path on drawn shapes."""
    depth: Literal[18, 34, 50, 101, 152] = 50
    """Weighted layers."""
    shortcut: ShortcutKind = "B"
    """Shortcuts; none is the plain twin."""
    version: Version = "1"
    """1 is the paper's, 1.5 strides in the 3x3, 2 activates before each convolution."""
    width: PositiveFloat = 1.0
    """Factor on all channels."""
    steps: PositiveInt = 600_000
    """Minibatches to train on."""
    batch_size: PositiveInt = 256
    """Images a minibatch."""
    crop: PositiveInt = 224
    """Side of a training crop, pixels."""
    sides: tuple[PositiveInt, PositiveInt] = (256, 480)
    """Range of the shorter side that training images are resized to, pixels."""
    test_side: PositiveInt = 256
    """Shorter side of test images for the 10-crop test, pixels."""
    scales: tuple[PositiveInt, ...] = (224, 256, 384, 480, 640)
    """Shorter sides of the fully convolutional test, pixels."""
    learning_rate: PositiveFloat = 0.1
    """Learning rate at the start."""
    plateau: PositiveInt = 10_000
    """Minibatches whose mean error is compared; three without a gain divide the rate by 10."""
    statistics: PositiveInt = 200
    """Training minibatches, after the last step, that normalisation's exact statistics are of."""

    @model_validator(mode="after")
    def _crops_fit(self) -> Self:
        if not self.crop <= self.sides[0] <= self.sides[1] or self.crop > self.test_side:
            raise ValueError(
                f"crop must be at most sides and test_side, sides in order; got {self.crop}, "
                f"{self.sides} and {self.test_side}"
            )
        return self


def imagenet(config: ImageNet, run: Run) -> Metrics:
    """Scale, crop and colour augmentation; rate divided on plateaus; all three tests.

    As in the released models, the statistics of normalisation are made exact before the tests.
    """
    source = open_source(config, run)
    net = ResNet(
        config.depth,
        source.classes,
        shortcut=config.shortcut,
        version=config.version,
        width=config.width,
    )
    net = net_channels_last(net)
    model = run.place(net)
    optimizer = sgd(net, config.learning_rate)
    rule = DivideOnPlateau(patience=2, margin=0.002, window=config.plateau)
    for image, label in run.steps(config.steps, source.batch, state=(net, optimizer, rule)):
        set_rate(optimizer, config.learning_rate * rule.factor)
        image = shift_colours(image, source.axes, run.rng("colour", run.step))
        with run.precision():
            score = model(channels_last(image))
            loss = F.cross_entropy(score, label)
        update(loss, net, optimizer)
        error = (score.argmax(1) != label).float().mean()
        rule.update(error)
        run.log(loss=loss, error=100 * error)
    recalibrate(net, (image for image, _ in further_batches(config, run, source)))
    train_error = measure_train_error(net, further_batches(config, run, source))
    return {"train_top1_error": train_error} | measure_errors(net, config, run, source)


def further_batches(
    config: ImageNet, run: Run, source: Folder | Drawn
) -> Iterator[tuple[Tensor, Tensor]]:
    """Augmented training minibatches as those of the loop: the ones that would have come next."""
    for step in range(config.steps, config.steps + config.statistics):
        image, label = source.batch(step)
        image = shift_colours(image.to(run.device), source.axes, run.rng("colour", step))
        yield channels_last(image), label.to(run.device)


@torch.no_grad()
def measure_train_error(net: ResNet, batches: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Top-1 error in per cent over augmented minibatches, in evaluation mode."""
    wrong, count = 0.0, 0
    with evaluating(net):
        for image, label in batches:
            wrong += float((net(image).argmax(1) != label).sum())
            count += len(label)
    return 100 * wrong / count


def open_source(config: ImageNet, run: Run) -> Folder | Drawn:
    """The images that the config asks for. Raises DataMissing where the folder is not there."""
    largest = max(config.test_side, *config.scales)
    if config.source == "drawn":
        return Drawn(config.batch_size, config.crop, test_side=largest, stream=run.rng)

    def rows_of(count: int) -> Callable[[int], Tensor]:
        rows = data.batches(Rows(np.arange(count)), config.batch_size, seed=run.seed)
        return lambda step: rows(step).row

    root = folder("imagenet", run.data)
    try:
        return Folder(
            root,
            config.crop,
            sides=config.sides,
            test_side=largest,
            rows_of=rows_of,
            seed=run.seed,
        )
    except FileNotFoundError as error:
        raise data.DataMissing(
            f"{error}; ImageNet-2012 needs an account at image-net.org: put its images there"
        ) from None


def measure_errors(net: ResNet, config: ImageNet, run: Run, source: Folder | Drawn) -> Metrics:
    """Error rates in per cent: one centre crop, ten crops, and whole images at all scales.

    Args:
        net: On the run's device.
        config: The sizes of the tests.
        run: For its device and precision.
        source: The images.
    """
    tests = ("single_top1", "single_top5", "top1", "top5", "multi_top1", "multi_top5")
    wrong = dict.fromkeys(tests, 0.0)
    count = 0
    for image, label in source.test():
        image, label = image.to(run.device), label.to(run.device)
        # The source gives the largest side that any test asks for; each shrinks it to its own.
        view = resize_shorter_side(image, config.test_side)
        with run.precision(), torch.no_grad(), evaluating(net):
            answers = {
                "single": net(centre_crop(view, config.crop)),
                "": ten_crop_test(net, view, size=config.crop),
                "multi": fully_convolutional_test(net, image, scales=config.scales),
            }
        for name, answer in answers.items():
            # Drawn shapes have eight classes, and a user's folder may have fewer than five.
            best = answer.topk(min(5, source.classes)).indices == label[:, None]
            for top in (1, 5):
                key = f"{name}_top{top}".lstrip("_")
                wrong[key] += float((~best[:, :top].any(1)).sum())
        count += len(label)
    return {f"{key}_error": 100 * value / count for key, value in wrong.items()}
