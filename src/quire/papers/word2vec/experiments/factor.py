"""Analogies between words with two factors in a made-up corpus (section 4, Tables 1 and 3)."""

from pydantic import PositiveInt

from quire.lab import Metrics, Run
from quire.papers.word2vec.experiments.generators import factor_questions
from quire.papers.word2vec.experiments.learner import Model, Share, train_on_factors
from quire.papers.word2vec.queries import analogies


class Factor(Model):
    """Words with two factors in a made-up corpus; analogies between them."""

    dim: PositiveInt = 32
    """D, dimensions."""
    mixing: Share = 0.4
    """Share of pool words that mislead: at 0 every rule answers everything."""
    epochs: PositiveInt = 3
    """Passes over the corpus."""
    sentences: PositiveInt = 6000
    """Sentences of 12 words."""
    questions: PositiveInt = 600
    """Analogy questions."""


def factor(config: Factor, run: Run) -> Metrics:
    """Top-1 accuracy of w_ab : w_cb :: w_ad : w_cd."""
    model, measured = train_on_factors(config, run, config.sentences, mixing=config.mixing)
    asked = factor_questions(config.questions, run.seed)
    answers = analogies(model, {"factors": asked}, top=None, fold_case=False)
    return {"accuracy": answers.accuracy["total"], **measured}
