"""What must hold of every attention: no look ahead, padding ignored, decoding exact."""

import torch
from pydantic import PositiveInt

from quire.lab import Metrics, Run
from quire.lab.measure import largest_difference
from quire.nn import Padding
from quire.recipes.attentions.experiments.shape import Shape


class Forms(Shape):
    """The same network in its forms: whole sequences, padded ones, token by token."""

    dim: PositiveInt = 32
    """Width D."""
    length: PositiveInt = 150
    """Tokens of a sequence: no multiple of a block."""
    batch_size: PositiveInt = 3
    """Sequences."""


@torch.no_grad()
def forms(config: Forms, run: Run) -> Metrics:
    """Largest differences of scores between forms that must agree, in float64."""
    model = run.place(config.make_model()).double().eval()
    generator = run.rng("tokens")
    token, other = torch.randint(
        256, (2, config.batch_size, config.length), generator=generator
    ).to(run.device)
    # The second half of every sequence changes: the first half's scores must not.
    whole, half = model(token), config.length // 2
    changed = torch.cat((token[:, :half], other[:, half:]), 1)
    # Sequences of several lengths in one batch, and each of them alone without padding.
    lengths = torch.arange(1, config.batch_size + 1) * config.length // config.batch_size
    padded = model(token, Padding(lengths.to(run.device)))
    alone = [model(row[None, :length]) for row, length in zip(token, lengths, strict=True)]
    # A prompt at once, then token by token on the memory that it left.
    scores, state = model.extend(token[:, :half])
    pieces = [scores]
    for one in token[:, half:].split(1, 1):
        scores, state = model.extend(one, state)
        pieces.append(scores)
    return {
        "leak": largest_difference(model(changed)[:, :half], whole[:, :half]),
        "padding_error": max(
            largest_difference(padded[row, : short.shape[1]], short[0])
            for row, short in enumerate(alone)
        ),
        "decoding_error": largest_difference(torch.cat(pieces, 1), whole),
    }
