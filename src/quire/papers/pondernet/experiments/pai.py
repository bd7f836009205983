"""Paired associative inference (section 3.3) on procedural embeddings in disjoint pools."""

from pydantic import Field, PositiveFloat, PositiveInt

from quire.lab import Config, Metrics, Run
from quire.papers.pondernet.experiments.learner import Halting, score, train
from quire.papers.pondernet.experiments.tasks import (
    LINKS,
    Examples,
    draw_image_pool,
    make_paired_associates,
)
from quire.papers.pondernet.experiments.universal import WARM_UP, Universal, make_learner
from quire.papers.pondernet.rules import sample
from quire.papers.pondernet.transformer import PairEmbedding


class Pai(Config):
    """Chains A-B-C are shown as A-B and B-C; a query asks for a partner, direct or not."""

    halting: Halting = Halting(max_steps=10)
    """How long to think."""
    universal: Universal = Universal(dim=256, transition_layers=2)
    """What thinks."""
    pairs: PositiveInt = Field(default=16, ge=2)
    """Chains A-B-C in an episode; the memory has twice as many rows."""
    features: PositiveInt = 1000
    """Width of an image embedding."""
    pool: PositiveInt = 10_000
    """Images of each pool (training, test)."""
    learning_rate: PositiveFloat = 3e-4
    """Adam's, after the warm-up."""
    batch_size: PositiveInt = 128
    """Episodes a step."""
    steps: PositiveInt = 200_000
    """Minibatches."""
    test_examples: PositiveInt = Field(default=2000, ge=20)
    """Test episodes of each kind of query."""


def pai(config: Pai, run: Run) -> Metrics:
    """Accuracy on direct (A-B, B-C) and indirect (A-C) queries over images never trained on."""
    pools = {
        name: draw_image_pool(config.pool, config.features, run.rng(name))
        for name in ("train", "test")
    }
    embed = PairEmbedding(config.features, config.universal.dim)
    learner = run.place(make_learner(embed, config.universal, outputs=2, halting=config.halting))

    def batch_at(step: int) -> Examples:
        generator = run.rng("train", step)
        return make_paired_associates(
            pools["train"], config.batch_size, pairs=config.pairs, generator=generator
        )

    train(
        learner,
        run,
        batch_at=batch_at,
        steps=config.steps,
        learning_rate=config.learning_rate,
        rising=WARM_UP,
    )
    metrics = {}
    for link in LINKS:
        test = make_paired_associates(
            pools["test"],
            config.test_examples,
            pairs=config.pairs,
            generator=run.rng("episodes", link),
            link=link,
        )
        x = tuple(part.to(run.device) for part in test.x)
        answer = learner.answer(x, sample(run.rng("halting", link)))
        good = score(answer.prediction, test.target.to(run.device))
        metrics[f"{link.lower()}_accuracy"] = 100 * float(good.mean())
        metrics[f"{link.lower()}_steps"] = float(answer.steps.float().mean())
    return metrics
