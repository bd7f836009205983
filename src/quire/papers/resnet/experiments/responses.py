"""How strongly the layers of trained nets respond (Figure 7), and what each block is worth."""

from typing import Literal

import numpy as np

from quire import data
from quire.lab import Metrics, Run
from quire.papers.resnet.analysis import deletable, deleted, layer_responses
from quire.papers.resnet.experiments.images import Prepared, prepare
from quire.papers.resnet.experiments.learner import (
    CifarTraining,
    evaluate,
    measure_errors,
    train,
)
from quire.papers.resnet.resnet import CifarResNet


class Responses(CifarTraining):
    """Strength of the layers' responses of trained nets (Figure 7), and of single blocks."""

    dataset: Literal["digits", "cifar10"] = "cifar10"
    """What the nets are trained on; the paper's is cifar10."""


def responses(config: Responses, run: Run) -> Metrics:
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
    errors = delete_each_block(net, images)
    run.series(
        "deletion",
        range(1, len(errors) + 1),
        errors,
        x_label="deleted block that keeps the shape",
        y_label="test error, %",
    )
    return measure_errors(net, images, run) | {
        "mean_std": float(np.mean(deviation)),
        "max_std": max(deviation),
        "deleted_error": float(np.mean(errors)),
    }


def delete_each_block(net: CifarResNet, images: Prepared) -> list[float]:
    """Test error (%) without each block in turn that keeps the shape (Veit et al., 2016)."""
    errors = []
    for name in deletable(net):
        with deleted(net, name):
            errors.append(evaluate(net, images.test, images.centre)[1])
    return errors
