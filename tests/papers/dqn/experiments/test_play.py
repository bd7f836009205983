"""A run that is killed ends as one that is not, with its replay; what an arm may be asked for."""

import json

import numpy as np
import pytest
import torch

from quire.lab.errors import Interrupted, UserError
from quire.lab.testing import try_run
from quire.papers.dqn import DQN, Proportional, Setting, make
from quire.papers.dqn.experiments.keeping import BLOCK, KeptReplay

SMALL = {"steps": 240, "replay": 100, "warm_up": 30, "looks": 3, "look_steps": 40}


def run(folder, stops=(), **overrides):
    """Metrics and curves of a run on Catch that is stopped after each of `stops` more steps."""
    for stop in stops:
        with pytest.raises(Interrupted):
            try_run("dqn", "catch", directory=folder, overrides=SMALL | overrides, stop_after=stop)
    metrics = try_run("dqn", "catch", directory=folder, overrides=SMALL | overrides)
    (result,) = folder.rglob("result.json")
    return metrics, json.loads(result.read_text())["series"]


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {
            "lanes": 3,
            "update_every": 2,
            "target_every": 7,
            "returns": 2,
            "double": True,
            "alpha": 0.6,
            "dueling": True,
            "clipped": True,
            "centred": True,
        },
    ],
)
def test_a_stopped_run_ends_as_one_that_was_not(tmp_path, overrides):
    whole = run(tmp_path / "whole", **overrides)
    assert whole[0]["updates"] > 50
    assert run(tmp_path / "stopped", (1, 40, 23), **overrides) == whole
    # The replay is gone with the run that needed it.
    assert not list(tmp_path.rglob("*.bin"))


def test_rows_come_back_from_their_files_however_long_the_run(tmp_path):
    """More rows than a block and than the buffer holds, without a checkpoint between."""

    def begin():
        setting = Setting(replay=300, warm_up=10**9)
        return DQN(make("catch", 2), setting, sampling=Proportional())

    whole, folder = begin(), tmp_path / "replay"
    kept = KeptReplay(whole.memory, folder)
    for _ in range(BLOCK):
        whole.step()
        kept.keep()
    state = kept.state_dict()
    other = begin()
    KeptReplay(other.memory, folder).load_state_dict(state)
    other.load_state_dict(whole.state_dict())
    other._observe()
    draws = [agent.memory.sample(64, torch.Generator().manual_seed(0)) for agent in (whole, other)]
    assert whole.memory.end == other.memory.end == 2 * BLOCK + 2
    for a, b in zip(*draws, strict=True):
        assert np.array_equal(a, b)
    # A loop that has ended draws nothing more, so that its files may go.
    kept.discard()
    KeptReplay(begin().memory, folder).load_state_dict(state)


def test_any_environment_is_an_override_away(tmp_path):
    pytest.importorskip("gymnasium", reason="extra rl")
    found, _ = run(tmp_path, env="CartPole-v1")
    assert found["score"] > 5
    with pytest.raises(UserError, match="did you mean 'CartPole-v1'"):
        run(tmp_path, env="CartPol-v1")
