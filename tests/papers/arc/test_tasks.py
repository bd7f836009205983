import gzip
import json
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quire import data
from quire.papers.arc import Pair, Task, data_hash, is_held_back, load
from quire.papers.arc.tasks import as_grid, same_grid

MIRROR = {
    "train": [{"input": [[1, 0]], "output": [[0, 1]]}, {"input": [[2, 0]], "output": [[0, 2]]}],
    "test": [{"input": [[3, 0]], "output": [[0, 3]]}],
}
TWO_TESTS = MIRROR | {"test": [{"input": [[4]], "output": [[4]]}, {"input": [[5]]}]}


def write(path, content, *, compress=False):
    text = json.dumps(content).encode()
    path.write_bytes(gzip.compress(text, mtime=0) if compress else text)
    return path


grids = st.integers(1, 30).flatmap(
    lambda width: st.lists(
        st.lists(st.integers(0, 9), min_size=width, max_size=width), min_size=1, max_size=30
    )
)


@settings(max_examples=30, deadline=None)
@given(grids)
def test_a_grid_goes_in_and_out_unchanged(rows):
    grid = as_grid(rows)
    assert grid.dtype == np.int8 and grid.flags.c_contiguous
    assert grid.tolist() == rows
    assert same_grid(as_grid(grid.T), np.array(rows).T)


def test_to_dict_undoes_from_dict():
    for content in (MIRROR, TWO_TESTS):
        task = Task.from_dict(content | {"name": "left aside"}, id="x")
        assert task.to_dict() == content
        assert Task.from_dict(task.to_dict(), id="x") == task
        assert pickle.loads(pickle.dumps(task)) == task


def test_a_blind_task_holds_no_test_output():
    task = Task.from_dict(MIRROR, id="x")
    blind = task.blind()
    assert task.has_outputs and not blind.has_outputs
    assert [pair.output for pair in blind.test] == [None]
    assert blind.train == task.train
    assert "3" not in json.dumps(blind.to_dict()).replace("[3, 0]", "")
    assert blind != task


def test_arrays_are_taken_as_grids():
    task = Task.from_dict(
        {"train": MIRROR["train"], "test": [{"input": np.array([[7, 8]])}]}, id="x"
    )
    assert task.test[0] == Pair(np.array([[7, 8]], np.int8))
    for wrong in (np.zeros((1, 2, 3), int), np.zeros((2, 2)), np.zeros((0, 3), int)):
        with pytest.raises(ValueError, match=r"array of integers|cells"):
            as_grid(wrong)


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ([[1, 2], [3]], r"row 1 has 1 cells, row 0 has 2"),
        ([[1] * 31], r"1x31 cells; 1 to 30 a side"),
        ([[1]] * 31, r"31x1 cells; 1 to 30 a side"),
        ([], "at least one row"),
        ([[]], "row 0 must be a list of at least one colour"),
        ([[1, 10]], r"colour 10 at row 0, column 1; whole numbers 0 to 9"),
        ([[1], [-1]], r"colour -1 at row 1, column 0"),
        ([[1.0]], r"colour 1.0 at row 0"),
        ([[True]], "colour True at row 0"),
        ([["1"]], "colour '1' at row 0"),
        ("11", "at least one row"),
        ([1, 2], "row 0 must be a list"),
        (np.array([[11]]), "colour 11 at row 0, column 0"),
    ],
)
def test_a_bad_grid_is_named_with_its_place(grid, message):
    content = {"train": [MIRROR["train"][0], {"input": [[1]], "output": grid}], "test": []}
    content["test"] = MIRROR["test"]
    with pytest.raises(ValueError, match=r"^task abc, train\[1\]\.output: .*" + message) as caught:
        Task.from_dict(content, id="abc")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "an object with 'train' and 'test'"),
        ({"train": MIRROR["train"]}, "'test' must be a list of at least one pair"),
        ({"train": MIRROR["train"], "test": []}, "'test' must be a list of at least one pair"),
        ({"train": [], "test": MIRROR["test"]}, "'train' must be a list of at least one pair"),
        (MIRROR | {"train": [{"input": [[1]]}]}, r"train\[0\]: a demonstration needs an 'output'"),
        (MIRROR | {"test": [{"output": [[1]]}]}, r"test\[0\]: an object with 'input'"),
        (MIRROR | {"test": [3]}, r"test\[0\]: an object with 'input'"),
    ],
)
def test_a_bad_task_is_named(content, message):
    with pytest.raises(ValueError, match="^task abc.*" + message):
        Task.from_dict(content, id="abc")


