import contextlib
import errno
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import quire.papers
from quire.lab import Config, try_run
from quire.lab.errors import Diverged, Interrupted, MissingError, RunError, UserError
from quire.lab.execute import execute
from quire.lab.job import Job, Options, Target, jobs_for
from quire.lab.journal import read_journal
from quire.lab.run import Run

TOYS = Path(__file__).parent / "papers"


def job(tmp_path, experiment="line", arm="method", seed=0, overrides=None, **options):
    chosen = Options(runs=tmp_path, threads=1, **options)
    return Job("toy", experiment, arm, "laptop", seed, overrides or {}, chosen)


def result(directory):
    return json.loads((directory / "result.json").read_text())


def test_a_run_leaves_open_files(tmp_path):
    outcome = execute(job(tmp_path))
    assert outcome.status == "done"
    folder = outcome.directory
    assert folder.parts[-5:-1] == ("toy", "line", "laptop", "method")
    assert result(folder)["metrics"] == outcome.metrics
    assert result(folder)["series"]["weights"]["x_label"] == "input"
    config = json.loads((folder / "config.json").read_text())
    assert config["momentum"] == 0.9
    environment = json.loads((folder / "environment.json").read_text())
    assert environment["threads"] == 1
    assert environment["cpu_seconds"] > 0
    assert environment["peak_memory_mb"] > 0
    rows = read_journal(folder / "metrics.jsonl")
    assert [row["step"] for row in rows] == list(range(40))


def test_a_finished_run_is_not_run_again(tmp_path):
    first = execute(job(tmp_path))
    stamp = (first.directory / "result.json").stat().st_mtime_ns
    again = execute(job(tmp_path))
    assert again.status == "cached"
    assert again.metrics == first.metrics
    assert (first.directory / "result.json").stat().st_mtime_ns == stamp
    fresh = execute(job(tmp_path, fresh=True))
    assert fresh.status == "done"
    assert fresh.metrics == first.metrics  # bit for bit


def test_overrides_and_seeds_have_folders_of_their_own(tmp_path):
    folders = {
        job(tmp_path).directory,
        job(tmp_path, seed=1).directory,
        job(tmp_path, overrides={"steps": 41}).directory,
    }
    assert len(folders) == 3
    assert "laptop-custom" in str(job(tmp_path, overrides={"steps": 41}).directory)


def test_compilation_is_asked_for_by_the_config_and_happens_on_a_gpu(tmp_path, monkeypatch):
    plain, asked = job(tmp_path), job(tmp_path, overrides={"compile": True})
    # Elsewhere it decides nothing: the folder's digest is the same.
    assert plain.directory.name == asked.directory.name
    outcome = execute(asked)
    assert outcome.status == "done"
    assert outcome.metrics == execute(plain).metrics

    calls = []
    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda self, **how: calls.append((type(self), how))
    )
    for device, config in itertools.product(("cpu", "meta"), (True, False)):
        run = Run(Config(compile=config), tmp_path, seed=0, device=torch.device(device))
        run.place(torch.nn.Linear(2, 2))
        assert not calls
    monkeypatch.setattr(torch.nn.Module, "to", lambda self, device: self)  # no GPU is needed
    net = torch.nn.Linear(2, 2)
    for config in (True, False):
        run = Run(Config(compile=config), tmp_path, seed=0, device=torch.device("cuda"))
        assert run.place(net) is net
    assert calls == [(torch.nn.Linear, {"mode": "reduce-overhead"})]


def test_the_callers_random_generators_are_left_alone(tmp_path):
    torch.manual_seed(5), np.random.seed(5), random.seed(5)
    expected = (torch.rand(1), np.random.rand(), random.random())
    torch.manual_seed(5), np.random.seed(5), random.seed(5)
    execute(job(tmp_path))
    assert (torch.rand(1), np.random.rand(), random.random()) == expected


