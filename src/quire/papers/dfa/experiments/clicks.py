"""Click-through rates: factorisation machines and deep recommenders under each rule."""

from typing import Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor

from quire import data
from quire.lab import Config, Metrics, Run
from quire.lab.training import update
from quire.papers.dfa.alignment import alignment
from quire.papers.dfa.direct import DirectFeedback, Rule
from quire.papers.dfa.experiments.scores import measure_auc
from quire.papers.dfa.recommenders import AFN, DCN, FM, AutoInt, DeepFM

NetName = Literal["fm", "deepfm", "dcn", "autoint", "afn"]
NETS = {"deepfm": DeepFM, "dcn": DCN, "autoint": AutoInt, "afn": AFN}
CLIP = 100.0
"""Largest norm of all gradients together, for DCN."""
LEAST = 3
"""Values of the samples that are seen fewer times share a place; 10 in the whole log."""
AT_ONCE = 8192
"""Impressions scored at once."""


class Clicks(Config):
    """Click-through rates; Table 2. Defaults are the paper's DCN under direct feedback."""

    log: Literal["criteo_sample", "avazu_sample", "criteo"] = "criteo_sample"
    """8,000 or 8,999 impressions, or the whole log of Criteo, put there by hand."""
    net: NetName = "dcn"
    """The recommender."""
    rule: Rule = "direct"
    """What trains the hidden layers."""
    embed: bool = True
    """Whether AFN's embeddings get feedback, which those of the published code do not."""
    dim: PositiveInt = 16
    """Width of an embedding."""
    hidden: tuple[PositiveInt, ...] = (1024, 1024)
    """Widths of the dense net."""
    crosses: PositiveInt = 6
    """Cross layers of DCN."""
    neurons: PositiveInt = 1500
    """Logarithmic neurons of AFN."""
    dropout: NonNegativeFloat = 0.0
    """Of hidden numbers."""
    learning_rate: PositiveFloat = 5e-5
    """Adam's."""
    batch_size: PositiveInt = 512
    """Impressions a step."""
    epochs: PositiveInt = 15
    """Passes over the training part, at most."""
    patience: PositiveInt = 3
    """Epochs in which the validation's area under the curve may fall short of its best."""
    folds: PositiveInt = 1
    """Parts that are each tested once, pooled; 1 is one random split of 80, 10 and 10 %."""


class Table(NamedTuple):
    """Impressions: (N, F) places in one table of all values, labels (N,), and its size."""

    place: "NDArray[np.integer] | Shifted"
    label: NDArray[np.integer]
    values: int


class Part(NamedTuple):
    """Rows (N,) of the three parts of one split."""

    train: NDArray[np.int64]
    val: NDArray[np.int64]
    test: NDArray[np.int64]