def test_every_form_loads_to_the_same_hash(tmp_path):
    content = {"b": MIRROR, "a": MIRROR | {"test": [{"input": [[1]], "output": [[2]]}]}}
    folder = tmp_path / "training"
    folder.mkdir()
    for id, task in content.items():
        write(folder / f"{id}.json", task)
    write(tmp_path / "bundle.json", content)
    write(tmp_path / "bundle.json.gz", content, compress=True)
    blind = {
        id: task | {"test": [{"input": pair["input"]} for pair in task["test"]]}
        for id, task in content.items()
    }
    write(tmp_path / "x_challenges.json", blind)
    answers = {id: [pair["output"] for pair in task["test"]] for id, task in content.items()}
    write(tmp_path / "x_solutions.json", answers)
    write(tmp_path / "only_challenges_.json", blind)
    forms = [folder, tmp_path / "bundle.json", tmp_path / "bundle.json.gz"]
    hashes = {data_hash(load(form)) for form in [*forms, tmp_path / "x_challenges.json"]}
    assert len(hashes) == 1
    assert load(folder / "b.json") == {"b": Task.from_dict(MIRROR, id="b")}
    without = load(tmp_path / "only_challenges_.json")
    assert not without["a"].has_outputs
    assert data_hash(without) not in hashes
    named = load(tmp_path / "only_challenges_.json", solutions=tmp_path / "x_solutions.json")
    assert {data_hash(named)} == hashes


def test_bad_files_give_one_line(tmp_path):
    (tmp_path / "broken.json").write_text('{"train": [')
    (tmp_path / "cut.json.gz").write_bytes(gzip.compress(b"{}", mtime=0)[:-4])
    (tmp_path / "plain.json.gz").write_bytes(b"{}")
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "deep.json").write_text("[" * 100_000)
    (tmp_path / "twice.json").write_text('{"abc": {}, "abc": {}}')
    (tmp_path / "number.json").write_text("1" * 5000)
    (tmp_path / "null.json").write_text('{"abc": null}')
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe{")
    write(tmp_path / "bundle.json", {"abc": {"train": []}})
    (tmp_path / "empty").mkdir()
    (tmp_path / "data" / "training").mkdir(parents=True)
    write(tmp_path / "data" / "training" / "a.json", MIRROR)
    (tmp_path / "mixed").mkdir()
    write(tmp_path / "mixed" / "all.json", {"a": MIRROR})
    for name, message in {
        "broken.json": "is not JSON: .* at line 1, column 12",
        "cut.json.gz": "is damaged",
        "plain.json.gz": "is damaged or not compressed",
        "list.json": "an object of tasks by id",
        "deep.json": "nested too deeply",
        "twice.json": "'abc' occurs twice",
        "number.json": "number.json: ",
        "null.json": "task abc: an object with 'train' and 'test' expected",
        "bytes.json": "is not JSON",
        "bundle.json": "^task abc: 'train' must be",
        "empty": "holds no files",
        "data": "its folders training do: name one of them",
        "mixed": "is not one task",
        "nowhere.json": "cannot read .*nowhere.json",
    }.items():
        with pytest.raises(ValueError, match=message) as caught:
            load(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_solutions_must_fit(tmp_path):
    path = write(tmp_path / "x_challenges.json", {"a": TWO_TESTS})
    for answers, message in (
        ({"a": [[[1]]]}, "1 grids for task a, which asks for 2"),
        ({}, "no list of grids for task a"),
        ([], "an object of lists of grids"),
        ({"a": [[[1]], [[11]]]}, r"task a\[1\]: colour 11"),
    ):
        write(tmp_path / "x_solutions.json", answers)
        with pytest.raises(ValueError, match=message):
            load(path)


@pytest.fixture
def training():
    if not data.status("arc").present:
        pytest.skip("dataset arc is not here (QUIRE_DATA)")
    return {id: Task.from_dict(task, id=id) for id, task in data.arc().items()}


def test_the_training_tasks_are_the_published_ones(training):
    from quire.papers.arc.experiments.sets import TRAINING

    assert data_hash(training) == TRAINING
    assert len(training) == 400
    assert sum(len(task.test) for task in training.values()) == 416
    assert sum(map(is_held_back, training)) == 113
