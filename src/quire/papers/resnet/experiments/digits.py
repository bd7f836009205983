"""Degradation and its cure, in seconds: 20 epochs with the paper's schedule."""

from pydantic import PositiveFloat, PositiveInt

from quire import data
from quire.lab import Metrics, Run
from quire.papers.resnet.experiments.images import prepare
from quire.papers.resnet.experiments.learner import CifarTraining, measure_errors, train


class Digits(CifarTraining):
    """Plain and residual nets on scikit-learn's 8x8 digits; nothing is downloaded."""

    width: PositiveFloat = 0.5
    """Factor on the channels 16, 32, 64."""
    steps: PositiveInt = 200
    """Minibatches to train on, ten an epoch; the rate drops after a half and three quarters."""
    batch_size: PositiveInt = 100
    """Images a minibatch."""


def digits(config: Digits, run: Run) -> Metrics:
    """Errors of a net that was trained on the first 1,000 digits, without augmentation."""
    images = prepare(data.digits(), run.device)
    net = train(config, run, images)
    return measure_errors(net, images, run)
