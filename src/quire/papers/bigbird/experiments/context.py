"""Masked language modelling on bytes of English Wikipedia at several contexts (table 10)."""

from pathlib import Path

import torch
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor

from quire import data
from quire.lab import Metrics, Run
from quire.papers.bigbird.experiments.encoders import Tagger
from quire.papers.bigbird.experiments.genomics import NGram
from quire.papers.bigbird.experiments.learner import measure_answers, train_tagger
from quire.papers.bigbird.experiments.settings import Training
from quire.papers.bigbird.experiments.tasks import Examples, hide

MASK = 256
"""The word that hides a byte."""

PRIOR = 0.01
"""Added to each count of the baseline."""


class Context(Training):
    """Masked language modelling on bytes of English Wikipedia."""

    length: PositiveInt = 4096
    """Context: tokens of a sequence. Every arm sees the same number of tokens a step."""
    tokens: PositiveInt = 256 * 4096
    """Tokens a step."""
    articles: PositiveInt = 3_803
    """Articles used, a twentieth of them (the last) for the test."""
    test_tokens: PositiveInt = 1 << 20
    """Test tokens, the same for every arm."""
    ngram: NonNegativeInt = 0
    """The baseline in place of the model: probabilities of a byte after so many before it."""


def context(config: Context, run: Run) -> Metrics:
    """Bits a byte of hidden bytes of unseen articles."""
    train, test = _read_articles(config, run.data)
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
    accuracy, bits = measure_answers(run, model, parts)
    return {"bits": bits[0], "accuracy": accuracy[0]}


def _read_articles(config: Context, root: Path | None) -> tuple[Tensor, Tensor]:
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
