"""What the heads of a small BERT do: how many tokens they need, and which can do without a query.

A masked language model of characters is trained on English Wikipedia (section 4.1, appendix A.5).
"""

from typing import Any

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from quire import data
from quire.lab import Config, Metrics, Run
from quire.lab.training import Kept, update
from quire.nn import Encoder, EncoderLayer, FeedForward, MultiHeadAttention, Rotary
from quire.papers.hopfield.experiments.figures import draw_bars, draw_heads
from quire.papers.hopfield.heads import (
    GaussianAttention,
    WatchedAttention,
    head_class,
    median_needed,
    softmax_jacobian_norm,
)

LETTERS = " abcdefghijklmnopqrstuvwxyz"
MASK = len(LETTERS)
"""The number that stands for a hidden character."""
MASKED = 0.15
"""Share of characters that are hidden and predicted."""
GAUSSIAN_RATE = 1e-2
"""Learning rate of the Gaussian heads."""


class Heads(Config):
    """A masked model of characters; then one layer at a time gets heads without a query."""

    dim: PositiveInt = 64
    """Width."""
    heads: PositiveInt = 4
    """Heads of each layer."""
    layers: PositiveInt = 4
    """Layers."""
    length: PositiveInt = 64
    """Characters of a sequence, all of which a head attends to."""
    steps: PositiveInt = 1000
    """Minibatches."""
    batch_size: PositiveInt = 32
    """Sequences a minibatch."""
    learning_rate: PositiveFloat = 1e-3
    """Learning rate of Adam."""
    articles: PositiveInt = 400
    """Articles of Wikipedia for training; the next 40 are for the test."""
    looks: PositiveInt = 8
    """Times that the heads are looked at during training."""
    gaussian_steps: PositiveInt = 100
    """Minibatches for the Gaussian heads of a layer, the rest of the model as it is."""


class Characters(nn.Module):
    """An encoder of characters with a watched attention in every layer."""

    def __init__(self, config: Heads) -> None:
        super().__init__()
        self.embed = nn.Embedding(len(LETTERS) + 1, config.dim)
        layers = [
            EncoderLayer(
                config.dim,
                MultiHeadAttention(
                    config.dim,
                    config.heads,
                    kernel=WatchedAttention(),
                    positions=Rotary(config.dim // config.heads),
                ),
                feed_forward=FeedForward(config.dim, 4 * config.dim, activation=nn.GELU),
            )
            for _ in range(config.layers)
        ]
        self.encoder = Encoder(layers, final_norm=nn.LayerNorm(config.dim))
        self.output = nn.Linear(config.dim, len(LETTERS))

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, T) -> (B, T, letters)."""
        logits: Tensor = self.output(self.encoder(self.embed(tokens)))
        return logits

    def attentions(self) -> list[MultiHeadAttention]:
        """The attention of each layer."""
        return [layer.attention for layer in self.encoder.layers]  # type: ignore[misc]

    def last_weights(self) -> list[Tensor]:
        """What each layer's heads weighed last: (B, H, T, T)."""
        kernels: list[Any] = [attention.kernel for attention in self.attentions()]
        return [kernel.last for kernel in kernels]


Batch = tuple[Tensor, Tensor]
"""Characters (B, T) with some hidden, and the hidden ones (B, T), -100 elsewhere."""


def heads(config: Heads, run: Run) -> Metrics:
    """Train, watch the heads, then replace those of one layer after the other."""
    train, test = load_characters(config, run)
    model = run.place(Characters(config))
    optimizer = torch.optim.Adam(model.parameters(), lr=config.learning_rate)
    kept = Kept()
    fixed = [draw_batch(config, test, run.rng("test", step)) for step in range(4)]
    # Evenly on the logarithmic scale of steps: heads change most in the beginning.
    looks = {round(config.steps ** (i / config.looks)) - 1 for i in range(config.looks)}
    for tokens, target in run.steps(
        config.steps,
        lambda step: draw_batch(config, train, run.rng("train", step)),
        state=(model, optimizer, kept),
    ):
        if run.step in looks:
            watch_heads(model, fixed, kept, run.step)
        with run.precision():
            loss = masked_loss(model, tokens, target)
        update(loss, model, optimizer)
        run.log(loss=loss)
    final = watch_heads(model, fixed, kept, config.steps)
    steps, needed = kept.series["steps"], kept.series["needed"]
    shares = torch.tensor(needed) / config.length
    run.figure("heads", draw_heads(steps, shares))
    for layer in range(config.layers):
        run.series(f"needed_{layer + 1}", steps, shares[:, layer].mean(-1),
                   x_label="step", y_label="share of tokens for 0.90 of the mass")  # fmt: skip
    run.series("jacobian", steps, [sum(j) / len(j) for j in kept.series["jacobian"]],
               x_label="step", y_label="norm of the softmax's Jacobian")  # fmt: skip
    cost = [train_gaussian_heads(config, run, model, train=train, fixed=fixed, layer=layer) - final
            for layer in range(config.layers)]  # fmt: skip
    names = [f"layer {i + 1}" for i in range(config.layers)]
    run.figure("gaussian", draw_bars(names, cost, "added loss, nats"))
    classes = head_class(torch.tensor(needed[-1]), config.length)
    last = shares[-1].mean(-1).tolist()
    return {
        "loss": final,
        "needed_first": last[0],
        "needed_middle": min(last[1:-1] or last),
        "needed_last": last[-1],
        "averaging_first": float((classes[0] <= 2).double().mean()),
        "averaging_rest": float((classes[1:] <= 2).double().mean()),
        "needed_begin": float(shares[0].mean()),
        "needed_end": float(shares[-1].mean()),
        "gaussian_first": cost[0],
        "gaussian_middle": max(cost[1:-1] or cost),
        "gaussian_last": cost[-1],
    }


