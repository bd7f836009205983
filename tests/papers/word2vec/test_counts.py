"""Trees, noise and subsampling against brute force and closed forms."""

import heapq
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from quire.papers.word2vec import (
    FullSoftmax,
    HierarchicalSoftmax,
    NegativeSampling,
    Vocabulary,
    alias_table,
    huffman,
    keep_probability,
    noise_distribution,
    noise_table,
)
from quire.papers.word2vec.training import reference
from quire.papers.word2vec.training.reference import Form

counts = st.lists(st.integers(1, 10_000), min_size=2, max_size=60).map(
    lambda found: sorted(found, reverse=True)
)


@given(counts)
@settings(deadline=None, max_examples=60)
def test_huffman_is_optimal_and_prefix_free(found):
    tree = huffman(found)
    heap = [*found]
    heapq.heapify(heap)
    cost = 0
    while len(heap) > 1:
        joined = heapq.heappop(heap) + heapq.heappop(heap)
        cost += joined
        heapq.heappush(heap, joined)
    assert (np.array(found) * tree.lengths).sum() == cost
    codes = ["".join(map(str, row[:n])) for row, n in zip(tree.codes, tree.lengths, strict=True)]
    assert not any(b.startswith(a) for a, b in itertools.permutations(codes, 2))
    assert all(row[0] == len(found) - 2 for row in tree.points)
    share = np.array(found) / sum(found)
    entropy = -(share * np.log2(share)).sum()
    assert entropy - 1e-9 <= (share * tree.lengths).sum() < entropy + 1


def test_equal_counts_make_a_balanced_tree():
    assert set(huffman([3] * 16).lengths.tolist()) == {4}


@given(counts)
@settings(deadline=None, max_examples=20)
def test_hierarchical_softmax_sums_to_one(found):
    loss = HierarchicalSoftmax(found, 7).double()
    with torch.no_grad():
        loss.output.normal_(generator=torch.Generator().manual_seed(0), std=3)
    words = torch.arange(len(found))
    p = (-loss(torch.zeros_like(words), words)).exp()
    assert float(p.detach().sum()) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("bad", [[3], [3, 0], [1, 2]])
def test_huffman_says_what_it_takes(bad):
    with pytest.raises(ValueError, match=r"word|count"):
        huffman(bad)


@given(counts, st.floats(0, 1.2))
@settings(deadline=None, max_examples=60)
def test_alias_tables_hold_the_distribution(found, exponent):
    p = noise_distribution(found, exponent)
    threshold, alias = alias_table(p)
    mass = threshold.astype(np.float64).copy()
    np.add.at(mass, alias, 1 - threshold.astype(np.float64))
    np.testing.assert_allclose(mass / len(p), p, atol=1e-6)


def test_the_authors_table_fills_places_in_proportion():
    found = [1000, 300, 50, 7, 1]
    table = noise_table(found, 100_000)
    share = np.bincount(table, minlength=5) / len(table)
    np.testing.assert_allclose(share, noise_distribution(found), atol=3e-5)
    slow, word, reached = [], 0, np.cumsum(noise_distribution(found))
    for place in range(1000):
        slow.append(word)
        if place / 1000 > reached[word]:
            word = min(word + 1, 4)
    assert noise_table(found, 1000).tolist() == slow


def test_compiled_noise_follows_the_distribution():
    """Negative sampling with one word's output counted: a chi-square test of the twin's draws."""
    found = np.array([400, 100, 30, 10, 3])
    threshold, alias = alias_table(noise_distribution(found))
    tables = reference.Tables(
        *([np.zeros((5, 1), np.float32)] * 2),
        keep=np.ones(5, np.float32),
        threshold=threshold,
        alias=alias,
        shift=np.zeros(5, np.float32),
        points=np.zeros((1, 1), np.int32),
        codes=np.zeros((1, 1), np.int8),
        lengths=np.zeros(1, np.int32),
        sigmoid=reference.sigmoid_table(10),
    )
    stream = reference.Stream(5, tables, Form(1, 1, 1, False, "negative", False))
    seen = np.bincount([stream.noise() for _ in range(20_000)], minlength=5)
    assert stats.chisquare(seen, noise_distribution(found) * 20_000).pvalue > 1e-3
    drawn = NegativeSampling(found, 2).draw(4000, 5, torch.Generator().manual_seed(3))
    seen = np.bincount(drawn.flatten(), minlength=5)
    assert stats.chisquare(seen, noise_distribution(found) * 20_000).pvalue > 1e-3


def test_both_formulas_of_subsampling():
    found, t = np.array([9000, 900, 90, 10]), 0.01
    f = found / 10_000
    paper = [1 - max(0.0, 1 - np.sqrt(t / x)) for x in f]
    code = [min(1.0, (np.sqrt(n / (t * 10_000)) + 1) * (t * 10_000) / n) for n in found]
    np.testing.assert_allclose(keep_probability(found, t, "paper"), paper)
    np.testing.assert_allclose(keep_probability(found, t), code)
    assert keep_probability(found, 0).tolist() == [1, 1, 1, 1]
    with pytest.raises(ValueError, match="'code' or 'paper'"):
        keep_probability(found, t, "other")
    with pytest.raises(ValueError, match="at least 0"):
        keep_probability(found, -1)


def test_negative_samplings_optimum_is_shifted_pmi():
    """Levy and Goldberg's fixed point, by coordinate: the gradient of the expected loss is zero at
    v'.v = log(P(i, o) / (P(i) P_n(o))) - log k."""
    rng = np.random.default_rng(10)
    joint = rng.random((20, 20)) + 0.1
    joint /= joint.sum()
    left, noise, k = joint.sum(1), noise_distribution(joint.sum(0)), 5
    optimum = np.log(joint / np.outer(left, noise)) - np.log(k)
    loss = NegativeSampling([1] * 20, 20).double()
    with torch.no_grad():
        loss.input.copy_(torch.eye(20))
        loss.output.copy_(torch.from_numpy(optimum.T))
    total = torch.zeros((), dtype=torch.float64)
    for o in range(20):  # for each context word, every word of noise once, weighted
        centre, word = torch.arange(20), torch.full((20,), o)
        positive, negative = loss._logits(centre, word, word[:, None])
        p, q = torch.from_numpy(joint[:, o]), torch.from_numpy(left * noise[o] * k)
        logsigmoid = torch.nn.functional.logsigmoid
        total = total - (p * logsigmoid(positive) + q * logsigmoid(-negative[:, 0])).sum()
    total.backward()
    assert float(loss.output.grad.abs().max()) < 1e-12
    assert float(total.detach()) < float(-np.log(0.5) * (1 + k))


def test_full_softmax_is_the_softmax():
    loss = FullSoftmax(6, 4).double()
    with torch.no_grad():
        loss.output.normal_(generator=torch.Generator().manual_seed(0))
    words = torch.arange(6)
    p = (-loss(torch.zeros_like(words), words)).exp()
    torch.testing.assert_close(p, (loss.output @ loss.input[0]).softmax(0))


def test_a_vocabulary_says_what_is_wrong():
    with pytest.raises(ValueError, match="twice"):
        Vocabulary(["a", "a"], [2, 1])
    with pytest.raises(ValueError, match="sorted"):
        Vocabulary(["a", "b"], [1, 2])
    with pytest.raises(ValueError, match="2 words"):
        Vocabulary(["a", "b"], [1])
    with pytest.raises(KeyError, match="not in the vocabulary of 1 words"):
        Vocabulary(["a"], [1])["b"]
