import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from quire.papers.arc import Attempt, Task, read_submission, write_submission
from quire.papers.arc.tasks import same_grid

PAIR = {"input": [[1]], "output": [[2]]}


def tasks(**tests):
    return {id: Task.from_dict({"train": [PAIR], "test": [PAIR] * n}, id=id)
            for id, n in tests.items()}  # fmt: skip


some_grid = st.tuples(st.integers(1, 30), st.integers(1, 30)).flatmap(
    lambda shape: arrays(np.int8, shape, elements=st.integers(0, 9))
)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(some_grid, some_grid), min_size=1, max_size=3))
def test_grids_come_back(tmp_path_factory, pairs):
    folder = tmp_path_factory.mktemp("files")
    found = {"a_b": [Attempt(pair) for pair in pairs]}
    for name, most in (("s.csv", 3), ("s.json", 2)):
        write_submission(folder / name, found, tasks(a_b=2))
        again = read_submission(folder / name)["a_b"]
        for mine, theirs in zip(found["a_b"][:most], again, strict=False):
            for x, y in zip(mine.outputs, theirs.outputs, strict=True):
                assert same_grid(x, y)


def test_the_published_forms(tmp_path):
    two = [Attempt((np.array([[3, 2], [7, 8]], np.int8),)), Attempt((np.array([[5]], np.int8),))]
    write_submission(tmp_path / "s.csv", {"00576224": two}, tasks(**{"00576224": 1, "empty": 2}))
    assert (tmp_path / "s.csv").read_text().splitlines() == [
        "output_id,output",
        "00576224_0,|32|78| |5|",
        "empty_0,|0|",
        "empty_1,|0|",
    ]
    write_submission(tmp_path / "s.json", {"00576224": two}, tasks(**{"00576224": 1, "empty": 1}))
    assert json.loads((tmp_path / "s.json").read_text()) == {
        "00576224": [{"attempt_1": [[3, 2], [7, 8]], "attempt_2": [[5]]}],
        "empty": [{"attempt_1": [[0]], "attempt_2": [[0]]}],
    }


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "s.csv"
    path.write_text("old")

    def refuse(self, *args, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", refuse)
    with pytest.raises(ValueError, match=r"cannot write .*s\.csv: No space left on device"):
        write_submission(path, {}, tasks(a=1))
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["s.csv"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("s.txt", "", "suffix must be .csv"),
        ("s.csv", "a,b\n", "first line must be output_id,output"),
        ("s.csv", "output_id,output\nx,|1|\n", "line 2: <task>_<test>,<grids> expected"),
        ("s.csv", "output_id,output\nx_0,123\n", "line 2: a grid is written as"),
        ("s.csv", "output_id,output\nx_0,|12|3|\n", "line 2: row 1 has 1 cells"),
        ("s.csv", "output_id,output\nx_1,|1|\n", r"task x has test grids \[1\]"),
        ("s.json", "{", "is not JSON"),
        ("s.json", "[]", "an object of lists"),
        ("s.json", '{"x": [{"attempt_1": [[1]]}]}', "attempt_1 and attempt_2 expected"),
        ("s.json", '{"x": [{"attempt_1": [[1]], "attempt_2": [[12]]}]}', "colour 12"),
    ],
)
def test_bad_files_are_named(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        read_submission(tmp_path / name)
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="cannot read"):
        read_submission(tmp_path / "gone" / "s.csv")


def colour(number):
    return Attempt((np.array([[number]], np.int8),))


@pytest.mark.parametrize("name", ["s.csv", "s.json"])
def test_predictions_that_do_not_belong_are_no_file(tmp_path, name):
    wider, two = np.array([[1, 12]]), Attempt((np.array([[1]]),) * 2)
    for found, message in (
        ({"a.json": [colour(1)]}, "task a.json, which is not among the tasks; is a meant"),
        ({"zz": []}, "task zz, which is not among the tasks$"),
        ({"a": [two]}, "task a: a prediction has 2 grids for 1 test inputs"),
        ({"a": [colour(1), Attempt(())]}, "task a: a prediction has 0 grids for 1 test inputs"),
        ({"a": [Attempt((wider,))]}, "task a, prediction 0: colour 12"),
        ({"a": [Attempt((np.zeros((1, 1)),))]}, "task a, prediction 0: an array of integers"),
    ):
        with pytest.raises(ValueError, match=message) as caught:
            write_submission(tmp_path / name, found, tasks(a=1))
        assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())
    other = {"key": tasks(a=1)["a"]}  # the key decides, as for `evaluate`
    write_submission(tmp_path / name, {"key": [colour(7)]}, other)
    assert read_submission(tmp_path / name)["key"][0].outputs[0].tolist() == [[7]]


