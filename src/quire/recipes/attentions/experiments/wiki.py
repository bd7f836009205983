"""Models trained side by side on bytes of English Wikipedia."""

import time
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from quire import data
from quire.lab import Metrics, Run
from quire.lab.measure import seconds
from quire.lab.training import (
    backward_in_parts,
    cosine_decay,
    rows_at_once,
    set_rate,
    split_rows,
    update_in_parts,
    warm_up,
)
from quire.recipes.attentions.experiments.shape import Shape
from quire.recipes.attentions.model import LanguageModel


class Wiki(Shape):
    """Bytes of English Wikipedia; the last 5 % of the articles are the test part."""

    steps: PositiveInt = 600
    """Minibatches."""
    batch_size: PositiveInt = 8
    """Sequences a minibatch."""
    tokens_at_once: PositiveInt | None = None
    """Tokens whose states are in memory at a time, in whole sequences and at least one: a minibatch
    is cut in such parts and their gradients are added up. None: the whole minibatch."""
    learning_rate: PositiveFloat = 2e-3
    """AdamW's after a warm-up of 5 % of the steps; then it falls along a cosine to a tenth."""
    articles: PositiveInt | None = None
    """How many articles are read, from the first; None reads all."""
    test_bytes: PositiveInt = 200_000
    """Bytes of the test part that are scored."""


def wiki(config: Wiki, run: Run) -> Metrics:
    """Bits per byte of held-out text after the same steps; cost of a step and of a drawn byte."""
    articles = data.wiki_en(run.data)[: config.articles]
    cut = max(1, len(articles) * 95 // 100)
    train, test = (encode(part) for part in (articles[:cut], articles[cut:]))
    test = test[: config.test_bytes]
    if min(len(train), len(test)) <= config.length:
        raise ValueError(f"{len(articles)} articles are too few for a length of {config.length}")
    model = run.place(config.make_model())
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=0.01)
    rise = max(1, config.steps // 20)

    def batch_at(step: int) -> Tensor:
        starts = torch.randint(
            len(train) - config.length, (config.batch_size, 1), generator=run.rng("train", step)
        )
        return train[starts + torch.arange(config.length + 1)].long()

    model.train()
    for batch in run.steps(config.steps, batch_at, state=(model, optimizer)):
        factor = min(cosine_decay(run.step, config.steps, floor=0.1), warm_up(run.step, rise))
        set_rate(optimizer, config.learning_rate * factor)
        losses = losses_in_parts(model, batch, config, run)
        loss = update_in_parts(losses, model, optimizer, clip=1.0)
        run.log(loss=loss, bits_per_byte=loss / np.log(2))
    model.eval()
    bits, first, last = measure_bits(model, test, config, run)
    return {
        "bits_per_byte": bits,
        "first_quarter": first,
        "last_quarter": last,
        "parameters": float(sum(p.numel() for p in model.parameters())),
        "step_seconds": time_step(model, batch_at(0).to(run.device), config, run),
        "drawn_per_second": draw_text(model, test, config, run),
    }


def losses_in_parts(
    model: LanguageModel, batch: Tensor, config: Wiki, run: Run
) -> Iterator[Tensor]:
    """Cross-entropies (nats) of the parts of a minibatch, which add up to its mean.

    Args:
        model: Gives the scores.
        batch: Tokens (B, T + 1): each but the last predicts the next.
        config: Says how many tokens are in memory at a time.
        run: For its precision.
    """
    for (part,) in split_rows(batch, rows=rows_at_once(config.tokens_at_once, config.length)):
        with run.precision():
            scores = model(part[:, :-1])
        loss = F.cross_entropy(scores.float().flatten(0, 1), part[:, 1:].flatten())
        yield loss * (len(part) / len(batch))


def time_step(model: LanguageModel, batch: Tensor, config: Wiki, run: Run) -> float:
    """Median seconds of a forward and backward pass over a minibatch.

    Args:
        model: What is timed.
        batch: Tokens (B, T + 1) on the run's device.
        config: Says how many tokens are in memory at a time.
        run: For its device and precision.
    """

    def step() -> None:
        model.zero_grad()
        backward_in_parts(losses_in_parts(model, batch, config, run))

    return seconds(step, run.device, wall=True)


@torch.no_grad()
def measure_bits(
    model: LanguageModel, test: Tensor, config: Wiki, run: Run
) -> tuple[float, float, float]:
    """Bits per byte over whole contexts: all of them, their first and their last quarter.

    Args:
        model: In evaluation mode.
        test: Held-out bytes (N,).
        config: Says how long a context is.
        run: Gets the curve over the position in the context.
    """
    count = (len(test) - 1) // config.length
    whole = test[: count * config.length + 1].long()
    source, target = (x.view(count, -1) for x in (whole[:-1], whole[1:]))
    rows = rows_at_once(config.tokens_at_once, config.length) or config.batch_size
    bits = torch.zeros(config.length, dtype=torch.float64)
    for x, y in split_rows(source, target, rows=rows):
        with run.precision():
            scores = model(x.to(run.device))
        nats = F.cross_entropy(scores.float().mT, y.to(run.device), reduction="none")
        bits += nats.double().sum(0).cpu() / np.log(2)
    bits /= count
    # Sixteen points: single positions are too noisy to be read.
    window = max(1, config.length // 16)
    smooth = bits[: config.length // window * window].view(-1, window).mean(1)
    middle = window * (torch.arange(len(smooth)) + 0.5)
    run.series("bits", middle, smooth, x_label="position in the context", y_label="bits per byte")
    quarter = max(1, config.length // 4)
    return float(bits.mean()), float(bits[:quarter].mean()), float(bits[-quarter:].mean())


def draw_text(model: LanguageModel, test: Tensor, config: Wiki, run: Run) -> float:
    """Draws a text after the first test bytes, notes it, and gives bytes a second.

    Args:
        model: In evaluation mode.
        test: Held-out bytes (N,), of which half a context is the prompt.
        config: Says how long a context is.
        run: Gets the text in its log.
    """
    prompt = test[None, : config.length // 2].long().to(run.device)
    count = config.length - prompt.shape[1]
    began = time.perf_counter()
    drawn = model.generate(prompt, count, generator=run.rng("sample"), temperature=0.8)
    rate = count / (time.perf_counter() - began)
    text = bytes(drawn[0].tolist()).decode("utf-8", errors="replace")
    run.note(f"sample: {text[:300]!r}")
    return rate


def encode(articles: list[str]) -> Tensor:
    """All articles, blank lines between them, as bytes (N,) uint8."""
    return torch.from_numpy(np.frombuffer("\n\n\n".join(articles).encode(), np.uint8).copy())
