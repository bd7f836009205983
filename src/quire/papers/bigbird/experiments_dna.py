"""BigBird on DNA: masked language modelling and promoters (section 5)."""

import math
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from quire import data
from quire.lab import Metrics, Run
from quire.papers.bigbird.experiments_common import (
    Tagger,
    Training,
    answers,
    descend,
    encoder,
    optimiser,
    parts_of,
    sum_of_nats,
    train_tagger,
)
from quire.papers.bigbird.genomics import (
    Bases,
    NGram,
    PromoterCNN,
    dinucleotide_shuffle,
    encode,
    genome_like,
    kept_negatives,
    kmer_counts,
    read_fasta,
)
from quire.papers.bigbird.tasks import Examples, hide

HIDDEN = 4
"""The word that hides a base."""


class Dna(Training):
    """An encoder of single bases."""

    block: PositiveInt = 64
    """Bases of a block."""
    rotary: bool = True
    """Rotary positions in place of learned ones (beyond the paper)."""


class Genome(Dna):
    """Masked language modelling on single bases."""

    source: Literal["procedural", "promoters", "fasta"] = "fasta"
    """A made-up genome, the human promoters one after the other, or a FASTA file of your own."""
    fasta: str = "GRCh37.fa"
    """fasta: the file, a path or a name in the data folder; its last twentieth is the test."""
    bases: PositiveInt = 2_000_000
    """procedural: bases of the genome."""
    ngram: bool = False
    """The baseline: probabilities of a base after the five before it."""
    length: PositiveInt = 4096
    """Context: bases of a sequence."""
    tokens: PositiveInt = 256 * 4096
    """Bases a step: batch_size is not used."""
    test_tokens: PositiveInt = 1 << 18
    """Test bases."""


