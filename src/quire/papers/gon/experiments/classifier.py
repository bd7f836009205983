"""The origin gradient as a classifier's encoder: digits named from what it takes to draw them."""

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn

from quire.lab import Config, Metrics, Run
from quire.papers.gon.classifier import OriginClassifier
from quire.papers.gon.decoders import count_parameters
from quire.papers.gon.experiments.learner import Objective, train
from quire.papers.gon.experiments.pictures import Pictures, load_digits, take_batch

CLASSES, PIXELS = 10, 64
LATENT, HIDDEN = 16, 128
"""Latent dimensions, and the width of the trunk's two layers."""


class Classification(Config):
    """Naming 8x8 digits: the outer loss of a GON is cross-entropy."""

    method: Literal["origin", "dense", "logistic"] = "origin"
    """A latent by the origin gradient, a plain net of the same trunk behind one affine map, or
    scikit-learn's logistic regression on pixels."""
    drawing: NonNegativeFloat = 0.0
    """Weight of the drawing loss beside cross-entropy."""
    learning_rate: PositiveFloat = 1e-3
    """Adam's."""
    batch_size: PositiveInt = 64
    """Pictures a step."""
    steps: PositiveInt = 1500
    """Minibatches."""


def classifier(config: Classification, run: Run) -> Metrics:
    """Accuracy on held-out digits."""
    pictures = load_digits(run)
    x, held = pictures.train.flatten(1), pictures.test.flatten(1)
    if config.method == "logistic":
        return fit_logistic(pictures)
    net = make_net(config)

    def measure(seen: Tensor, label: Tensor) -> Tensor:
        if isinstance(net, OriginClassifier):
            return net.measure_loss(seen, label, weight=config.drawing)
        return F.cross_entropy(net(seen), label, reduction="none")

    def batch_at(step: int) -> tuple[Tensor, ...]:
        chosen = take_batch(x, config.batch_size, run)
        return x[chosen], pictures.train_label[chosen]

    train(
        run,
        Objective(net, measure),
        batch_at,
        steps=config.steps,
        learning_rate=config.learning_rate,
    )
    net.eval()
    with torch.no_grad():
        good = [(net(a).argmax(1) == b).float().mean() for a, b in
                ((held, pictures.test_label), (x, pictures.train_label))]  # fmt: skip
    return {
        "accuracy": 100 * float(good[0]),
        "train_accuracy": 100 * float(good[1]),
        "parameters": count_parameters(net),
    }


def make_net(config: Classification) -> nn.Module:
    """The origin classifier, or one affine map to as many latents and the same trunk."""
    trunk = nn.Sequential(
        nn.Linear(LATENT, HIDDEN),
        nn.SiLU(),
        nn.Linear(HIDDEN, HIDDEN),
        nn.SiLU(),
    )
    name = nn.Linear(HIDDEN, CLASSES)
    if config.method == "dense":
        return nn.Sequential(nn.Linear(PIXELS, LATENT), trunk, name)
    return OriginClassifier(trunk, nn.Linear(HIDDEN, PIXELS), name, latent=LATENT)


def fit_logistic(pictures: Pictures) -> Metrics:
    """scikit-learn's logistic regression on standardised pixels."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, held = (part.flatten(1).cpu().numpy() for part in (pictures.train, pictures.test))
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    model.fit(x, pictures.train_label.cpu().numpy())
    return {
        "accuracy": 100 * float(model.score(held, pictures.test_label.cpu().numpy())),
        "train_accuracy": 100 * float(model.score(x, pictures.train_label.cpu().numpy())),
        "parameters": (PIXELS + 1) * CLASSES,
    }
