"""Hopfield layers as scikit-learn estimators: tables, and bags (needs scikit-learn).

They stand in a `Pipeline`, in `GridSearchCV` and in `cross_val_score` like any classifier.
"""

from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from quire.papers.hopfield.layers import Association, HopfieldLayer, HopfieldPooling

Numbers = NDArray[Any]


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
        batch_size: Rows of a minibatch.
        learning_rate: Of SGD.
        dropout: Probability of alpha dropout.
        seed: Of everything random; the global generator of torch is left as it was.
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
        batch_size: int = 32,
        learning_rate: float = 0.05,
        dropout: float = 0.05,
        seed: int = 0,
    ) -> None:
        self.units, self.layers, self.stored, self.heads = units, layers, stored, heads
        self.beta, self.epochs, self.batch_size = beta, epochs, batch_size
        self.learning_rate, self.dropout, self.seed = learning_rate, dropout, seed

    def fit(self, x: Numbers, y: Numbers) -> Self:
        """x: (rows, columns), scaled. y: (rows,) of any labels."""
        x, y = np.asarray(x, np.float32), np.asarray(y)
        if x.ndim != 2 or len(x) != len(y) or not len(x):
            raise ValueError(f"x must be (rows, columns) and y (rows,), got {x.shape}, {y.shape}")
        self.classes_, target = np.unique(y, return_inverse=True)
        self.n_features_in_ = x.shape[1]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self.net_ = self._net(x.shape[1], len(self.classes_))
            inputs, labels = torch.from_numpy(x), torch.from_numpy(target)
            optimizer = torch.optim.SGD(self.net_.parameters(), lr=self.learning_rate, momentum=0.9)
            for _ in range(self.epochs):
                for rows in torch.randperm(len(x)).split(self.batch_size):
                    loss = cross_entropy(self.net_(inputs[rows]), labels[rows])
                    optimizer.zero_grad()
                    loss.backward()
                    nn.utils.clip_grad_norm_(self.net_.parameters(), 1.0)
                    optimizer.step()
        self.net_.eval()
        return self

    @torch.no_grad()
    def predict_proba(self, x: Numbers) -> Numbers:
        """(rows, classes) in the order of `classes_`."""
        scores: Tensor = self.net_(torch.from_numpy(np.asarray(x, np.float32)))
        return scores.softmax(-1).numpy()

    def predict(self, x: Numbers) -> Numbers:
        """The most probable class of each row."""
        chosen: Numbers = self.classes_[self.predict_proba(x).argmax(1)]
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

    It is trained by AdamW.

    Args:
        pooling: "hopfield", or "mean" or "max" in its place.
        units: Width of the ReLU embedding.
        heads: Heads of the pooling.
        beta: Inverse temperature of the pooling, by default 1 / sqrt(units / heads).
        epochs: Passes over the bags.
        batch_size: Bags of a minibatch.
        learning_rate: Of AdamW in the first epoch.
        decay: What the learning rate is multiplied with after each epoch.
        dropout: Of the association's weights (hopfield) or of embedded instances.
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
        batch_size: int = 32,
        learning_rate: float = 1e-3,
        decay: float = 0.98,
        dropout: float = 0.1,
        seed: int = 0,
    ) -> None:
        self.pooling, self.units, self.heads, self.beta = pooling, units, heads, beta
        self.epochs, self.batch_size = epochs, batch_size
        self.learning_rate, self.decay = learning_rate, decay
        self.dropout, self.seed = dropout, seed

    def fit(self, bags: list[Numbers], y: Numbers) -> Self:
        """bags: arrays (instances, features). y: (bags,) of 0 and 1."""
        self.classes_, target = np.unique(np.asarray(y), return_inverse=True)
        if len(self.classes_) != 2 or len(bags) != len(target):
            raise ValueError(f"two classes and a label for each of {len(bags)} bags expected, got "
                             f"{len(self.classes_)} and {len(target)}")  # fmt: skip
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self.net_ = BagNet(self, bags[0].shape[1])
            optimizer = torch.optim.AdamW(self.net_.parameters(), lr=self.learning_rate)
            schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, self.decay)
            labels = torch.from_numpy(target).float()
            for _ in range(self.epochs):
                for rows in torch.randperm(len(bags)).split(self.batch_size):
                    scores = self.net_(*pad_bags([bags[row] for row in rows.tolist()]))
                    loss = nn.functional.binary_cross_entropy_with_logits(scores, labels[rows])
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                schedule.step()
        self.net_.eval()
        return self

    @torch.no_grad()
    def decision_function(self, bags: list[Numbers]) -> Numbers:
        """A score a bag, above 0 for the second class."""
        parts = [bags[at : at + 32] for at in range(0, len(bags), 32)]
        return np.concatenate([self.net_(*pad_bags(part)).numpy() for part in parts])

    def predict(self, bags: list[Numbers]) -> Numbers:
        """The class of each bag."""
        chosen: Numbers = self.classes_[(self.decision_function(bags) > 0).astype(int)]
        return chosen


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
            weights = counts / counts.sum(1, keepdim=True)
            pooled = (weights[..., None] * embedded).sum(1)
        else:
            pooled = embedded.masked_fill(~counts[..., None], -torch.inf).amax(1)
        scores: Tensor = self.output(pooled)[:, 0]
        return scores


def pad_bags(bags: list[Numbers]) -> tuple[Tensor, Tensor]:
    """Bags as one tensor (B, N, F) with zeros at the end, and which instances count (B, N)."""
    parts = [torch.from_numpy(np.asarray(bag, np.float32)) for bag in bags]
    sizes = torch.tensor([len(part) for part in parts])
    instance = nn.utils.rnn.pad_sequence(parts, batch_first=True)
    return instance, torch.arange(instance.shape[1]) < sizes[:, None]
