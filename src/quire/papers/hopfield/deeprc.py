"""DeepRC: a repertoire of immune receptors, a bag of up to 300,000 sequences, gets one score.

Widrich et al. (2020). A convolution embeds each sequence, attention with a learned query pools the
bag, and only the sequences with the highest attention take part in the gradient.

N sequences of all bags, L length, B bags, E embedding width.
"""

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from quire.nn import devices

AMINO_ACIDS = "ACDEFGHIKLMNPQRSTVWY"
_LETTERS, _RAMPS = 20, 3


def encode(sequences: Sequence[str], length: int | None = None) -> Tensor:
    """Letters as numbers: (N, L) uint8, 0..19 in the order of `AMINO_ACIDS`, 20 behind the end.

    length: L, by default the longest sequence's. Raises ValueError for another letter, an empty
    sequence or one that is longer, TypeError for one string in place of a list of them.

    Example:
        >>> from quire.papers.hopfield import encode
        >>> encode(["CAW", "A"])
        tensor([[ 1,  0, 18],
                [ 0, 20, 20]], dtype=torch.uint8)
    """
    if isinstance(sequences, str):
        raise TypeError(f"sequences must be a list of strings, got the string {sequences!r:.40}")
    longest = max(map(len, sequences), default=0)
    length = longest if length is None else length
    if not len(sequences):
        return torch.zeros(0, length, dtype=torch.uint8)
    if longest > length or not all(sequences):
        raise ValueError(f"sequences of 1 to {length} letters expected, got 0 or {longest}")
    table = np.full(256, 255, np.uint8)
    table[np.frombuffer(AMINO_ACIDS.encode(), np.uint8)] = np.arange(_LETTERS)
    table[ord(" ")] = _LETTERS
    text = "".join(s.ljust(length) for s in sequences).encode("latin-1", "replace")
    codes = table[np.frombuffer(text, np.uint8)].reshape(-1, length)
    if (codes == 255).any():
        row = int((codes == 255).any(1).argmax())
        raise ValueError(f"sequence {row} has a letter that is no amino acid: {sequences[row]}")
    return torch.from_numpy(codes)


class SequenceEmbedding(nn.Module):
    """One-hot letters and three ramps of the position, a convolution, SELU, and the maximum.

    dim: kernels E. width: letters a kernel sees. The ramps fall from the start, rise to the end and
    peak in the centre; they are scaled to the variance of a letter's indicator.

    Example:
        >>> import torch
        >>> from quire.papers.hopfield import SequenceEmbedding, encode
        >>> SequenceEmbedding(8, 5)(encode(["CASSLG", "CAW"])).shape
        torch.Size([2, 8])
    """

    def __init__(self, dim: int = 32, width: int = 9) -> None:
        super().__init__()
        self.conv = nn.Conv1d(_LETTERS + _RAMPS, dim, width, padding=width // 2)

    def forward(self, codes: Tensor) -> Tensor:
        """codes (N, L) of `encode` -> (N, E)."""
        weight = self.conv.weight
        if not len(codes):
            return weight.new_zeros(0, weight.shape[0])
        letters = torch.eye(_LETTERS + 1, _LETTERS, device=codes.device, dtype=weight.dtype)
        one_hot = letters[codes.long()]
        inside = codes < _LETTERS
        last = (inside.sum(-1, keepdim=True) - 1).clamp_min(1).to(weight.dtype)
        place = torch.arange(codes.shape[1], device=codes.device, dtype=weight.dtype) / last
        ramps = torch.stack((1 - place, place, 1 - (2 * place - 1).abs()), -1)
        # Uniform on 0..1: mean 1 / 2, variance 1 / 12. A letter is one in twenty.
        scale = (12 * (1 / _LETTERS) * (1 - 1 / _LETTERS)) ** 0.5
        ramps = ((ramps - 0.5) * scale).masked_fill(~inside[..., None], 0.0)
        features = self.conv(torch.cat((one_hot, ramps), -1).transpose(1, 2))
        features = features[..., : codes.shape[1]]
        active = nn.functional.selu(features.masked_fill(~inside[:, None], -torch.inf))
        return active.amax(-1)


class BagAttention(nn.Module):
    """Weights of a bag's members: a network of SELU layers makes keys, a learned query scores them.

    dim: E. hidden: width of the keys. layers: SELU layers.

    Example:
        >>> import torch
        >>> from quire.papers.hopfield import BagAttention
        >>> BagAttention(8)(torch.randn(5, 8)).shape
        torch.Size([5])
    """

    def __init__(self, dim: int, hidden: int = 32, layers: int = 2) -> None:
        super().__init__()
        widths = [dim] + [hidden] * layers
        self.keys = nn.Sequential()
        for before, after in itertools.pairwise(widths):
            self.keys.extend([nn.Linear(before, after), nn.SELU()])
        self.query = nn.Linear(hidden, 1)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=module.in_features**-0.5)
                nn.init.zeros_(module.bias)

    def forward(self, embedded: Tensor) -> Tensor:
        """(N, E) -> scores (N,)."""
        scores: Tensor = self.query(self.keys(embedded))
        return scores[:, 0]


