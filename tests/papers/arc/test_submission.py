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
