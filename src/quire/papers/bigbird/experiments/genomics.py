"""DNA: negatives for promoters, a made-up genome, and the baselines of the genomics experiments.

Bases A, C, G and T are 0 to 3; the letter N, a base that is not known, is 4. B sequences of L
bases.
"""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

Bases = NDArray[np.int64]
Codes = NDArray[np.integer[Any]]
"""Bases of any kind of whole numbers: one byte each where there are many."""

LETTERS = "ACGT"
UNKNOWN = 4
"""The letter N."""

PIECE = 1 << 22
"""Bases that are counted at a time: a genome has 3 billion."""


def encode(sequences: Sequence[str]) -> Bases:
    """Strings of one length over A, C, G, T as (B, L). Raises ValueError for other letters."""
    table = np.full(256, -1)
    table[[ord(letter) for letter in LETTERS]] = range(4)
    codes = np.stack([table[np.frombuffer(text.encode(), np.uint8)] for text in sequences])
    if codes.min() < 0:
        raise ValueError("a sequence holds a letter that is not A, C, G or T")
    return codes


def reverse_complement(bases: Codes) -> Codes:
    """The other strand, read in its own direction: (..., L). N stays N."""
    other = bases[..., ::-1]
    return np.where(other < UNKNOWN, 3 - np.minimum(other, 3), other).astype(bases.dtype)


def read_fasta(path: Path) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Name and bases of each sequence of a FASTA file, (L,) uint8; any other letter counts as N.

    Lower case counts as upper case. Raises ValueError for a file that does not begin with ">".
    """
    table = np.full(256, UNKNOWN, np.uint8)
    for number, letter in enumerate(LETTERS):
        table[[ord(letter), ord(letter.lower())]] = number
    name = ""
    lines: list[bytes] = []
    with path.open("rb") as file:
        for line in file:
            if line.startswith(b">"):
                if name:
                    yield name, table[np.frombuffer(b"".join(lines), np.uint8)]
                words = line[1:].decode("ascii", "replace").split()
                name, lines = words[0] if words else "?", []
            elif not name:
                raise ValueError(f"{path.name} is no FASTA file: it does not begin with '>'")
            else:
                lines.append(line.strip())
    if not name:
        raise ValueError(f"{path.name} is no FASTA file: it is empty")
    yield name, table[np.frombuffer(b"".join(lines), np.uint8)]


def read_genome(path: Path) -> NDArray[np.uint8]:
    """All sequences of a FASTA file behind one another, an N between two: (L,) uint8.

    A byte a base is all that is held, and one sequence's text.
    """
    whole = np.full(path.stat().st_size, UNKNOWN, np.uint8)
    end = 0
    for _, bases in read_fasta(path):
        # There is room: a sequence's name takes more of the file than an N.
        begin = end + (end > 0)
        end = begin + len(bases)
        whole[begin:end] = bases
    return whole[:end]


def make_negatives(
    sequences: Bases, generator: np.random.Generator, *, pieces: int = 20, kept: int = 8
) -> Bases:
    """The paper's negatives: promoters cut in 20 pieces of which 12 become random bases.

    The kept pieces stay in place, so a negative looks like a corrupted promoter (appendix F.2,
    after DeePromoter).

    Args:
        sequences: promoters (B, L).
        generator: draws the pieces and the bases.
        pieces: how many, each of L / pieces bases.
        kept: how many of them stay.

    Raises ValueError if L is no multiple of `pieces`, or more are kept than there are.
    """
    count, length = sequences.shape
    if length % pieces or not 0 <= kept <= pieces:
        raise ValueError(
            f"{length} bases cannot be cut in {pieces} pieces of which {kept} are kept"
        )
    keep = generator.random((count, pieces)).argsort(1) < kept
    return np.where(
        np.repeat(keep, length // pieces, 1), sequences, generator.integers(4, size=sequences.shape)
    )


def shuffle_dinucleotides(bases: Bases, generator: np.random.Generator) -> Bases:
    """A random sequence (L,) with the same pairs of neighbours, as often, and the same ends.

    A random Euler path through the pairs (Altschul and Erikson, 1985): negatives that differ from
    promoters in nothing that two neighbouring bases tell.
    """
    last = int(bases[-1])
    follow = [bases[1:][bases[:-1] == base] for base in range(4)]
    # Each base's last exit must lead, step by step, to the last base: else the path would end
    # before it has used all exits. Drawing until that holds gives every path equally often.
    while True:
        follow = [generator.permutation(exits) for exits in follow]
        exit_of = {b: int(follow[b][-1]) for b in range(4) if len(follow[b]) and b != last}
        if all(_leads(base, exit_of, last) for base in exit_of):
            break
    at, used, out = int(bases[0]), [0] * 4, [int(bases[0])]
    for _ in range(len(bases) - 1):
        used[at] += 1
        at = int(follow[at][used[at] - 1])
        out.append(at)
    return np.array(out)


def _leads(base: int, exit_of: dict[int, int], last: int) -> bool:
    for _ in range(4):
        if base == last:
            return True
        base = exit_of[base]
    return base == last


def make_genome(length: int, generator: np.random.Generator) -> tuple[Bases, NDArray[np.bool_]]:
    """A made-up genome: order-5 background, motifs, and pairs of motifs far apart.

    The background is a Markov chain of order 5 with probabilities from a fixed seed. Onto it are
    planted TATA boxes with an initiator 25 bases on, CpG-rich stretches, and elements CCAATGGC of
    which each begins a variant of 8 bases; 200 to 800 bases later TTGACGTC begins the same variant:
    only long contexts tell it. Gives the bases and which are such second variants: (length,) each.
    """
    fixed = np.random.default_rng(0)
    table = fixed.dirichlet(np.full(4, 0.5), size=4**5).cumsum(1)
    uniform = generator.random(length)
    out, second_variant = np.zeros(length, np.int64), np.zeros(length, bool)
    state = 0
    rows = table.tolist()
    for i, u in enumerate(uniform.tolist()):
        a, b, c, _ = rows[state]
        base = (u > a) + (u > b) + (u > c)
        out[i] = base
        state = (state * 4 + base) % 1024
    tata, initiator, first, second = (
        encode([word])[0] for word in ("TATAAAAG", "TCAGTC", "CCAATGGC", "TTGACGTC")
    )
    for begin in range(0, length - 1024, 1024):
        at = begin + int(generator.integers(900))
        out[at : at + 8] = tata
        out[at + 25 : at + 31] = initiator
        at = begin + int(generator.integers(900))
        out[at : at + 40] = np.where(
            generator.random(40) < 0.7, np.arange(40) % 2 + 1, out[at : at + 40]
        )
        at, far = begin + int(generator.integers(180)), int(generator.integers(200, 800))
        variant = generator.integers(4, size=8)
        out[at : at + 16] = np.concatenate((first, variant))
        out[at + far : at + far + 16] = np.concatenate((second, variant))
        second_variant[at + far + 8 : at + far + 16] = True
    return out, second_variant


class NGram:
    """Probabilities of a base after `order` bases, counted and smoothed: the baseline of table 5.

    The table has values^(order + 1) entries.

    Args:
        bases: (L,), to count.
        order: how many bases before it a base depends on.
        prior: added to each count.
        values: of a base; 256 for bytes of text.
    """

    def __init__(
        self, bases: Codes, order: int = 5, *, prior: float = 0.5, values: int = 4
    ) -> None:
        self.order, self.values = order, values
        counts = np.full(values ** (order + 1), prior)
        for context, base in self._split(bases):
            counts += np.bincount(context * values + base, minlength=len(counts))
        counts = counts.reshape(-1, values)
        self.log2 = np.log2(counts / counts.sum(1, keepdims=True))

    def bits(self, bases: Codes) -> float:
        """Mean bits a base of a sequence (L,), its first `order` bases left out, and N's.

        Raises ValueError where no base is left.
        """
        return -self._mean(self.log2[pair] for pair in self._split(bases))

    def accuracy(self, bases: Codes) -> float:
        """Share of a sequence (L,) that is the likeliest base after those before it."""
        best = self.log2.argmax(1)
        return self._mean((best[context] == base for context, base in self._split(bases)))

    def _mean(self, pieces: Iterator[NDArray[Any]]) -> float:
        total, count = 0.0, 0
        for piece in pieces:
            total, count = total + float(piece.sum()), count + len(piece)
        if not count:
            raise ValueError(f"a sequence has no known base with {self.order} known ones before it")
        return total / count

    def _split(self, bases: Codes) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Contexts as numbers and the bases after them, a piece at a time; none that holds an N."""
        for begin in range(0, len(bases) - self.order, PIECE):
            piece = bases[begin : begin + PIECE + self.order].astype(np.int64)
            context = np.zeros(len(piece) - self.order, np.int64)
            for back in range(self.order):
                context = context * self.values + piece[back : len(piece) - self.order + back]
            unknown = np.concatenate(([0], (piece >= self.values).cumsum()))
            clean = unknown[self.order + 1 :] == unknown[: -self.order - 1]
            yield context[clean], piece[self.order :][clean]


