"""The recipe's experiments: what must hold of every attention, and models trained side by side."""

import time
from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn

from quire import data
from quire.lab import Config, Metrics, Run
from quire.nn import FeedForward, GatedFeedForward, Padding
from quire.recipes.attentions.kernels import KERNELS
from quire.recipes.attentions.model import LanguageModel


class Shape(Config):
    """The language model, but for its attention."""

    attention: Literal["none", "softmax", "window", "bigbird", "linear", "taylor", "hopfield"] = (
        "softmax"
    )
    """The kernel of every layer."""
    feed_forward: Literal["gelu", "geglu"] = "gelu"
    """Hidden layer with GELU, or gated."""
    dim: PositiveInt = 128
    """Width D."""
    heads: PositiveInt = 4
    """Attention heads; D must be a multiple."""
    layers: PositiveInt = 2
    """Layers."""
    context: PositiveInt = 512
    """Tokens of a sequence."""

    def model(self) -> LanguageModel:
        """The model, anew."""
        return LanguageModel(
            self.dim,
            heads=self.heads,
            layers=self.layers,
            kernel=KERNELS[self.attention],
            feed_forward=FEED_FORWARDS[self.feed_forward],
        )


FEED_FORWARDS: dict[str, Callable[[int], nn.Module]] = {
    "gelu": lambda dim: FeedForward(dim, 4 * dim, activation=nn.GELU),
    "geglu": lambda dim: GatedFeedForward(dim, 8 * dim // 3),  # as many weights
}


class Forms(Shape):
    """The same network in its forms: whole sequences, padded ones, token by token."""

    dim: PositiveInt = 32
    """Width D."""
    context: PositiveInt = 150
    """Tokens of a sequence: no multiple of a block."""
    batch_size: PositiveInt = 3
    """Sequences."""


@torch.no_grad()
def forms(config: Forms, run: Run) -> Metrics:
    """Largest differences of scores between forms that must agree, in float64."""
    model = run.place(config.model()).double().eval()
    generator = run.rng("tokens")
    token, other = torch.randint(
        256, (2, config.batch_size, config.context), generator=generator
    ).to(run.device)
    whole, half = model(token), config.context // 2
    changed = torch.cat((token[:, :half], other[:, half:]), 1)
    lengths = torch.arange(1, config.batch_size + 1) * config.context // config.batch_size
    padding = Padding(lengths.to(run.device))
    padded = model(token, padding)
    shorter = [model(row[None, :length]) for row, length in zip(token, lengths, strict=True)]
    scores, state = model.extend(token[:, :half])
    pieces = [scores]
    for one in token[:, half:].split(1, 1):
        scores, state = model.extend(one, state)
        pieces.append(scores)
    return {
        "leak": float((model(changed)[:, :half] - whole[:, :half]).abs().max()),
        "padding_error": max(
            float((padded[row, : alone.shape[1]] - alone[0]).abs().max())
            for row, alone in enumerate(shorter)
        ),
        "decoding_error": float((torch.cat(pieces, 1) - whole).abs().max()),
    }


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
    if min(len(train), len(test)) <= config.context:
        raise ValueError(f"{len(articles)} articles are too few for a context of {config.context}")
    model = run.place(config.model())
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=0.01)
    warm_up = max(1, config.steps // 20)

    def batch_at(step: int) -> Tensor:
        starts = torch.randint(
            len(train) - config.context, (config.batch_size, 1), generator=run.rng("train", step)
        )
        return train[starts + torch.arange(config.context + 1)].long()

    model.train()
    for batch in run.steps(config.steps, batch_at, state=(model, optimizer)):
        rate = 0.1 + 0.45 * (1 + float(np.cos(np.pi * run.step / config.steps)))
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * min(rate, (run.step + 1) / warm_up)
        loss = backward(model, batch, config, run)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        run.log(loss=loss, bits_per_byte=loss / np.log(2))
    model.eval()
    bits, first, last = score(model, test, config, run)
    return {
        "bits_per_byte": bits,
        "first_quarter": first,
        "last_quarter": last,
        "parameters": float(sum(p.numel() for p in model.parameters())),
        "step_seconds": step_seconds(model, batch_at(0).to(run.device), config, run),
        "drawn_per_second": sample(model, test, config, run),
    }


def backward(model: LanguageModel, batch: Tensor, config: Wiki, run: Run) -> Tensor:
    """Cross-entropy (nats) of a minibatch (B, T + 1); leaves its gradient in the parameters."""
    model.zero_grad()
    losses = []
    for part in batch.split(rows_at_once(config)):
        with run.precision():
            scores = model(part[:, :-1])
        loss = F.cross_entropy(scores.float().flatten(0, 1), part[:, 1:].flatten())
        loss = loss * (len(part) / len(batch))
        loss.backward()  # type: ignore[no-untyped-call]
        losses.append(loss.detach())
    return torch.stack(losses).sum()


def rows_at_once(config: Wiki) -> int:
    """Sequences in memory at a time."""
    if config.tokens_at_once is None:
        return config.batch_size
    return max(1, config.tokens_at_once // config.context)


def step_seconds(model: LanguageModel, batch: Tensor, config: Wiki, run: Run) -> float:
    """Median time of a forward and backward pass, after one to warm up."""
    seconds = []
    for _ in range(6):
        began = time.perf_counter()
        float(backward(model, batch, config, run))  # a number: waits for an accelerator
        seconds.append(time.perf_counter() - began)
    return float(np.median(seconds[1:]))


@torch.no_grad()
def score(model: LanguageModel, test: Tensor, config: Wiki, run: Run) -> tuple[float, float, float]:
    """Bits per byte over whole contexts: all of them, their first and their last quarter."""
    count = (len(test) - 1) // config.context
    whole = test[: count * config.context + 1].long()
    source, target = (x.view(count, -1) for x in (whole[:-1], whole[1:]))
    bits, rows = torch.zeros(config.context, dtype=torch.float64), rows_at_once(config)
    for x, y in zip(source.split(rows), target.split(rows), strict=True):
        with run.precision():
            scores = model(x.to(run.device))
        nats = F.cross_entropy(scores.float().mT, y.to(run.device), reduction="none")
        bits += nats.double().sum(0).cpu() / np.log(2)
    bits /= count
    window = max(1, config.context // 16)
    smooth = bits[: config.context // window * window].view(-1, window).mean(1)
    middle = window * (torch.arange(len(smooth)) + 0.5)
    run.series("bits", middle, smooth, x_label="position in the context", y_label="bits per byte")
    quarter = max(1, config.context // 4)
    return float(bits.mean()), float(bits[:quarter].mean()), float(bits[-quarter:].mean())


def sample(model: LanguageModel, test: Tensor, config: Wiki, run: Run) -> float:
    """Draws a text after the first test bytes, notes it, and gives bytes a second."""
    prompt = test[None, : config.context // 2].long().to(run.device)
    count = config.context - prompt.shape[1]
    began = time.perf_counter()
    drawn = model.generate(prompt, count, generator=run.rng("sample"), temperature=0.8)
    rate = count / (time.perf_counter() - began)
    text = bytes(drawn[0].tolist()).decode("utf-8", errors="replace")
    run.note(f"sample: {text[:300]!r}")
    return rate


def encode(articles: list[str]) -> Tensor:
    """All articles, blank lines between them, as bytes (N,) uint8."""
    return torch.from_numpy(np.frombuffer("\n\n\n".join(articles).encode(), np.uint8).copy())
