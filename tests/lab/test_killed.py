"""A laptop run killed with SIGKILL at a random step and resumed ends as one that was not."""

import json
import random
import subprocess
import sys
import time

import pytest

from quire.lab.job import Job, Options
from quire.lab.journal import read_journal


def finish(arguments, runs):
    subprocess.run([*arguments, "--runs", str(runs)], check=True, stdout=subprocess.DEVNULL)
    (result,) = runs.rglob("result.json")
    return json.loads(result.read_text()), read_journal(result.parent / "metrics.jsonl")


@pytest.mark.slow
@pytest.mark.parametrize("target", ["resnet/digits:resnet8", "pondernet/hops:ponder"])
def test_killed_at_a_random_step(target, tmp_path):
    if target.startswith("resnet"):
        pytest.importorskip("sklearn", reason="needs the extra vision")
    command = [
        sys.executable, "-m", "quire", "run", target, "--preset", "laptop", "--threads", "1",
        "--checkpoint-seconds", "0.3",
    ]  # fmt: skip
    began = time.monotonic()
    whole, whole_journal = finish(command, tmp_path / "whole")
    spent = time.monotonic() - began
    paper, experiment = target.split(":")[0].split("/")
    job = Job(paper, experiment, target.split(":")[1], "laptop", 0, {},
              Options(runs=tmp_path / "killed"))  # fmt: skip
    kills = 0
    for _ in range(2):  # twice, so that a resumed run is killed as well
        process = subprocess.Popen(
            [*command, "--runs", str(tmp_path / "killed")], stdout=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 120
        before = {path.name for path in job.directory.glob("checkpoint/*/*.pt")}
        while {path.name for path in job.directory.glob("checkpoint/*/*.pt")} <= before:
            assert time.monotonic() < deadline
            if process.poll() is not None:
                break
            time.sleep(0.02)
        time.sleep(random.Random().uniform(0, 0.2 * spent))
        kills += process.poll() is None
        process.kill()
        process.wait()
    assert kills, "the run ended before it could be killed"
    killed, journal = finish(command, tmp_path / "killed")
    assert killed["metrics"] == whole["metrics"]
    assert killed["series"] == whole["series"]
    assert journal == whole_journal
    assert "resumed" in (job.directory / "log.txt").read_text()
