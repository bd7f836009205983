"""Every arm of every experiment's smoke preset runs and gives the metrics that it promises."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from quire.data import DataMissing
from quire.lab import try_run
from quire.lab.errors import MissingError
from quire.lab.papers import find_paper
from quire.papers.pondernet.experiments_common import (
    Curriculum,
    Halting,
    Learner,
    Trained,
    example_loss,
    rank_correlation,
    right,
)
from quire.papers.pondernet.steps import RNNStep

PAPER = find_paper("pondernet")
JOBS = [
    (name, arm)
    for name, experiment in PAPER.experiments.items()
    for arm in experiment.arms_at("smoke")
]


@pytest.mark.parametrize(("experiment", "arm"), JOBS)
def test_smoke(experiment: str, arm: str, tmp_path: Path) -> None:
    try:
        metrics = try_run("pondernet", experiment, arm=arm, preset="smoke", directory=tmp_path)
    except (DataMissing, MissingError) as error:
        pytest.skip(str(error))
    assert metrics and set(metrics) <= set(PAPER.experiments[experiment].metrics)


@pytest.mark.parametrize("method", ["ponder", "act", "fixed", "deep"])
def test_every_method_trains_the_same_step(method: str) -> None:
    torch.manual_seed(0)
    learner = Learner(RNNStep(4, 16, 3), Halting(method=method, max_steps=4))  # type: ignore[arg-type]
    x, target = torch.randn(32, 4), torch.randint(0, 3, (32,))
    optimizer = torch.optim.Adam(learner.parameters(), lr=0.02)
    losses = []
    for _ in range(60):
        trained = learner(x, target)
        optimizer.zero_grad()
        trained.loss.backward()
        optimizer.step()
        losses.append(trained.loss.item())
    assert losses[-1] < 0.8 * losses[0]
    answer = learner.answer(x)
    assert answer.prediction.shape == (32, 3) and answer.steps.shape == (32,)


def test_loss_and_accuracy_reduce_tokens() -> None:
    predictions = torch.randn(5, 4, 3, 10)  # steps, batch, tokens, classes
    target = predictions[0].argmax(-1)
    assert example_loss(predictions, target, 2).shape == (5, 4)
    assert example_loss(predictions, target, 3).shape == (5, 4, 3)
    assert right(predictions, target, 2)[0].tolist() == [1.0] * 4
    wrong = target.clone()
    wrong[0, 1] += 1
    assert right(predictions[0], wrong).tolist() == [0.0, 1, 1, 1]
    logits = torch.tensor([[2.0], [-3.0]])
    manual = torch.nn.functional.binary_cross_entropy_with_logits(
        logits[:, 0], torch.tensor([1.0, 1.0]), reduction="none"
    )
    torch.testing.assert_close(example_loss(logits, torch.tensor([1, 1]), 1), manual)


def test_curriculum_rises_and_resumes() -> None:
    def passed(accuracy: float) -> Trained:
        value: Tensor = torch.tensor(accuracy)
        return Trained(value, value, value, 7)

    curriculum = Curriculum(1, 3, bar=0.9, decay=0.5)
    for step in range(4):
        curriculum.update(passed(1.0), step)
    assert curriculum.level == 2 and curriculum.evaluations == 28
    other = Curriculum(1, 3, bar=0.9, decay=0.5)
    other.load_state_dict(curriculum.state_dict())
    for step in range(4, 20):
        curriculum.update(passed(1.0), step)
        other.update(passed(1.0), step)
    assert other.state_dict() == curriculum.state_dict()
    assert other.level == 3 and other.reached > 0


def test_constant_pondering_has_no_correlation() -> None:
    assert rank_correlation(torch.ones(5), torch.arange(5)) == 0.0
    assert rank_correlation(torch.arange(5), torch.arange(5)) == pytest.approx(1.0)


@pytest.mark.parametrize("experiment", ["sensitivity", "regularisers"])
def test_a_part_of_the_range_is_measured_too(experiment: str, tmp_path: Path) -> None:
    metrics = try_run("pondernet", experiment, directory=tmp_path, overrides={"seen": 4})
    assert metrics["unseen_steps"] >= 1
