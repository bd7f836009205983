"""Hopfield layers as scikit-learn estimators: tables, and bags (needs scikit-learn).

They stand in a `Pipeline`, in `GridSearchCV` and in `cross_val_score` like any classifier.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_array, check_is_fitted, check_X_y
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from quire.papers.hopfield.layers import Association
from quire.papers.hopfield.learned import HopfieldLayer, HopfieldPooling

Numbers = NDArray[Any]
BATCH_SIZE = 32
"""Rows or bags of a minibatch."""


class HopfieldClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A self-normalising network with a layer of learned stored patterns (section 5.2).

    It is trained by SGD with momentum 0.9.

    Args:
        units: Width of the SELU layers before it.
        layers: How many of them.
        stored: Stored patterns for each class; 0 leaves a plain SELU network.
        heads: Heads of the layer.
        beta: Inverse temperature of the layer.
        epochs: Passes over the rows.
        learning_rate: Of SGD.
        dropout: Probability of alpha dropout.
        device: Where the network is, as torch names it.
        seed: Of everything random; the global generators of torch are left as they were.
    """

    def __init__(
        self,
        *,
        units: int = 32,
        layers: int = 1,
        stored: int = 8,
        heads: int = 4,
        beta: float = 1.0,
        epochs: int = 60,
        learning_rate: float = 0.05,
        dropout: float = 0.05,
        device: str = "cpu",
        seed: int = 0,
    ) -> None:
        self.units, self.layers, self.stored, self.heads = units, layers, stored, heads
        self.beta, self.epochs = beta, epochs
        self.learning_rate, self.dropout = learning_rate, dropout
        self.device, self.seed = device, seed

    def fit(self, x: Numbers, y: Numbers) -> Self:
        """x: (rows, columns), scaled, finite. y: (rows,) of any labels."""
        x, y = check_X_y(x, y, dtype=np.float32, estimator=self)
        check_classification_targets(y)
        self.classes_, target = np.unique(y, return_inverse=True)
        self.n_features_in_ = x.shape[1]
        with seeded(self.seed, self.device):
            self.net_ = self._net(x.shape[1], len(self.classes_)).to(self.device)
            inputs, labels = (torch.from_numpy(part).to(self.device) for part in (x, target))
            optimizer = torch.optim.SGD(self.net_.parameters(), lr=self.learning_rate, momentum=0.9)
            for _ in range(self.epochs):
                for rows in torch.randperm(len(x)).split(BATCH_SIZE):
                    loss = cross_entropy(self.net_(inputs[rows]), labels[rows])
                    optimizer.zero_grad()
                    loss.backward()
                    nn.utils.clip_grad_norm_(self.net_.parameters(), 1.0)
                    optimizer.step()
        self.net_.eval()
        return self

    @torch.no_grad()
    def predict_proba(self, x: Numbers) -> Numbers:
        """(rows, classes) in the order of `classes_`. Raises NotFittedError before `fit`."""
        check_is_fitted(self)
        x = check_array(x, dtype=np.float32)
        if x.shape[1] != self.n_features_in_:
            raise ValueError(f"X has {x.shape[1]} features, but HopfieldClassifier is expecting "
                             f"{self.n_features_in_} features as input")  # fmt: skip
        scores: Tensor = self.net_(torch.from_numpy(x).to(self.device))
        return scores.softmax(-1).cpu().numpy()

    def predict(self, x: Numbers) -> Numbers:
        """The most probable class of each row."""
        proba = self.predict_proba(x)
        chosen: Numbers = self.classes_[proba.argmax(1)]
        return chosen

    def _net(self, columns: int, classes: int) -> nn.Sequential:
        net = nn.Sequential()
        width = columns
        for _ in range(self.layers):
            net.extend([nn.Linear(width, self.units), nn.SELU(), nn.AlphaDropout(self.dropout)])
            width = self.units
        for module in net:
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=module.in_features**-0.5)
                nn.init.zeros_(module.bias)
        if self.stored:
            layer = HopfieldLayer(
                width,
                self.heads,
                quantity=self.stored * classes,
                head_dim=max(4, self.units // self.heads),
                association=Association(beta=self.beta),
                output_dim=0,
            )
            for parameter in layer.parameters():
                if parameter.ndim == 2:
                    nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5)
            net.append(layer)
            width = layer.hopfield.heads * layer.hopfield.value_dim
        net.append(nn.Linear(width, classes))
        return net


class BagClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Bags of instances to one of two classes: embed, pool, a linear layer (section 5.1).

    It is trained by AdamW. A bag without an instance is pooled to zeros.

    Args:
        pooling: "hopfield", or "mean" or "max" in its place.
        units: Width of the ReLU embedding.
        heads: Heads of the pooling.
        beta: Inverse temperature of the pooling, by default 1 / sqrt(units / heads).
        epochs: Passes over the bags.
        learning_rate: Of AdamW in the first epoch.
        decay: What the learning rate is multiplied with after each epoch.
        dropout: Of the association's weights (hopfield) or of embedded instances.
        device: Where the network is, as torch names it.
        seed: As in `HopfieldClassifier`.
    """

    def __init__(
        self,
        *,
        pooling: Literal["hopfield", "mean", "max"] = "hopfield",
        units: int = 64,
        heads: int = 8,
        beta: float | None = None,
        epochs: int = 25,
        learning_rate: float = 1e-3,
        decay: float = 0.98,
        dropout: float = 0.1,
        device: str = "cpu",
        seed: int = 0,
    ) -> None:
        self.pooling, self.units = pooling, units
        self.heads, self.beta = heads, beta
        self.epochs, self.learning_rate, self.decay = epochs, learning_rate, decay
        self.dropout, self.device, self.seed = dropout, device, seed

    def fit(self, bags: Sequence[Numbers], y: Numbers) -> Self:
        """bags: arrays (instances, features), finite. y: (bags,) of two labels."""
        self.classes_, target = np.unique(np.asarray(y), return_inverse=True)
        if len(self.classes_) != 2 or len(bags) != len(target):
            raise ValueError(f"two classes and a label for each of {len(bags)} bags expected, got "
                             f"{len(self.classes_)} and {len(target)}")  # fmt: skip
        self.n_features_in_ = np.asarray(bags[0]).shape[-1]
        parts = check_bags(bags, self.n_features_in_)
        with seeded(self.seed, self.device):
            self.net_ = BagNet(self, self.n_features_in_).to(self.device)
            optimizer = torch.optim.AdamW(self.net_.parameters(), lr=self.learning_rate)
            schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, self.decay)
            labels = torch.from_numpy(target).float().to(self.device)
            for _ in range(self.epochs):
                for rows in torch.randperm(len(parts)).split(BATCH_SIZE):
                    scores = self._score([parts[row] for row in rows.tolist()])
                    loss = nn.functional.binary_cross_entropy_with_logits(scores, labels[rows])
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                schedule.step()
        self.net_.eval()
        return self

    @torch.no_grad()
    def decision_function(self, bags: Sequence[Numbers]) -> Numbers:
        """A score a bag, above 0 for the second class. Raises NotFittedError before `fit`."""
        check_is_fitted(self)
        parts = check_bags(bags, self.n_features_in_)
        pieces = [parts[at : at + BATCH_SIZE] for at in range(0, len(parts), BATCH_SIZE)]
        scores = [self._score(piece).cpu().numpy() for piece in pieces]
        return np.concatenate([np.zeros(0, np.float32), *scores])

    def predict_proba(self, bags: Sequence[Numbers]) -> Numbers:
        """(bags, 2) in the order of `classes_`."""
        second = 1 / (1 + np.exp(-self.decision_function(bags).astype(np.float64)))
        return np.stack((1 - second, second), 1)

    def predict(self, bags: Sequence[Numbers]) -> Numbers:
        """The class of each bag."""
        scores = self.decision_function(bags)
        chosen: Numbers = self.classes_[(scores > 0).astype(int)]
        return chosen

    def _score(self, parts: list[Tensor]) -> Tensor:
        scores: Tensor = self.net_(*(x.to(self.device) for x in pad_bags(parts)))
        return scores


class BagNet(nn.Module):
    """What `BagClassifier` trains."""

    def __init__(self, options: BagClassifier, features: int) -> None:
        super().__init__()
        units, self.kind = options.units, options.pooling
        if self.kind not in ("hopfield", "mean", "max"):
            raise ValueError(f"pooling must be 'hopfield', 'mean' or 'max', got {self.kind!r}")
        self.embed = nn.Sequential(nn.Linear(features, units), nn.ReLU())
        self.drop = nn.Dropout(options.dropout if self.kind != "hopfield" else 0.0)
        self.pool = None
        if self.kind == "hopfield":
            rule = Association(beta=options.beta, dropout=options.dropout)
            self.pool = HopfieldPooling(units, options.heads, association=rule)
        self.output = nn.Sequential(nn.ReLU(), nn.Linear(units, 1))

    def forward(self, instance: Tensor, counts: Tensor) -> Tensor:
        """instance (B, N, F), counts (B, N) bool -> (B,)."""
        embedded = self.drop(self.embed(instance))
        if self.pool is not None:
            pooled = self.pool(embedded, counts=counts)
        elif self.kind == "mean":
            weights = counts / counts.sum(1, keepdim=True).clamp_min(1)
            pooled = (weights[..., None] * embedded).sum(1)
        else:
            pooled = embedded.masked_fill(~counts[..., None], -torch.inf).amax(1)
            pooled = pooled.masked_fill(~counts.any(1)[:, None], 0.0)
        scores: Tensor = self.output(pooled)[:, 0]
        return scores


def check_bags(bags: Sequence[Numbers], features: int) -> list[Tensor]:
    """Bags as tensors (instances, features) of float32.

    Raises ValueError for another shape and for what is not finite.
    """
    parts = [torch.from_numpy(np.array(bag, np.float32)) for bag in bags]
    for row, part in enumerate(parts):
        if part.ndim != 2 or part.shape[1] != features:
            raise ValueError(f"bag {row} must be (instances, {features}), got {tuple(part.shape)}")
        if not part.isfinite().all():
            raise ValueError(f"bag {row} holds NaN or an infinity")
    return parts


def pad_bags(parts: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Bags as one tensor (B, N, F) with zeros at the end, and which instances count (B, N)."""
    sizes = torch.tensor([len(part) for part in parts])
    # At least one row, if of padding alone, where every bag is empty.
    first = nn.functional.pad(parts[0], (0, 0, 0, max(0, 1 - len(parts[0]))))
    instance = nn.utils.rnn.pad_sequence([first, *parts[1:]], batch_first=True)
    return instance, torch.arange(instance.shape[1]) < sizes[:, None]


@contextmanager
def seeded(seed: int, device: str) -> Iterator[None]:
    """Torch's generators of the CPU and the device begin at the seed, and are restored."""
    place = torch.device(device)
    held = {} if place.type == "cpu" else {"device_type": place.type}
    devices = [place.index or 0] if held else []
    with torch.random.fork_rng(devices=devices, **held):
        torch.manual_seed(seed)
        yield
