"""Drug design: a molecule reads the labels of the training molecules that it is like (section 5.3).

N training molecules, B of a minibatch, F features, T tasks.
"""

from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from quire import data
from quire.lab import Config, Metrics, Run
from quire.lab.training import update
from quire.papers.hopfield.experiments.evaluation import auc
from quire.papers.hopfield.layers import Association, Hopfield, Input


class Molecules(Config):
    """Association of test molecules with all training molecules, whose labels are read."""

    molecules: Literal["breast_cancer", "hiv", "bace", "bbbp", "sider"] = "breast_cancer"
    """MoleculeNet's sets as the folder of the data holds them: moleculenet/NAME.npz with x
    (molecules, features), y (molecules, tasks) of 0 and 1 and split (molecules,), 0 for training
    and 2 for the test. breast_cancer is a table inside scikit-learn, to try the method on."""
    heads: PositiveInt = 8
    """Heads."""
    width: PositiveInt = 32
    """Width of a head."""
    beta: PositiveFloat = 0.1
    """Inverse temperature."""
    dropout: float = Field(default=0.1, ge=0, le=1)
    """Dropout of the association."""
    epochs: PositiveInt = 4
    """Passes over the training molecules."""
    batch_size: PositiveInt = 8
    """Molecules a minibatch."""
    learning_rate: PositiveFloat = 2e-4
    """Learning rate of Adam."""


class Labelled(NamedTuple):
    """Features x (molecules, F) and labels y (molecules, T), float32."""

    x: Tensor
    y: Tensor


class Lookup(nn.Module):
    """Training molecules are the stored patterns, their labels the projections, inputs states."""

    def __init__(self, config: Molecules, features: int, tasks: int) -> None:
        super().__init__()
        self.read = Hopfield(
            features,
            config.heads,
            head_dim=config.width,
            output_dim=tasks,
            association=Association(beta=config.beta, dropout=config.dropout),
            projection=Input(dim=tasks, norm=False),
        )

    def forward(self, x: Tensor, known: Labelled, itself: Tensor | None = None) -> Tensor:
        """x (B, F) -> (B, T). itself (B,): the row of `known` that each must not read."""
        mask = None
        if itself is not None:
            mask = torch.arange(len(known.x), device=x.device) != itself[:, None]
        logits: Tensor = self.read(x[None], known.x[None], known.y[None], mask=mask)[0]
        return logits


def molecules(config: Molecules, run: Run) -> Metrics:
    """Area under the ROC curve on the test molecules, mean over the tasks, %."""
    known, test = (
        Labelled(*(part.to(run.device) for part in split)) for split in load_molecules(config, run)
    )
    model = run.place(Lookup(config, known.x.shape[1], known.y.shape[1]))
    optimizer = torch.optim.Adam(model.parameters(), lr=config.learning_rate)

    def rows_at(step: int) -> Tensor:
        return torch.randint(len(known.x), (config.batch_size,), generator=run.rng("rows", step))

    steps = config.epochs * -(-len(known.x) // config.batch_size)
    for rows in run.steps(steps, rows_at, state=(model, optimizer)):
        loss = binary_cross_entropy_with_logits(model(known.x[rows], known, rows), known.y[rows])
        update(loss, model, optimizer)
        run.log(loss=loss)
    model.eval()
    with torch.no_grad():
        scores = torch.cat([model(part, known) for part in test.x.split(256)]).double().cpu()
    truth = test.y.cpu()
    areas = [auc(y.numpy(), s.numpy()) for y, s in zip(truth.T, scores.T, strict=True)]
    return {"auc": float(np.mean(areas))}


def load_molecules(config: Molecules, run: Run) -> tuple[Labelled, Labelled]:
    """Training and test molecules, features scaled by the training ones."""
    if config.molecules == "breast_cancer":
        from sklearn.datasets import load_breast_cancer

        x, y = load_breast_cancer(return_X_y=True)
        order = torch.randperm(len(x), generator=run.rng("split")).numpy()
        y, split = y[:, None], np.where(order < len(x) // 5, 2, 0)
    else:
        name = f"moleculenet/{config.molecules}.npz"
        path = Path(run.data or "") / name
        if run.data is None or not path.exists():
            raise data.DataMissing(f"{name} is not in the folder that QUIRE_DATA names: make it of "
                                   "the MoleculeNet set with x, y and split")  # fmt: skip
        with np.load(path) as archive:
            x, y, split = (
                archive["x"],
                archive["y"].reshape(len(archive["x"]), -1),
                archive["split"],
            )
    training = split == 0
    mean, scale = x[training].mean(0), x[training].std(0) + 1e-6
    parts = [
        Labelled(*(torch.from_numpy(np.asarray(part, np.float32)) for part in (
            (x[rows] - mean) / scale, y[rows])))
        for rows in (training, split == 2)
    ]  # fmt: skip
    return parts[0], parts[1]