def load_characters(config: Heads, run: Run) -> tuple[Tensor, Tensor]:
    """Training and test text (T,) as numbers of letters; whatever is no letter is a blank."""
    articles = data.wiki_en(run.data)[: config.articles + 40]
    if len(articles) < config.articles + 40:
        raise ValueError(f"at most {len(articles) - 40} articles are for training")
    table = torch.zeros(256, dtype=torch.uint8)
    for number, letter in enumerate(LETTERS):
        table[ord(letter)] = number
    parts = (articles[: config.articles], articles[config.articles :])
    coded = []
    for part in parts:
        text = " ".join(" ".join(part).lower().split()).encode("ascii", "replace")
        coded.append(table[torch.frombuffer(bytearray(text), dtype=torch.uint8).long()])
    return coded[0], coded[1]


def draw_batch(config: Heads, text: Tensor, generator: torch.Generator) -> Batch:
    """Sequences from anywhere in the text, with some characters hidden."""
    shape = (config.batch_size, config.length)
    start = torch.randint(len(text) - config.length, (config.batch_size, 1), generator=generator)
    letters = text[start + torch.arange(config.length)].long()
    hidden = torch.rand(shape, generator=generator) < MASKED
    return letters.masked_fill(hidden, MASK), letters.masked_fill(~hidden, -100)


def masked_loss(model: nn.Module, tokens: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of the hidden characters, nats."""
    return cross_entropy(model(tokens).flatten(0, 1).float(), target.flatten())


@torch.no_grad()
def evaluate(model: nn.Module, fixed: list[Batch]) -> float:
    """Mean loss over the test's minibatches, nats."""
    device = next(model.parameters()).device
    losses = [masked_loss(model, x.to(device), y.to(device)) for x, y in fixed]
    return float(torch.stack(losses).mean())


@torch.no_grad()
def watch_heads(model: Characters, fixed: list[Batch], kept: Kept, step: int) -> float:
    """Note in `kept` what the heads do on the test's minibatches; gives their loss, nats.

    Args:
        model: The model as it is now.
        fixed: Minibatches of the test.
        kept: Gets `steps`, `needed` (layers, H) and `jacobian` (layers).
        step: Minibatches that it was trained on.
    """
    loss = evaluate(model, fixed)
    weights = [w.float() for w in model.last_weights()]
    counts = torch.ones(weights[0].shape[0], weights[0].shape[2], dtype=torch.bool)
    needed = median_needed(weights, counts.to(weights[0].device))
    kept.add("steps", step)
    kept.add("needed", needed)
    # Spectral norms are slow: four sequences, and every sixteenth token of them.
    rows = [w[:4, :, ::16].flatten(0, 2) for w in weights]
    kept.add("jacobian", [float(softmax_jacobian_norm(r).mean()) for r in rows])
    return loss


def train_gaussian_heads(
    config: Heads,
    run: Run,
    model: Characters,
    *,
    train: Tensor,
    fixed: list[Batch],
    layer: int,
) -> float:
    """The test loss, nats, with Gaussian heads in one layer, which alone are trained.

    Args:
        config: Settings of the experiment.
        run: The run.
        model: The trained model; it is frozen, and has its own heads again afterwards.
        train: Training text (T,).
        fixed: Minibatches of the test.
        layer: Which layer, from 0.
    """
    attention = model.attentions()[layer]
    before = attention.kernel
    gaussian = GaussianAttention(config.heads, config.length, centred=True).to(run.device)
    attention.kernel = gaussian
    model.requires_grad_(False)
    gaussian.requires_grad_(True)
    optimizer = torch.optim.Adam(gaussian.parameters(), lr=GAUSSIAN_RATE)
    name = f"gaussian{layer}"
    for tokens, target in run.steps(
        config.gaussian_steps,
        lambda step: draw_batch(config, train, run.rng(name, step)),
        state=(gaussian, optimizer),
        name=name,
    ):
        loss = masked_loss(model, tokens, target)
        update(loss, gaussian, optimizer)
        run.log(loss=loss)
    after = evaluate(model, fixed)
    attention.kernel = before
    return after
