import json
import os
import signal
import subprocess
import sys
import time

import pytest

from quire.lab import job as job_module
from quire.lab import launch
from quire.lab.errors import Interrupted, RunError
from quire.lab.execute import execute, finished
from quire.lab.job import Job, Options, Target, jobs_for
from quire.lab.launch import run_local, run_ray
from quire.lab.papers import find_paper


def jobs(tmp_path, seeds=2, experiment="line", arm="method", **overrides):
    options = Options(runs=tmp_path, checkpoint_seconds=0.0)
    return [
        Job("toy", experiment, arm, "laptop", seed, overrides, options) for seed in range(seeds)
    ]


def test_processes_give_what_one_process_gives(tmp_path):
    seen = []
    outcomes = run_local(
        jobs(tmp_path / "pool", 3), report=lambda outcome, done, total: seen.append((done, total))
    )
    alone = [execute(job) for job in jobs(tmp_path / "alone", 3)]
    assert [o.job.seed for o in outcomes] == [0, 1, 2]
    assert [o.metrics for o in outcomes] == [o.metrics for o in alone]
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert {json.loads((o.directory / "environment.json").read_text())["threads"]
            for o in outcomes} <= {1, 2}  # fmt: skip


@pytest.mark.slow
def test_a_killed_worker_costs_one_retry_and_nothing_else(tmp_path):
    plain = execute(jobs(tmp_path / "plain", 1)[0])
    outcomes = run_local(jobs(tmp_path / "pool", 2, die_at=21), workers=2)
    assert [o.status for o in outcomes] == ["done", "done"]
    assert outcomes[0].metrics == plain.metrics
    assert "resumed 'train' at step 21" in (outcomes[0].directory / "log.txt").read_text()


def test_every_ending_is_an_outcome(tmp_path):
    options = Options(runs=tmp_path, data=tmp_path / "nothing")
    mixed = [
        Job("toy", "line", "diverges", "laptop", 0, {}, options),
        Job("toy", "starved", "method", "laptop", 0, {}, options),
        Job("toy", "line", "method", "laptop", 0, {"dropout": 7.0}, options),
    ]
    outcomes = run_local(mixed, workers=1)
    assert [o.status for o in outcomes] == ["failed", "missing", "crashed"]
    assert "became nan" in outcomes[0].reason
    assert "mnist" in outcomes[1].reason
    assert "dropout probability" in outcomes[2].reason
    assert "Traceback" in (outcomes[2].directory / "log.txt").read_text()


def test_no_jobs_no_workers():
    assert run_local([]) == []


@pytest.mark.slow
def test_ctrl_c_saves_every_run_and_the_same_command_goes_on(tmp_path):
    command = [
        sys.executable, "-c",
        "import sys; from quire.lab.launch import run_local; from tests_launch import jobs;"
        "from pathlib import Path; run_local(jobs(Path(sys.argv[1]), 2, sleep=0.1))",
        str(tmp_path),
    ]  # fmt: skip
    helper = tmp_path / "tests_launch.py"
    helper.write_text(
        "from quire.lab.job import Job, Options\n"
        "def jobs(root, seeds, **overrides):\n"
        "    return [Job('toy', 'line', 'method', 'laptop', s, overrides, Options(runs=root))\n"
        "            for s in range(seeds)]\n"
    )
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while len(list(tmp_path.rglob("metrics.jsonl"))) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert "Interrupted" in errors
    assert len(list(tmp_path.rglob("checkpoint/train/*.pt"))) == 2
    outcomes = run_local(
        [Job("toy", "line", "method", "laptop", s, {"sleep": 0.1}, Options(runs=tmp_path))
         for s in range(2)]
    )  # fmt: skip
    assert [o.status for o in outcomes] == ["done", "done"]
    assert all("resumed" in (o.directory / "log.txt").read_text() for o in outcomes)
    assert issubclass(Interrupted, Exception)


@pytest.fixture(scope="module")
def cluster():
    """A Ray cluster of two nodes on this machine."""
    ray = pytest.importorskip("ray", reason="needs the extra ray")
    from ray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    cluster.add_node(num_cpus=1)
    with pytest.MonkeyPatch.context() as patch:
        from pathlib import Path

        patch.setenv("QUIRE_PAPERS", str(Path(__file__).parent / "papers"))
        patch.setenv("RAY_ADDRESS", cluster.address)
        runtime = {"env_vars": {"QUIRE_PAPERS": os.environ["QUIRE_PAPERS"]}}
        ray.init(
            address=cluster.address, log_to_driver=False, configure_logging=False,
            runtime_env=runtime,
        )  # fmt: skip
        yield cluster
        ray.shutdown()
        cluster.shutdown()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_ray_cluster_gives_what_one_process_gives(tmp_path, cluster):
    outcomes = run_ray(jobs(tmp_path / "ray", 3))
    alone = [execute(job) for job in jobs(tmp_path / "alone", 3)]
    assert [o.metrics for o in outcomes] == [o.metrics for o in alone]
    for outcome in outcomes:
        assert (outcome.directory / "result.json").is_file()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_killed_ray_worker_costs_one_retry_and_nothing_else(tmp_path, cluster):
    plain = execute(jobs(tmp_path / "plain", 1)[0])
    outcomes = run_ray(jobs(tmp_path / "ray", 2, die_at=21))
    assert [o.status for o in outcomes] == ["done", "done"]
    assert outcomes[0].metrics == plain.metrics
    assert "resumed 'train' at step 21" in (outcomes[0].directory / "log.txt").read_text()


