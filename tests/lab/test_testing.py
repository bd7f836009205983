"""The run that unit tests get is the one that experiments get."""

import pytest
import torch

from quire.lab.config import Config
from quire.lab.errors import Interrupted
from quire.lab.testing import logged, noted, run_in


class Steps(Config):
    steps: int = 4


def train(run, **values):
    for step in run.steps(run.config.steps):
        run.log(loss=torch.tensor(float(step)), **values)


def test_a_run_logs_notes_and_resumes(tmp_path):
    before = torch.get_rng_state()
    run = run_in(tmp_path / "new", Steps(), seed=3, before={"base": tmp_path}, stop_after=2)
    assert run.before("base") == tmp_path
    assert torch.equal(
        torch.rand(2, generator=run.rng("a")),
        torch.rand(2, generator=run_in(tmp_path / "other", seed=3).rng("a")),
    )
    run.note("here it begins")
    with pytest.raises(Interrupted):
        train(run)
    assert logged(run, "loss") == [0, 1]
    again = run_in(tmp_path / "new", Steps())
    train(again, other=1.0)
    assert logged(again, "loss") == [0, 1, 2, 3]
    assert logged(again, "other") == [1, 1]
    assert logged(again, "loss", loop="another") == []
    assert noted(again) == ["here it begins", "resumed 'train' at step 2"]
    assert torch.equal(torch.get_rng_state(), before)
