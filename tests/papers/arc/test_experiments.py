import json
from types import SimpleNamespace

import numpy as np
import pytest

from quire import data
from quire.lab.errors import UserError
from quire.lab.execute import try_run
from quire.papers.arc import evaluate, is_held_back, load, read_submission, toy_tasks
from quire.papers.arc.experiments_common import Search, chosen_tasks

pytest.importorskip("numba")
QUICK = {"budget": 0.0, "nodes": 2000, "depth": 1, "attempts": 2}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    path = tmp_path_factory.mktemp("sets") / "toys.json"
    tasks = toy_tasks(1, np.random.default_rng(4))
    few = {id: tasks[id] for id in ("mirror-0", "transpose-0", "keep-0", "fall-0")}
    path.write_text(json.dumps({id: task.to_dict() for id, task in few.items()}))
    return path


def folder_of(runs):
    [folder] = [path.parent for path in runs.rglob("result.json")]
    return folder


def test_a_set_of_ones_own_is_scored_and_counted(bundle, tmp_path):
    overrides = QUICK | {"set": str(bundle)}
    metrics = try_run("arc", "solve", directory=tmp_path, overrides=overrides)
    folder, tasks = folder_of(tmp_path), load(bundle)
    for name in ("submission.csv", "submission.json"):
        again = evaluate(read_submission(folder / name), tasks, 2)
        assert again.solved_percent == metrics["solved_2"] > 0
        assert again.outputs_percent == metrics["outputs_2"]
    assert metrics["reruns_differ"] == metrics["failed"] == 0
    assert metrics["solved_1"] <= metrics["solved_2"] <= metrics["solved_3"]
    index = (folder / "gallery" / "index.html").read_text()
    assert all(id in index for id in tasks)
    assert f"of {len(tasks)} tasks" in (folder / "log.txt").read_text()
    [count] = json.loads((tmp_path / "arc" / "evaluation-runs.json").read_text()).values()
    assert count == {"set": str(bundle), "runs": 1}
    assert len((folder / "tasks.jsonl").read_text().splitlines()) == 1 + len(tasks)
    for name in ("anytime", "strata", "solved"):
        assert (folder / "figures" / f"{name}.png").stat().st_size > 1000


def test_without_outputs_there_are_files_but_no_score(bundle, tmp_path):
    content = json.loads(bundle.read_text())
    for task in content.values():
        task["test"] = [{"input": pair["input"]} for pair in task["test"]]
    path = tmp_path / "blind.json"
    path.write_text(json.dumps(content))
    metrics = try_run(
        "arc", "solve", directory=tmp_path / "runs", overrides=QUICK | {"set": str(path)}
    )
    assert set(metrics) == {"states", "seconds", "states_per_second"}
    folder = folder_of(tmp_path / "runs")
    assert set(read_submission(folder / "submission.json")) == set(content)
    assert "nothing is scored" in (folder / "log.txt").read_text()
    assert (folder / "gallery" / "index.html").is_file()
    assert not (tmp_path / "runs" / "arc" / "evaluation-runs.json").exists()


def test_an_unknown_set_is_one_line(tmp_path):
    with pytest.raises(UserError, match="set 'trainign': training, development") as caught:
        try_run("arc", "solve", directory=tmp_path, overrides=QUICK | {"set": "trainign"})
    assert "\n" not in str(caught.value)
    (tmp_path / "bad.json").write_text('{"abc": {"train": [], "test": []}}')
    with pytest.raises(UserError, match="task abc: 'train' must be a list"):
        try_run(
            "arc", "solve", directory=tmp_path,
            overrides=QUICK | {"set": str(tmp_path / "bad.json")},
        )  # fmt: skip


def parts(name, seed, **options):
    run = SimpleNamespace(data=None, seed=seed)
    return chosen_tasks(Search(set=name, **options), run)


@pytest.fixture
def corpus():
    if not data.status("arc").present:
        pytest.skip("dataset arc is not here (QUIRE_DATA)")


def test_seeds_are_disjoint_thirds(corpus):
    thirds = [set(parts("training-third", seed)) for seed in range(3)]
    assert sum(map(len, thirds)) == len(set.union(*thirds)) == 400
    whole = {id for id in set.union(*thirds) if not is_held_back(id)}
    assert len(whole) == 287
    assert set(parts("development-third", 4)) == thirds[1] & whole
    assert list(parts("development", 7, first=5)) == sorted(whole)[:5]


def test_training_tasks_in_another_set_are_left_out(corpus, bundle, tmp_path):
    content = json.loads(bundle.read_text())
    known = data.arc()
    path, notes = tmp_path / "mixed.json", []
    run = SimpleNamespace(data=None, seed=0, note=notes.append)
    path.write_text(json.dumps(content | {id: known[id] for id in sorted(known)[:3]}))
    assert set(chosen_tasks(Search(set=str(path)), run)) == set(content)
    assert notes == [f"3 of {len(content) + 3} tasks are training tasks: left out"]
    path.write_text(json.dumps({id: known[id] for id in sorted(known)[:3]}))
    assert len(chosen_tasks(Search(set=str(path)), run)) == 3


@pytest.mark.slow
def test_depth_one_solves_more_than_the_pilots_transforms(corpus, tmp_path):
    """46 of 400 is what 84 one-step transforms and a colour map solve."""
    overrides = {"set": "development", "first": 0, "nodes": 4000, "depth": 1, "budget": 0.0}
    metrics = try_run("arc", "solve", directory=tmp_path, overrides=overrides)
    assert metrics["solved_3"] * 287 / 100 >= 46
