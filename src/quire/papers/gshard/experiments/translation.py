"""Many languages into English, byte by byte, in one model: multi30k's captions."""

import math
from statistics import mean
from typing import NamedTuple

import numpy as np
import torch
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from quire.data.sets.multi30k import multi30k
from quire.lab import Config, Metrics, Run
from quire.lab.training import Kept, inverse_square_root, set_rate, update, warm_up
from quire.papers.gshard.load import spread
from quire.papers.gshard.mixture import mixtures, side
from quire.papers.gshard.published import count_products
from quire.papers.gshard.routers import Dropless, Top2
from quire.papers.gshard.translator import Translator, every_other

LANGUAGES = ("fr", "de", "cs")
HELD_OUT = ("val", "test_2016_flickr")
"""Rates are chosen by the first, claims are about the second."""
PADDING = 256
"""A token of its own, so that bytes keep their numbers; it also begins and ends a sentence."""
SMOOTH = 50
"""Minibatches of the running mean that must fall below `level`."""
YEAR = 365.25 * 24 * 3600


class Translation(Config):
    """One model from French, German and Czech to English."""

    experts: NonNegativeInt = 128
    """E of the mixtures; 0 is a dense model."""
    expert_hidden: PositiveInt = 8192
    """Hidden width of an expert, or of the dense part in its place."""
    layers: PositiveInt = 6
    """Of the encoder, and of the decoder; every other one has a mixture."""
    dim: PositiveInt = 1024
    """D."""
    hidden: PositiveInt = 8192
    """Hidden width of the dense parts."""
    heads: PositiveInt = 16
    """Of every attention."""
    dropout: NonNegativeFloat = 0.1
    """Probability."""
    coefficient: NonNegativeFloat = 0.01
    """k of each layer's balance loss, on the scale on which even gates give 1."""
    pairs: tuple[PositiveInt, PositiveInt, PositiveInt] = (29_000, 29_000, 29_000)
    """Pairs of sentences for training, French, German and Czech."""
    length: PositiveInt = 128
    """Bytes of a sentence at most, its end included."""
    batch_size: PositiveInt = 1024
    """Pairs of a minibatch."""
    steps: PositiveInt = 250_000
    """Minibatches."""
    learning_rate: PositiveFloat = 1e-3
    """Adam's, after its rise."""
    warm_up: PositiveInt = 10_000
    """Minibatches of the rise, after which the rate falls with the inverse square root."""
    level: PositiveFloat = 0.7
    """Training cross-entropy that is waited for, nats a byte."""
    test: PositiveInt = 1000
    """Held-out sentences of each language."""
    decode: NonNegativeInt = 1000
    """Sentences of each language that are translated for BLEU."""


class Pairs(NamedTuple):
    """Bytes of sentences and of their English, uint8-valued int16 (N, S) each, by language."""

    source: Tensor
    target: Tensor


def encode(sentences: list[str], length: int) -> Tensor:
    """Bytes of sentences, int16 (N, length): cut, ended and filled up with PADDING."""
    found = np.full((len(sentences), length), PADDING, dtype=np.int16)
    for row, sentence in zip(found, sentences, strict=True):
        text = sentence.encode()[: length - 1]
        row[: len(text)] = np.frombuffer(text, dtype=np.uint8)
    return torch.from_numpy(found)


def read(config: Translation, run: Run) -> tuple[list[Pairs], list[Pairs], list[Pairs]]:
    """Training, validation and test pairs of each language."""
    parts = multi30k(run.data, (*LANGUAGES, "en"))
    english = {part: [row[-1] for row in parts[part]] for part in ("train", *HELD_OUT)}

    def take(part: str, column: int, count: int) -> Pairs:
        source = [row[column] for row in parts[part][:count]]
        return Pairs(encode(source, config.length), encode(english[part][:count], config.length))

    train = [take("train", i, count) for i, count in enumerate(config.pairs)]
    validation, test = (
        [take(part, i, config.test) for i in range(len(LANGUAGES))] for part in HELD_OUT
    )
    return train, validation, test


def make_model(config: Translation) -> Translator:
    """The model with the paper's placement of mixtures."""
    options = {"router": Top2(minimum=4, evaluation_factor=2.0)} if config.experts else {}
    parts = every_other(
        config.dim, hidden=config.hidden, experts=config.experts,
        expert_hidden=config.expert_hidden, **options,
    )  # fmt: skip
    return Translator(
        PADDING + 2, config.dim, heads=config.heads, parts=parts, layers=config.layers,
        padding=PADDING, dropout=config.dropout,
    )  # fmt: skip


