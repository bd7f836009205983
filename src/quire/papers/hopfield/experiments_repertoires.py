"""Repertoires: DeepRC, other pooling, classical baselines; implanted motifs, real receptors."""

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from quire import data
from quire.lab import Config, Metrics, Run
from quire.lab.bench import peak_tensor_mb
from quire.papers.hopfield.deeprc import BagAttention, DeepRC, SequenceEmbedding, encode
from quire.papers.hopfield.logistic_mil import logistic_mil_scores
from quire.papers.hopfield.repertoires import (
    Repertoires,
    burden_scores,
    implanted,
    jaccard_kernel,
    kmer_counts,
    minmax_kernel,
    motif_scores,
)

MOTIF = (8, 3, 17, 5)
Method = Literal[
    "hopfield", "mean", "max", "minmax_svm", "jaccard_svm", "minmax_knn", "jaccard_knn", "logistic",
    "logistic_mil", "burden", "motif_binary", "motif_count",
]  # fmt: skip


class Classifier(Config):
    """How bags of sequences get a score."""

    method: Method = "hopfield"
    """Pooling of DeepRC (hopfield, mean, max), or a baseline on counts of 4-mers; motif_binary
    and motif_count know the implanted motif."""
    keep: float = Field(default=1.0, gt=0, le=1)
    """hopfield: share of each bag, by attention, that is pooled and takes part in the gradient."""
    kernels: PositiveInt = 32
    """Kernels of the convolution."""
    width: PositiveInt = 5
    """Letters that a kernel sees."""
    steps: PositiveInt = 400
    """Minibatches (logistic_mil: passes over all bags)."""
    batch_size: PositiveInt = 8
    """Bags a minibatch."""
    lr: PositiveFloat = 3e-3
    """Learning rate of Adam."""
    minibatch: PositiveInt = 50_000
    """Sequences that are embedded at a time."""
    neighbours: PositiveInt = 7
    """minmax_knn, jaccard_knn: neighbours."""
    starts: PositiveInt = 5
    """logistic_mil: random starts, of which the best one on the training bags is taken."""


class Repertoire(Classifier):
    """Random sequences of 14 letters with a motif of four in some of the positive bags'."""

    bags: PositiveInt = 300
    """Training bags, half of them positive."""
    test_bags: PositiveInt = 200
    """Test bags."""
    sequences: PositiveInt = 100
    """Sequences a bag."""
    rate: float = Field(default=0.02, gt=0, le=1)
    """Share of a positive bag's sequences that hold the motif, at least one."""


class Receptors(Classifier):
    """Repertoires from the literature, and bags of real receptors."""

    source: Literal["quickstart", "simulated", "vdjdb"] = "vdjdb"
    """immuneML's two simulated sets, in cross-validation; or bags of receptors from VDJdb, of which
    the positive ones hold binders of one epitope."""
    folds: PositiveInt = 5
    """quickstart, simulated: folds of the cross-validation."""
    epitope: str = "GILGFVFTL"
    """vdjdb: the epitope."""
    rate: float = Field(default=0.03, gt=0, le=1)
    """vdjdb: share of a positive bag that binds it."""
    bags: PositiveInt = 200
    """vdjdb: training bags."""
    test_bags: PositiveInt = 200
    """vdjdb: test bags, made of other receptors."""
    sequences: PositiveInt = 300
    """vdjdb: receptors a bag."""


def repertoires(config: Repertoire, run: Run) -> Metrics:
    """Area under the ROC curve on fresh bags, %."""
    seeds = torch.randint(2**31, (2,), generator=run.rng("repertoires")).tolist()
    train, test = (
        implanted(
            bags,
            config.sequences,
            rate=config.rate,
            motif=MOTIF,
            rng=np.random.default_rng(seed),
        )
        for bags, seed in zip((config.bags, config.test_bags), seeds, strict=True)
    )
    return classify(config, run, train, test, "train")


def repertoires_real(config: Receptors, run: Run) -> Metrics:
    """Area under the ROC curve, %: over folds, or on bags of other receptors."""
    if config.source == "vdjdb":
        train, test = binders(config, run)
        return classify(config, run, train, test, "train")
    loaded = data.immune_repertoire(run.data, config.source)
    witness = np.zeros(len(loaded.sequence), bool) if loaded.witness is None else loaded.witness
    whole = Repertoires(encode(loaded.sequence).numpy(), loaded.size, loaded.label, witness)
    fold = folds(whole.label, config.folds, run)
    found = [
        classify(
            config,
            run,
            whole.take(np.flatnonzero(fold != k)),
            whole.take(np.flatnonzero(fold == k)),
            f"fold{k}",
        )
        for k in range(config.folds)
    ]
    return {key: float(np.mean([metrics[key] for metrics in found])) for key in found[0]}


def folds(label: NDArray[np.int64], count: int, run: Run) -> NDArray[np.int64]:
    """The fold of each bag, with the classes spread evenly."""
    order = torch.randperm(len(label), generator=run.rng("folds")).numpy()
    fold = np.zeros(len(label), np.int64)
    for kind in np.unique(label):
        rows = order[label[order] == kind]
        fold[rows] = np.arange(len(rows)) % count
    return fold


