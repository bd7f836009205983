"""Logistic multiple-instance learning on k-mers: Ostmeyer et al. (2019), as DeepRC compares it.

Every distinct k-mer of a repertoire is an instance; the repertoire's score is its highest one.

R repertoires, S starts.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, pad

# Atchley et al. (2005), "Solving the protein sequence metric problem", table 2: polarity,
# secondary structure, volume, codon diversity and charge of each of `AMINO_ACIDS`.
ATCHLEY = np.array([
    [-0.591, -1.302, -0.733, 1.570, -0.146],
    [-1.343, 0.465, -0.862, -1.020, -0.255],
    [1.050, 0.302, -3.656, -0.259, -3.242],
    [1.357, -1.453, 1.477, 0.113, -0.837],
    [-1.006, -0.590, 1.891, -0.397, 0.412],
    [-0.384, 1.652, 1.330, 1.045, 2.064],
    [0.336, -0.417, -1.673, -1.474, -0.078],
    [-1.239, -0.547, 2.131, 0.393, 0.816],
    [1.831, -0.561, 0.533, -0.277, 1.648],
    [-1.019, -0.987, -1.505, 1.266, -0.912],
    [-0.663, -1.524, 2.219, -1.005, 1.212],
    [0.945, 0.828, 1.299, -0.169, 0.933],
    [0.189, 2.081, -1.628, 0.421, -1.392],
    [0.931, -0.179, -3.005, -0.503, -1.853],
    [1.538, -0.055, 1.502, 0.440, 2.897],
    [-0.228, 1.399, -4.760, 0.670, -2.647],
    [-0.032, 0.326, 2.213, 0.908, 1.313],
    [-1.337, -0.279, -0.544, 1.242, -1.262],
    [-0.595, 0.009, 0.672, -2.128, -0.184],
    [0.260, 0.830, 3.097, -0.838, 1.512],
])  # fmt: skip


class KmerBags:
    """The k-mers of repertoires as instances: factors of the letters, and how frequent a k-mer is.

    counts: (R, 20^k) of `count_kmers`, a k-mer in each bag. The factors have mean 0 and variance 1
    over the letters, the logarithm of a k-mer's share of its bag over the instances of `scale`
    (by default these ones).
    """

    def __init__(self, counts: sparse.csr_matrix, scale: "KmerBags | None" = None) -> None:
        sizes = np.diff(counts.indptr)
        if not sizes.all():
            raise ValueError(f"bag {int(sizes.argmin())} has no k-mer")
        k = round(np.log(counts.shape[1]) / np.log(20))
        letters = np.indices((20,) * k).reshape(k, -1).T
        factors = (ATCHLEY - ATCHLEY.mean(0)) / ATCHLEY.std(0)
        self.table = torch.from_numpy(factors[letters].reshape(len(letters), -1)).float()
        share = np.log(counts.data / np.repeat(np.asarray(counts.sum(1)).ravel(), sizes))
        self.mean, self.std = share.mean(), share.std() + 1e-6
        if scale is not None:
            self.mean, self.std = scale.mean, scale.std
        # A row a bag; behind its end stands a number that no k-mer has.
        inside = np.arange(sizes.max()) < sizes[:, None]
        kmer, shares = np.full(inside.shape, len(letters)), np.zeros(inside.shape, np.float32)
        kmer[inside], shares[inside] = counts.indices, (share - self.mean) / self.std
        self.kmer, self.share = torch.from_numpy(kmer), torch.from_numpy(shares)

    def highest(self, weight: Tensor) -> Tensor:
        """Scores of the bags, those of their highest instances: weight (S, 5k + 2) -> (S, R)."""
        with torch.no_grad():
            by_kmer = pad(weight[:, :-2] @ self.table.T, (0, 1), value=-torch.inf)
            chosen = torch.stack([
                (row.take(self.kmer) + w * self.share).max(1).indices
                for row, w in zip(by_kmer, weight[:, -2], strict=True)
            ])  # fmt: skip
        bag = torch.arange(len(self.kmer))
        factors, share = self.table[self.kmer[bag, chosen]], self.share[bag, chosen]
        return (factors @ weight[:, :-2, None])[..., 0] + weight[:, -2:-1] * share + weight[:, -1:]


def score_logistic_mil(
    train: sparse.csr_matrix,
    label: NDArray[np.int64],
    test: sparse.csr_matrix,
    *,
    learning_rate: float = 0.01,
    steps: int = 400,
    starts: int = 5,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Scores of bags by a logistic regression on k-mers, of which a bag's highest one counts.

    Adam starts at several random weights; the start with the lowest training loss scores.

    Args:
        train: Counts (R, 20^k) of `count_kmers`.
        label: (R,) of `train`, 0 or 1.
        test: Counts of the bags that get a score.
        learning_rate: Of Adam.
        steps: Updates of each start, each over all bags.
        starts: Random starts S.
        seed: What the starts follow from.

    Example:
        >>> import numpy as np
        >>> from quire.papers.hopfield.experiments.kmers import count_kmers, implant_motif
        >>> made = implant_motif(6, 10, rate=0.5, generator=np.random.default_rng(0))
        >>> counts = count_kmers(made, 2)
        >>> score_logistic_mil(counts, made.label, counts, steps=3).shape
        (6,)
    """
    bags = KmerBags(train)
    columns = bags.table.shape[1]
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(starts, columns + 2, generator=generator) * columns**-0.5
    weight[:, -2:] = 0
    weight.requires_grad_()
    target = torch.from_numpy(label).float().expand(starts, -1)

    def losses() -> Tensor:
        scores = bags.highest(weight)
        return binary_cross_entropy_with_logits(scores, target, reduction="none").mean(1)

    optimizer = torch.optim.Adam([weight], lr=learning_rate)
    for _ in range(steps):
        optimizer.zero_grad()
        losses().sum().backward()
        optimizer.step()
    with torch.no_grad():
        best = weight[losses().argmin()][None]
        return KmerBags(test, bags).highest(best)[0].double().numpy()
