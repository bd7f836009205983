"""The experiments: what was run for the claims in paper.toml."""

from collections.abc import Callable
from typing import Literal, Self

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator
from torch import Tensor

from quire import data
from quire.data.store import folder
from quire.lab import Config, Metrics, Run
from quire.nn.residual import Bottleneck, Conv, ShortcutKind, Version
from quire.papers.resnet.analysis import (
    count_macs,
    count_parameters,
    deletable,
    deleted,
    gradient_norms,
    layer_responses,
)
from quire.papers.resnet.detection import C4Detector, detection_loss
from quire.papers.resnet.imagenet import Drawn, Folder, centre_crop, shift_colours
from quire.papers.resnet.regions import Regions, mean_average_precision, regions_of
from quire.papers.resnet.resnet import CifarResNet, ResNet
from quire.papers.resnet.scenes import SHAPES, draw
from quire.papers.resnet.schedule import (
    DivideOnPlateau,
    WarmUp,
    divided_at,
    set_rate,
)
from quire.papers.resnet.testers import (
    fully_convolutional_test,
    resize_shorter_side,
    ten_crop_test,
)
from quire.papers.resnet.training import (
    Part,
    Prepared,
    Rows,
    channels_last,
    evaluate,
    hold_out,
    net_channels_last,
    prepare,
    sgd,
    shorten,
    update,
)


class Training(Config):
    """A CIFAR net and how it is trained (section 4.2); a step is a minibatch."""

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
    lr: PositiveFloat = 0.1
    """Learning rate at the start."""
    weight_decay: float = Field(1e-4, ge=0)
    """Factor of the squared weights' penalty."""
    decay_norm: bool = True
    """Whether scales, shifts and biases decay too, as in the paper."""
    warm_up: bool = False
    """Starts at a tenth of the rate until the training error is below 80 % (110 layers)."""
    recompute: bool = False
    """Activation checkpointing: less memory, a third more time (1202 layers)."""


class DigitsTraining(Training):
    """Plain and residual nets on scikit-learn's 8x8 digits; nothing is downloaded."""

    width: PositiveFloat = 0.5
    """Factor on the channels 16, 32, 64."""
    steps: PositiveInt = 200
    """Minibatches to train on, ten an epoch; the rate drops after a half and three quarters."""
    batch_size: PositiveInt = 100
    """Images a minibatch."""


def digits(config: DigitsTraining, run: Run) -> Metrics:
    """Degradation and its cure, in seconds: 20 epochs with the paper's schedule."""
    images = prepare(data.digits(), run.device)
    net = train(config, run, images)
    return outcome(net, images, run)


class Cifar10Training(Training):
    """Plain and residual nets of 6n + 2 layers on CIFAR-10 (section 4.2, Table 6, Figure 6)."""

    examples: PositiveInt = 50_000
    """Training images to use, the first ones."""
    test_examples: PositiveInt = 10_000
    """Test images to use, the first ones."""
    holdout: NonNegativeInt = 0
    """Training images, the last ones, kept away from training and tested on in their stead."""


def cifar10(config: Cifar10Training, run: Run) -> Metrics:
    """The paper's augmentation (pad 4, crop, mirror), per-pixel mean and schedule."""
    split = data.cifar10(run.data)
    split = data.Split(
        shorten(split.train, config.examples), shorten(split.test, config.test_examples)
    )
    if config.holdout:
        split = hold_out(split.train, config.holdout)
    images = prepare(split, run.device)
    net = train(config, run, images, augment=data.random_crop_flip)
    return outcome(net, images, run)


class ResponseTraining(DigitsTraining):
    """Strength of the layers' responses of trained nets (Figure 7), and of single blocks."""

    dataset: Literal["digits", "cifar10"] = "digits"
    """What the nets are trained on; the paper's is cifar10."""
    delete: bool = True
    """Also test the net without each block in turn (Veit et al., 2016)."""


