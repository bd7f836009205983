import json
import math

import numpy as np
import pytest

from quire import data
from quire.lab.errors import UserError
from quire.lab.job import Job, Options
from quire.lab.testing import noted, run_in, try_run
from quire.papers.arc import evaluate, is_held_back, load, read_submission
from quire.papers.arc.experiments.planted import toy_tasks
from quire.papers.arc.experiments.sets import choose_tasks, name_set

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
    overrides = QUICK | {"folder": bundle}
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
    assert "ARC: file toys.json, 2,000 states a task" in index
    assert f"of {len(tasks)} tasks" in (folder / "log.txt").read_text()
    [count] = json.loads((tmp_path / "arc" / "evaluation-runs.json").read_text()).values()
    assert count == {"set": str(bundle), "runs": 1}
    assert math.isnan(metrics["development"]) and math.isnan(metrics["held_back"])
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
        "arc", "solve", directory=tmp_path / "runs", overrides=QUICK | {"folder": path}
    )
    assert set(metrics) == {"states", "seconds", "states_per_second"}
    folder = folder_of(tmp_path / "runs")
    assert set(read_submission(folder / "submission.json")) == set(content)
    assert "nothing is scored" in (folder / "log.txt").read_text()
    assert (folder / "gallery" / "index.html").is_file()
    assert not (tmp_path / "runs" / "arc" / "evaluation-runs.json").exists()


def test_an_unknown_set_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"set.*'training'.*'development'.*trainign") as caught:
        try_run("arc", "solve", directory=tmp_path, overrides=QUICK | {"set": "trainign"})
    assert "\n" not in str(caught.value)
    (tmp_path / "bad.json").write_text('{"abc": {"train": [], "test": []}}')
    for name, fault in (("bad.json", "task abc: 'train' must be a list"), ("no", "cannot read")):
        with pytest.raises(UserError, match=fault) as caught:
            try_run(
                "arc", "solve", directory=tmp_path,
                overrides=QUICK | {"folder": tmp_path / name},
            )  # fmt: skip
        assert "\n" not in str(caught.value)


def test_what_a_folder_holds_decides_the_run(bundle, tmp_path):
    def directory():
        job = Job("arc", "solve", "full", "smoke", overrides={"folder": folder}, options=options)
        return job.directory.name

    folder, options = tmp_path / "own", Options(runs=tmp_path / "runs", data=tmp_path)
    folder.mkdir()
    tasks = load(bundle)
    for id in ("mirror-0", "keep-0"):
        (folder / f"{id}.json").write_text(json.dumps(tasks[id].to_dict()))
    before = directory()
    assert directory() == before
    (folder / "keep-0.json").write_text(json.dumps(tasks["fall-0"].to_dict()))
    assert directory() != before


def test_a_folder_is_named_and_taken_whole(bundle, tmp_path):
    (tmp_path / "training-third").mkdir()
    for id, task in load(bundle).items():
        (tmp_path / "training-third" / f"{id}.json").write_text(json.dumps(task.to_dict()))
    folder = tmp_path / "training-third"
    for seed in range(3):
        run = run_in(tmp_path / f"run{seed}", seed=seed, data=tmp_path)
        tasks = choose_tasks(run, "development-third", folder=folder)
        assert set(tasks) == {"mirror-0", "transpose-0", "keep-0", "fall-0"}
        assert list(choose_tasks(run, "training", folder=folder, first=1)) == ["fall-0"]
    assert name_set("training", folder) == "folder training-third"
    assert name_set("training", bundle) == "file toys.json"
    assert name_set("development-third", None) == "development-third"


@pytest.mark.parametrize("experiment", ["budgets", "sizes"])
def test_other_experiments_count_what_they_score(experiment, bundle, tmp_path):
    overrides = {"folder": bundle} | (QUICK if experiment == "budgets" else {})
    try_run("arc", experiment, directory=tmp_path, overrides=overrides)
    [count] = json.loads((tmp_path / "arc" / "evaluation-runs.json").read_text()).values()
    assert count == {"set": str(bundle), "runs": 1}


def test_evaluation_sets_are_found_beside_the_data_or_named(bundle, tmp_path):
    run = run_in(tmp_path / "run", data=tmp_path / "data")
    for name in ("evaluation", "evaluation-third", "agi-2-training", "agi-2-evaluation"):
        place = "arc_agi_2/" if "agi" in name else "arc/"
        with pytest.raises(data.DataMissing, match=f"not here: put those of .*{place}") as caught:
            choose_tasks(run, name)
        assert "\n" not in str(caught.value)
    (tmp_path / "data" / "arc").mkdir(parents=True)
    (tmp_path / "data" / "arc" / "evaluation.json").write_text(bundle.read_text())
    assert set(choose_tasks(run, "evaluation")) == set(load(bundle))
    thirds = [choose_tasks(run_in(tmp_path / f"{k}", seed=k, data=tmp_path / "data"),
                           "evaluation-third") for k in range(3)]  # fmt: skip
    assert sum(map(len, thirds)) == len(set().union(*thirds)) == 4


