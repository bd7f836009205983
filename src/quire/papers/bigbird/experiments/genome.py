"""Masked language modelling on DNA: what a longer context tells of a hidden base (table 5)."""

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import PositiveInt
from torch import Tensor

from quire import data
from quire.lab import Metrics, Run
from quire.papers.bigbird.experiments.encoders import Tagger
from quire.papers.bigbird.experiments.genomics import (
    UNKNOWN,
    NGram,
    encode,
    make_genome,
    read_genome,
)
from quire.papers.bigbird.experiments.learner import measure_answers, train_tagger
from quire.papers.bigbird.experiments.settings import Encoder, Training
from quire.papers.bigbird.experiments.tasks import Examples, hide

HIDDEN = 5
"""The word that hides a base."""

FASTA = "GRCh37.fa"
"""The genome's file in the data folder, where none is given."""


class Genome(Training):
    """Masked language modelling on single bases."""

    encoder: Encoder = Encoder(rotary=True)
    """Size of the encoder."""
    source: Literal["procedural", "promoters", "fasta"] = "fasta"
    """A made-up genome, the human promoters one after the other, or a FASTA file of your own."""
    fasta: Path | None = None
    """fasta: the file, of which the last twentieth is the test; GRCh37.fa in the data folder where
    None."""
    bases: PositiveInt = 2_000_000
    """procedural: bases of the genome."""
    ngram: bool = False
    """The baseline: probabilities of a base after the five before it."""
    length: PositiveInt = 4096
    """Context: bases of a sequence."""
    tokens: PositiveInt = 256 * 4096
    """Bases a step."""
    test_tokens: PositiveInt = 1 << 18
    """Test bases."""


def genome(config: Genome, run: Run) -> Metrics:
    """Bits a base of hidden bases, and of those that only a distant motif tells."""
    bases, paired = _read_bases(config, run.data)
    most = len(bases) - max(1024, len(bases) // 20)
    if config.ngram:
        model = NGram(bases[:most])
        return {
            "bits": model.bits(bases[most:]),
            "pair_bits": _measure_pairs(model, bases, paired, most),
        }
    train, far = torch.from_numpy(bases[:most]), torch.from_numpy(paired[:most])
    count = max(1, config.tokens // config.length)

    def cut(begin: Tensor, generator: torch.Generator, whole: tuple[Tensor, Tensor]) -> Examples:
        index = begin + torch.arange(config.length)
        bases = whole[0][index].long()
        words, target, kind = hide(bases, HIDDEN, 4, generator)
        # What is not known is not asked for. Kind 0 is a base like any other, kind 1 one that only
        # a distant motif tells.
        asked = (kind >= 0) & (bases != UNKNOWN)
        words = torch.where(bases == UNKNOWN, UNKNOWN, words)
        target = torch.where(asked, target, -100)
        return Examples(words, target, torch.where(asked, whole[1][index].long(), -1))

    def batch_at(step: int) -> Examples:
        generator = run.rng("train", step)
        begin = torch.randint(most - config.length, (count, 1), generator=generator)
        return cut(begin, generator, (train, far))

    net = run.place(Tagger(6, config.length, config, run.seed))
    train_tagger(config, run, net, batch_at)
    whole = torch.from_numpy(bases[most:]), torch.from_numpy(paired[most:])
    last = min(len(whole[0]), config.test_tokens) - config.length
    begins = torch.arange(0, last + 1, config.length)[:, None].split(count)
    parts = [cut(begin, run.rng("test", i), whole) for i, begin in enumerate(begins)]
    found = torch.cat([part.kind[part.kind >= 0] for part in parts])
    _, bits = measure_answers(run, net, parts, kinds=2)
    # The mean over all hidden bases, of which `share` are of the second kind.
    share = float(found.double().mean())
    return {
        "bits": (1 - share) * bits[0] + (share * bits[1] if share else 0.0),
        "pair_bits": bits[1] if share else 2.0,
    }


def _measure_pairs(
    model: NGram, bases: NDArray[np.uint8], paired: NDArray[np.bool_], most: int
) -> float:
    """Bits a base of the second variants in the test part; 2 where there are none.

    Args:
        model: the baseline.
        bases: (L,), the whole genome.
        paired: (L,), which bases belong to second variants.
        most: where the test part begins.
    """
    places = np.flatnonzero(paired[most + model.order :]) + most
    if not len(places):
        return 2.0
    return float(np.mean([model.bits(bases[at : at + model.order + 1]) for at in places]))


def _read_bases(config: Genome, root: Path | None) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """All bases, and which of them only a distant motif tells."""
    if config.source == "procedural":
        made, paired = make_genome(config.bases, np.random.default_rng(1))
        return made.astype(np.uint8), paired
    if config.source == "promoters":
        bases = encode(data.genomics(root)["human"]).ravel().astype(np.uint8)
    else:
        path = (root or Path()) / FASTA if config.fasta is None else config.fasta.expanduser()
        if not path.is_file():
            raise data.DataMissing(
                f"no file {path}: give --fasta the genome to read, e.g. GRCh37 from "
                "https://www.ncbi.nlm.nih.gov/datasets/genome/GCF_000001405.13/"
            )
        bases = read_genome(path)
    # A page of zeros that nobody writes to takes no memory.
    return bases, np.zeros(len(bases), bool)
