"""The copy task (section 4.1, figure 2)."""

from typing import Literal

import torch
from pydantic import PositiveInt
from torch import Tensor
from torch.nn.functional import cross_entropy

from quire.lab import Metrics, Run
from quire.papers.linear_transformer.experiments.learner import Learner, fit, kernel_of
from quire.papers.linear_transformer.models import SequenceModel

KINDS = 10
"""Different symbols: chance is ln 10 = 2.303 nats."""


class Copying(Learner):
    """Copy a word of symbols after a separator."""

    norm: Literal["pre", "post"] = "pre"
    """Layer normalisation before each part, or after each sum as in the authors' code."""
    symbols: PositiveInt = 15
    """Symbols of a word; a sequence is separator, word, separator, word."""
    test_sequences: PositiveInt = 512
    """Fresh sequences to test on."""


def copy(config: Copying, run: Run) -> Metrics:
    """The loss counts on the second word alone."""
    model = SequenceModel(
        KINDS + 1,
        KINDS + 1,
        length=2 * config.symbols + 2,
        dim=config.dim,
        heads=config.heads,
        layers=config.layers,
        kernel=kernel_of(config, run),
        norm=config.norm,
    )
    model = run.place(model)

    def draw(count: int, *stream: int | str) -> Tensor:
        """Sequences (count, 2 * symbols + 2)."""
        size = count, config.symbols
        word = torch.randint(1, KINDS + 1, size, generator=run.rng(*stream))
        separator = word.new_zeros(count, 1)
        return torch.cat((separator, word, separator, word), 1)

    def predict(tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B * symbols, KINDS + 1) of the second word, and its symbols."""
        outputs = model(tokens[:, :-1])[:, -config.symbols :].float()
        return outputs.flatten(0, 1), tokens[:, -config.symbols :].flatten()

    mean_loss = fit(
        config,
        run,
        model,
        batch_at=lambda step: draw(config.batch_size, "train", step),
        loss=lambda tokens: cross_entropy(*predict(tokens)),
    )
    with torch.no_grad():
        outputs, target = predict(draw(config.test_sequences, "test").to(run.device))
    return {
        "loss": float(cross_entropy(outputs, target)),
        "accuracy": 100 * float((outputs.argmax(-1) == target).float().mean()),
        "mean_loss": mean_loss,
    }
