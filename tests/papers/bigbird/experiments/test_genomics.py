"""Negatives, the made-up genome, the n-gram model and words of DNA."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quire.papers.bigbird.experiments import genomics
from quire.papers.bigbird.experiments.genomics import (
    NGram,
    bits_per_base,
    count_kmers,
    encode,
    make_genome,
    make_negatives,
    read_fasta,
    read_genome,
    reverse_complement,
    shuffle_dinucleotides,
)


def pairs(bases):
    return np.bincount(bases[:-1] * 4 + bases[1:], minlength=16)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=2, max_size=60), st.integers(0, 9))
def test_a_shuffle_keeps_pairs_and_ends(bases, seed):
    bases = np.array(bases)
    shuffled = shuffle_dinucleotides(bases, np.random.default_rng(seed))
    assert (pairs(shuffled) == pairs(bases)).all()
    assert shuffled[0] == bases[0] and shuffled[-1] == bases[-1]


def test_every_shuffle_is_reached_equally_often():
    """ACAGA has the pairs AC CA AG GA: two orders, each half of the time."""
    rng = np.random.default_rng(0)
    found = [tuple(shuffle_dinucleotides(encode(["ACAGA"])[0], rng)) for _ in range(2000)]
    counts = [found.count(each) for each in set(found)]
    assert len(counts) == 2
    assert min(counts) > 900


def test_negatives_keep_eight_of_twenty_pieces():
    rng = np.random.default_rng(0)
    promoters = rng.integers(4, size=(50, 300))
    negatives = make_negatives(promoters, rng)
    same = (negatives == promoters).reshape(50, 20, 15).all(-1).sum(1)
    assert (same == 8).all()
    changed = (negatives != promoters).reshape(50, 20, 15)
    share = changed[changed.any(-1)].mean()
    assert 0.7 < share < 0.8  # random bases differ three times of four
    with pytest.raises(ValueError, match="cannot be cut in 20 pieces"):
        make_negatives(promoters[:, :299], rng)


def test_a_uniform_guess_has_two_bits():
    assert bits_per_base(math.log(4)) == pytest.approx(2)
    assert bits_per_base(math.log(4) * 8.78, 8.78) == pytest.approx(2)
    bases = np.random.default_rng(0).integers(4, size=400_000)
    assert NGram(bases[:300_000]).bits(bases[300_000:]) == pytest.approx(2, abs=0.01)


def test_an_n_gram_learns_the_chain_and_no_more():
    bases = np.tile([0, 1, 2, 3, 3], 200)
    assert NGram(bases, 2, prior=1e-9).bits(bases) < 1e-6
    slow = {}
    for at in range(2, 100):
        slow.setdefault(tuple(bases[at - 2 : at]), []).append(bases[at])
    model = NGram(bases[:100], 2, prior=0.5)
    expected = np.mean([
        -math.log2((slow[tuple(bases[at - 2 : at])].count(bases[at]) + 0.5)
                   / (len(slow[tuple(bases[at - 2 : at])]) + 2))
        for at in range(2, 100)
    ])  # fmt: skip
    assert model.bits(bases[:100]) == pytest.approx(expected)


def test_an_n_gram_of_bytes():
    text = np.frombuffer(b"abracadabra, abracadabra", np.uint8)
    model = NGram(text, 1, prior=1e-9, values=256)
    followers = {letter: [b for a, b in pairwise(text) if a == letter]
                 for letter in set(text.tolist())}  # fmt: skip
    bits = [-math.log2(followers[a].count(b) / len(followers[a]))
            for a, b in pairwise(text.tolist())]  # fmt: skip
    assert model.bits(text) == pytest.approx(np.mean(bits))
    best = {a: max(sorted(set(found)), key=found.count) for a, found in followers.items() if found}
    right = np.mean([best[a] == b for a, b in pairwise(text.tolist())])
    assert model.accuracy(text) == pytest.approx(right)


def test_the_made_up_genome_repeats_its_variants_far_away():
    bases, second = make_genome(200_000, np.random.default_rng(0))
    assert set(np.unique(bases)) == {0, 1, 2, 3}
    starts = np.flatnonzero(second & ~np.roll(second, 1))
    head = encode(["CCAATGGC"])[0]
    repeated = 0
    for at in starts:
        variant = bases[at : at + 8]
        whole = np.concatenate((head, variant))
        before = [d for d in range(200, 801)
                  if at - d >= 8 and (bases[at - d - 8 : at - d + 8] == whole).all()]  # fmt: skip
        repeated += bool(before)
    assert repeated > 0.9 * len(starts) > 100
    assert NGram(bases[:150_000]).bits(bases[150_000:]) < 1.7


def test_words_are_counted_by_brute_force():
    texts = ["ACGTAC", "AAAAAA"]
    counts = count_kmers(encode(texts), 2)
    for row, text in enumerate(texts):
        for a, first in enumerate("ACGT"):
            for b, second in enumerate("ACGT"):
                expected = sum(text[i : i + 2] == first + second for i in range(5))
                assert counts[row, 4 * a + b] == expected


def test_the_other_strand():
    assert (reverse_complement(encode(["AACGT"])) == encode(["ACGTT"])).all()
    bases = np.array([[0, 4, 1]], np.uint8)
    assert reverse_complement(bases).tolist() == [[2, 4, 3]]
    assert reverse_complement(bases).dtype == np.uint8


def test_fasta(tmp_path):
    path = tmp_path / "some.fa"
    path.write_text(">chr1 first\nACgt\nNNA\n>chr2\r\nTT\r\n>empty\n>\nRa\n")
    found = [(name, bases.tolist()) for name, bases in read_fasta(path)]
    expected = [("chr1", [0, 1, 2, 3, 4, 4, 0]), ("chr2", [3, 3]), ("empty", []), ("?", [4, 0])]
    assert found == expected
    whole = read_genome(path)
    assert whole.dtype == np.uint8
    assert whole.tolist() == [0, 1, 2, 3, 4, 4, 0, 4, 3, 3, 4, 4, 4, 0]
    for text in ("ACGT\n", "", "\n"):
        path.write_text(text)
        with pytest.raises(ValueError, match="is no FASTA file"):
            list(read_fasta(path))
    with pytest.raises(ValueError, match="not A, C, G or T"):
        encode(["ACGN"])


def test_no_window_of_an_n_gram_holds_an_n(monkeypatch):
    """N parts a sequence in two, and a genome is counted in pieces."""
    generator = np.random.default_rng(0)
    a, b = (generator.integers(4, size=300, dtype=np.uint8) for _ in range(2))
    both = np.concatenate((a, [4, 4], b)).astype(np.uint8)
    model = NGram(both, 2, prior=1.0)
    counts = np.zeros((16, 4))
    for part in (a, b):
        for at in range(2, 300):
            counts[4 * part[at - 2] + part[at - 1], part[at]] += 1
    counts += 1
    np.testing.assert_allclose(model.log2, np.log2(counts / counts.sum(1, keepdims=True)))
    bits, right = model.bits(both), model.accuracy(both)
    assert bits == pytest.approx((model.bits(a) + model.bits(b)) / 2)
    monkeypatch.setattr(genomics, "PIECE", 37)
    assert np.array_equal(NGram(both, 2, prior=1.0).log2, model.log2)
    assert model.bits(both) == pytest.approx(bits, abs=1e-12)
    assert model.accuracy(both) == right
    with pytest.raises(ValueError, match="no known base with 2 known ones before it"):
        model.bits(np.array([0, 4, 1, 2]))
