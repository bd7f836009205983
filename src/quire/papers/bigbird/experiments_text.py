"""BigBird on sequences of words: building blocks, recall over long distances, real text."""

from pathlib import Path

import numpy as np
import torch
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor

from quire import data
from quire.lab import Metrics, Run
from quire.papers.bigbird.experiments_common import (
    Tagger,
    Training,
    answers,
    train_tagger,
)
from quire.papers.bigbird.figures import attention_figure, pattern_figure
from quire.papers.bigbird.genomics import NGram
from quire.papers.bigbird.model import BigBird
from quire.papers.bigbird.tasks import Dependencies, Examples, Recall, hide
from quire.papers.bigbird.theory import graph_figures


class Procedural(Training):
    """A task made by a program."""

    block: PositiveInt = 16
    """Tokens of a block."""
    shared: bool = True
    """Whether all heads have the same random blocks."""
    dim: PositiveInt = 64
    """Width of a token."""
    depth: PositiveInt = 2
    """Layers."""
    heads: PositiveInt = 4
    """Attention heads."""
    rotary: bool = True
    """Rotary positions in place of learned ones (beyond the paper)."""
    length: PositiveInt = 512
    """Tokens of a sequence, N."""
    items: PositiveInt = 1
    """Items that are asked for."""
    asked: PositiveInt = 16
    """Questions of each kind (blocks) or of each item."""
    front: bool = True
    """retrieval, copy: the questions are the first tokens, which are global (as in the paper's
    question answering); else they stand anywhere and a global block must relay the item."""
    batch_size: PositiveInt = 16
    """Sequences a step."""
    steps: PositiveInt = 20_000
    """Minibatches."""
    learning_rate: float = 1e-3
    """Adam's, at its highest."""
    test_examples: PositiveInt = 512
    """Test sequences."""