class DeepRC(nn.Module):
    """Bags of sequences to scores: embed, pool, a linear layer.

    Args:
        embedding: Codes (N, L) to (N, E).
        dim: E.
        attention: Scores of a bag's members, e.g. `BagAttention`; None takes the mean over the bag.
        maximum: Without attention, take the largest value of each element in place of the mean.
        outputs: Scores of a bag.
        keep: Share of each bag, by attention, that is pooled; below 1 the others are scored without
            gradients, in minibatches.
        minibatch: Sequences embedded at a time; where all are kept their embeddings are computed
            again in the backward pass.

    Raises ValueError for a keep or minibatch outside its range, TypeError for an embedding or
    attention that is no module.

    Example:
        >>> import torch
        >>> from quire.papers.hopfield import BagAttention, DeepRC, SequenceEmbedding, encode
        >>> model = DeepRC(SequenceEmbedding(8, 5), 8, attention=BagAttention(8), keep=0.5)
        >>> model(encode(["CASSLG", "CAW", "CSF", "CSSA"]), torch.tensor([3, 1])).shape
        torch.Size([2, 1])
    """

    def __init__(
        self,
        embedding: nn.Module,
        dim: int,
        *,
        attention: nn.Module | None = None,
        maximum: bool = False,
        outputs: int = 1,
        keep: float = 1.0,
        minibatch: int = 50_000,
    ) -> None:
        super().__init__()
        for name, part in (("embedding", embedding), ("attention", attention)):
            if not isinstance(part, nn.Module) and (part is not None or name == "embedding"):
                raise TypeError(f"{name} must be a module, such as SequenceEmbedding or "
                                f"BagAttention; got {part!r}")  # fmt: skip
        if not 0 < keep <= 1 or (keep < 1 and attention is None) or minibatch < 1:
            raise ValueError(f"keep must be in (0, 1], below 1 with attention only, and minibatch "
                             f"positive, got {keep} and {minibatch}")  # fmt: skip
        self.embedding, self.attention = embedding, attention
        self.maximum, self.keep, self.minibatch = maximum, keep, minibatch
        self.output = nn.Linear(dim, outputs)

    def forward(self, codes: Tensor, sizes: Tensor) -> Tensor:
        """codes (N, L) of all bags one after the other, sizes (B,) int64 of each -> (B, outputs).

        A bag without a sequence is pooled to zeros. Raises ValueError for sizes below 0 or that do
        not sum to N.
        """
        fine = (sizes.sum() == len(codes)) & (sizes >= 0).all()
        if devices.is_accelerator(sizes):
            torch._assert_async(fine)  # an error on the device, for which nobody waits
        elif not fine:
            raise ValueError(f"bags must have {len(codes)} sequences in all and none fewer than 0, "
                             f"got sizes {sizes.tolist()[:8]}")  # fmt: skip
        bags = torch.arange(len(sizes), device=codes.device)
        bag = bags.repeat_interleave(sizes, output_size=len(codes))
        if self.keep < 1:
            chosen = top_members(self.score(codes), bag, sizes, self.keep)
            codes, bag = codes[chosen], bag[chosen]
        embedded = self._embed(codes)
        scores: Tensor = self.output(self._pool(embedded, bag, len(sizes)))
        return scores

    @torch.no_grad()
    def score(self, codes: Tensor) -> Tensor:
        """The attention's scores, in minibatches: (N,)."""
        assert self.attention is not None
        return torch.cat([self.attention(self.embedding(p)) for p in codes.split(self.minibatch)])

    def _embed(self, codes: Tensor) -> Tensor:
        if len(codes) <= self.minibatch:
            embedded: Tensor = self.embedding(codes)
            return embedded
        parts = [
            checkpoint(self.embedding, part, use_reentrant=False)
            for part in codes.split(self.minibatch)
        ]
        return torch.cat(parts)

    def _pool(self, embedded: Tensor, bag: Tensor, bags: int) -> Tensor:
        if self.attention is not None:
            weights = bag_softmax(self.attention(embedded), bag, bags)
            return bag_sum(weights[:, None] * embedded, bag, bags)
        if self.maximum:
            lowest = embedded.new_full((bags, embedded.shape[1]), -torch.inf)
            index = bag[:, None].expand_as(embedded)
            highest = lowest.scatter_reduce(0, index, embedded, "amax")
            return highest.masked_fill(highest == -torch.inf, 0.0)
        members = torch.bincount(bag, minlength=bags).clamp_min(1)
        return bag_sum(embedded, bag, bags) / members[:, None]


def bag_softmax(scores: Tensor, bag: Tensor, bags: int) -> Tensor:
    """Softmax over the members of each bag: scores and bag (N,), bag in 0..bags-1 -> (N,)."""
    top = scores.new_full((bags,), -torch.inf)
    top = top.scatter_reduce(0, bag, scores.detach(), "amax")
    exponents = (scores - top[bag]).exp()
    return exponents / bag_sum(exponents, bag, bags)[bag]


def bag_sum(values: Tensor, bag: Tensor, bags: int) -> Tensor:
    """Sums over each bag: values (N, ...) -> (bags, ...)."""
    return values.new_zeros(bags, *values.shape[1:]).index_add(0, bag, values)


def top_members(scores: Tensor, bag: Tensor, sizes: Tensor, keep: float) -> Tensor:
    """Indices of the best members of each bag, in the members' order.

    Args:
        scores: (N,), bags one after the other.
        bag: (N,), the bag of each member.
        sizes: (B,), members of each bag.
        keep: Share of each bag that is taken, rounded up.

    Raises ValueError for a share outside (0, 1].
    """
    if not 0 < keep <= 1:
        raise ValueError(f"keep must be in (0, 1], got {keep}")
    order = scores.argsort(descending=True, stable=True)
    order = order[bag[order].argsort(stable=True)]
    begin = (sizes.cumsum(0) - sizes).to(scores.device)
    rank = torch.arange(len(scores), device=scores.device) - begin[bag]
    # 70 times 0.1 is a little more than 7 in floating point, and 8 would be taken.
    kept = (sizes.double() * keep - 1e-9).ceil().to(scores.device)[bag]
    return order[rank < kept].sort().values