def binders(config: Receptors, run: Run) -> tuple[Repertoires, Repertoires]:
    """Training and test bags that share no receptor."""
    bound: dict[str, set[str]] = {}
    for receptor in data.vdjdb(run.data):
        bound.setdefault(receptor.cdr3, set()).add(receptor.epitope)
    chains = sorted(chain for chain in bound if 8 <= len(chain) <= 20)
    known = {epitope for epitopes in bound.values() for epitope in epitopes}
    if config.epitope not in known:
        raise ValueError(f"no receptor of VDJdb binds {config.epitope}")
    codes = encode(chains, 20).numpy()
    binds = np.array([config.epitope in bound[chain] for chain in chains])
    order = torch.randperm(len(chains), generator=run.rng("receptors")).numpy()
    halves = (order[: len(order) // 2], order[len(order) // 2 :])
    parts: list[Repertoires] = []
    for half, bags in zip(halves, (config.bags, config.test_bags), strict=True):
        rng = np.random.default_rng(
            int(torch.randint(2**31, (1,), generator=run.rng("bags", len(parts))))
        )
        inside, outside = half[binds[half]], half[~binds[half]]
        label = np.arange(bags) % 2
        count = max(1, round(config.rate * config.sequences))
        members = []
        for positive in label:
            own = rng.choice(inside, count * positive, replace=False)
            others = rng.choice(outside, config.sequences - len(own), replace=False)
            members.append(np.concatenate((own, others)))
        chosen = np.concatenate(members)
        sizes = np.full(bags, config.sequences)
        parts.append(Repertoires(codes[chosen], sizes, label, binds[chosen]))
    return parts[0], parts[1]


def classify(
    config: Classifier, run: Run, train: Repertoires, test: Repertoires, name: str
) -> Metrics:
    """One split: train or fit, and score the test bags."""
    if config.method in ("hopfield", "mean", "max"):
        return deeprc(config, run, train, test, name)
    return {"auc": auc(test.label, baseline(config, run, train, test))}


def deeprc(
    config: Classifier, run: Run, train: Repertoires, test: Repertoires, name: str
) -> Metrics:
    """DeepRC with one of its poolings."""
    hopfield = config.method == "hopfield"
    model = run.place(
        DeepRC(
            SequenceEmbedding(config.kernels, config.width),
            config.kernels,
            attention=BagAttention(config.kernels) if hopfield else None,
            maximum=config.method == "max",
            keep=config.keep if hopfield else 1.0,
            minibatch=config.minibatch,
        )
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=config.lr)

    def batch_at(step: int) -> tuple[Tensor, Tensor, Tensor]:
        rng = run.rng(name, step)
        rows = torch.randperm(len(train.label), generator=rng)[: config.batch_size].numpy()
        part = train.take(rows)
        return tensors(part)

    def loss_of(batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        codes, sizes, label = batch
        return binary_cross_entropy_with_logits(model(codes, sizes)[:, 0].float(), label)

    for batch in run.steps(config.steps, batch_at, state=(model, optimizer), name=name):
        with run.precision():
            loss = loss_of(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        run.log(loss=loss)
    one = tuple(x.to(run.device) for x in batch_at(0))
    memory = peak_tensor_mb(lambda: loss_of(one).backward())  # type: ignore[arg-type]
    model.eval()
    scores, found = [], []
    with torch.no_grad():
        for row in range(len(test.label)):
            codes, sizes, _ = (x.to(run.device) for x in tensors(test.take(np.array([row]))))
            scores.append(float(model(codes, sizes)))
            if hopfield and test.label[row]:
                found.append(model.score(codes).float().cpu().numpy())
    metrics = {"auc": auc(test.label, np.array(scores)), "memory_mb": memory}
    witness = test.take(np.flatnonzero(test.label)).witness
    if found and witness.any():
        metrics["witness_auc"] = auc(witness, np.concatenate(found))
    return metrics


def tensors(part: Repertoires) -> tuple[Tensor, Tensor, Tensor]:
    """Codes, sizes and labels of a few bags."""
    label = torch.from_numpy(part.label.astype(np.float32))
    return torch.from_numpy(part.codes), torch.from_numpy(part.sizes), label


def baseline(
    config: Classifier, run: Run, train: Repertoires, test: Repertoires
) -> NDArray[np.float64]:
    """Scores of the test bags."""
    if config.method.startswith("motif"):
        return motif_scores(test, MOTIF, binary=config.method == "motif_binary")
    a, b = kmer_counts(train), kmer_counts(test)
    if config.method == "burden":
        return burden_scores(a, train.label, b)
    if config.method == "logistic_mil":
        return logistic_mil_scores(
            a, train.label, b, lr=config.lr, steps=config.steps, starts=config.starts, seed=run.seed
        )
    if config.method == "logistic":
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression(max_iter=300)
        scores: NDArray[np.float64] = model.fit(a, train.label).decision_function(b)
        return scores
    kernel = jaccard_kernel if config.method.startswith("jaccard") else minmax_kernel
    among, between = kernel(a, a), kernel(b, a)
    if config.method.endswith("knn"):
        nearest = np.argsort(-between, axis=1, kind="stable")[:, : config.neighbours]
        shares: NDArray[np.float64] = train.label[nearest].mean(1)
        return shares
    from sklearn.svm import SVC

    fitted = SVC(kernel="precomputed", C=1.0).fit(among, train.label)
    decided: NDArray[np.float64] = fitted.decision_function(between)
    return decided


def auc(label: NDArray, score: NDArray[np.float64]) -> float:
    """Area under the ROC curve, %."""
    from sklearn.metrics import roc_auc_score

    return 100 * float(roc_auc_score(label, score))
