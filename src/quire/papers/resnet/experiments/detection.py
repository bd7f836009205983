"""Detection transfer (appendix A) in small: drawn shapes, given regions, a C4 head."""

from typing import Literal

import torch.nn.functional as F
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor

from quire.lab import Config, Metrics, Run
from quire.lab.training import divided_at, set_rate, update
from quire.nn.residual import Conv
from quire.papers.resnet.detection import C4Detector, detection_loss
from quire.papers.resnet.experiments.images import Part
from quire.papers.resnet.experiments.learner import (
    channels_last,
    evaluate,
    net_channels_last,
    sgd,
)
from quire.papers.resnet.experiments.regions import (
    Regions,
    mean_average_precision,
    propose_regions,
)
from quire.papers.resnet.experiments.scenes import SHAPES, draw
from quire.papers.resnet.resnet import ResNet


class Detection(Config):
    """Detection transfer (appendix A) in small: drawn shapes, given regions, a C4 head."""

    residual: bool = True
    """False transfers the plain twin."""
    depth: Literal[18, 34] = 34
    """Weighted layers of the net."""
    width: PositiveFloat = 0.125
    """Factor on the channels 64 to 512."""
    pretrain_steps: PositiveInt = 2000
    """Minibatches of 64 single shapes for the classification that comes first."""
    steps: PositiveInt = 1000
    """Minibatches of 8 scenes for detection, normalisation frozen."""
    image_size: int = Field(64, ge=32)
    """Side of an image, pixels."""
    test_scenes: PositiveInt = 200
    """Scenes to test on."""
    learning_rate: PositiveFloat = 0.1
    """Learning rate of the classification; detection uses a tenth."""


def detection(config: Detection, run: Run) -> Metrics:
    """Trains a net to classify shapes, then to detect them, three a scene. For one process."""
    width = round(64 * config.width)
    net = ResNet(
        config.depth,
        len(SHAPES),
        shortcut="B" if config.residual else "none",
        # ImageNet's stem would leave 4x4 positions of a small image to pool regions from.
        stem=Conv(3, width, stride=2),
        width=config.width,
    )
    net = net_channels_last(net)
    train_classifier(config, run, net)
    scene = draw(500, config.image_size, run.rng("pretrain test"))
    part = Part(scene.image.to(run.device), scene.label[:, 0].to(run.device))
    pretrain_error = evaluate(net, part, lambda image: image)[1]
    # The head takes the net over and freezes its normalisations: the classifier ends here.
    detector = C4Detector(net, len(SHAPES) + 1, stride=8, size=4)
    train_detector(config, run, detector)
    scenes = draw(config.test_scenes, config.image_size, run.rng("test"), objects=3)
    found = propose_regions(scenes, run.rng("test regions"))
    return {
        "pretrain_error": pretrain_error,
        "map50": 100 * mean_average_precision(detector.eval(), scenes, found, run.device),
    }


def train_classifier(config: Detection, run: Run, net: ResNet) -> None:
    """The first loop, in the place of ImageNet: which shape it is, one an image."""

    def batch_at(step: int) -> tuple[Tensor, Tensor]:
        scene = draw(64, config.image_size, run.rng("pretrain", step))
        return scene.image, scene.label[:, 0]

    model, steps = run.place(net), config.pretrain_steps
    optimizer = sgd(net, config.learning_rate)
    drops = (0.5 * steps, 0.75 * steps)
    for image, label in run.steps(steps, batch_at, state=(net, optimizer), name="pretrain"):
        set_rate(optimizer, config.learning_rate * divided_at(run.step, drops))
        with run.precision():
            loss = F.cross_entropy(model(channels_last(image)), label)
        update(loss, net, optimizer)
        run.log(pretrain_loss=loss)


def train_detector(config: Detection, run: Run, detector: C4Detector) -> None:
    """The second loop: regions around the objects and beside them, classes and boxes."""

    def batch_at(step: int) -> tuple[Tensor, Regions]:
        scenes = draw(8, config.image_size, run.rng("scenes", step), objects=3)
        return scenes.image, propose_regions(scenes, run.rng("regions", step))

    model, rate = run.place(detector), config.learning_rate / 10
    optimizer = sgd(detector, rate)
    drops, state = (0.75 * config.steps,), (detector, optimizer)
    for image, regions in run.steps(config.steps, batch_at, state=state, name="detect"):
        set_rate(optimizer, rate * divided_at(run.step, drops))
        with run.precision():
            scores, corrections = model(image, regions.box, regions.image)
        loss = detection_loss(scores.float(), corrections.float(), regions.label, regions.target)
        update(loss, detector, optimizer)
        run.log(detection_loss=loss)
