"""What the experiments share: the settings of a model, and its training inside a run."""

import time
from pathlib import Path

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from quire.lab import Config, Metrics, Run
from quire.papers.word2vec.corpus import Corpus
from quire.papers.word2vec.session import Training
from quire.papers.word2vec.word2vec import Architecture, Loss, Word2Vec


class Model(Config):
    """A model and how it is trained."""

    dim: PositiveInt = 100
    """D, dimensions."""
    window: PositiveInt = 5
    """Largest distance of a context word."""
    epochs: PositiveInt = 1
    """Passes over the corpus."""
    min_count: PositiveInt = 5
    """Words seen fewer times are ignored."""
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
    shared_negatives: bool = False
    """One draw of noise for all context words of a centre word."""
    learning_rate: PositiveFloat | None = None
    """At the start; None: 0.025, for CBOW 0.05."""


def train(
    config: Model, run: Run, corpus: Corpus, folder: Path, name: str = "train"
) -> tuple[Word2Vec, Metrics]:
    """Train a model, one thread, so that the run repeats and resumes bit for bit.

    Gives it with `pairs` (millions of pairs that were trained on) and `words_per_second`. A run
    that is stopped leaves the vectors as they are then in ``vectors.bin``.
    """
    model = Word2Vec(
        config.dim, config.window, negative=config.negative, sample=config.sample,
        min_count=config.min_count, epochs=config.epochs, architecture=config.architecture,
        loss=config.loss, seed=run.seed,
    )  # fmt: skip
    training = Training(
        learning_rate=config.learning_rate,
        noise_exponent=config.noise_exponent,
        shared_negatives=config.shared_negatives,
        device=None if run.device.type == "cpu" else str(run.device),
    )
    session = model.begin(corpus, folder, training=training)
    began, before = time.perf_counter(), None
    try:
        for step in run.steps(len(session), state=(session,), name=name):
            before = session.done if before is None else before
            loss = session.step(step)
            rate = (session.done - before) / (time.perf_counter() - began)
            run.log(words_per_second=rate, **({"loss": loss} if loss == loss else {}))
    finally:
        session.pull()
        model.save(run.directory / "vectors.bin")
    spent = max(1e-9, time.perf_counter() - began)
    read = session.done - (session.done if before is None else before)
    return model, {"pairs": session.pairs / 1e6, "words_per_second": read / spent}