def test_uneven_attempts_are_read_without_changing_the_score(tmp_path):
    path = tmp_path / "s.csv"
    path.write_text(
        "\ufeffoutput_id,output\na_0,|1| |2| |3|\na_1,|4|\nb_0,\nb_1,\n\nc_1,\nc_0,|5|\n"
    )
    again = read_submission(path)
    assert [[g.tolist() for g in a.outputs] for a in again["a"]] == [
        [[[1]], [[4]]], [[[2]], [[4]]], [[[3]], [[4]]],
    ]  # fmt: skip
    assert again["b"] == []
    assert [g.tolist() for g in again["c"][0].outputs] == [[[5]], [[0]]]
    path = tmp_path / "s.json"
    entries = [{"attempt_1": [[1]], "attempt_2": []}, {"attempt_1": None, "attempt_2": [[2]]},
               {"attempt_1": [[1]], "attempt_2": [[2]], "attempt_3": [[3]]}]  # fmt: skip
    path.write_text(json.dumps({"a": entries}))
    rows = [[g.tolist() for g in a.outputs] for a in read_submission(path)["a"]]
    assert rows == [[[[1]], [[2]], [[1]]], [[[1]], [[2]], [[2]]], [[[1]], [[2]], [[3]]]]


BAD_JSON = {
    "null": "task bad: a list with an entry for each test grid",
    "[]": "task bad: a list with an entry",
    '{"attempt_1": [[1]]}': "task bad: a list with an entry",
    "[null]": r"task bad\[0\]: attempt_1 and attempt_2 expected",
    '[{"attempt_1": [[1]], "attempt_2": [[1], [1, 2]]}]': "row 1 has 2 cells",
    '[{"attempt_1": [[NaN]], "attempt_2": [[1]]}]': "colour nan",
    '[{"attempt_1": 5, "attempt_2": [[1]]}]': "at least one row",
}
BAD_ROWS = {
    "bad_0,|1x|": "a grid is written as",
    "bad_0,||": "a grid is written as",
    "bad_1,|1|": r"task bad has test grids \[1\]",
    "bad_0,|1|\nbad_0,|2|": "bad_0 occurs twice",
    "bad_0,|1|,more": "<task>_<test>,<grids> expected",
    "bad_x,|1|": "<task>_<test>,<grids> expected",
}


@pytest.mark.parametrize("text", [*BAD_JSON, *BAD_ROWS])
def test_a_damaged_entry_can_be_left_out(tmp_path, text):
    good = '[{"attempt_1": [[1]], "attempt_2": [[2]]}]'
    if text in BAD_JSON:
        path, message = tmp_path / "s.json", BAD_JSON[text]
        path.write_text(f'{{"bad": {text}, "good": {good}}}')
    else:
        path, message = tmp_path / "s.csv", BAD_ROWS[text]
        path.write_text(f"output_id,output\n{text}\ngood_0,|1|\n")
    with pytest.raises(ValueError, match=message) as caught:
        read_submission(path)
    assert "\n" not in str(caught.value)
    assert list(read_submission(path, damaged="skip")) == ["good"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("s.json", '{"a": ' + "[" * 100_000, "nested too deeply"),
        ("s.json", '{"a": [], "a": []}', "s.json: 'a' occurs twice"),
        ("s.json", '{"a": ' + "1" * 5000 + "}", "s.json: "),
        ("s.csv", 'output_id,output\nx_0,"' + "1" * 200_000, "is not CSV: field larger"),
        ("s.csv", "output_id,output\nx_" + "9" * 5000 + ",|1|", "<task>_<test>,<grids> expected"),
        ("s.csv", "", "first line must be output_id,output"),
    ],
    ids=["deep", "twice", "long number", "long field", "long place", "empty"],
)
def test_hostile_files_are_one_line(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        read_submission(tmp_path / name)
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="damaged must be 'error' or 'skip'"):
        read_submission(tmp_path / name, damaged="fill")