def translation(config: Translation, run: Run) -> Metrics:
    """Bits a byte of held-out English by source language, BLEU, and how the experts were used."""
    train, validation, test = read(config, run)
    source, target = (torch.cat([p[i] for p in train]) for i in range(2))
    source, target = source.to(run.device), target.to(run.device)
    model = run.place(make_model(config))
    optimizer = torch.optim.Adam(model.parameters(), lr=config.learning_rate, betas=(0.9, 0.98))
    kept = Kept(reached=-1.0, recent=10.0)

    def batch(step: int) -> Tensor:
        return torch.randint(len(source), (config.batch_size,), generator=run.rng("batch", step))

    late = config.steps - max(1, config.steps // 10)
    for index in run.steps(config.steps, batch, state=(model, optimizer, kept)):
        rise = warm_up(run.step, config.warm_up)
        set_rate(optimizer, config.learning_rate * rise
                 * inverse_square_root(run.step, config.warm_up))  # fmt: skip
        y = target[index].long()
        with run.precision():
            loss = lose(model(source[index].long(), y), y)
        whole = loss
        if config.experts:
            whole = loss + config.coefficient * side(model)["balance"].sum()
        update(whole, model, optimizer, clip=1.0)
        run.log(loss=loss)
        if run.step % 10 == 0 or run.step >= late:
            watch(model, config, kept, float(loss.detach()), run.step, run.step >= late)
    spent = run.cost()["wall"]
    model.eval()
    chosen_by = [measure_bits(model, pairs, config, run) for pairs in validation]
    metrics = measure(model, test, config, run) | {"bits_validation": mean(chosen_by)}
    names = ("dropped", "imbalance")
    per_step = config.batch_size * config.length
    reached = kept.numbers["reached"]
    return metrics | {name: kept.numbers[name] for name in names if name in kept.numbers} | {
        "tokens": per_step * (reached if reached >= 0 else 2 * config.steps) / 1e6,
        "device_years": spent / YEAR,
        "step_ms": 1000 * spent / config.steps,
        "weights": sum(p.numel() for p in model.parameters()) / 1e6,
        "products": float(count_work(config)),
    }  # fmt: skip


def lose(logits: Tensor, target: Tensor, *, reduction: str = "mean") -> Tensor:
    """Cross-entropy of bytes and of one end a sentence, nats."""
    counted = find_counted(target)
    lost = F.cross_entropy(logits.float().flatten(0, 1), target.flatten(), reduction="none")
    lost = lost.view_as(target) * counted
    return lost.sum() / counted.sum().clamp(min=1) if reduction == "mean" else lost.sum()


def find_counted(target: Tensor) -> Tensor:
    """The bytes of (B, T) and the first padding after them."""
    before = F.pad(target[:, :-1], (1, 0), value=0)
    return before != PADDING


def watch(
    model: nn.Module, config: Translation, kept: Kept, loss: float, step: int, is_late: bool
) -> None:
    """Keep when the level was reached, and the means of what the mixtures left behind.

    Args:
        model: After a call.
        config: The run's.
        kept: What is saved.
        loss: Of this minibatch.
        step: Its number.
        is_late: Whether this is the last tenth.
    """
    recent = kept.numbers["recent"]
    kept.numbers["recent"] = recent + (loss - recent) * min(1.0, 10 / SMOOTH)
    if kept.numbers["recent"] < config.level and kept.numbers["reached"] < 0:
        kept.numbers["reached"] = float(step)
    if config.experts and is_late:
        left = side(model)
        kept.average("dropped", 100 * left["dropped"].mean().detach())
        kept.average("imbalance", spread(left["load"])[0].mean().detach())


def count_work(config: Translation) -> int:
    """Multiplications of a token in the part of a layer with a mixture, the gate included."""
    if not config.experts:
        return count_products(config.dim, config.expert_hidden)
    return count_products(config.dim, config.expert_hidden, experts=config.experts, choices=2)


@torch.no_grad()
def measure(model: Translator, test: list[Pairs], config: Translation, run: Run) -> Metrics:
    """Bits a byte by language, with capacity and without, and BLEU."""
    model.eval()
    found: Metrics = {}
    capped = [measure_bits(model, pairs, config, run) for pairs in test]
    found |= {f"bits_{name}": bits for name, bits in zip(LANGUAGES, capped, strict=True)}
    found["bits"] = mean(capped)
    if config.decode:
        scores = [measure_bleu(model, pairs, config, run) for pairs in test]
        found["bleu"] = mean(scores)
    if config.experts:
        for mixture in mixtures(model):
            mixture.router = Dropless()
        roomy = [measure_bits(model, pairs, config, run) for pairs in test]
        found["bits_dropless"] = mean(roomy)
    return found


@torch.no_grad()
def measure_bits(model: Translator, pairs: Pairs, config: Translation, run: Run) -> float:
    """Bits a byte of the targets."""
    lost, count = 0.0, 0.0
    for source, target in zip(*(p.split(100) for p in pairs), strict=True):
        x, y = source.long().to(run.device), target.long().to(run.device)
        lost += float(lose(model(x, y), y, reduction="sum"))
        count += float(find_counted(y).sum())
    return lost / count / math.log(2)


def measure_bleu(model: Translator, pairs: Pairs, config: Translation, run: Run) -> float:
    """BLEU of greedy translations of the first sentences."""
    outputs: list[str] = []
    for source in pairs.source[: config.decode].split(100):
        outputs += decode(model.translate(source.long().to(run.device), config.length))
    return bleu(outputs, decode(pairs.target[: config.decode].long()))


def decode(tokens: Tensor) -> list[str]:
    """The text of bytes (N, T) up to the first that is none."""
    rows = tokens.cpu().tolist()
    return [
        bytes(row[: next((i for i, b in enumerate(row) if b > 255), len(row))])
        .decode(errors="replace")
        for row in rows
    ]  # fmt: skip


def bleu(outputs: list[str], references: list[str]) -> float:
    """Corpus BLEU of sacrebleu, %. Raises ImportError naming the extra where it is missing."""
    try:
        from sacrebleu import corpus_bleu
    except ImportError as error:
        raise ImportError("BLEU needs sacrebleu: pip install 'quire-papers[text]'") from error
    return float(corpus_bleu(outputs, [references]).score)