def genome(config: Genome, run: Run) -> Metrics:
    """Bits a base of hidden bases, and of those that only a distant motif tells."""
    bases, paired = _genome(config, run.data)
    most = len(bases) - max(1024, len(bases) // 20)
    if config.ngram:
        model = NGram(bases[:most])
        return {
            "bits": model.bits(bases[most:]),
            "pair_bits": _pair_bits(model, bases, paired, most),
        }
    train, far = torch.from_numpy(bases[:most]), torch.from_numpy(paired[:most])
    count = max(1, config.tokens // config.length)

    def cut(begin: Tensor, generator: torch.Generator, whole: tuple[Tensor, Tensor]) -> Examples:
        index = begin + torch.arange(config.length)
        words, target, kind = hide(whole[0][index], HIDDEN, 4, generator)
        return Examples(words, target, torch.where(kind >= 0, whole[1][index].long(), -1))

    def batch_at(step: int) -> Examples:
        generator = run.rng("train", step)
        begin = torch.randint(most - config.length, (count, 1), generator=generator)
        return cut(begin, generator, (train, far))

    net = run.place(Tagger(5, config.length, config, run.seed))
    train_tagger(config, run, net, batch_at)
    whole = torch.from_numpy(bases[most:]), torch.from_numpy(paired[most:])
    last = min(len(whole[0]), config.test_tokens) - config.length
    begins = torch.arange(0, last + 1, config.length)[:, None].split(count)
    parts = [cut(begin, run.rng("test", i), whole) for i, begin in enumerate(begins)]
    found = torch.cat([part.kind[part.kind >= 0] for part in parts])
    _, bits = answers(run, net, parts, kinds=2)
    share = float(found.double().mean())
    return {
        "bits": (1 - share) * bits[0] + (share * bits[1] if share else 0.0),
        "pair_bits": bits[1] if share else 2.0,
    }


def genome_real(config: Genome, run: Run) -> Metrics:
    """The same on the human promoters, one after the other."""
    return genome(config, run)


def _pair_bits(model: NGram, bases: Bases, paired: NDArray[np.bool_], most: int) -> float:
    """Bits a base of the second variants in the test part; 2 where there are none."""
    places = np.flatnonzero(paired[most + model.order :]) + most
    if not len(places):
        return 2.0
    return float(np.mean([model.bits(bases[at : at + model.order + 1]) for at in places]))


def _genome(config: Genome, root: Path | None) -> tuple[Bases, NDArray[np.bool_]]:
    """All bases, and which of them only a distant motif tells."""
    if config.source == "procedural":
        return genome_like(config.bases, np.random.default_rng(1))
    if config.source == "promoters":
        bases = encode(data.genomics(root)["human"]).ravel()
    else:
        path = Path(config.fasta)
        path = path if path.is_file() or root is None else root / config.fasta
        if not path.is_file():
            raise data.DataMissing(
                f"no file {path}: give --fasta the genome to read, e.g. GRCh37 from "
                "https://www.ncbi.nlm.nih.gov/datasets/genome/GCF_000001405.13/"
            )
        bases = np.concatenate([sequence for _, sequence in read_fasta(path)])
    return bases, np.zeros(len(bases), bool)


class Promoters(Dna):
    """Promoter or not: sequences of 300 bases around the start of transcription."""

    model: Literal["encoder", "cnn", "kmer"] = "encoder"
    """The encoder with the mean of its states, a convolutional net, or a linear model of 4-mers."""
    negatives: Literal["kept", "fair"] = "kept"
    """kept: promoters of which 12 of 20 pieces are random (the paper's); fair: promoters with their
    pairs of neighbouring bases shuffled."""
    bases_a_token: PositiveInt = 1
    """encoder: bases of a token, side by side (the paper's vocabulary has 8.78 on average)."""
    batch_size: PositiveInt = 256
    """Sequences a step, half of them promoters."""
    steps: PositiveInt = 711
    """Minibatches."""


class Labelled(NamedTuple):
    """x: bases (B, L) int64, or features of them. label: (B,) int64, 1 for promoters."""

    x: NDArray[np.int64] | NDArray[np.float32]
    label: NDArray[np.int64]


class Pooled(nn.Module):
    """An encoder whose states are averaged, with a linear layer to two classes."""

    def __init__(self, config: Promoters, length: int, seed: int) -> None:
        super().__init__()
        bases = config.bases_a_token
        if length % bases:
            raise ValueError(f"{length} bases cannot be cut in tokens of {bases}")
        self.bases = bases
        self.encoder = encoder(4**bases, length // bases, config, seed)
        self.output = nn.Linear(config.dim, 2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L) int64 -> (B, 2)."""
        place = 4 ** torch.arange(self.bases, device=x.device)
        words = (x.unflatten(1, (-1, self.bases)) * place).sum(-1)
        return self.output(self.encoder(words).mean(1))


def promoters(config: Promoters, run: Run) -> Metrics:
    """F1 on a fifth of the human promoters and as many negatives."""
    found = encode(data.genomics(run.data)["human"])
    found = found[np.random.default_rng(0).permutation(len(found))]
    most = len(found) * 4 // 5
    train, test = (
        _labelled(config, part, np.random.default_rng((run.seed, number)))
        for number, part in enumerate((found[:most], found[most:]))
    )
    if config.model == "kmer":
        mean, deviation = train.x.mean(0), train.x.std(0) + 1e-6
        train, test = (part._replace(x=(part.x - mean) / deviation) for part in (train, test))
    nets = {
        "encoder": lambda: Pooled(config, found.shape[1], run.seed),
        "cnn": lambda: PromoterCNN(found.shape[1]),
        "kmer": lambda: nn.Linear(256, 2),
    }
    net: nn.Module = run.place(nets[config.model]())
    adam, schedule = optimiser(config, net)
    batch_at = data.batches(train, config.batch_size, seed=run.seed)

    def nats(x: Tensor, label: Tensor) -> Tensor:
        with run.precision():
            scores = net(x)
        return sum_of_nats(scores, label)

    for x, label in run.steps(config.steps, batch_at, state=(net, adam, schedule)):
        sums = (nats(*part) for part in parts_of(config, x, label))
        run.log(loss=descend(sums, len(x), net, adam, schedule))
    return _scores(run, net, test)


def _labelled(config: Promoters, positive: Bases, rng: np.random.Generator) -> Labelled:
    """Promoters and their negatives, in an order of their own."""
    if config.negatives == "kept":
        negative = kept_negatives(positive, rng)
    else:
        negative = np.stack([dinucleotide_shuffle(bases, rng) for bases in positive])
    x = np.concatenate((positive, negative))
    label = np.repeat([1, 0], len(positive))
    if config.model == "kmer":
        return Labelled(kmer_counts(x, 4).astype(np.float32), label)
    return Labelled(x, label)


@torch.no_grad()
def _scores(run: Run, net: nn.Module, test: Labelled) -> Metrics:
    """F1, accuracy and loss on the test part."""
    net.eval()
    label = torch.from_numpy(test.label)
    rows = torch.from_numpy(test.x).split(128)
    scores = torch.cat([net(x.to(run.device)).float().cpu() for x in rows])
    chosen = scores.argmax(1)
    hits = int((chosen * label).sum())
    return {
        "f1": 200 * hits / max(1, int(chosen.sum() + label.sum())),
        "accuracy": 100 * float((chosen == label).double().mean()),
        "loss": float(cross_entropy(scores, label)) / math.log(2),
    }
