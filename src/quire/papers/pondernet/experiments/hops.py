"""Follow a map for k hops with a step that does one: difficulty is exact (beyond the paper)."""

import torch
from pydantic import PositiveFloat, PositiveInt

from quire.lab import Config, Metrics, Run
from quire.papers.pondernet.experiments.learner import (
    Halting,
    Learner,
    keep_means,
    rank_correlation,
    score,
    train,
)
from quire.papers.pondernet.experiments.tasks import Examples, HopMap
from quire.papers.pondernet.rules import sample
from quire.papers.pondernet.steps import HopStep

ELEMENTS = 8
"""Elements of the map."""
TEST_EXAMPLES = 4000


class Hops(Config):
    """Follow a fixed map from a start for k hops, with a step that does one."""

    # The eps rule cuts off late stopping before it can be learned: every unroll has N steps.
    halting: Halting = Halting(max_steps=12, eps=0.0, beta=0.1)
    """How long to think."""
    hops: PositiveInt = 5
    """Largest k."""
    learn_map: bool = False
    """Learn the step's matrix too. Its step is then no longer one hop: two hops are a matrix as
    well as one."""
    learning_rate: PositiveFloat = 1e-2
    """Adam's."""
    batch_size: PositiveInt = 256
    """Examples a step."""
    steps: PositiveInt = 1000
    """Minibatches."""


def hops(config: Hops, run: Run) -> Metrics:
    """How far the steps are from k, and whether the answers are right."""
    hop_map = HopMap.draw(ELEMENTS, run.rng("map"))
    step = HopStep(ELEMENTS, config.hops, leads_to=None if config.learn_map else hop_map.leads_to())
    learner = run.place(Learner(step, config.halting))

    def batch_at(step: int) -> Examples:
        uniform = torch.rand(config.batch_size, 2, generator=run.rng("train", step))
        return hop_map.make(uniform, config.hops)

    train(learner, run, batch_at=batch_at, steps=config.steps, learning_rate=config.learning_rate)
    uniform = torch.rand(TEST_EXAMPLES, 2, generator=run.rng("test")).to(run.device)
    test = hop_map.make(uniform, config.hops)
    answer = learner.answer(test.x, sample(run.rng("halting")))
    keep_means(run, "steps", test.difficulty, answer.steps, label="hops")
    return {
        "accuracy": 100 * float(score(answer.prediction, test.target).mean()),
        "steps": float(answer.steps.float().mean()),
        "distance": float((answer.steps - test.difficulty).abs().float().mean()),
        "correlation": rank_correlation(answer.steps, test.difficulty),
    }
