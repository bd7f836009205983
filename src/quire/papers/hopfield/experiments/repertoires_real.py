"""Repertoires from the literature, and bags of real receptors."""

from typing import Literal

import numpy as np
import torch
from pydantic import PositiveInt

from quire import data
from quire.lab import Metrics, Run
from quire.papers.hopfield.deeprc import encode
from quire.papers.hopfield.experiments.classifiers import Classifier, classify
from quire.papers.hopfield.experiments.evaluation import assign_folds
from quire.papers.hopfield.experiments.kmers import Repertoires

BINDING = 0.03
"""vdjdb: share of a positive bag that binds the epitope."""


class Receptors(Classifier):
    """Repertoires from the literature, and bags of real receptors."""

    source: Literal["quickstart", "simulated", "vdjdb"] = "vdjdb"
    """immuneML's two simulated sets, in cross-validation; or bags of receptors from VDJdb, of which
    the positive ones hold binders of one epitope."""
    folds: PositiveInt = 5
    """quickstart, simulated: folds of the cross-validation."""
    epitope: str = "GILGFVFTL"
    """vdjdb: the epitope."""
    bags: PositiveInt = 200
    """vdjdb: training bags."""
    test_bags: PositiveInt = 200
    """vdjdb: test bags, made of other receptors."""
    sequences: PositiveInt = 300
    """vdjdb: receptors a bag."""


def repertoires_real(config: Receptors, run: Run) -> Metrics:
    """Area under the ROC curve, %: over folds, or on bags of other receptors."""
    if config.source == "vdjdb":
        train, test = make_receptor_bags(config, run)
        return classify(config, run, train, test)
    loaded = data.immune_repertoire(run.data, config.source)
    witness = np.zeros(len(loaded.sequence), bool) if loaded.witness is None else loaded.witness
    whole = Repertoires(encode(loaded.sequence).numpy(), loaded.size, loaded.label, witness)
    fold = assign_folds(whole.label, config.folds, run.rng("folds"))
    found = [
        classify(
            config,
            run,
            whole.take(np.flatnonzero(fold != k)),
            whole.take(np.flatnonzero(fold == k)),
            loop=f"fold{k}",
        )
        for k in range(config.folds)
    ]
    return {key: float(np.mean([metrics[key] for metrics in found])) for key in found[0]}


def make_receptor_bags(config: Receptors, run: Run) -> tuple[Repertoires, Repertoires]:
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
        generator = np.random.default_rng(
            int(torch.randint(2**31, (1,), generator=run.rng("bags", len(parts))))
        )
        inside, outside = half[binds[half]], half[~binds[half]]
        label = np.arange(bags) % 2
        count = max(1, round(BINDING * config.sequences))
        members = []
        for positive in label:
            own = generator.choice(inside, count * positive, replace=False)
            others = generator.choice(outside, config.sequences - len(own), replace=False)
            members.append(np.concatenate((own, others)))
        chosen = np.concatenate(members)
        sizes = np.full(bags, config.sequences)
        parts.append(Repertoires(codes[chosen], sizes, label, binds[chosen]))
    return parts[0], parts[1]
