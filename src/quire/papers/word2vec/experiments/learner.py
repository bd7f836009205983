"""What the experiments share: the settings of a model, and its training inside a run."""

import time
from pathlib import Path
from typing import Annotated

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from quire.lab import Config, Metrics, Run
from quire.lab.training import Kept
from quire.papers.word2vec.corpus import Corpus, scratch
from quire.papers.word2vec.experiments.generators import factor_corpus
from quire.papers.word2vec.training.session import Training
from quire.papers.word2vec.word2vec import Architecture, Loss, Word2Vec


class Model(Config):
    """A model and how it is trained."""

    dim: PositiveInt = 100
    """D, dimensions."""
    window: PositiveInt = 5
    """Largest distance of a context word."""
    epochs: PositiveInt = 5
    """Passes over the corpus."""
    architecture: Architecture = "skip-gram"
    """skip-gram or cbow."""
    loss: Loss = "negative"
    """negative, hierarchical, nce or full."""
    negative: PositiveInt = 5
    """k, noise words of a pair."""
    sample: NonNegativeFloat = 0.0
    """t of subsampling; 0 keeps all words."""
    noise_exponent: float = 0.75
    """Noise is proportional to count^this."""
    learning_rate: PositiveFloat | None = None
    """At the start; None: 0.025, for CBOW 0.05."""


def train(
    config: Model,
    run: Run,
    corpus: Corpus,
    folder: Path,
    *,
    min_count: int = 5,
    name: str = "train",
) -> tuple[Word2Vec, Metrics]:
    """Train a model, one thread, so that the run repeats and resumes bit for bit.

    Gives it with `pairs` (millions of pairs that were trained on) and `words_per_second`. A run
    that is stopped leaves the vectors as they are then in ``vectors.bin``.

    Args:
        config: The model and how it is trained.
        run: The run.
        corpus: What it is trained on.
        folder: Where the corpus is kept as rows meanwhile.
        min_count: Words seen fewer times are ignored.
        name: The loop's name.
    """
    model = Word2Vec(
        config.dim, config.window, negative=config.negative, sample=config.sample,
        min_count=min_count, epochs=config.epochs, architecture=config.architecture,
        loss=config.loss, seed=run.seed,
    )  # fmt: skip
    training = Training(
        learning_rate=config.learning_rate,
        start=0.5,  # the authors'
        noise_exponent=config.noise_exponent,
        # As the paper: noise of its own for each pair.
        shared_negatives=False,
        device=None if run.device.type == "cpu" else str(run.device),
    )
    session = model.begin(corpus, folder, training=training)
    # Seconds of all steps, kept with the run: a resumed one is no faster than one that was not.
    clock = Kept(seconds=0.0)
    try:
        for step in run.steps(len(session), state=(session, clock), name=name):
            began = time.perf_counter()
            loss = session.step(step)
            clock.numbers["seconds"] += time.perf_counter() - began
            # A piece without a pair has no loss (nan).
            rate = session.done / clock.numbers["seconds"]
            run.log(words_per_second=rate, **({"loss": loss} if loss == loss else {}))
    finally:
        session.pull()
        model.save(run.directory / "vectors.bin")
    rate = session.done / max(1e-9, clock.numbers["seconds"])
    return model, {"pairs": session.pairs / 1e6, "words_per_second": rate}


Share = Annotated[float, Field(ge=0, le=1)]


def train_on_factors(
    config: Model, run: Run, sentences: int, *, mixing: float, name: str = "train"
) -> tuple[Word2Vec, Metrics]:
    """A model of a factor corpus of so many sentences, with what its training took.

    Args:
        config: The model and how it is trained.
        run: The run.
        sentences: How many.
        mixing: Share of pool words that mislead.
        name: The loop's name.
    """
    corpus = factor_corpus(sentences, run.seed, mixing=mixing)
    with scratch() as folder:
        return train(config, run, corpus, folder, min_count=1, name=name)
