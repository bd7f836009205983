"""What gives a repertoire its score: DeepRC with one of its poolings, or a baseline."""

import copy
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from quire.lab import Config, Metrics, Run
from quire.lab.measure import peak_tensor_mb
from quire.lab.training import Kept, update
from quire.papers.hopfield.deeprc import BagAttention, DeepRC, SequenceEmbedding
from quire.papers.hopfield.experiments.evaluation import auc, draw_stratified
from quire.papers.hopfield.experiments.kmers import (
    MOTIF,
    Repertoires,
    count_kmers,
    jaccard_kernel,
    minmax_kernel,
    score_burden,
    score_motif,
)
from quire.papers.hopfield.experiments.logistic_mil import score_logistic_mil

Method = Literal[
    "hopfield", "mean", "max", "minmax_svm", "jaccard_svm", "minmax_knn", "jaccard_knn", "logistic",
    "logistic_mil", "burden", "motif_binary", "motif_count",
]  # fmt: skip

HELD_OUT = 0.2
"""Share of the training bags that early stopping looks at."""


class Classifier(Config):
    """How bags of sequences get a score."""

    method: Method = "hopfield"
    """Pooling of DeepRC (hopfield, mean, max), or a baseline on counts of 4-mers; motif_binary
    and motif_count know the implanted motif."""
    keep: float = Field(default=1.0, gt=0, le=1)
    """hopfield: share of each bag, by attention, that is pooled and takes part in the gradient."""
    whole: NonNegativeInt = 0
    """hopfield: minibatches over the whole bag, before the share."""
    look: NonNegativeInt = 0
    """Networks: minibatches between two looks at a fifth of the training bags, held out; the
    weights of the best look are tested. 0 trains on all bags and tests the last weights."""
    kernels: PositiveInt = 32
    """Kernels of the convolution."""
    width: PositiveInt = 5
    """Letters that a kernel sees."""
    steps: PositiveInt = 400
    """Minibatches (logistic_mil: passes over all bags)."""
    batch_size: PositiveInt = 8
    """Bags a minibatch."""
    learning_rate: PositiveFloat = 3e-3
    """Learning rate of Adam."""
    minibatch: PositiveInt = 50_000
    """Sequences that are embedded at a time."""
    penalty: PositiveFloat = 1.0
    """SVMs and logistic: C, the inverse of the penalty."""
    neighbours: PositiveInt = 7
    """minmax_knn, jaccard_knn: bags that vote."""
    selected: PositiveInt = 50
    """burden: 4-mers that count."""


Batch = tuple[Tensor, Tensor, Tensor]
"""Codes (N, L) of some bags one after the other, their sizes (B,) and labels (B,)."""


def classify(
    config: Classifier,
    run: Run,
    train: Repertoires,
    test: Repertoires,
    *,
    loop: str = "train",
    motif: Sequence[int] = MOTIF,
) -> Metrics:
    """One split: train or fit, and score the test bags.

    Args:
        config: Names the method.
        run: The run.
        train: Training bags.
        test: Test bags.
        loop: Name of the training loop in the run's log; each split needs one of its own.
        motif: What motif_binary and motif_count know.
    """
    if config.method in ("hopfield", "mean", "max"):
        model, memory = train_deeprc(config, run, train, loop)
        return {"memory_mb": memory} | score_deeprc(model, run, test)
    if config.method.startswith("motif"):
        scores = score_motif(test, motif, binary=config.method == "motif_binary")
    else:
        scores = score_baseline(config, run.seed, train, test)
    return {"auc": auc(test.label, scores)}