def responses(config: ResponseTraining, run: Run) -> Metrics:
    """Standard deviation of each 3x3 convolution's output, and the error without each block."""
    on_cifar = config.dataset == "cifar10"
    images = prepare(data.cifar10(run.data) if on_cifar else data.digits(), run.device)
    augment = data.random_crop_flip if on_cifar else None
    net = train(config, run, images, augment=augment)
    views = (images.centre(image) for image in images.test.image.split(500))
    deviation = list(layer_responses(net, views).values())
    order = range(1, len(deviation) + 1)
    run.series("responses", order, deviation, x_label="layer", y_label="std of the response")
    run.series(
        "responses_sorted",
        order,
        sorted(deviation, reverse=True),
        x_label="layer, sorted by magnitude",
        y_label="std of the response",
    )
    metrics = outcome(net, images, run)
    metrics |= {"mean_std": float(np.mean(deviation)), "max_std": max(deviation)}
    if config.delete:
        names = deletable(net)
        errors = []
        for name in names:
            with deleted(net, name):
                errors.append(evaluate(net, images.test, images.centre)[1])
        run.series(
            "deletion",
            range(1, len(names) + 1),
            errors,
            x_label="deleted block that keeps the shape",
            y_label="test error, %",
        )
        metrics["deleted_error"] = float(np.mean(errors))
    return metrics


class GradientAtInit(Config):
    """Gradients of untrained nets on random images: what depth does before any training."""

    depth: PositiveInt = 20
    """Weighted layers, 6n + 2."""
    residual: bool = True
    """False measures the plain twin."""
    version: Version = "1"
    """1 is the paper's block, 2 activates before each convolution."""
    batch_size: PositiveInt = 128
    """Random images."""
    image_size: PositiveInt = 32
    """Side of an image, pixels."""


def init_gradient(config: GradientAtInit, run: Run) -> Metrics:
    """Norms of the loss's gradient for every convolution, at initialisation."""
    net = CifarResNet(config.depth, config.residual, version=config.version)
    net = run.place(net_channels_last(net))
    side, random = config.image_size, run.rng("images")
    images = torch.randn(config.batch_size, 3, side, side, generator=random)
    labels = torch.randint(10, (config.batch_size,), generator=random)
    norms = list(gradient_norms(net, images.to(run.device), labels.to(run.device)).values())
    run.series(
        "gradient",
        np.linspace(0, 1, len(norms)).tolist(),
        norms,
        x_label="depth, from the first layer to the last",
        y_label="norm of the gradient",
    )
    return {
        "first_gradient": norms[0],
        "last_gradient": norms[-1],
        "growth": (norms[0] / norms[-1]) ** (1 / (len(norms) - 1)),
    }


class Identities(Config):
    """Exact facts: sizes, costs, and a deep net that equals a shallow one. Nothing is trained."""

    image_size: PositiveInt = 224
    """Side of the image that multiply-adds are counted for, pixels."""


def identities(config: Identities, run: Run) -> Metrics:
    """Counts of Table 1 and Table 6, and section 3.1's construction."""
    shape = (3, config.image_size, config.image_size)
    metrics: Metrics = {}
    with torch.device("meta"):
        for depth in (20, 32, 44, 56, 110, 1202):
            metrics[f"cifar{depth}_parameters"] = count_parameters(CifarResNet(depth))
        for depth in (18, 34, 50, 101, 152):
            net = ResNet(depth)
            metrics[f"resnet{depth}_parameters"] = count_parameters(net)
            metrics[f"resnet{depth}_gmacs"] = count_macs(net, shape) / 1e9
    metrics["bottleneck_macs"] = count_macs(Bottleneck(256, 64).body, (256, 1, 1))
    metrics["construction_difference"] = construction_difference(run)
    return metrics


def construction_difference(run: Run) -> float:
    """Largest difference between ResNet-20 and the ResNet-56 built from it by zeroed blocks."""
    shallow, deep = CifarResNet(20).eval(), CifarResNet(56).eval()
    for block in deep.blocks().values():
        block.zero_residual()
    deep.load_state_dict(shallow.state_dict(), strict=False)
    images = torch.randn(4, 3, 32, 32, generator=run.rng("images"))
    with torch.no_grad():
        return float((shallow(images) - deep(images)).abs().max())


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
    lr: PositiveFloat = 0.1
    """Learning rate of the classification; detection uses a tenth."""


