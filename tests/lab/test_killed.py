"""A laptop run killed with SIGKILL at a random step and resumed ends as one that was not."""

import json
import random
import subprocess
import sys
import time

import pytest

from quire.lab.journal import read_journal


def finish(arguments, runs):
    subprocess.run([*arguments, "--runs", str(runs)], check=True, stdout=subprocess.DEVNULL)
    (result,) = runs.rglob("result.json")
    return json.loads(result.read_text()), read_journal(result.parent / "metrics.jsonl")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "steps"), [("resnet/digits:resnet8", 500), ("pondernet/hops:ponder", 1500)]
)
def test_killed_at_a_random_step(target, steps, tmp_path):
    if target.startswith("resnet"):
        pytest.importorskip("sklearn", reason="needs the extra vision")
    command = [
        sys.executable, "-m", "quire", "run", target, "--preset", "laptop", "--threads", "1",
        "--checkpoint-seconds", "0.1", "--steps", str(steps),
    ]  # fmt: skip
    whole, whole_journal = finish(command, tmp_path / "whole")
    runs = tmp_path / "killed"
    kills = 0
    for _ in range(2):  # twice, so that a resumed run is killed as well
        process = subprocess.Popen([*command, "--runs", str(runs)], stdout=subprocess.DEVNULL)
        # Counted in checkpoints and not in seconds: how fast a machine is, no test can know.
        wanted, deadline = random.Random().randint(1, 3), time.monotonic() + 120
        seen = before = {path.name for path in runs.rglob("checkpoint/*/*.pt")}
        while len(seen - before) < wanted and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
            seen = seen | {path.name for path in runs.rglob("checkpoint/*/*.pt")}
        process.kill()
        process.wait()
        kills += not list(runs.rglob("result.json"))
    assert kills, "the run ended before it could be killed"
    killed, journal = finish(command, runs)
    assert killed["metrics"] == whole["metrics"]
    assert killed["series"] == whole["series"]
    assert journal == whole_journal
    (log,) = runs.rglob("log.txt")
    assert "resumed" in log.read_text()
