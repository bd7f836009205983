"""Nets of 6n + 2 layers on CIFAR-10 (section 4.2, Table 6, Figure 6)."""

from pydantic import NonNegativeInt, PositiveInt

from quire import data
from quire.lab import Metrics, Run
from quire.papers.resnet.experiments.images import hold_out, prepare, shorten
from quire.papers.resnet.experiments.learner import CifarTraining, measure_errors, train


class Cifar10(CifarTraining):
    """Plain and residual nets of 6n + 2 layers on CIFAR-10 (section 4.2)."""

    examples: PositiveInt = 50_000
    """Training images to use, the first ones."""
    test_examples: PositiveInt = 10_000
    """Test images to use, the first ones."""
    holdout: NonNegativeInt = 0
    """Training images, the last ones, kept away from training and tested on in their stead."""


def cifar10(config: Cifar10, run: Run) -> Metrics:
    """The paper's augmentation (pad 4, crop, mirror), per-pixel mean and schedule."""
    split = data.cifar10(run.data)
    split = data.Split(
        shorten(split.train, config.examples), shorten(split.test, config.test_examples)
    )
    # The paper chose its settings on 45,000 images against 5,000, then trained on all.
    if config.holdout:
        split = hold_out(split.train, config.holdout)
    images = prepare(split, run.device)
    net = train(config, run, images, augment=data.random_crop_flip)
    return measure_errors(net, images, run)