class Stopper:
    """The best weights so far and how many epochs fell short of them: state of a loop."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.best, self.bad = -torch.inf, 0
        self.weights = {k: v.detach().clone() for k, v in model.state_dict().items()}

    def see(self, score: float, model: torch.nn.Module) -> int:
        """Take an epoch's score into account; gives the epochs since the best one."""
        if score >= self.best:
            self.best, self.bad = score, 0
            self.weights = {k: v.detach().clone() for k, v in model.state_dict().items()}
        else:
            self.bad += 1
        return self.bad

    def state_dict(self) -> dict[str, object]:
        """Its numbers and weights."""
        return {"best": self.best, "bad": self.bad, "weights": self.weights}

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Put them back."""
        vars(self).update(state)


def clicks(config: Clicks, run: Run) -> Metrics:
    """Area under the curve and log-loss of the tested impressions, pooled over the folds."""
    table = load_table(config, run)
    scores, labels, cosines, validated = [], [], [], []
    for fold, part in enumerate(split(len(table.label), config.folds, run)):
        model, best = train(config, table, part, fold, run)
        validated.append(best)
        scores.append(score(model, table, part.test, run))
        labels.append(torch.from_numpy(np.asarray(table.label[part.test])).to(run.device))
        if config.net != "fm":
            x, y = take(table, part.train[: config.batch_size], run)
            model.eval()
            found = alignment(model, lambda: measure_loss(model, x, y))  # noqa: B023 (called now)
            cosines.append(torch.stack(list(found.values())).nan_to_num(0.0).min())
    pooled, label = torch.cat(scores), torch.cat(labels)
    metrics = {
        "validation_auc": sum(validated) / len(validated),
        "auc": float(measure_auc(pooled, label)),
        "log_loss": float(F.binary_cross_entropy_with_logits(pooled, label.double())),
    }
    return metrics | ({"alignment": float(torch.stack(cosines).mean())} if cosines else {})


def train(
    config: Clicks, table: Table, part: Part, fold: int, run: Run
) -> tuple[DirectFeedback, float]:
    """A net after training on one split, with its best weights, and what it reached with them."""
    model = make_model(config, table, run.seed)
    model = model.to(run.device)
    if config.net != "fm":
        model.prepare(take(table, part.train[:2], run)[0])
    model = run.place(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=config.learning_rate)
    each = max(1, len(part.train) // config.batch_size)
    stopper, order = Stopper(model), Order(part.train, (run.seed, fold))
    for step in run.steps(
        each * config.epochs, state=(model, optimizer, stopper), name=f"fold{fold}"
    ):
        epoch, place = divmod(step, each)
        rows = order.at(epoch)
        x, y = take(table, rows[place * config.batch_size : (place + 1) * config.batch_size], run)
        model.train()
        with run.precision():
            loss = measure_loss(model, x, y)
        update(loss, model, optimizer, clip=CLIP if config.net == "dcn" else None)
        run.log(loss=loss)
        if place == each - 1:
            label = torch.from_numpy(np.asarray(table.label[part.val])).to(run.device)
            found = float(measure_auc(score(model, table, part.val, run), label))
            if stopper.see(found, model) >= config.patience:
                run.stop()
    model.load_state_dict(stopper.weights)
    return model, stopper.best


def make_model(config: Clicks, table: Table, seed: int) -> DirectFeedback:
    """The net with the published marks."""
    if config.net == "fm":
        net = FM(table.values, dim=config.dim)
        return DirectFeedback(net, ["fields"], rule="backward")
    options: dict[str, int] = {}
    if config.net == "dcn":
        options = {"crosses": config.crosses}
    elif config.net == "afn":
        options = {"neurons": config.neurons}
    deep = NETS[config.net](
        table.values, table.place.shape[1], dim=config.dim, hidden=config.hidden,
        dropout=config.dropout, **options,
    )  # fmt: skip
    layers, cuts = deep.layers, deep.cuts
    if not config.embed:
        layers, cuts = layers[1:], layers[:1]
    return DirectFeedback(deep, layers, seed=seed, source=deep.source, cuts=cuts, rule=config.rule)


def measure_loss(model: torch.nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """The mean binary cross-entropy, nats."""
    return F.binary_cross_entropy_with_logits(model(x)[:, 0], y)


@torch.no_grad()
def score(model: torch.nn.Module, table: Table, rows: NDArray[np.int64], run: Run) -> Tensor:
    """Logits (N,) of rows, in evaluation."""
    model.eval()
    pieces = range(0, len(rows), AT_ONCE)
    found = [model(take(table, rows[at : at + AT_ONCE], run)[0])[:, 0] for at in pieces]
    return torch.cat(found).double()


def take(table: Table, rows: NDArray[np.int64], run: Run) -> tuple[Tensor, Tensor]:
    """Places (B, F) and labels (B,) of rows, on the device."""
    # A table that is mapped from disk is read in its own order.
    order = np.argsort(rows, kind="stable")
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    place = np.asarray(table.place[rows[order]])[back].astype(np.int64)
    label = np.asarray(table.label[rows[order]])[back].astype(np.float32)
    return torch.from_numpy(place).to(run.device), torch.from_numpy(label).to(run.device)


class Order:
    """The training rows in an order that the epoch decides, made once an epoch."""

    def __init__(self, rows: NDArray[np.int64], seed: tuple[int, int]) -> None:
        self.rows, self.seed, self.epoch = rows, seed, -1
        self.mixed = rows

    def at(self, epoch: int) -> NDArray[np.int64]:
        """The rows of an epoch."""
        if epoch != self.epoch:
            self.epoch = epoch
            self.mixed = np.random.default_rng((*self.seed, epoch)).permutation(self.rows)
        return self.mixed


def split(count: int, folds: int, run: Run) -> list[Part]:
    """Random parts of N rows: each fold is tested once, and the next one validates.

    Raises ValueError for two folds, which leave nothing to train on.
    """
    if folds == 2:
        raise ValueError("folds must be 1, for one random split, or 3 or more, got 2")
    generator = np.random.default_rng((run.seed, count))
    order = generator.permutation(count)
    tenths = np.array_split(order, 10 if folds == 1 else folds)
    found = []
    for fold in range(folds):
        val = (fold + 1) % len(tenths)
        others = [part for at, part in enumerate(tenths) if at not in (fold, val)]
        found.append(Part(np.concatenate(others), tenths[val], tenths[fold]))
    return found


def load_table(config: Clicks, run: Run) -> Table:
    """The log as places in one table."""
    if config.log == "criteo":
        log = data.criteo(run.data)
        begins = np.concatenate([[0], np.cumsum(log.sizes)[:-1]])
        return Table(Shifted(log.place, begins), log.label, int(log.sizes.sum()))
    name = config.log.removesuffix("_sample")
    sample = data.ctr(run.data, name)
    columns = [bucket(column) for column in sample.number.T] + list(sample.category.T)
    places, total = [], 0
    for column in columns:
        _, place, counts = np.unique(column, return_inverse=True, return_counts=True)
        known = counts >= LEAST
        number = np.where(known, known.cumsum(), 0)  # 0 for all that are rare
        places.append(total + number[place])
        total += int(known.sum()) + 1
    return Table(np.stack(places, 1), sample.label, total)


class Shifted:
    """A mapped array of places, each field's moved to its part of one table, row by row."""

    def __init__(self, place: NDArray[np.int32], begins: NDArray[np.int64]) -> None:
        self.place, self.begins, self.shape = place, begins, place.shape

    def __getitem__(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        return self.place[rows] + self.begins


def bucket(column: NDArray[np.float64]) -> NDArray[np.float64]:
    """Numbers above 2 as the square of their logarithm, rounded down; -1e9 where missing.

    Shifted by 1,000, so that such a square is never taken for a number of 2 or less.
    """
    large = 1000 + np.floor(np.log(np.maximum(column, 3)) ** 2)
    return np.where(np.isnan(column), -1e9, np.where(column > 2, large, column))