def detection(config: Detection, run: Run) -> Metrics:
    """Trains a net to classify shapes, then to detect them, three a scene. For one process."""
    width = round(64 * config.width)
    net = ResNet(
        config.depth,
        len(SHAPES),
        shortcut="B" if config.residual else "none",
        stem=Conv(3, width, stride=2),
        width=config.width,
    )
    net = net_channels_last(net)
    size = config.image_size

    def single(step: int) -> tuple[Tensor, Tensor]:
        scene = draw(64, size, run.rng("pretrain", step))
        return scene.image, scene.label[:, 0]

    model = run.place(net)
    optimizer = sgd(net, config.lr)
    steps = config.pretrain_steps
    for image, label in run.steps(steps, single, state=(net, optimizer), name="pretrain"):
        set_rate(optimizer, config.lr * divided_at(run.step, (0.5 * steps, 0.75 * steps)))
        with run.precision():
            loss = F.cross_entropy(model(channels_last(image)), label)
        update(optimizer, loss)
        run.log(pretrain_loss=loss)
    scene = draw(500, size, run.rng("pretrain test"))
    part = Part(scene.image.to(run.device), scene.label[:, 0].to(run.device))
    pretrain_error = evaluate(net, part, lambda image: image)
    detector = C4Detector(net, len(SHAPES) + 1, stride=8, size=4)
    train_detector(config, run, detector)
    scenes = draw(config.test_scenes, size, run.rng("test"), objects=3)
    found = regions_of(scenes, run.rng("test regions"))
    return {
        "pretrain_error": pretrain_error[1],
        "map50": 100 * mean_average_precision(detector.eval(), scenes, found, run.device),
    }


def train_detector(config: Detection, run: Run, detector: C4Detector) -> None:
    """The second loop: regions around the objects and beside them, classes and boxes."""

    def batch_at(step: int) -> tuple[Tensor, Regions]:
        scenes = draw(8, config.image_size, run.rng("scenes", step), objects=3)
        return scenes.image, regions_of(scenes, run.rng("regions", step))

    model = run.place(detector)
    optimizer = sgd(detector, config.lr / 10)
    for image, regions in run.steps(
        config.steps, batch_at, state=(detector, optimizer), name="detect"
    ):
        set_rate(optimizer, config.lr / 10 * divided_at(run.step, (0.75 * config.steps,)))
        with run.precision():
            scores, corrections = model(image, regions.box, regions.image)
        loss = detection_loss(scores.float(), corrections.float(), regions.label, regions.target)
        update(optimizer, loss)
        run.log(detection_loss=loss)


class ImageNetTraining(Config):
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
    lr: PositiveFloat = 0.1
    """Learning rate at the start."""
    plateau: PositiveInt = 10_000
    """Minibatches whose mean error is compared; three without a gain divide the rate by 10."""

    @model_validator(mode="after")
    def _crops_fit(self) -> Self:
        if not self.crop <= self.sides[0] <= self.sides[1] or self.crop > self.test_side:
            raise ValueError(
                f"crop must be at most sides and test_side, sides in order; got {self.crop}, "
                f"{self.sides} and {self.test_side}"
            )
        return self


def imagenet(config: ImageNetTraining, run: Run) -> Metrics:
    """Scale, crop and colour augmentation; rate divided on plateaus; all three tests."""
    source = image_source(config, run)
    net = ResNet(
        config.depth,
        source.classes,
        shortcut=config.shortcut,
        version=config.version,
        width=config.width,
    )
    net = net_channels_last(net)
    model = run.place(net)
    optimizer = sgd(net, config.lr)
    rule = DivideOnPlateau(patience=2, margin=0.002, window=config.plateau)
    for image, label in run.steps(config.steps, source.batch, state=(net, optimizer, rule)):
        set_rate(optimizer, config.lr * rule.factor)
        image = shift_colours(image, source.axes, run.rng("colour", run.step))
        with run.precision():
            score = model(channels_last(image))
            loss = F.cross_entropy(score, label)
        update(optimizer, loss)
        error = (score.argmax(1) != label).float().mean()
        rule.update(error)
        run.log(loss=loss, error=100 * error)
    return image_errors(net.eval(), config, run, source)


