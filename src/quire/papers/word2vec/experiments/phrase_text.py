"""Analogies between phrases of real text (Table 3): phrases are joined first, in two passes."""

from itertools import islice

from pydantic import PositiveInt

from quire.data.sets.word_analogy import word_analogy
from quire.lab import Metrics, Run
from quire.papers.word2vec.corpus import scratch
from quire.papers.word2vec.experiments.corpora import Lines, Source
from quire.papers.word2vec.experiments.learner import Model, train
from quire.papers.word2vec.phrases import Rewritten, find_phrases
from quire.papers.word2vec.queries import analogies

THRESHOLDS = 200.0, 100.0
"""Least score of each pass, as in the authors' demonstration."""


class PhraseText(Model):
    """Vectors of words and phrases."""

    corpus: Source = Source()
    """The text."""
    min_count: PositiveInt = 5
    """Words seen fewer times are ignored."""


def phrase_text(config: PhraseText, run: Run) -> Metrics:
    """Join phrases, train, ask the 3,218 phrase analogies."""
    lines = Lines(config.corpus, run.data)
    passes = find_phrases(lines, THRESHOLDS)
    for number, phrases in enumerate(passes, 1):
        best = islice(sorted(phrases.scores, key=phrases.scores.__getitem__, reverse=True), 10)
        run.note(
            f"pass {number}: {len(phrases.scores)} pairs, first " + ", ".join(map(" ".join, best))
        )
    with scratch() as folder:
        model, measured = train(
            config, run, Rewritten(lines, passes), folder, min_count=config.min_count
        )
    answers = analogies(model, word_analogy(run.data, "phrases"), top=None)
    found = sum("_" in word for word in model.vocabulary)
    return measured | {
        "accuracy": answers.accuracy["total"],
        "coverage": 100 * answers.coverage,
        "phrases": found,
    }
