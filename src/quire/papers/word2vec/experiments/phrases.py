"""Phrases planted in a made-up corpus, found by equation 6 (section 4)."""

from pydantic import NonNegativeFloat, PositiveInt

from quire.lab import Config, Metrics, Run
from quire.papers.word2vec.experiments.generators import phrase_corpus
from quire.papers.word2vec.phrases import Phrases

THRESHOLD = 50.0
"""Of the first pass; the second takes half of it."""


class FindPhrases(Config):
    """How large the corpus is, and the discount."""

    sentences: PositiveInt = 10_000
    """Sentences of 18 words or phrases."""
    delta: NonNegativeFloat = 5.0
    """Discount of the count of a pair."""


def phrases(config: FindPhrases, run: Run) -> Metrics:
    """Precision and recall of planted phrases after one and two passes."""
    planted = phrase_corpus(config.sentences, run.seed)
    corpus = planted.corpus
    metrics = {}
    whole = {"_".join(phrase) for phrase in planted.phrases}
    # Half of a phrase of three is no mistake: the next pass may find the rest.
    parts = whole | {"_".join(p[i : i + 2]) for p in planted.phrases for i in range(len(p) - 1)}
    for number in (1, 2):
        finder = Phrases(config.delta, THRESHOLD / number, min_count=1).fit(corpus)
        corpus = [finder.join(sentence) for sentence in corpus]
        found = {word for sentence in corpus for word in sentence if "_" in word}
        metrics[f"recall_{number}"] = 100 * len(whole & found) / len(whole)
        metrics[f"precision_{number}"] = 100 * len(parts & found) / max(1, len(found))
    return metrics
