"""Promoter or not, with the paper's negatives and with fair ones (table 6)."""

import math
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from quire import data
from quire.lab import Metrics, Run
from quire.papers.bigbird.experiments.encoders import build_encoder
from quire.papers.bigbird.experiments.genomics import (
    Bases,
    PromoterCNN,
    count_kmers,
    encode,
    make_negatives,
    shuffle_dinucleotides,
)
from quire.papers.bigbird.experiments.learner import descend, sum_nats
from quire.papers.bigbird.experiments.settings import Encoder, Training


class Promoters(Training):
    """Promoter or not: sequences of 300 bases around the start of transcription."""

    encoder: Encoder = Encoder(rotary=True)
    """Size of the encoder."""
    model: Literal["encoder", "cnn", "kmer"] = "encoder"
    """The encoder with the mean of its states, a convolutional net, or a linear model of 4-mers."""
    negatives: Literal["kept", "fair"] = "kept"
    """kept: promoters of which 12 of 20 pieces are random (the paper's); fair: promoters with their
    pairs of neighbouring bases shuffled."""
    bases_a_token: PositiveInt = 1
    """encoder: bases of a token, side by side (the paper's vocabulary has 8.78 on average)."""
    batch_size: PositiveInt = 256
    """Sequences a step, half of them promoters."""


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
        self.encoder = build_encoder(4**bases, length // bases, config, seed)
        self.output = nn.Linear(config.encoder.dim, 2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L) int64 -> (B, 2)."""
        # The bases of a token are the digits of its number, the first one the lowest.
        place = 4 ** torch.arange(self.bases, device=x.device)
        words = (x.unflatten(1, (-1, self.bases)) * place).sum(-1)
        return self.output(self.encoder(words).mean(1))


def promoters(config: Promoters, run: Run) -> Metrics:
    """F1 on a fifth of the human promoters and as many negatives."""
    found = encode(data.genomics(run.data)["human"])
    # One split for all seeds and arms; the negatives of its two parts are drawn apart.
    found = found[np.random.default_rng(0).permutation(len(found))]
    most = len(found) * 4 // 5
    train, test = (
        _add_negatives(config, part, np.random.default_rng((run.seed, number)))
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
    batch_at = data.batches(train, config.batch_size, seed=run.seed)

    def sum_part(x: Tensor, label: Tensor) -> Tensor:
        with run.precision():
            scores = net(x)
        return sum_nats(scores, label)

    descend(config, run, net, batch_at, sum_part)
    return _measure(run, net, test)


def _add_negatives(config: Promoters, positive: Bases, generator: np.random.Generator) -> Labelled:
    """Promoters (N, L), then as many negatives; for the linear model how often words stand."""
    if config.negatives == "kept":
        negative = make_negatives(positive, generator)
    else:
        negative = np.stack([shuffle_dinucleotides(bases, generator) for bases in positive])
    x = np.concatenate((positive, negative))
    label = np.repeat([1, 0], len(positive))
    if config.model == "kmer":
        return Labelled(count_kmers(x, 4).astype(np.float32), label)
    return Labelled(x, label)


@torch.no_grad()
def _measure(run: Run, net: nn.Module, test: Labelled) -> Metrics:
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
