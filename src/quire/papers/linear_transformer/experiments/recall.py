"""Recall of pairs: where a state of constant size runs out."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from quire.lab import Metrics, Run
from quire.nn import AttentionKernel, Causal
from quire.papers.linear_transformer.experiments.learner import Learner, fit, kernel_of
from quire.papers.linear_transformer.models import build_encoder


class Recalling(Learner):
    """Store pairs of a key and a value, one a token, then answer with a key's value."""

    kinds: PositiveInt = 128
    """Different keys, and as many values; keys of a sequence are distinct."""
    pairs: PositiveInt = 64
    """Pairs of a sequence at most; training takes 1 to as many, test a half, all and twice."""
    asked: PositiveInt = 16
    """Keys asked for in each sequence."""
    test_sequences: PositiveInt = 256
    """Fresh sequences to test on, for each number of pairs."""


class Pairs(NamedTuple):
    """key (B, T) and value (B, T) of each token, value 0 where it is asked for; answer (B, Q)."""

    key: Tensor
    value: Tensor
    answer: Tensor


class Recaller(nn.Module):
    """A token is the sum of its key's and its value's vector; there are no positions."""

    def __init__(self, config: Recalling, kernel: Callable[[], AttentionKernel]) -> None:
        super().__init__()
        self.key = nn.Embedding(config.kinds, config.dim)
        self.value = nn.Embedding(config.kinds + 1, config.dim)
        self.encoder = build_encoder(config.dim, config.heads, config.layers, kernel=kernel)
        self.head = nn.Linear(config.dim, config.kinds + 1)

    def forward(self, pairs: Pairs) -> Tensor:
        """Scores of every value for each key that is asked for: (B * Q, kinds + 1)."""
        x = self.encoder(self.key(pairs.key) + self.value(pairs.value), Causal())
        scores: Tensor = self.head(x[:, -pairs.answer.shape[1] :]).float()
        return scores.flatten(0, 1)


def recall(config: Recalling, run: Run) -> Metrics:
    """Accuracy for several numbers of pairs, twice as many as in training among them."""
    if config.kinds < 2 * config.pairs:
        raise ValueError(f"kinds must be at least twice pairs, {2 * config.pairs}")
    model = run.place(Recaller(config, kernel_of(config, run)))

    def draw_batch(step: int) -> Pairs:
        generator = run.rng("train", step)
        stored = int(torch.randint(1, config.pairs + 1, (), generator=generator))
        return draw_pairs(config, config.batch_size, stored, generator)

    mean_loss = fit(
        config,
        run,
        model,
        batch_at=draw_batch,
        loss=lambda pairs: cross_entropy(model(pairs), pairs.answer.flatten()),
    )
    numbers = sorted({max(1, config.pairs * n // 8) for n in (1, 2, 4, 8, 12, 16)})
    accuracy = {}
    for stored in numbers:
        test = draw_pairs(config, config.test_sequences, stored, run.rng("test", stored))
        test = Pairs(*(part.to(run.device) for part in test))
        with torch.no_grad():
            right = model(test).argmax(-1) == test.answer.flatten()
        accuracy[stored] = 100 * float(right.float().mean())
    run.series(
        "recall", numbers, list(accuracy.values()), x_label="stored pairs", y_label="accuracy, %"
    )
    return {
        "half_accuracy": accuracy[max(1, config.pairs // 2)],
        "accuracy": accuracy[config.pairs],
        "twice_accuracy": accuracy[2 * config.pairs],
        "mean_loss": mean_loss,
    }


def draw_pairs(config: Recalling, count: int, stored: int, generator: torch.Generator) -> Pairs:
    """`count` sequences of `stored` pairs, then keys of them to answer.

    Args:
        config: How many keys there are, and how many are asked for.
        count: Sequences B.
        stored: Pairs of each.
        generator: Draws them.
    """
    # Sorting random numbers gives distinct keys for every sequence at once.
    order = torch.rand(count, config.kinds, generator=generator).argsort(-1)
    key = order[:, :stored]
    value = torch.randint(1, config.kinds + 1, (count, stored), generator=generator)
    asked = torch.randint(stored, (count, config.asked), generator=generator)
    return Pairs(
        torch.cat((key, key.gather(1, asked)), 1),
        torch.cat((value, torch.zeros_like(asked)), 1),
        value.gather(1, asked),
    )
