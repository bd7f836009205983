"""What judges images: Parzen windows, features of a small classifier, neighbours in training."""

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from quire.lab import Metrics, Run
from quire.lab.training import update
from quire.papers.gan.parzen import SIGMAS, ParzenScore, score_by_parzen
from quire.papers.gan.quality import (
    frechet_distance,
    kernel_distance,
    nearest_distances,
    precision_recall,
    two_sample_test,
)

FEATURES, AT_ONCE = 64, 1000


class Features(nn.Module):
    """A small convolutional classifier; what its last hidden layer gives is compared."""

    def __init__(self, shape: tuple[int, ...], classes: int = 10) -> None:
        super().__init__()
        channels, height, width = shape
        self.body = nn.Sequential(
            nn.Conv2d(channels, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
            nn.Linear(32 * (height // 4) * (width // 4), FEATURES), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Linear(FEATURES, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the classes, (B, 10)."""
        return self.head(self.body(x))

    @torch.no_grad()
    def read(self, x: Tensor) -> Tensor:
        """Features (N, 64) of images (N, C, H, W)."""
        return torch.cat([self.body(part) for part in x.split(AT_ONCE)])


def train_features(run: Run, images: Tensor, labels: Tensor, *, steps: int) -> Features:
    """A classifier of the training images; every arm of a seed trains the same one.

    Args:
        run: What seeds and carries the loop "features".
        images: (N, C, H, W) on the run's device.
        labels: (N,).
        steps: Minibatches of 100.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.seed)
        net = Features(tuple(images.shape[1:]))
    net = net.to(run.device)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)

    def rows_at(step: int) -> Tensor:
        return torch.randint(len(images), (100,), generator=run.rng("features", step))

    for rows in run.steps(steps, rows_at, state=(net, optimizer), name="features"):
        loss = cross_entropy(net(images[rows]), labels[rows])
        update(loss, net, optimizer)
        run.log(feature_loss=loss)
    return net.eval()


@torch.no_grad()
def measure_accuracy(net: Features, images: Tensor, labels: Tensor) -> float:
    """Share of the images that the classifier reads right, %."""
    found = torch.cat([net(part) for part in images.split(AT_ONCE)]).argmax(1)
    return 100 * float((found == labels).float().mean())


def judge(
    samples: Tensor,
    train: Tensor,
    validation: Tensor,
    test: Tensor,
    features: Features,
) -> tuple[Metrics, ParzenScore]:
    """Every number about samples, (N, C, H, W) as all the images.

    Precision, recall, the kernel distance and the two-sample test compare as many samples as there
    are test images.

    Args:
        samples: What is judged.
        train: What the model was trained on: for neighbours.
        validation: Chooses sigma.
        test: What is scored, and compared with in precision, recall and distance.
        features: Reads images for these.
    """
    score = score_by_parzen(samples, validation, test, SIGMAS)
    few = min(len(samples), len(test))
    real, fake = features.read(test), features.read(samples)
    precision, recall = precision_recall(real[:few], fake[:few])
    test_of_kind = two_sample_test(real[:few], fake[:few], torch.Generator().manual_seed(0))
    own, held = (float(nearest_distances(x, train).mean()) for x in (samples[:few], test))
    return {
        "parzen": score.mean,
        "parzen_error": score.error,
        "sigma": score.sigma,
        "sigma_on_edge": float(score.on_edge),
        "precision": precision,
        "recall": recall,
        "frechet": frechet_distance(real, fake),
        "kernel_distance": kernel_distance(real[:few], fake[:few]),
        "told_apart": test_of_kind.accuracy,
        "nearest_ratio": own / held,
    }, score
