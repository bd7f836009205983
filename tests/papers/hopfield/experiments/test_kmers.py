"""Counts of k-mers, kernels and scores on them against brute force."""

import itertools

import numpy as np

from quire.papers.hopfield.experiments.kmers import (
    count_kmers,
    implant_motif,
    jaccard_kernel,
    minmax_kernel,
    score_burden,
    score_motif,
)


def test_implanted_motifs_are_where_they_are_said_to_be():
    made = implant_motif(10, 20, rate=0.1, motif=(1, 2, 3), generator=np.random.default_rng(0))
    assert made.witness.sum() == 5 * 2
    text = ["".join(chr(65 + c) for c in row) for row in made.codes[made.witness]]
    assert all("BCD" in row for row in text)
    part = made.take(np.array([3, 0]))
    assert part.label.tolist() == [1, 0]
    assert np.array_equal(part.codes[:20], made.codes[60:80])
    counts = score_motif(made, (1, 2, 3))
    assert (counts[1::2] >= 2).all()
    assert set(score_motif(made, (1, 2, 3), binary=True)[1::2]) == {1.0}


def test_kernels_by_brute_force():
    made = implant_motif(5, 6, rate=0.5, length=6, generator=np.random.default_rng(1))
    made = made._replace(codes=made.codes % 3)  # few letters, so that k-mers are shared
    made.codes[3, 4:] = 20  # a shorter sequence
    counts = count_kmers(made, 2)
    plain = np.zeros((5, 400))
    for bag, row in itertools.product(range(5), range(6)):
        letters = made.codes[6 * bag + row]
        for a, b in itertools.pairwise(letters[letters < 20]):
            plain[bag, 20 * int(a) + int(b)] += 1
    assert np.array_equal(counts.toarray(), plain)
    for kernel, x in ((minmax_kernel, plain), (jaccard_kernel, (plain > 0) * 1.0)):
        expected = [[np.minimum(p, q).sum() / np.maximum(p, q).sum() for q in x] for p in x]
        np.testing.assert_allclose(kernel(counts, counts), expected)


def test_the_burden_test_finds_the_motif():
    rng = np.random.default_rng(0)
    train, test = (implant_motif(60, 40, rate=0.1, generator=rng) for _ in range(2))
    scores = score_burden(count_kmers(train), train.label, count_kmers(test), selected=1)
    assert scores[test.label == 1].min() > scores[test.label == 0].max()
