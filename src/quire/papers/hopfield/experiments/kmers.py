"""Repertoires with implanted motifs, k-mer counts, and what DeepRC was compared with.

R repertoires, N sequences, L length.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.stats import fisher_exact

Codes = NDArray[np.uint8]
Labels = NDArray[np.int64]
MOTIF = (8, 3, 17, 5)
"""The implanted letters, as numbers in the order of `AMINO_ACIDS`."""
SPACED = (8, -1, 3, -1, 17, -1, 5)
"""The same with any letter between them: no window of four letters holds more than two of them."""


class Repertoires(NamedTuple):
    """Labelled bags of sequences.

    codes: (N, L) uint8 as from `encode`, bags one after the other. sizes: (R,) int64. label: (R,)
    int64, 0 or 1. witness: (N,) bool, whether the sequence carries what makes its bag positive.
    """

    codes: Codes
    sizes: NDArray[np.int64]
    label: Labels
    witness: NDArray[np.bool_]

    def take(self, rows: NDArray[np.int64]) -> "Repertoires":
        """Some of the bags, in that order."""
        ends = self.sizes.cumsum()
        members = np.concatenate([np.arange(ends[r] - self.sizes[r], ends[r]) for r in rows])
        return Repertoires(
            self.codes[members], self.sizes[rows], self.label[rows], self.witness[members]
        )


def implant_motif(
    bags: int,
    sequences: int,
    *,
    rate: float,
    motif: Sequence[int] = MOTIF,
    length: int = 14,
    generator: np.random.Generator,
) -> Repertoires:
    """Random letters; every second bag has a motif at a random place in some of its sequences.

    Args:
        bags: Bags R.
        sequences: Sequences in each bag.
        rate: Share of a positive bag's sequences that have the motif, at least one of them.
        motif: Letters as numbers 0..19; -1 leaves the letter that is there.
        length: Letters of a sequence.
        generator: What is drawn from.

    Raises ValueError if the motif does not fit.
    """
    if not 0 < rate <= 1 or len(motif) > length:
        raise ValueError(f"rate in (0, 1] and a motif of at most {length} letters expected, got "
                         f"{rate} and {len(motif)}")  # fmt: skip
    codes = generator.integers(20, size=(bags, sequences, length), dtype=np.uint8)
    label = np.arange(bags) % 2
    witness = np.zeros((bags, sequences), bool)
    place, letter = np.array([(at, number) for at, number in enumerate(motif) if number >= 0]).T
    count = max(1, round(rate * sequences))
    for row in np.flatnonzero(label):
        for member in generator.choice(sequences, count, replace=False):
            start = generator.integers(length - len(motif) + 1)
            codes[row, member, start + place] = letter
            witness[row, member] = True
    sizes = np.full(bags, sequences)
    return Repertoires(codes.reshape(-1, length), sizes, label, witness.reshape(-1))


def count_kmers(repertoires: Repertoires, k: int = 4) -> sparse.csr_matrix:
    """How often each k-mer occurs in each bag: (R, 20^k) sparse, float64."""
    windows = np.lib.stride_tricks.sliding_window_view(repertoires.codes, k, axis=1)
    bag = np.repeat(np.arange(len(repertoires.sizes)), repertoires.sizes)
    inside = (windows < 20).all(-1)
    number = (windows.astype(np.int64) * 20 ** np.arange(k - 1, -1, -1)).sum(-1)[inside]
    rows = np.broadcast_to(bag[:, None], inside.shape)[inside]
    ones = np.ones(len(number))
    # Repeated places are summed.
    return sparse.csr_matrix((ones, (rows, number)), (len(repertoires.sizes), 20**k))


def minmax_kernel(a: sparse.csr_matrix, b: sparse.csr_matrix) -> NDArray[np.float64]:
    """sum_k min(a_k, b_k) / sum_k max(a_k, b_k) of counts: (Ra, Rb) (Ralaivola et al. 2005)."""
    shared = np.zeros((a.shape[0], b.shape[0]))
    # min of two counts is how many thresholds 1, 2, 3 ... both reach.
    for threshold in range(1, int(min(a.max(), b.max())) + 1):
        high_a, high_b = ((x >= threshold).astype(np.float64) for x in (a, b))
        shared += (high_a @ high_b.T).toarray()
    total = np.asarray(a.sum(1)) + np.asarray(b.sum(1)).T
    return shared / np.maximum(total - shared, 1)


def jaccard_kernel(a: sparse.csr_matrix, b: sparse.csr_matrix) -> NDArray[np.float64]:
    """Shared k-mers over all k-mers of both bags, whatever their counts: (Ra, Rb)."""
    return minmax_kernel((a > 0).astype(np.float64), (b > 0).astype(np.float64))


def score_burden(
    train: sparse.csr_matrix, label: Labels, test: sparse.csr_matrix, *, selected: int = 50
) -> NDArray[np.float64]:
    """How many of the k-mers that Fisher's exact test finds most in positive bags a bag has.

    Args:
        train: Counts (R, 20^k) of `count_kmers`.
        label: (R,) of `train`, 0 or 1.
        test: Counts of the bags that get a score.
        selected: K-mers taken, those with the lowest p-value; ties by the larger difference.
    """
    present = (train > 0).astype(np.int64)
    positive = np.asarray(present[label == 1].sum(0)).ravel()
    negative = np.asarray(present[label == 0].sum(0)).ravel()
    bags = (int((label == 1).sum()), int((label == 0).sum()))
    # Equal pairs of counts have equal p-values: test each pair once.
    pairs, inverse = np.unique(np.stack((positive, negative), 1), axis=0, return_inverse=True)
    values = np.ones(len(pairs))
    for row, (p, n) in enumerate(pairs):
        if p * bags[1] > n * bags[0]:
            values[row] = fisher_exact([[p, bags[0] - p], [n, bags[1] - n]], "greater").pvalue
    order = np.lexsort((negative - positive, values[inverse.ravel()]))[:selected]
    return np.asarray((test[:, order] > 0).sum(1), np.float64).ravel()


def score_motif(
    repertoires: Repertoires, motif: Sequence[int], *, binary: bool = False
) -> NDArray[np.float64]:
    """Occurrences of a known motif in each bag, or with `binary` whether there is one: (R,).

    motif: As in `implant_motif`.
    """
    k, letters = len(motif), np.asarray(motif)
    windows = np.lib.stride_tricks.sliding_window_view(repertoires.codes, k, axis=1)
    found = ((windows == letters) | (letters < 0)).all(-1).sum(1)
    bag = np.repeat(np.arange(len(repertoires.sizes)), repertoires.sizes)
    counts = np.bincount(bag, found, len(repertoires.sizes)).astype(np.float64)
    return (counts > 0).astype(np.float64) if binary else counts