def test_solutions_are_taken_where_they_are_named(bundle, tmp_path):
    content = json.loads(bundle.read_text())
    answers = {id: [pair.pop("output") for pair in t["test"]] for id, t in content.items()}
    path, solutions = tmp_path / "x_challenges.json", tmp_path / "x_solutions.json"
    path.write_text(json.dumps(content))
    solutions.write_text(json.dumps(answers))
    run = run_in(tmp_path / "run", data=tmp_path)
    alone = choose_tasks(run, "training", folder=path)
    assert not any(task.has_outputs for task in alone.values())
    named = choose_tasks(run, "training", folder=path, solutions=solutions)
    assert named == load(bundle) == load(path)


@pytest.fixture
def corpus():
    if not data.status("arc").present:
        pytest.skip("dataset arc is not here (QUIRE_DATA)")


def test_seeds_are_disjoint_thirds(corpus, tmp_path):
    def part(name, seed, **options):
        return choose_tasks(run_in(tmp_path / f"{seed}", seed=seed), name, **options)

    thirds = [set(part("training-third", seed)) for seed in range(3)]
    assert sum(map(len, thirds)) == len(set.union(*thirds)) == 400
    whole = {id for id in set.union(*thirds) if not is_held_back(id)}
    assert len(whole) == 287
    assert set(part("development-third", 4)) == thirds[1] & whole
    assert list(part("development", 7, first=5)) == sorted(whole)[:5]


def test_training_tasks_in_another_set_are_left_out(corpus, bundle, tmp_path):
    content = json.loads(bundle.read_text())
    known = data.arc()
    path, run = tmp_path / "mixed.json", run_in(tmp_path / "run")
    path.write_text(json.dumps(content | {id: known[id] for id in sorted(known)[:3]}))
    assert set(choose_tasks(run, "training", folder=path)) == set(content)
    assert noted(run) == [f"3 of {len(content) + 3} tasks are training tasks: left out"]
    path.write_text(json.dumps({id: known[id] for id in sorted(known)[:3]}))
    assert len(choose_tasks(run, "training", folder=path)) == 3


def test_a_training_task_is_known_under_another_name_too(corpus, bundle, tmp_path):
    content = json.loads(bundle.read_text())
    known = data.arc()
    one, two, three = (known[id] for id in sorted(known)[:3])
    blind = [{"input": pair["input"]} for pair in two["test"]]
    copies = {
        "renamed": one,
        "reordered": {"train": two["train"][::-1], "test": blind},
        "turned round": {"train": three["test"], "test": three["train"]},
        "one pair": {"train": three["train"][-1:], "test": [{"input": [[1]]}]},
    }
    path, run = tmp_path / "mixed.json", run_in(tmp_path / "run")
    path.write_text(json.dumps(content | copies))
    assert set(choose_tasks(run, "training", folder=path)) == set(content)
    assert noted(run) == [f"4 of {len(content) + 4} tasks are training tasks: left out"]
    path.write_text(json.dumps({"renamed": one}))
    assert list(choose_tasks(run, "training", folder=path)) == ["renamed"]
    assert noted(run)[1:] == ["all 1 tasks are training tasks: none is left out"]


def test_what_is_held_back_is_counted_and_not_shown(corpus, tmp_path):
    overrides = QUICK | {"set": "training", "first": 8, "nodes": 300}
    metrics = try_run("arc", "solve", directory=tmp_path, overrides=overrides)
    ids = sorted(data.arc())[:8]
    held = [id for id in ids if is_held_back(id)]
    assert 0 < len(held) < 8 and metrics["held_back"] >= 0
    [count] = json.loads((tmp_path / "arc" / "evaluation-runs.json").read_text()).values()
    assert count == {"set": "training, held back", "runs": 1}
    shown = {path.stem for path in (folder_of(tmp_path) / "gallery" / "tasks").iterdir()}
    assert shown == set(ids) - set(held)


@pytest.mark.slow
def test_depth_one_solves_more_than_the_pilots_transforms(corpus, tmp_path):
    """46 of 400 is what 84 one-step transforms and a colour map solve."""
    overrides = {"set": "development", "first": 0, "nodes": 4000, "depth": 1, "budget": 0.0}
    metrics = try_run("arc", "solve", directory=tmp_path, overrides=overrides)
    assert metrics["solved_3"] * 287 / 100 >= 46
