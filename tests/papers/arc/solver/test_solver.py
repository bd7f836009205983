"""The solver: planted programs, budgets, determinism, programs that run again elsewhere."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("numba")

from quire.papers.arc import Pair, Task, is_held_back, load
from quire.papers.arc.solver.explorer import Frame, Search
from quire.papers.arc.solver.primitives import PRIMITIVES
from quire.papers.arc.solver.program import Program, evaluate_chain
from quire.papers.arc.solver.search import DOUBLES, STATES, TRIED
from quire.papers.arc.solver.solver import Prediction, Solver, TaskSearch, predict_sizes
from quire.papers.arc.solver.variants import View, views

FEW = ("rigid", "crop", "components", "overlay", "gravity", "enclosed", "pick_by_size",
       "recolour_by_size", "keep_colour", "outline", "feature")  # fmt: skip
SUBSET = tuple(p for p in PRIMITIVES if p.name in FEW)
BY_NAME = {p.name: p for p in SUBSET}


def solver(**options):
    return Solver(**{"budget": None, "nodes": 4000, "depth": 2, "primitives": SUBSET} | options)


def planted(answer, *, seed=0, demos=3, size=7, colours=4):
    """A task whose outputs are `answer` of random inputs."""
    rng = np.random.default_rng(seed)
    pairs = []
    while len(pairs) < demos + 1:
        shape = rng.integers(size - 2, size + 1, 2)
        grid = (rng.integers(1, colours + 1, shape) * (rng.random(shape) < 0.4)).astype(np.int8)
        output = answer(grid)
        if output is not None:
            pairs.append(Pair(grid, output.astype(np.int8)))
    return Task(f"planted{seed}", tuple(pairs[:-1]), tuple(pairs[-1:]))


def chain(*steps):
    """An answer by a chain of primitives."""

    def answer(grid):
        images = evaluate_chain(steps, grid, BY_NAME)
        return images[0][0] if images else None

    return answer


def right(prediction, task):
    return all(
        np.array_equal(output, pair.output)
        for output, pair in zip(prediction.outputs, task.test, strict=True)
    )


@pytest.mark.parametrize(
    "answer",
    [
        chain(("rigid", 6)),
        chain(("gravity", 2), ("rigid", 1)),
        chain(("components", 1), ("pick_by_size", 0)),
        lambda grid: np.where(grid == 0, 5, grid),  # a colour map
        lambda grid: np.where(np.indices(grid.shape).sum(0) % 2 == 0, grid, 0),  # a pixel rule
        lambda grid: np.maximum(grid, np.where(one_outline(grid), 8, 0)),  # a stack
    ],
    ids=["move", "two moves", "object", "colours", "chequer", "stack"],
)
def test_planted_programs_are_found(answer):
    task = planted(answer)
    run = solver()
    predictions = run.solve(task)
    assert predictions[0].fits == 3
    assert right(predictions[0], task)
    assert run.statistics["found_at_states"] <= run.statistics["states"] <= 4000


def one_outline(grid):
    """Background cells beside objects."""
    return evaluate_chain((("outline", 1),), grid, BY_NAME)[0][0] != 0


def test_of_equal_scores_the_one_of_fewer_pieces_is_first():
    task = planted(chain(("rigid", 6)))
    frame = {"linear": ["1", "0", "1", "0", False], "placed": True}
    mirror, flip = (("rigid", 1),), (("rigid", 2),)
    stack = Program("stack", (mirror, flip), frame=frame, paints=(0, 0))
    run = TaskSearch(solver(), task.blind(), SUBSET)
    for program in (stack, Program("chain", (mirror,)), Program("stack", (flip,), frame=frame,
                                                                paints=(1,))):  # fmt: skip
        run.answers[program.to_text().encode()] = Prediction((), program, 1, 990.0)
    assert [p.program.pieces for p in run.predictions()] == [1, 1, 2]
    assert [p.program.kind for p in run.predictions()] == ["chain", "stack", "stack"]


def test_test_outputs_change_nothing():
    task = planted(chain(("rigid", 6)))
    wrong = replace(task, test=(Pair(task.test[0].input, np.zeros((1, 1), np.int8)),))
    answers = [solver().solve(t) for t in (task, wrong, task.blind())]
    assert [p.program for p in answers[0]] == [p.program for p in answers[1]]
    assert [p.program for p in answers[0]] == [p.program for p in answers[2]]


def test_a_budget_of_nodes_is_kept_and_gives_the_same_answers():
    task = planted(lambda grid: np.where(grid == 1, 3, grid), seed=5)
    runs = []
    for _ in range(2):
        run = solver(nodes=777)
        predictions = run.solve(task)
        runs.append([(p.program.to_text(), p.score, [o.tobytes() for o in p.outputs])
                     for p in predictions] + [run.statistics["states"]])  # fmt: skip
        assert run.statistics["states"] <= 777
    assert runs[0] == runs[1]


def test_a_short_program_that_fits_ends_the_search():
    run = solver(depth=3)
    assert right(run.solve(planted(chain(("rigid", 6))))[0], planted(chain(("rigid", 6))))
    assert run.statistics["depth"] == 1 and run.statistics["states"] < 4000


def test_a_budget_of_seconds_is_kept():
    rng = np.random.default_rng(0)
    noise = [Pair(*(rng.integers(0, 10, (2, 9, 9)).astype(np.int8))) for _ in range(4)]
    task = Task("noise", tuple(noise[:3]), (Pair(noise[3].input),))
    run = solver(budget=0.3, nodes=None, depth=4)
    run.compile()
    run.solve(task)
    assert run.statistics["seconds"] < 3.0  # ten times as long as asked: no timing, only a bound


def test_programs_run_again_from_their_text_in_a_new_process(tmp_path):
    answers = [
        chain(("gravity", 2), ("rigid", 1)),
        lambda grid: np.where(np.indices(grid.shape).sum(0) % 2 == 0, grid, 0),
        lambda grid: np.maximum(grid, np.where(one_outline(grid), 8, 0)),
    ]
    tasks = [planted(answer, seed=k) for k, answer in enumerate(answers)]
    lines = []
    for task in tasks:
        for prediction in solver().solve(task):
            text = prediction.program.to_text()
            again = Program.from_text(text)
            assert again == prediction.program and str(again) == str(prediction.program)
            outputs = again.run(task.blind())
            assert all(map(np.array_equal, outputs, prediction.outputs))
            grid = task.test[0].input
            lines.append(f"({text!r}, {grid.tolist()}, {prediction.outputs[0].tolist()}),")
    script = tmp_path / "again.py"
    script.write_text(
        "import numpy as np\n"
        "from quire.papers.arc.solver.program import Program\n"
        f"CASES = [{' '.join(lines)}]\n"
        "for text, grid, output in CASES:\n"
        "    result = Program.from_text(text)(np.array(grid, np.int8))\n"
        "    assert result.tolist() == output, text\n"
        "print(len(CASES))\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == len(lines) > 3


def search_of(task, *, dedupe=True, primitives=SUBSET):
    inputs = [p.input for p in (*task.train, *task.test)]
    rows = np.array([[*g.shape, 0, 0] for g in inputs], np.int32)
    return Search(inputs, [p.output for p in task.train], primitives,
                  frame=Frame(rows, True, 0.0, {}), dedupe=dedupe)  # fmt: skip


def content(search, state):
    """All that a joint state holds, as bytes."""
    space, parts = search.space, [bytes([search.space.many[state]])]
    for e in range(len(space.starts[state]) - 1):
        for k in range(space.starts[state, e], space.starts[state, e + 1]):
            first, height, width, x, y = space.meta[k]
            cells = space.cells[first : first + height * width].tobytes()
            parts.append(np.array([e, height, width, x, y]).tobytes() + cells)
    return b"|".join(parts)


def test_equal_hashes_are_equal_states():
    task = planted(lambda grid: grid.T, seed=3)
    kept = search_of(task)
    kept.grow(last=False, stop=lambda: False)
    tables = len(kept.space.table), len(kept.space.seen)
    kept._make_room(1 << 15)  # what was seen stays so in larger tables
    assert (len(kept.space.table), len(kept.space.seen)) == (4 * tables[0], 4 * tables[1])
    kept.grow(last=False, stop=lambda: False)
    contents = [content(kept, s) for s in range(kept.found(STATES))]
    assert len(set(contents)) == len(contents) > 500  # no state twice: equal ones are dropped
    assert kept.found(DOUBLES) > 0
    every = search_of(task, dedupe=False)
    every.grow(last=False, stop=lambda: False)
    first = search_of(task)
    first.grow(last=False, stop=lambda: False)
    loose = {content(every, s) for s in range(every.found(STATES))}
    # Without dedupe the same states, some more than once: no two states share a hash.
    assert loose == {content(first, s) for s in range(first.found(STATES))}
    assert every.space.count[TRIED] == first.space.count[TRIED]


def test_states_are_what_their_chains_make():
    task = planted(lambda grid: grid.T, seed=4)
    search = search_of(task)
    search.grow(last=False, stop=lambda: False)
    search.grow(last=False, stop=lambda: False)
    for state in range(0, search.found(STATES), 37):
        steps = tuple((i.primitive.name, i.arg) for i in search.chain(state))
        for e, pair in enumerate((*task.train, *task.test)):
            images = evaluate_chain(steps, pair.input, BY_NAME)
            a, b = search.space.starts[state, e : e + 2]
            assert len(images) == b - a
            for k, (grid, x, y) in zip(range(a, b), images, strict=True):
                first, height, width, left, top = search.space.meta[k]
                cells = search.space.cells[first : first + height * width]
                assert grid.shape == (height, width) and (x, y) == (left, top)
                assert grid.tobytes() == cells.tobytes()


@pytest.mark.parametrize("part", ["stacking", "colours", "flips", "dedupe"])
def test_parts_can_be_turned_off(part):
    task = planted(chain(("rigid", 6)))
    predictions = solver(**{part: False}).solve(task)
    assert right(predictions[0], task)
    if part == "stacking":
        assert all(p.program.kind == "chain" for p in predictions)
    if part == "flips":
        assert not any(p.program.view.flipped for p in predictions)


@pytest.mark.parametrize("colours", ["", "background", "ranks"])
@pytest.mark.parametrize("flipped", [False, True])
def test_views_are_undone(colours, flipped):
    rng = np.random.default_rng(0)
    view = View(colours, flipped)
    for _ in range(20):
        grid = rng.integers(0, 10, rng.integers(1, 9, 2)).astype(np.int8)
        names = view.renaming(grid)
        assert sorted(names.tolist()) == list(range(10))
        seen = view.forward(grid, names)
        np.testing.assert_array_equal(view.backward(seen, names), grid)
        if colours:
            assert np.bincount(grid.reshape(-1)).max() == (seen == 0).sum()
    assert View() in views([grid], colours=True, flips=True)


def test_size_table_and_bad_options():
    task = planted(lambda grid: np.kron(grid, np.ones((2, 2))), seed=6)
    height, width = task.test[0].input.shape
    assert predict_sizes(task)[0][0] == (2 * height, 2 * width)
    for options, message in [
        ({"budget": None, "nodes": None}, "give the solver a budget in seconds, nodes, or both"),
        ({"budget": 0.0}, "budget must be above 0 seconds, not 0.0"),
        ({"nodes": 0}, "nodes must be at least 1, not 0"),
        ({"depth": 5}, "depth must be 1 to 4, not 5"),
        ({"attempts": 0}, "attempts must be at least 1, not 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            Solver(**options)
    with pytest.raises(ValueError, match="at least one primitive"):
        solver(primitives=()).solve(task)
    with pytest.raises(ValueError, match="components occurs twice"):
        solver(primitives=SUBSET + SUBSET).solve(task)
    with pytest.raises(ValueError, match="not a program of the ARC solver"):
        Program.from_text("{}")
    with pytest.raises(ValueError, match="colours must be"):
        View("all")


@pytest.mark.slow
def test_the_floor_of_one_step_programs():
    path = Path(os.environ.get("QUIRE_DATA", "data")) / "arc" / "training.json.gz"
    if not path.is_file():
        pytest.skip("the ARC training tasks are not in QUIRE_DATA")
    tasks = [task for name, task in load(path).items() if not is_held_back(name)]
    run = Solver(budget=None, nodes=5000, depth=1, attempts=3)
    solved = sum(any(right(p, task) for p in run.solve(task)) for task in tasks)
    assert solved >= 46
