"""The four ways to predict a word, as PyTorch modules for a model of one's own.

Legend: B pairs, D dimensions, W words, k negatives. Each module holds the table of input vectors
(W, D) and its own table of output vectors, and gives the loss of each pair, (B), in nats.

With `sparse=True` the tables get sparse gradients, which hold the rows of a batch alone: an
optimiser for them (`torch.optim.SparseAdam`, `SGD`) leaves the other W rows untouched.
"""

from collections.abc import Callable, Sequence
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import embedding, logsigmoid

from quire.papers.word2vec.huffman import huffman
from quire.papers.word2vec.vocabulary import alias_table, noise_distribution

Counts = Sequence[int] | NDArray[np.int64]


def draw_input_table(words: int, dim: int) -> nn.Parameter:
    """Vectors (W, D), uniform in (-0.5, 0.5) / D as in the authors' code."""
    return nn.Parameter((torch.rand(words, dim) - 0.5) / dim)


class NegativeSampling(nn.Module):
    """Negative sampling (equation 4): -log s(v'_o.v_i) - sum_n log s(-v'_n.v_i).

    Noise words that equal the context word are left out, as in the authors' code.

    Args:
        counts: Of the W words; the noise distribution is proportional to count^exponent.
        dim: D.
        exponent: 1 is unigram noise, 0 uniform.
        sparse: Give both tables sparse gradients.

    The noise stays float32 where the module is cast to half precision: rare words would have no
    probability there.

    Example:
        >>> from quire.papers.word2vec import NegativeSampling
        >>> loss = NegativeSampling([8, 4, 2, 1], dim=6)
        >>> noise = loss.draw(3, 5, torch.Generator().manual_seed(0))
        >>> loss(torch.tensor([0, 1, 2]), torch.tensor([1, 2, 3]), noise).shape
        torch.Size([3])
    """

    def __init__(
        self, counts: Counts, dim: int, *, exponent: float = 0.75, sparse: bool = False
    ) -> None:
        super().__init__()
        self.input = draw_input_table(len(counts), dim)
        self.output = nn.Parameter(torch.zeros(len(counts), dim))
        self.sparse = sparse
        self.noise: Tensor
        self.threshold: Tensor
        self.alias: Tensor
        probability = noise_distribution(counts, exponent)
        threshold, alias = alias_table(probability)
        self.register_buffer("noise", torch.from_numpy(probability).float())
        # The alias tables follow from the counts: no part of the state.
        self.register_buffer("threshold", torch.from_numpy(threshold), persistent=False)
        self.register_buffer("alias", torch.from_numpy(alias).long(), persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        kept = {name: getattr(self, name) for name in ("noise", "threshold")}
        super()._apply(fn, recurse)
        for name, before in kept.items():
            after = getattr(self, name)
            if after.dtype != before.dtype:
                setattr(self, name, before.to(after.device))
        return self

    def draw(self, pairs: int, negatives: int, generator: torch.Generator) -> Tensor:
        """Noise words (pairs, negatives). The generator stands on the module's device."""
        shape, device = (pairs, negatives), self.alias.device
        column = torch.randint(len(self.alias), shape, generator=generator, device=device)
        u = torch.rand(shape, generator=generator, device=device)
        return torch.where(u < self.threshold[column], column, self.alias[column])

    def forward(self, centre: Tensor, context: Tensor, noise: Tensor) -> Tensor:
        """Loss (B) of pairs: centre (B), context (B), noise (B, k), all word indices."""
        positive, negative = self._logits(centre, context, noise)
        kept = noise != context[:, None]
        return -logsigmoid(positive) - (logsigmoid(-negative) * kept).sum(1)

    def _logits(self, centre: Tensor, context: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        v = embedding(centre, self.input, sparse=self.sparse)
        positive = (v * embedding(context, self.output, sparse=self.sparse)).sum(1)
        rows = embedding(noise, self.output, sparse=self.sparse)
        return positive, (rows @ v[:, :, None])[..., 0]


class NoiseContrastive(NegativeSampling):
    """Noise-contrastive estimation: as negative sampling, with log(k P_n(w)) taken from each logit.

    Its optimum are the log-probabilities themselves (with a normaliser of one), and noise words
    that equal the context word count.

    Args:
        counts: Of the W words; the noise distribution is proportional to count^exponent.
        dim: D.
        exponent: 1 is unigram noise, 0 uniform.
        sparse: Give both tables sparse gradients.

    Example:
        >>> from quire.papers.word2vec import NoiseContrastive
        >>> loss = NoiseContrastive([8, 4, 2, 1], dim=6)
        >>> noise = loss.draw(3, 5, torch.Generator().manual_seed(0))
        >>> loss(torch.tensor([0, 1, 2]), torch.tensor([1, 2, 3]), noise).shape
        torch.Size([3])
    """

    def forward(self, centre: Tensor, context: Tensor, noise: Tensor) -> Tensor:
        """As `NegativeSampling.forward`."""
        positive, negative = self._logits(centre, context, noise)
        shift = (noise.shape[1] * self.noise).log().to(positive.dtype)
        positive, negative = positive - shift[context], negative - shift[noise]
        return -logsigmoid(positive) - logsigmoid(-negative).sum(1)


class HierarchicalSoftmax(nn.Module):
    """Hierarchical softmax (equation 3): a Huffman tree of W - 1 sigmoid nodes.

    -log p(o|i) = -sum_j log s(+-v'_{n_j}.v_i) over the nodes n_j on the way to o; code 0 takes
    the plus sign. The probabilities of all words sum to one. counts: of the W words, not
    increasing. dim: D. sparse: give both tables sparse gradients.

    Example:
        >>> from quire.papers.word2vec import HierarchicalSoftmax
        >>> loss = HierarchicalSoftmax([8, 4, 2, 1], dim=6)
        >>> loss(torch.tensor([0, 1, 2]), torch.tensor([1, 2, 3])).shape
        torch.Size([3])
    """

    def __init__(self, counts: Counts, dim: int, *, sparse: bool = False) -> None:
        super().__init__()
        self.sparse = sparse
        tree = huffman(counts)
        self.input = draw_input_table(len(counts), dim)
        self.output = nn.Parameter(torch.zeros(len(counts) - 1, dim))
        self.points: Tensor
        self.signs: Tensor
        on_path = np.arange(tree.points.shape[1]) < tree.lengths[:, None]
        signs = (1 - 2 * tree.codes.astype(np.float32)) * on_path
        self.register_buffer("points", torch.from_numpy(tree.points).long())
        self.register_buffer("signs", torch.from_numpy(signs))

    def forward(self, centre: Tensor, context: Tensor) -> Tensor:
        """Loss (B) of pairs: centre (B) and context (B), word indices."""
        v, signs = embedding(centre, self.input, sparse=self.sparse), self.signs[context]
        nodes = embedding(self.points[context], self.output, sparse=self.sparse)
        logits = (nodes @ v[:, :, None])[..., 0]
        # Places beyond a path's end have sign 0.
        return -(logsigmoid(signs * logits) * signs.abs()).sum(1)


class FullSoftmax(nn.Module):
    """The softmax over all words (equation 2): what the others approximate, in O(W) a pair.

    words: W. dim: D. sparse: give the input table sparse gradients; the output table is used whole.

    Example:
        >>> from quire.papers.word2vec import FullSoftmax
        >>> loss = FullSoftmax(4, dim=6)
        >>> loss(torch.tensor([0, 1, 2]), torch.tensor([1, 2, 3])).shape
        torch.Size([3])
    """

    def __init__(self, words: int, dim: int, *, sparse: bool = False) -> None:
        super().__init__()
        self.sparse = sparse
        self.input = draw_input_table(words, dim)
        self.output = nn.Parameter(torch.zeros(words, dim))

    def forward(self, centre: Tensor, context: Tensor) -> Tensor:
        """Loss (B) of pairs: centre (B) and context (B), word indices."""
        v = embedding(centre, self.input, sparse=self.sparse)
        log_p = (v @ self.output.T).log_softmax(1)
        return -log_p.gather(1, context[:, None])[:, 0]