def blocks(config: Procedural, run: Run) -> Metrics:
    """Accuracy by kind of dependency, and the figures of the first layer's graph of blocks."""
    task = Dependencies(config.length, items=config.items, asked=config.asked)
    _, accuracy = _train(config, run, task)
    graph = np.ones((config.length // config.block,) * 2, bool)
    pattern = config.pattern(run.seed)
    if pattern is not None:
        graph = pattern.table(config.length)[0]
        run.figure("pattern", pattern_figure(pattern, config.length))
    figures = graph_figures(graph)
    names = [f"{kind}_accuracy" for kind in task.kinds]
    return dict(zip(names, accuracy, strict=True)) | {
        "accuracy": float(np.mean(accuracy)),
        "keys": float(graph.mean(1).mean() * config.length),
        "average_path": min(figures.average_path, 1e6),
        "diameter": min(figures.diameter, 1e6),
        "spectral_gap": figures.spectral_gap,
    }


def retrieval(config: Procedural, run: Run) -> Metrics:
    """One item, asked for at least a quarter of the text away."""
    return _recall(config, run)


def copy(config: Procedural, run: Run) -> Metrics:
    """Many items side by side, asked for in the same order."""
    return _recall(config, run)


def _recall(config: Procedural, run: Run) -> Metrics:
    task = Recall(config.length, items=config.items, asked=config.asked, front=config.front)
    _check(config, task)
    model, accuracy = _train(config, run, task)
    encoder = getattr(model, "module", model).encoder  # under torchrun it is wrapped
    if isinstance(encoder, BigBird):
        example = task.draw(1, run.rng("figure"))
        run.figure("attention", attention_figure(encoder, example, run.device))
    return {"accuracy": accuracy[0]}


def _check(config: Procedural, task: Recall) -> None:
    """Raises ValueError where questions in front are not global, or a window alone reaches the
    item: each layer takes a token's information window // 2 blocks further, and no more."""
    questions = config.items * config.asked
    most = config.global_blocks if config.attention == "etc" else config.block
    if config.front and config.attention != "full" and questions > most:
        raise ValueError(f"at most {most} questions in front are global here, got {questions}")
    reach, apart = config.depth * (config.window // 2), (task.far + 1) // config.block
    local = config.attention == "sparse" and config.random + config.global_blocks == 0
    if local and reach >= apart:
        raise ValueError(
            f"{config.depth} layers of a window of {config.window} reach {reach} blocks, and items "
            f"may be {apart} away: the comparison needs a longer text"
        )


def _train(config: Procedural, run: Run, task: Dependencies | Recall) -> tuple[Tagger, list[float]]:
    model = run.place(Tagger(task.words, task.length, config, run.seed))
    train_tagger(
        config, run, model, lambda step: task.draw(config.batch_size, run.rng("train", step))
    )
    test = [
        task.draw(min(32, config.test_examples), run.rng("test", i))
        for i in range(max(1, config.test_examples // 32))
    ]
    return model, answers(run, model, test, kinds=len(task.kinds))[0]


class Context(Training):
    """Masked language modelling on bytes of English Wikipedia."""

    length: PositiveInt = 4096
    """Context: tokens of a sequence. Every arm sees the same number of tokens a step."""
    tokens: PositiveInt = 256 * 4096
    """Tokens a step: batch_size is not used."""
    articles: PositiveInt = 3_803
    """Articles used, a twentieth of them (the last) for the test."""
    test_tokens: PositiveInt = 1 << 20
    """Test tokens, the same for every arm."""
    ngram: NonNegativeInt = 0
    """The baseline in place of the model: probabilities of a byte after so many before it."""


MASK = 256
"""The word that hides a byte."""

PRIOR = 0.01
"""Added to each count of the baseline."""


def context(config: Context, run: Run) -> Metrics:
    """Bits a byte of hidden bytes of unseen articles."""
    train, test = _bytes(config, run.data)
    if config.ngram:
        counted = NGram(train.numpy(), config.ngram, values=256, prior=PRIOR)
        seen = test[: config.test_tokens].numpy()
        return {"bits": counted.bits(seen), "accuracy": 100 * counted.accuracy(seen)}
    if config.tokens % config.length:
        raise ValueError(
            f"tokens a step must be a multiple of {config.length}, got {config.tokens}"
        )
    count = config.tokens // config.length

    def batch_at(step: int) -> Examples:
        generator = run.rng("train", step)
        begin = torch.randint(len(train) - config.length, (count, 1), generator=generator)
        words = train[begin + torch.arange(config.length)].long()
        return hide(words, MASK, 256, generator)

    model = run.place(Tagger(257, config.length, config, run.seed))
    train_tagger(config, run, model, batch_at)
    longest = max(4096, config.length)
    whole = test[: config.test_tokens // longest * longest].long().view(-1, longest)
    # The same bytes are hidden whatever the context that they are cut into.
    hidden = hide(whole, MASK, 256, run.rng("test"))
    cut = Examples(*(part.view(-1, config.length) for part in hidden))
    parts = [Examples(*(p[i : i + count] for p in cut)) for i in range(0, len(cut.words), count)]
    accuracy, bits = answers(run, model, parts)
    return {"bits": bits[0], "accuracy": accuracy[0]}


def _bytes(config: Context, root: Path | None) -> tuple[Tensor, Tensor]:
    """The bytes of all articles but the last twentieth, and of those."""
    articles = data.wiki_en(root)[: config.articles]
    most = len(articles) - max(1, len(articles) // 20)
    parts = ("\n\n\n".join(some).encode("utf-8") for some in (articles[:most], articles[most:]))
    train, test = (torch.frombuffer(bytearray(part), dtype=torch.uint8) for part in parts)
    if len(test) < max(4096, config.length):
        raise ValueError(
            f"{config.articles} articles leave {len(test)} bytes for the test, "
            f"less than one sequence of {max(4096, config.length)}: take more articles"
        )
    return train, test
