"""Motifs implanted in random sequences: DeepRC, other pooling, and baselines."""

import numpy as np
import torch
from pydantic import Field, PositiveInt

from quire.lab import Metrics, Run
from quire.papers.hopfield.experiments.classifiers import Classifier, classify
from quire.papers.hopfield.experiments.kmers import MOTIF, SPACED, implant_motif


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
    spaced: bool = False
    """Whether any letter may stand between those of the motif, which then is seven long."""


def repertoires(config: Repertoire, run: Run) -> Metrics:
    """Area under the ROC curve on fresh bags, %."""
    seeds = torch.randint(2**31, (2,), generator=run.rng("repertoires")).tolist()
    motif = SPACED if config.spaced else MOTIF
    train, test = (
        implant_motif(
            bags,
            config.sequences,
            rate=config.rate,
            motif=motif,
            generator=np.random.default_rng(seed),
        )
        for bags, seed in zip((config.bags, config.test_bags), seeds, strict=True)
    )
    return classify(config, run, train, test, motif=motif)