def image_source(config: ImageNetTraining, run: Run) -> Folder | Drawn:
    """The images that the config asks for. Raises DataMissing where the folder is not there."""
    largest = max(config.test_side, *config.scales)
    if config.source == "drawn":
        return Drawn(config.batch_size, config.crop, test_side=largest, stream=run.rng)

    def batches(count: int) -> Callable[[int], Tensor]:
        rows = data.batches(Rows(np.arange(count)), config.batch_size, seed=run.seed)
        return lambda step: rows(step).row

    root = folder("imagenet", run.data)
    try:
        return Folder(
            root,
            config.crop,
            sides=config.sides,
            test_side=largest,
            batches=batches,
            seed=run.seed,
        )
    except FileNotFoundError as error:
        raise data.DataMissing(
            f"{error}; ImageNet-2012 needs an account at image-net.org: put its images there"
        ) from None


def image_errors(
    net: ResNet, config: ImageNetTraining, run: Run, source: Folder | Drawn
) -> Metrics:
    """Error rates in per cent: one centre crop, ten crops, and whole images at all scales."""
    wrong = dict.fromkeys(("single_top1", "top1", "top5", "multi_top1", "multi_top5"), 0.0)
    count = 0
    for image, label in source.test():
        image, label = image.to(run.device), label.to(run.device)
        view = resize_shorter_side(image, config.test_side)
        with run.precision(), torch.no_grad():
            answers = {
                "single": net(centre_crop(view, config.crop)),
                "": ten_crop_test(net, view, size=config.crop),
                "multi": fully_convolutional_test(net, image, scales=config.scales),
            }
        for name, answer in answers.items():
            best = answer.topk(min(5, source.classes)).indices == label[:, None]
            for top in (1, 5):
                key = f"{name}_top{top}".lstrip("_")
                if key in wrong:
                    wrong[key] += float((~best[:, :top].any(1)).sum())
        count += len(label)
    return {f"{key}_error": 100 * value / count for key, value in wrong.items()}


# What the experiments share.


Augment = Callable[[Tensor, torch.Generator], Tensor]


def train(
    config: Training,
    run: Run,
    images: Prepared,
    *,
    augment: Augment | None = None,
) -> CifarResNet:
    """Trains the config's net and returns it.

    The images lie on the device as uint8; a step gathers its rows there and crops by gather.
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
    optimizer = sgd(net, config.lr, weight_decay=config.weight_decay, decay_norm=config.decay_norm)
    warm_up = WarmUp() if config.warm_up else None
    pixels, labels = images.train
    rows = data.batches(Rows(np.arange(len(labels))), config.batch_size, seed=run.seed)
    drops = (0.5 * config.steps, 0.75 * config.steps)
    state = (net, optimizer) if warm_up is None else (net, optimizer, warm_up)
    for batch in run.steps(config.steps, rows, state=state):
        factor = 1.0 if warm_up is None else warm_up.factor
        set_rate(optimizer, config.lr * factor * divided_at(run.step, drops))
        image, label = images.centre(pixels[batch.row]), labels[batch.row]
        if augment is not None:
            image = augment(image, run.rng("augment", run.step))
        with run.precision():
            score = model(channels_last(image))
            loss = F.cross_entropy(score, label)
        update(optimizer, loss)
        error = (score.argmax(1) != label).float().mean()
        if warm_up is not None and not warm_up.done:
            warm_up.update(error)
        run.log(loss=loss, error=100 * error)
    return net


def outcome(net: CifarResNet, images: Prepared, run: Run) -> Metrics:
    """Loss and error over (at most 10,000) training images without augmentation, and test error."""
    seen = Part(images.train.image[:10_000], images.train.label[:10_000])
    train_loss, train_error = evaluate(net, seen, images.centre, precision=run.precision)
    test_error = evaluate(net, images.test, images.centre, precision=run.precision)[1]
    return {"train_loss": train_loss, "train_error": train_error, "test_error": test_error}