def bits_per_base(nats: float, bases_per_token: float = 1.0) -> float:
    """Nats a token as bits a base: 2 for a uniform guess of single bases.

    bases_per_token: mean bases of a token, 8.78 in the paper's vocabulary of 32,000.
    """
    return nats / (math.log(2) * bases_per_token)


def count_kmers(bases: Bases, k: int) -> NDArray[np.float64]:
    """How often each of 4^k words stands in each sequence: (B, L) -> (B, 4^k)."""
    word = sum(bases[:, i : bases.shape[1] - k + 1 + i] * 4 ** (k - 1 - i) for i in range(k))
    rows = np.arange(len(bases))[:, None] * 4**k + word
    counts = np.bincount(rows.ravel(), minlength=len(bases) * 4**k)
    return counts.reshape(len(bases), -1).astype(np.float64)


class PromoterCNN(nn.Module):
    """A convolutional baseline for promoters in the style of CNNProm: convolution, pooling, dense.

    length: L. channels: of the convolution.

    Example:
        >>> from quire.papers.bigbird.experiments.genomics import PromoterCNN
        >>> PromoterCNN(300)(torch.randint(4, (2, 300))).shape
        torch.Size([2, 2])
    """

    def __init__(self, length: int, *, channels: int = 100) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(4, channels, 15, padding=7)
        self.pool = nn.MaxPool1d(6)
        self.dense = nn.Linear(channels * (length // 6), 64)
        self.output = nn.Linear(64, 2)

    def forward(self, bases: Tensor) -> Tensor:
        """(B, L) int64 -> (B, 2)."""
        one_hot = nn.functional.one_hot(bases, 4).mT.to(self.output.weight.dtype)
        x = self.pool(self.convolution(one_hot).relu()).flatten(1)
        return self.output(self.dense(x).relu())