def train_deeprc(
    config: Classifier, run: Run, train: Repertoires, loop: str
) -> tuple[DeepRC, float]:
    """DeepRC with one of its poolings, and the most memory of tensors in a training step, MB.

    Args:
        config: Names the pooling.
        run: The run.
        train: Training bags.
        loop: Name of the training loop in the run's log.
    """
    hopfield = config.method == "hopfield"
    share = config.keep if hopfield else 1.0
    model = run.place(
        DeepRC(
            SequenceEmbedding(config.kernels, config.width),
            config.kernels,
            attention=BagAttention(config.kernels) if hopfield else None,
            maximum=config.method == "max",
            keep=share,
            minibatch=config.minibatch,
        )
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=config.learning_rate)
    state: tuple[Any, ...] = (model, optimizer)
    if config.look:
        train, held = hold_out(train, run.rng(loop, "held"))
        best, kept = copy.deepcopy(model), Kept()
        state = (*state, best, kept)

    def batch_at(step: int) -> Batch:
        order = torch.randperm(len(train.label), generator=run.rng(loop, step))
        return to_tensors(train.take(order[: config.batch_size].numpy()))

    def loss_of(batch: Batch) -> Tensor:
        codes, sizes, label = (x.to(run.device) for x in batch)
        return binary_cross_entropy_with_logits(model(codes, sizes)[:, 0].float(), label)

    for batch in run.steps(config.steps, batch_at, state=state, name=loop):
        # What the attention has not found yet it cannot keep: it may begin with the whole bag.
        model.keep = 1.0 if run.step < config.whole else share
        with run.precision():
            loss = loss_of(batch)
        update(loss, model, optimizer)
        run.log(loss=loss)
        if config.look and (run.step + 1) % config.look == 0:
            model.keep = share
            area = score_deeprc(model, run, held)["auc"]
            model.train()
            if area > max(kept.series.get("held_auc", [-1.0])):
                best.load_state_dict(model.state_dict())
            kept.add("held_auc", area)
            run.log(held_auc=area)
    first = batch_at(0)
    memory = peak_tensor_mb(lambda: loss_of(first).backward())
    return best if config.look else model, memory


def hold_out(train: Repertoires, generator: torch.Generator) -> tuple[Repertoires, Repertoires]:
    """Training bags and those held out, a fifth of each class."""
    seed = int(torch.randint(2**31, (1,), generator=generator))
    out = draw_stratified(train.label, HELD_OUT, np.random.default_rng(seed))
    return train.take(np.flatnonzero(~out)), train.take(np.flatnonzero(out))


@torch.no_grad()
def score_deeprc(model: DeepRC, run: Run, test: Repertoires) -> Metrics:
    """Area under the ROC curve of the bags, and of the attention's scores for the witnesses, %."""
    model.eval()
    scores, attended = [], []
    for row in range(len(test.label)):
        codes, sizes, _ = (x.to(run.device) for x in to_tensors(test.take(np.array([row]))))
        scores.append(float(model(codes, sizes)))
        if model.attention is not None and test.label[row]:
            attended.append(model.score(codes).float().cpu().numpy())
    metrics = {"auc": auc(test.label, np.array(scores))}
    witness = test.take(np.flatnonzero(test.label)).witness
    if attended and witness.any():
        metrics["witness_auc"] = auc(witness, np.concatenate(attended))
    return metrics


def to_tensors(part: Repertoires) -> Batch:
    """Codes, sizes and labels of a few bags."""
    label = torch.from_numpy(part.label.astype(np.float32))
    return torch.from_numpy(part.codes), torch.from_numpy(part.sizes), label


def score_baseline(
    config: Classifier, seed: int, train: Repertoires, test: Repertoires
) -> NDArray[np.float64]:
    """Scores of the test bags by a method that is not DeepRC and knows no motif.

    Args:
        config: Names the method.
        seed: What the random starts of logistic_mil follow from.
        train: Training bags.
        test: Test bags.
    """
    a, b = count_kmers(train), count_kmers(test)
    if config.method == "burden":
        return score_burden(a, train.label, b, selected=config.selected)
    if config.method == "logistic_mil":
        options: dict[str, Any] = {"learning_rate": config.learning_rate, "steps": config.steps}
        return score_logistic_mil(a, train.label, b, seed=seed, **options)
    if config.method == "logistic":
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression(C=config.penalty, max_iter=300)
        scores: NDArray[np.float64] = model.fit(a, train.label).decision_function(b)
        return scores
    kernel = jaccard_kernel if config.method.startswith("jaccard") else minmax_kernel
    among, between = kernel(a, a), kernel(b, a)
    if config.method.endswith("knn"):
        nearest = np.argsort(-between, axis=1, kind="stable")[:, : config.neighbours]
        shares: NDArray[np.float64] = train.label[nearest].mean(1)
        return shares
    from sklearn.svm import SVC

    fitted = SVC(kernel="precomputed", C=config.penalty).fit(among, train.label)
    decided: NDArray[np.float64] = fitted.decision_function(between)
    return decided
