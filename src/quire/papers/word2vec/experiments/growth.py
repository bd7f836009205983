"""The factor corpus at several sizes: where negative sampling catches up (section 4)."""

from pydantic import PositiveInt

from quire.lab import Metrics, Run
from quire.papers.word2vec.experiments.generators import factor_questions
from quire.papers.word2vec.experiments.learner import Model, Share, train_on_factors
from quire.papers.word2vec.queries import analogies


class Growth(Model):
    """A model for each size of the factor corpus."""

    dim: PositiveInt = 32
    """D, dimensions."""
    mixing: Share = 0.4
    """Share of pool words that mislead: at 0 every rule answers everything."""
    sizes: tuple[PositiveInt, ...] = (1500, 6000, 12000, 24000, 48000)
    """Numbers of sentences."""
    questions: PositiveInt = 600
    """Analogy questions."""


def growth(config: Growth, run: Run) -> Metrics:
    """Accuracy against the number of sentences."""
    accuracy = []
    asked = {"factors": factor_questions(config.questions, run.seed)}
    for size in config.sizes:
        model, _ = train_on_factors(config, run, size, mixing=config.mixing, name=f"size{size}")
        answers = analogies(model, asked, top=None, fold_case=False)
        accuracy.append(answers.accuracy["total"])
    run.series("accuracy", list(config.sizes), accuracy, x_label="sentences", y_label="accuracy, %")
    middle = accuracy[len(accuracy) // 2]
    return {"smallest": accuracy[0], "middle": middle, "largest": accuracy[-1]}
