"""The curriculum; and what is measured where a part of the range is not trained."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from quire.lab import try_run
from quire.papers.pondernet.experiments.learner import TrainingPass
from quire.papers.pondernet.experiments.parity import Curriculum


def test_curriculum_rises_and_resumes() -> None:
    def passed(accuracy: float) -> TrainingPass:
        value: Tensor = torch.tensor(accuracy)
        return TrainingPass(value, value, value, 7)

    curriculum = Curriculum(1, 3, bar=0.9, decay=0.5)
    for step in range(4):
        curriculum.take(passed(1.0), step)
    assert curriculum.level == 2 and curriculum.evaluations == 28
    other = Curriculum(1, 3, bar=0.9, decay=0.5)
    other.load_state_dict(curriculum.state_dict())
    for step in range(4, 20):
        curriculum.take(passed(1.0), step)
        other.take(passed(1.0), step)
    assert other.state_dict() == curriculum.state_dict()
    assert other.level == 3 and other.reached > 0


@pytest.mark.parametrize("experiment", ["sensitivity", "regularisers"])
def test_a_part_of_the_range_is_measured_too(experiment: str, tmp_path: Path) -> None:
    metrics = try_run("pondernet", experiment, directory=tmp_path, overrides={"seen": 4})
    assert metrics["unseen_steps"] >= 1
