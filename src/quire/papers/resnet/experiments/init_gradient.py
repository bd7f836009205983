"""What depth does before any training: the gradient of untrained nets, layer by layer."""

import numpy as np
import torch
from pydantic import PositiveInt

from quire.lab import Config, Metrics, Run
from quire.papers.resnet.analysis import gradient_norms
from quire.papers.resnet.experiments.learner import net_channels_last
from quire.papers.resnet.resnet import CifarResNet


class InitialGradient(Config):
    """Gradients of untrained nets on random images: what depth does before any training."""

    depth: PositiveInt = 20
    """Weighted layers, 6n + 2."""
    residual: bool = True
    """False measures the plain twin."""
    batch_size: PositiveInt = 128
    """Random images."""
    image_size: PositiveInt = 32
    """Side of an image, pixels."""


def init_gradient(config: InitialGradient, run: Run) -> Metrics:
    """Norms of the loss's gradient for every convolution, at initialisation."""
    net = run.place(net_channels_last(CifarResNet(config.depth, config.residual)))
    side, generator = config.image_size, run.rng("images")
    images = torch.randn(config.batch_size, 3, side, side, generator=generator)
    labels = torch.randint(10, (config.batch_size,), generator=generator)
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
