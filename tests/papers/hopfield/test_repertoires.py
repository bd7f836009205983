"""DeepRC and its baselines against loops over bags."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from quire.papers.hopfield import (
    AMINO_ACIDS,
    BagAttention,
    DeepRC,
    SequenceEmbedding,
    bag_softmax,
    burden_scores,
    encode,
    implanted,
    jaccard_kernel,
    kmer_counts,
    logistic_mil_scores,
    minmax_kernel,
    motif_scores,
    top_members,
)
from quire.papers.hopfield.experiments_repertoires import auc
from quire.papers.hopfield.logistic_mil import ATCHLEY, KmerBags

SIZES = torch.tensor([4, 1, 7])


def codes(count=12, seed=0):
    rng = torch.Generator().manual_seed(seed)
    letters = torch.randint(20, (count, 9), generator=rng, dtype=torch.uint8)
    length = torch.randint(1, 10, (count, 1), generator=rng)
    return letters.masked_fill(torch.arange(9) >= length, 20)


def test_letters_become_numbers_and_back():
    assert encode([AMINO_ACIDS])[0].tolist() == list(range(20))
    assert encode(["CA"], 4)[0].tolist() == [1, 0, 20, 20]
    with pytest.raises(ValueError, match="sequence 1 has a letter that is no amino acid: CBX"):
        encode(["CAS", "CBX"])
    for bad in (["CASS", ""], ["CASSLG"]):
        with pytest.raises(ValueError, match="sequences of 1 to 4 letters expected"):
            encode(bad, 4)


@pytest.mark.parametrize("width", [1, 4, 5])
def test_the_embedding_of_a_sequence_does_not_depend_on_its_padding(width):
    torch.manual_seed(0)
    embed = SequenceEmbedding(6, width).double()
    long = embed(encode(["CASSLG", "CAW"], 12))
    torch.testing.assert_close(long[1], embed(encode(["CAW"]))[0])
    torch.testing.assert_close(long[0], embed(encode(["CASSLG"]))[0])


def test_the_embedding_by_hand():
    torch.manual_seed(0)
    embed = SequenceEmbedding(2, 3).double()
    weight, bias = embed.conv.weight, embed.conv.bias
    scale = (1 / 20 * 19 / 20) ** 0.5
    x = torch.zeros(5, 23, dtype=torch.float64)  # CAW between two blanks
    for at, letter in enumerate("CAW"):
        x[at + 1, AMINO_ACIDS.index(letter)] = 1
        place = at / 2
        ramps = torch.tensor([1 - place, place, 1 - abs(2 * place - 1)])
        x[at + 1, 20:] = (ramps - 0.5) * 12**0.5 * scale
    windows = torch.stack([(weight * x[at : at + 3].T).sum((1, 2)) + bias for at in range(3)])
    expected = nn.functional.selu(windows).amax(0)
    torch.testing.assert_close(embed(encode(["CAW"]))[0], expected)


@pytest.mark.parametrize("pooling", ["attention", "mean", "max"])
@pytest.mark.parametrize("minibatch", [3, 100])
def test_bags_by_a_loop(pooling, minibatch):
    torch.manual_seed(0)
    attention = BagAttention(6) if pooling == "attention" else None
    model = DeepRC(
        SequenceEmbedding(6, 3), 6, attention=attention, maximum=pooling == "max",
        minibatch=minibatch,
    ).double()  # fmt: skip
    x = codes()
    out = model(x, SIZES)
    for row, part in enumerate(x.split(SIZES.tolist())):
        h = model.embedding(part)
        if pooling == "attention":
            pooled = attention(h).softmax(0) @ h
        else:
            pooled = h.mean(0) if pooling == "mean" else h.amax(0)
        torch.testing.assert_close(out[row], model.output(pooled))
    out.square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in model.parameters() if p.ndim > 1)


def test_the_best_share_of_each_bag():
    rng = torch.Generator().manual_seed(0)
    scores = torch.randn(12, generator=rng)
    bag = torch.repeat_interleave(torch.arange(3), SIZES)
    kept = top_members(scores, bag, SIZES, 0.5)
    expected, begin = [], 0
    for size in SIZES.tolist():
        order = sorted(range(begin, begin + size), key=lambda i: -float(scores[i]))
        expected += order[: -(-size // 2)]
        begin += size
    assert kept.tolist() == sorted(expected)


def test_kept_sequences_alone_decide_and_learn():
    """With keep < 1 the output is that of the bag cut to its best members."""
    torch.manual_seed(0)
    whole = DeepRC(SequenceEmbedding(6, 3), 6, attention=BagAttention(6)).double()
    few = DeepRC(
        SequenceEmbedding(6, 3), 6, attention=BagAttention(6), keep=0.5, minibatch=5
    ).double()
    few.load_state_dict(whole.state_dict())
    x, bag = codes(), torch.repeat_interleave(torch.arange(3), SIZES)
    kept = top_members(whole.score(x), bag, SIZES, 0.5)
    sizes = torch.bincount(bag[kept])
    results = []
    for model, inputs in ((few, (x, SIZES)), (whole, (x[kept], sizes))):
        out = model(*inputs)
        out.square().sum().backward()
        results.append([out, *(p.grad for p in model.parameters())])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b)


def test_softmax_over_bags():
    rng = torch.Generator().manual_seed(0)
    scores = 300 * torch.randn(12, generator=rng)
    bag = torch.repeat_interleave(torch.arange(3), SIZES)
    expected = torch.cat([part.softmax(0) for part in scores.split(SIZES.tolist())])
    torch.testing.assert_close(bag_softmax(scores, bag, 3), expected)


def test_an_empty_bag_is_a_clear_error():
    model = DeepRC(SequenceEmbedding(6, 3), 6)
    with pytest.raises(ValueError, match="bags need at least one sequence each and 12 in all"):
        model(codes(), torch.tensor([12, 0]))
    with pytest.raises(ValueError, match="below 1 with attention only"):
        DeepRC(SequenceEmbedding(6, 3), 6, keep=0.5)


def test_implanted_motifs_are_where_they_are_said_to_be():
    made = implanted(10, 20, rate=0.1, motif=(1, 2, 3), rng=np.random.default_rng(0))
    assert made.witness.sum() == 5 * 2
    text = ["".join(chr(65 + c) for c in row) for row in made.codes[made.witness]]
    assert all("BCD" in row for row in text)
    part = made.take(np.array([3, 0]))
    assert part.label.tolist() == [1, 0]
    assert np.array_equal(part.codes[:20], made.codes[60:80])
    counts = motif_scores(made, (1, 2, 3))
    assert (counts[1::2] >= 2).all()
    assert set(motif_scores(made, (1, 2, 3), binary=True)[1::2]) == {1.0}


def test_kernels_by_brute_force():
    made = implanted(5, 6, rate=0.5, length=6, rng=np.random.default_rng(1))
    made = made._replace(codes=made.codes % 3)  # few letters, so that k-mers are shared
    made.codes[3, 4:] = 20  # a shorter sequence
    counts = kmer_counts(made, 2)
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
    train, test = (implanted(60, 40, rate=0.1, rng=rng) for _ in range(2))
    scores = burden_scores(kmer_counts(train), train.label, kmer_counts(test), selected=1)
    assert scores[test.label == 1].min() > scores[test.label == 0].max()


def test_atchleys_factors_are_in_the_order_of_the_letters():
    order = ["".join(AMINO_ACIDS[row] for row in ATCHLEY[:, f].argsort()) for f in range(5)]
    assert (order[0][:5], order[0][-4:]) == ("CVILF", "DERK")  # hydrophobic, charged
    assert (order[2][0], order[2][-1]) == ("S", "Y")  # volume as published
    assert (order[4][0], order[4][-1]) == ("D", "R")  # charge
    assert ATCHLEY[AMINO_ACIDS.index("W")].tolist() == [-0.595, 0.009, 0.672, -2.128, -0.184]


def test_logistic_mil_scores_the_highest_kmer():
    made = implanted(4, 5, rate=0.5, motif=(1, 2), length=6, rng=np.random.default_rng(0))
    made.codes[7, 3:] = 20
    counts = kmer_counts(made, 2)
    train = kmer_counts(made._replace(codes=made.codes[::-1]), 2)
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
    train, test = (implanted(100, 10, rate=0.2, motif=(8, 3), length=6, rng=rng) for _ in range(2))
    counts = kmer_counts(train, 2), train.label, kmer_counts(test, 2)
    scores = logistic_mil_scores(*counts, lr=0.1, steps=200, starts=3)
    assert auc(test.label, scores) > 80
    assert np.array_equal(scores, logistic_mil_scores(*counts, lr=0.1, steps=200, starts=3))


def test_a_bag_without_a_kmer_is_a_clear_error():
    made = implanted(2, 1, rate=1, motif=(1,), length=3, rng=np.random.default_rng(0))
    made.codes[1, 1:] = 20
    with pytest.raises(ValueError, match="bag 1 has no k-mer"):
        KmerBags(kmer_counts(made, 2))
