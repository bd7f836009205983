"""What the heads of a small BERT do: how many tokens they need, and which can do without a query.

A masked language model of characters is trained on English Wikipedia (section 4.1, appendix A.5).
"""

from typing import Any

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from quire import data
from quire.lab import Config, Metrics, Run
from quire.nn import Encoder, EncoderLayer, FeedForward, MultiHeadAttention, Rotary
from quire.papers.hopfield.figures import bars, heads_over_training
from quire.papers.hopfield.heads import (
    GaussianAttention,
    WatchedAttention,
    head_class,
    median_needed,
    softmax_jacobian_norm,
)

LETTERS = " abcdefghijklmnopqrstuvwxyz"
MASK = len(LETTERS)


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
    masked: float = Field(default=0.15, gt=0, lt=1)
    """Share of characters that are hidden and predicted."""
    steps: PositiveInt = 1000
    """Minibatches."""
    batch_size: PositiveInt = 32
    """Sequences a minibatch."""
    lr: PositiveFloat = 1e-3
    """Learning rate of Adam."""
    articles: PositiveInt = 400
    """Articles of Wikipedia for training; the next 40 are for the test."""
    looks: PositiveInt = 8
    """Times that the heads are looked at during training."""
    gaussian_steps: PositiveInt = 100
    """Minibatches for the Gaussian heads of a layer, the rest of the model as it is."""
    gaussian_lr: PositiveFloat = 1e-2
    """Their learning rate."""


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


class History:
    """What was seen of the heads, saved with the run."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.needed: list[list[list[float]]] = []
        self.jacobian: list[list[float]] = []

    def state_dict(self) -> dict[str, Any]:
        """All of it."""
        return dict(vars(self))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put it back."""
        vars(self).update(state)


def heads(config: Heads, run: Run) -> Metrics:
    """Train, watch the heads, then replace those of one layer after the other."""
    train, test = characters(config, run)
    model = run.place(Characters(config))
    optimizer = torch.optim.Adam(model.parameters(), lr=config.lr)
    history = History()
    fixed = [batch(config, run, test, "test", step) for step in range(4)]
    looks = {round(config.steps ** (i / config.looks)) - 1 for i in range(config.looks)}
    for tokens, target in run.steps(
        config.steps,
        lambda step: batch(config, run, train, "train", step),
        state=(model, optimizer, history),
    ):
        if run.step in looks:
            look(model, fixed, history, run.step)
        with run.precision():
            loss = masked_loss(model, tokens, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        run.log(loss=loss)
    final = look(model, fixed, history, config.steps)
    shares = torch.tensor(history.needed) / config.length
    run.figure("heads", heads_over_training(history.steps, shares))
    for layer in range(config.layers):
        run.series(f"needed_{layer + 1}", history.steps, shares[:, layer].mean(-1),
                   x_label="step", y_label="share of tokens for 0.90 of the mass")  # fmt: skip
    run.series("jacobian", history.steps, [sum(j) / len(j) for j in history.jacobian],
               x_label="step", y_label="norm of the softmax's Jacobian")  # fmt: skip
    cost = [replaced(config, run, model, train, fixed, layer) - final
            for layer in range(config.layers)]  # fmt: skip
    run.figure("gaussian", bars([f"layer {i + 1}" for i in range(config.layers)], cost,
                                "added loss, nats"))  # fmt: skip
    classes = head_class(torch.tensor(history.needed[-1]), config.length)
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


def characters(config: Heads, run: Run) -> tuple[Tensor, Tensor]:
    """Training and test text as numbers of letters; whatever is no letter is a blank."""
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


def batch(config: Heads, run: Run, text: Tensor, name: str, step: int) -> tuple[Tensor, Tensor]:
    """Sequences with some characters hidden; the targets are -100 elsewhere."""
    rng = run.rng(name, step)
    shape = (config.batch_size, config.length)
    start = torch.randint(len(text) - config.length, (config.batch_size, 1), generator=rng)
    letters = text[start + torch.arange(config.length)].long()
    hidden = torch.rand(shape, generator=rng) < config.masked
    return letters.masked_fill(hidden, MASK), letters.masked_fill(~hidden, -100)


def masked_loss(model: nn.Module, tokens: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of the hidden characters, nats."""
    return cross_entropy(model(tokens).flatten(0, 1).float(), target.flatten())


@torch.no_grad()
def measured(model: nn.Module, fixed: list[tuple[Tensor, Tensor]]) -> float:
    """Mean over the test's minibatches."""
    device = next(model.parameters()).device
    losses = [masked_loss(model, x.to(device), y.to(device)) for x, y in fixed]
    return float(torch.stack(losses).mean())


@torch.no_grad()
def look(
    model: Characters, fixed: list[tuple[Tensor, Tensor]], history: History, step: int
) -> float:
    """Note what the heads do on the test's sequences; gives their loss."""
    loss = measured(model, fixed)
    weights = [w.float() for w in model.last_weights()]
    counts = torch.ones(weights[0].shape[0], weights[0].shape[2], dtype=torch.bool)
    needed = median_needed(weights, counts.to(weights[0].device))
    history.steps.append(step)
    history.needed.append(needed.tolist())
    rows = [w[:4, :, ::16].flatten(0, 2) for w in weights]
    history.jacobian.append([float(softmax_jacobian_norm(r).mean()) for r in rows])
    return loss


def replaced(
    config: Heads,
    run: Run,
    model: Characters,
    train: Tensor,
    fixed: list[tuple[Tensor, Tensor]],
    layer: int,
) -> float:
    """The test loss with Gaussian heads in one layer, which alone are trained."""
    attention = model.attentions()[layer]
    before = attention.kernel
    gaussian = GaussianAttention(config.heads, config.length, centred=True).to(run.device)
    attention.kernel = gaussian
    model.requires_grad_(False)
    gaussian.requires_grad_(True)
    optimizer = torch.optim.Adam(gaussian.parameters(), lr=config.gaussian_lr)
    for tokens, target in run.steps(
        config.gaussian_steps,
        lambda step: batch(config, run, train, f"gaussian{layer}", step),
        state=(gaussian, optimizer),
        name=f"gaussian{layer}",
    ):
        loss = masked_loss(model, tokens, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        run.log(loss=loss)
    after = measured(model, fixed)
    attention.kernel = before
    return after
