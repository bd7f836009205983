"""What the experiments share: an encoder of small size, its training, and how it is tested."""

import math
from collections.abc import Callable, Iterable, Iterator

import torch
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import LambdaLR

from quire.lab import Config, Run
from quire.papers.bigbird.etc import ETCLayer
from quire.papers.bigbird.model import BigBird, WordHead, initialise
from quire.papers.bigbird.pattern import BigBirdPattern
from quire.papers.bigbird.tasks import Examples


class Attention(Config):
    """Which keys a query attends to."""

    attention: str = "sparse"
    """sparse (the pattern below), full, or etc (extra global tokens and relative positions)."""
    block: PositiveInt = 64
    """Tokens of a block."""
    window: NonNegativeInt = 3
    """Blocks of the window, odd; 0 for none."""
    random: NonNegativeInt = 3
    """Random blocks."""
    global_blocks: NonNegativeInt = 2
    """Global blocks (etc: global tokens)."""
    shared: bool = False
    """Whether all heads have the same random blocks."""

    def pattern(self, seed: int) -> BigBirdPattern | None:
        """The pattern of the first layer in the run with this seed, or None for full attention."""
        if self.attention not in ("sparse", "full", "etc"):
            raise ValueError(f"attention takes sparse, full or etc, got {self.attention!r}")
        if self.attention != "sparse":
            return None
        sizes = self.block, self.window, self.random, self.global_blocks
        return BigBirdPattern(*sizes, seed=1000 * seed, shared=self.shared)


class Training(Attention):
    """An encoder and how it is trained: Adam, a warm-up, then a linear decay to zero."""

    dim: PositiveInt = 768
    """Width of a token."""
    depth: PositiveInt = 12
    """Layers."""
    heads: PositiveInt = 12
    """Attention heads."""
    rotary: bool = False
    """Rotary positions in place of learned ones (beyond the paper)."""
    batch_size: PositiveInt = 256
    """Sequences a step."""
    steps: PositiveInt = 500_000
    """Minibatches."""
    warmup: PositiveInt = 10_000
    """Minibatches over which the rate rises, at most a tenth of all."""
    learning_rate: PositiveFloat = 1e-4
    """Adam's, at its highest."""
    tokens_at_once: PositiveInt | None = None
    """Tokens whose states are in memory at a time, in whole sequences and at least one: a minibatch
    is cut in such parts and their gradients are added up. None: the whole minibatch."""


class ETCEncoder(nn.Module):
    """Word embeddings and `ETCLayer`s; positions are relative alone.

    The global tokens are learned ones to which the first words of the text are added, and their
    states are those of these words: a question in front is global, as in the paper.
    """

    def __init__(self, words: int, config: Training) -> None:
        super().__init__()
        self.word = nn.Embedding(words, config.dim)
        self.tokens = nn.Parameter(0.02 * torch.randn(config.global_blocks, config.dim))
        self.layers = nn.ModuleList(
            ETCLayer(
                config.dim,
                config.heads,
                hidden=4 * config.dim,
                block=config.block,
                window=config.window,
            )
            for _ in range(config.depth)
        )
        initialise(self, config.dim)

    def forward(self, words: Tensor) -> Tensor:
        """(B, N) int64 -> (B, N, D)."""
        x, count = self.word(words), len(self.tokens)
        tokens = self.tokens + x[:, :count]
        for layer in self.layers:
            x, tokens = layer(x, tokens)
        return torch.cat((tokens, x[:, count:]), 1)


class Tagger(nn.Module):
    """An encoder with scores of all words where one is asked for."""

    def __init__(self, words: int, length: int, config: Training, seed: int) -> None:
        super().__init__()
        self.encoder = encoder(words, length, config, seed)
        self.head = WordHead(self.encoder.word)

    def forward(self, words: Tensor, asked: Tensor) -> Tensor:
        """words (B, N), asked (B, N) bool -> (questions, V)."""
        return self.head(self.encoder(words)[asked])


def encoder(words: int, length: int, config: Training, seed: int) -> BigBird | ETCEncoder:
    """The encoder that a config describes; its random blocks follow from the run's seed."""
    if config.attention == "etc":
        return ETCEncoder(words, config)
    return BigBird(
        words,
        config.dim,
        depth=config.depth,
        heads=config.heads,
        length=length,
        pattern=config.pattern(seed),
        rotary=config.rotary,
    )


def optimiser(config: Training, model: nn.Module) -> tuple[torch.optim.Adam, LambdaLR]:
    """Adam and its schedule."""
    adam = torch.optim.Adam(model.parameters(), lr=config.learning_rate)
    rise = min(config.warmup, max(1, config.steps // 10))
    left = max(1, config.steps - rise)

    def rate(step: int) -> float:
        return (step + 1) / rise if step < rise else max(0.0, (config.steps - step) / left)

    return adam, LambdaLR(adam, rate)


def parts_of(config: Training, *batch: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The rows of a minibatch (B, N), (B, ...) that are in memory at a time."""
    rows = len(batch[0])
    if config.tokens_at_once is not None:
        rows = max(1, config.tokens_at_once // batch[0].shape[1])
    yield from zip(*(part.split(rows) for part in batch), strict=True)


def sum_of_nats(scores: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of scores (M, V) and target (M,), in single precision at least, summed."""
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    return cross_entropy(scores, target, reduction="sum")


def descend(
    sums: Iterable[Tensor],
    count: int | Tensor,
    model: nn.Module,
    adam: torch.optim.Adam,
    schedule: LambdaLR,
) -> Tensor:
    """One update with the gradient's norm clipped at 1; gives the mean loss.

    sums: the losses of the parts of a minibatch, each a sum over what the part asks for. Each is
    differentiated before the next is asked for. count: how much all parts ask for, so that the mean
    is that of the whole minibatch whatever its parts.
    """
    adam.zero_grad()
    losses = []
    for total in sums:
        loss = total / count
        loss.backward()
        losses.append(loss.detach())
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    adam.step()
    schedule.step()
    return torch.stack(losses).sum()


def train_tagger(
    config: Training, run: Run, model: nn.Module, batch_at: Callable[[int], Examples]
) -> None:
    """Train to give the word that is asked for."""
    adam, schedule = optimiser(config, model)

    def nats(words: Tensor, target: Tensor) -> Tensor:
        asked = target >= 0
        with run.precision():
            scores = model(words, asked)
        return sum_of_nats(scores, target[asked])

    for words, target, _ in run.steps(config.steps, batch_at, state=(model, adam, schedule)):
        sums = (nats(*part) for part in parts_of(config, words, target))
        run.log(loss=descend(sums, (target >= 0).sum(), model, adam, schedule))


@torch.no_grad()
def answers(
    run: Run, model: nn.Module, batches: list[Examples], *, kinds: int = 1
) -> tuple[list[float], list[float]]:
    """For each kind of question the share of right answers, %, and the mean loss, bits."""
    model.eval()
    right, nats, count = (torch.zeros(kinds, dtype=torch.float64) for _ in range(3))
    for words, target, kind in batches:
        asked = target >= 0
        with run.precision():
            scores = model(words.to(run.device), asked.to(run.device)).float().cpu()
        good = (scores.argmax(-1) == target[asked]).double()
        loss = cross_entropy(scores, target[asked], reduction="none").double()
        for into, value in ((right, good), (nats, loss), (count, torch.ones_like(loss))):
            into.index_add_(0, kind[asked].clamp(max=kinds - 1), value)
    model.train()
    bits = nats / count / math.log(2)
    return (100 * right / count).tolist(), bits.tolist()
