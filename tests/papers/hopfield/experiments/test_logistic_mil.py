"""Logistic multiple-instance learning against a loop over k-mers."""

import itertools

import numpy as np
import pytest
import torch

from quire.papers.hopfield import AMINO_ACIDS
from quire.papers.hopfield.experiments.evaluation import auc
from quire.papers.hopfield.experiments.kmers import count_kmers, implant_motif
from quire.papers.hopfield.experiments.logistic_mil import ATCHLEY, KmerBags, score_logistic_mil


def test_atchleys_factors_are_in_the_order_of_the_letters():
    order = ["".join(AMINO_ACIDS[row] for row in ATCHLEY[:, f].argsort()) for f in range(5)]
    assert (order[0][:5], order[0][-4:]) == ("CVILF", "DERK")  # hydrophobic, charged
    assert (order[2][0], order[2][-1]) == ("S", "Y")  # volume as published
    assert (order[4][0], order[4][-1]) == ("D", "R")  # charge
    assert ATCHLEY[AMINO_ACIDS.index("W")].tolist() == [-0.595, 0.009, 0.672, -2.128, -0.184]


def test_score_logistic_mil_the_highest_kmer():
    made = implant_motif(4, 5, rate=0.5, motif=(1, 2), length=6, generator=np.random.default_rng(0))
    made.codes[7, 3:] = 20
    counts = count_kmers(made, 2)
    train = count_kmers(made._replace(codes=made.codes[::-1]), 2)
    scale = KmerBags(train)
    weight = torch.randn(3, 12, generator=torch.Generator().manual_seed(0))
    found = KmerBags(counts, scale).highest(weight)
    factors = (ATCHLEY - ATCHLEY.mean(0)) / ATCHLEY.std(0)
    dense = train.toarray()
    shares = np.log(dense / dense.sum(1, keepdims=True), where=dense > 0, out=np.zeros_like(dense))
    mean, std = shares[dense > 0].mean(), shares[dense > 0].std()
    for start, (bag, row) in itertools.product(range(3), enumerate(counts.toarray())):
        w = weight[start].numpy()
        scores = [
            np.r_[factors[kmer // 20], factors[kmer % 20]] @ w[:10]
            + (np.log(row[kmer] / row.sum()) - mean) / std * w[10]
            + w[11]
            for kmer in np.flatnonzero(row)
        ]
        assert float(found[start, bag]) == pytest.approx(max(scores), abs=1e-4)


def test_logistic_mil_finds_a_motif_and_repeats():
    pytest.importorskip("sklearn")
    rng = np.random.default_rng(0)
    train, test = (
        implant_motif(100, 10, rate=0.2, motif=(8, 3), length=6, generator=rng) for _ in range(2)
    )
    counts = count_kmers(train, 2), train.label, count_kmers(test, 2)
    scores = score_logistic_mil(*counts, learning_rate=0.1, steps=200, starts=3)
    assert auc(test.label, scores) > 80
    assert np.array_equal(
        scores, score_logistic_mil(*counts, learning_rate=0.1, steps=200, starts=3)
    )


def test_a_bag_without_a_kmer_is_a_clear_error():
    made = implant_motif(2, 1, rate=1, motif=(1,), length=3, generator=np.random.default_rng(0))
    made.codes[1, 1:] = 20
    with pytest.raises(ValueError, match="bag 1 has no k-mer"):
        KmerBags(count_kmers(made, 2))