@pytest.mark.slow
def test_two_processes_with_ddp_train_as_one(tmp_path):
    """Two gloo processes share each batch: the same losses within float tolerance."""
    arguments = ["-m", "quire", "run", "toy/line:method", "--dropout", "0.0", "--runs"]
    subprocess.run([sys.executable, *arguments, str(tmp_path / "one")], check=True,
                   stdout=subprocess.DEVNULL)  # fmt: skip
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    subprocess.run([*torchrun, *arguments, str(tmp_path / "two"), "--threads", "1"], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    losses = {}
    for name in ("one", "two"):
        (journal,) = (tmp_path / name).rglob("metrics.jsonl")
        losses[name] = [json.loads(line)["loss"] for line in journal.read_text().splitlines()]
        assert len(losses[name]) == 40
    assert losses["two"] == pytest.approx(losses["one"], rel=1e-4, abs=1e-7)


def test_targets_make_jobs():
    assert {job.experiment for job in jobs_for(Target.parse("toy"), "smoke")} == {
        "line", "pupil", "stages", "starved",
    }  # fmt: skip


def pupil(tmp_path, seeds=1, **overrides):
    return jobs(tmp_path, seeds, "pupil", **overrides)


def parent_of(job):
    return job.resolved.parents["teacher"]


def test_a_run_stands_on_another_one(tmp_path):
    (child,) = pupil(tmp_path)
    outcome = execute(child)
    teacher = finished(parent_of(child), parent_of(child).directory)
    assert teacher.status == "cached"
    assert outcome.metrics["started"] == teacher.metrics["weight"]
    moved = parent_of(child).directory.name
    assert json.loads((outcome.directory / "config.json").read_text())["steps"] == 20
    assert moved != child.directory.name


def test_parents_come_first_and_run_once(tmp_path):
    """Two pupils of one teacher: it runs once, before both, whoever launches them."""
    seen = []
    twice = [*pupil(tmp_path / "pool"), *pupil(tmp_path / "pool", steps=21)]
    outcomes = run_local(
        twice, workers=2, report=lambda o, d, t: seen.append((o.job.experiment, t))
    )
    assert [o.status for o in outcomes] == ["done", "done"]
    assert seen[0] == ("line", 3)
    assert [name for name, _ in seen] == ["line", "pupil", "pupil"]
    alone = [execute(job) for job in (*pupil(tmp_path / "a"), *pupil(tmp_path / "a", steps=21))]
    assert [o.metrics for o in outcomes] == [o.metrics for o in alone]


def test_another_parent_is_another_child(tmp_path, monkeypatch):
    """The parent's folder is in the child's hash: what decides the teacher decides the pupil."""
    before = pupil(tmp_path)[0].directory.name
    monkeypatch.setattr(job_module, "RUN_FORMAT", -1)
    assert pupil(tmp_path)[0].directory.name != before


def test_a_parent_that_failed_is_said(tmp_path, monkeypatch):
    experiment = find_paper("toy").experiments["pupil"]
    monkeypatch.setitem(experiment.after, "teacher", "line:diverges")
    with pytest.raises(RunError, match="stands on toy/line:diverges seed 0, which failed: loss"):
        execute(pupil(tmp_path)[0])


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["child", "parent", "worker"])
def test_killed_child_parent_or_worker_give_the_same_result(tmp_path, victim):
    """SIGKILL of the child's run, of its parent's, or of the worker between the two."""
    (whole,) = [execute(job) for job in pupil(tmp_path / "whole")]
    if victim == "child":
        (outcome,) = run_local(pupil(tmp_path / "killed", die_at=7), workers=1)
    else:
        command = [
            sys.executable, "-m", "quire", "run", "toy/pupil:method", "--sleep", "0.05", "--runs",
            str(tmp_path / "killed"), "--checkpoint-seconds", "0.01",
        ]  # fmt: skip
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        wanted = "line/*/*/*/checkpoint" if victim == "parent" else "line/*/*/*/result.json"
        deadline = time.monotonic() + 60
        while not list((tmp_path / "killed" / "toy").glob(wanted)):
            assert time.monotonic() < deadline
            time.sleep(0.002)
        process.kill()
        process.wait()
        (outcome,) = [execute(job) for job in pupil(tmp_path / "killed", sleep=0.05)]
    assert outcome.status == "done"
    assert outcome.metrics == whole.metrics


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_parents_and_children_on_a_ray_cluster(tmp_path, cluster):
    outcomes = run_ray(pupil(tmp_path / "ray", 2))
    alone = [execute(job) for job in pupil(tmp_path / "alone", 2)]
    assert [o.metrics for o in outcomes] == [o.metrics for o in alone]


def test_what_measures_time_runs_alone_and_last(tmp_path, monkeypatch):
    monkeypatch.setattr(launch, "_measures_time", lambda job: job.arm == "baseline")
    mixed = [*jobs(tmp_path, 2, arm="baseline"), *jobs(tmp_path, 2)]
    queue = launch._Queue(mixed)
    first, second = queue.take({}, []), queue.take({}, [])
    assert {queue.jobs[first].arm, queue.jobs[second].arm} == {"method"}
    assert queue.take({}, [first]) is None
    timed = queue.take({}, [])
    assert queue.jobs[timed].arm == "baseline"
    assert queue.take({}, [timed]) is None