@pytest.mark.parametrize("experiment", ["line", "stages"])
def test_interrupted_and_resumed_is_the_same_run(tmp_path, experiment):
    whole = execute(job(tmp_path / "whole", experiment))
    for after in (3, 12):
        broken = job(tmp_path / f"broken{after}", experiment)
        with _interrupted_at(after), pytest.raises(Interrupted, match="command resumes it"):
            execute(broken)
        assert not (broken.directory / "result.json").exists()
        resumed = execute(broken)
        assert result(resumed.directory) | {"job": 0} == result(whole.directory) | {"job": 0}
        assert read_journal(resumed.directory / "metrics.jsonl") == read_journal(
            whole.directory / "metrics.jsonl"
        )
        assert "resumed" in (resumed.directory / "log.txt").read_text()


@contextlib.contextmanager
def _interrupted_at(count):
    """Send this process SIGINT during the count-th logged step."""
    log, calls = Run.log, []

    def counted(self, **values):
        calls.append(1)
        if len(calls) == count:
            os.kill(os.getpid(), signal.SIGINT)
        return log(self, **values)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "log", counted)
        yield


# The sleeps of all steps together are far longer than the wait before the kill.
@pytest.mark.parametrize(("experiment", "sleep"), [("line", 0.1), ("stages", 0.2)])
def test_killed_and_resumed_is_the_same_run(tmp_path, experiment, sleep):
    """SIGKILL at a random moment, then the same command again, in processes of their own."""
    whole = execute(job(tmp_path / "whole", experiment))
    killed = job(
        tmp_path / "killed", experiment, overrides={"sleep": sleep}, checkpoint_seconds=0.1
    )
    command = [
        sys.executable, "-m", "quire", "run", f"toy/{experiment}:method", "--runs",
        str(tmp_path / "killed"), "--threads", "1", "--sleep", str(sleep),
        "--checkpoint-seconds", "0.1",
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    journal = killed.directory / "checkpoint"
    deadline = time.monotonic() + 60
    while not list(journal.glob("*/*.pt")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    time.sleep(random.Random().uniform(0, 0.6))
    process.kill()
    process.wait()
    assert not (killed.directory / "result.json").exists()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    assert result(killed.directory)["metrics"] == result(whole.directory)["metrics"]
    assert "resumed" in (killed.directory / "log.txt").read_text()


def test_a_loss_that_is_no_number_stops_the_run(tmp_path):
    diverges = job(tmp_path, arm="diverges")
    outcome = execute(diverges)
    assert outcome.status == "failed"
    assert outcome.reason == "loss became nan at step 5; the last good checkpoint stands"
    assert execute(diverges).status == "failed"  # remembered, not run again
    with pytest.raises(RunError, match="became nan at step 5"):
        try_run("toy", "line", arm="diverges", preset="laptop", directory=tmp_path)
    assert issubclass(Diverged, RunError)


def test_a_full_disk_stops_the_run_and_keeps_its_state(tmp_path, monkeypatch):
    whole = execute(job(tmp_path / "whole"))
    broken = job(tmp_path / "broken", checkpoint_seconds=0.0)
    fsync, calls = os.fsync, []

    def full(handle):
        calls.append(1)
        if len(calls) > 12:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return fsync(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match="No space left on device"):
        execute(broken)
    monkeypatch.setattr(os, "fsync", fsync)
    resumed = execute(broken)
    assert resumed.metrics == whole.metrics
    assert "resumed" in (resumed.directory / "log.txt").read_text()


def test_a_damaged_checkpoint_costs_a_few_steps_and_is_reported(tmp_path):
    whole = execute(job(tmp_path / "whole"))
    broken = job(tmp_path / "broken", checkpoint_seconds=0.0)
    with _interrupted_at(20), pytest.raises(Interrupted):
        execute(broken)
    newest = max((broken.directory / "checkpoint" / "train").iterdir())
    newest.write_bytes(newest.read_bytes()[:-7])
    assert execute(broken).metrics == whole.metrics
    assert "is damaged; going back" in (broken.directory / "log.txt").read_text()


def test_two_processes_do_not_share_a_run(tmp_path):
    slow = job(tmp_path, overrides={"sleep": 0.1, "steps": 200})
    command = [
        sys.executable, "-m", "quire", "run", "toy/line:method", "--runs", str(tmp_path),
        "--sleep", "0.1", "--steps", "200",
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not (slow.directory / "config.json").exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        with pytest.raises(UserError, match="another process is at work"):
            execute(slow)
    finally:
        process.kill()
        process.wait()


def test_termination_by_signal_saves_and_says_so(tmp_path):
    command = [
        sys.executable, "-m", "quire", "run", "toy/line:method", "--runs", str(tmp_path),
        "--sleep", "0.05", "--steps", "400",
    ]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(tmp_path.rglob("metrics.jsonl")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "terminated at step" in errors
    assert "Traceback" not in errors
    assert list(tmp_path.rglob("checkpoint/train/*.pt"))


def test_missing_data_is_one_line(tmp_path):
    with pytest.raises(MissingError) as caught:
        execute(job(tmp_path, "starved", data=tmp_path / "nothing"))
    assert "mnist" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_extra_is_one_line(tmp_path, monkeypatch):
    import importlib.metadata

    from quire.lab.extras import check_extras

    def absent(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", absent)
    with pytest.raises(MissingError, match=r"get it with: pip install 'quire-papers\[vision\]'"):
        check_extras(("vision",))


def test_versions_of_what_an_extra_brings(monkeypatch):
    import importlib.metadata

    from quire.lab.extras import packages_of, versions_of

    asked = {
        "quire-papers": [
            "torch>=2",
            'rooms[hall,attic]>=1.0; extra == "play"',
            'cup; extra == "x"',
        ],
        "rooms": ['hall-engine==2 ; extra == "hall"', 'roof; extra == "attic"', "walls"],
    }
    known = {"rooms": "1.4", "hall-engine": "2.0", "cup": "9"}

    def version(name):
        if name not in known:
            raise importlib.metadata.PackageNotFoundError(name)
        return known[name]

    monkeypatch.setattr(importlib.metadata, "requires", lambda name: asked.get(name))
    monkeypatch.setattr(importlib.metadata, "version", version)
    assert packages_of("play") == ["rooms"]
    assert versions_of(("play",)) == {"hall-engine": "2.0", "rooms": "1.4"}


@pytest.mark.parametrize(
    ("overrides", "fault"),
    [
        ({"steps": 0}, r"steps: .*greater than 0 \(got 0\)"),
        ({"steps": "many"}, "steps: .*integer"),
        ({"stepz": 3}, "unknown field 'stepz': did you mean 'steps'"),
    ],
)
def test_a_bad_value_names_the_field(tmp_path, overrides, fault):
    with pytest.raises(UserError, match=fault):
        execute(job(tmp_path, overrides=overrides))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("toy/lines", "unknown experiment of toy 'lines': did you mean 'line'"),
        ("toy/line:metod", "did you mean 'method'"),
        ("toi", "unknown paper 'toi': did you mean 'toy'"),
        ("toy/line/method", "is not a target"),
        ("", "is not a target"),
    ],
)
def test_unknown_targets(text, fault):
    with pytest.raises(UserError, match=fault):
        Target.parse(text)


def test_jobs_are_experiments_by_seeds_by_arms():
    jobs = jobs_for(Target.parse("toy/line"), "smoke")
    assert [(j.arm, j.seed) for j in jobs] == [("method", 0), ("baseline", 0)]
    assert len(jobs_for(Target.parse("toy/line"), "laptop")) == 9
    assert len(jobs_for(Target.parse("toy/line:method"), "laptop", [4, 5])) == 2


def test_tensorboard_events_on_request(tmp_path):
    pytest.importorskip("tensorboard", reason="needs the extra tensorboard")
    outcome = execute(job(tmp_path, tensorboard=True))
    assert list((outcome.directory / "tensorboard").glob("events*"))


def test_threads_processes_and_data_decide_where_a_run_stands(tmp_path, monkeypatch):
    """What decides the result, or its digits, is in the run's name."""
    mine = tmp_path / "mine.txt"
    mine.write_text("one")

    def folder(**overrides):
        return job(tmp_path, "stages", overrides=overrides).directory

    first, named = folder(), folder(text=str(mine))
    assert named == folder(text=str(mine)) != first
    mine.write_text("two")
    changed = folder(text=str(mine))
    assert changed != named  # another text at the same path is another run
    two = Job("toy", "stages", "method", "laptop", 0, {}, Options(runs=tmp_path, threads=2))
    assert two.directory != first
    default = Job("toy", "stages", "method", "laptop", 0, {}, Options(runs=tmp_path))
    assert default.directory == first  # one thread unless said
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert folder() != first


def test_a_run_that_is_run_afresh_keeps_the_old_result_until_the_new_one_stands(tmp_path):
    first = execute(job(tmp_path))
    before = result(first.directory)
    with _interrupted_at(3), pytest.raises(Interrupted):
        execute(job(tmp_path, fresh=True))
    assert json.loads((first.directory / "previous" / "result.json").read_text()) == before
    with _interrupted_at(3), pytest.raises(Interrupted):
        execute(job(tmp_path, fresh=True))
    assert (first.directory / "previous" / "result.json").is_file()
    assert execute(job(tmp_path)).metrics == first.metrics
    assert not (first.directory / "previous").exists()


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "\udcff"])
def test_a_damaged_result_is_set_aside_and_run_again(tmp_path, content):
    first = execute(job(tmp_path))
    path = first.directory / "result.json"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    again = execute(job(tmp_path))
    assert (again.status, again.metrics) == ("done", first.metrics)
    assert path.with_name("result.json.damaged").is_file()


@pytest.mark.parametrize("accident", ["raise TypeError('wrong\\nshape')", "return None", "1 / 0"])
def test_an_accident_in_an_experiment_is_one_line(tmp_path, monkeypatch, accident):
    (tmp_path / "papers").mkdir()
    folder = tmp_path / "papers" / "mine"
    shutil.copytree(TOYS / "toy", folder)
    code = folder / "experiments" / "stages.py"
    head, _, _ = code.read_text().partition("    first = nn.Linear")
    code.write_text(f"{head}    {accident}\n")
    monkeypatch.setattr(quire.papers, "__path__", [str(tmp_path / "papers")])
    wanted = Job("mine", "stages", "method", "smoke", 0, {}, Options(runs=tmp_path / "runs"))
    with pytest.raises(UserError) as caught:
        execute(wanted)
    assert "\n" not in str(caught.value)
    for name in [name for name in sys.modules if name.startswith("quire.papers.mine")]:
        del sys.modules[name]


@pytest.mark.parametrize("text", ["def stages(:\n", "import nothing_like_it\n", "stages = 3\n", ""])
def test_code_that_cannot_be_imported_is_one_line(tmp_path, monkeypatch, text):
    folder = tmp_path / "papers" / "mine"
    shutil.copytree(TOYS / "toy", folder)
    (folder / "experiments" / "stages.py").write_text(text)
    monkeypatch.setattr(quire.papers, "__path__", [str(tmp_path / "papers")])
    with pytest.raises(UserError, match=r"mine/experiments/stages\.py") as caught:
        execute(Job("mine", "stages", "method", "smoke", 0, {}, Options(runs=tmp_path / "runs")))
    assert "\n" not in str(caught.value)
    for name in [name for name in sys.modules if name.startswith("quire.papers.mine")]:
        del sys.modules[name]


def test_a_trial_stops_where_it_is_told_and_goes_on(tmp_path):
    whole = execute(job(tmp_path / "whole"))
    short = job(tmp_path / "short", stop_after=4)
    with pytest.raises(Interrupted, match="stopped as asked at step 4 of 40"):
        execute(short)
    assert execute(job(tmp_path / "short")).metrics == whole.metrics


def test_checkpoints_cost_five_percent_at_most(tmp_path, monkeypatch):
    """A save that takes long is made seldom: the pause is twenty times its cost."""
    from quire.lab.checkpoint import Checkpoints

    saves, clock = [], [0.0]
    monkeypatch.setattr("quire.lab.run.time.monotonic", lambda: clock[0])

    def slow(self, step, content):
        saves.append(step)
        clock[0] += 2.0

    monkeypatch.setattr(Checkpoints, "save", slow)
    real = Run.log

    def log(self, **values):
        clock[0] += 1.0
        return real(self, **values)

    monkeypatch.setattr(Run, "log", log)
    execute(job(tmp_path, overrides={"steps": 200}, checkpoint_seconds=5.0))
    gaps = [b - a for a, b in itertools.pairwise(saves)]
    assert min(gaps[:-1]) >= 40
