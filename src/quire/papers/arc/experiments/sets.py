"""Which tasks an experiment takes: a named set, or a folder of one's own."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from quire import data
from quire.data import store
from quire.lab import Run
from quire.papers.arc.solver.pool import count_run
from quire.papers.arc.tasks import Task, data_hash, id_number, is_held_back, load

SetName = Literal[
    "training",
    "training-third",
    "development",
    "development-third",
    "evaluation",
    "evaluation-third",
    "agi-2-training",
    "agi-2-evaluation",
]
"""All training tasks, or the three quarters of them to develop on; or a third of either. The
evaluation tasks and those of ARC-AGI-2 are there for whoever puts them there (see `ELSEWHERE`).

The solver draws no random numbers, so seeds mean parts of the data: of a third, seed k takes the
tasks whose sha256 of the id modulo 3 is k modulo 3. Three seeds are then the whole set once, and a
mean over them is over tasks.
"""

TRAINING = "58599ab594750bd7f44ec796aee539fd7f3acfbc89ad50b2f9aba042b39e26c2"
"""`data_hash` of the 400 training tasks."""
ELSEWHERE = {
    "evaluation": ("arc/evaluation", "fchollet/ARC-AGI, data/evaluation"),
    "agi-2-training": ("arc_agi_2/training", "arcprize/ARC-AGI-2, data/training"),
    "agi-2-evaluation": ("arc_agi_2/evaluation", "arcprize/ARC-AGI-2, data/evaluation"),
}
"""Sets that are no part of the dataset `arc`: where beside it they are looked for, and their home.
"""


def choose_tasks(
    run: Run,
    name: SetName,
    *,
    folder: Path | None = None,
    solutions: Path | None = None,
    first: int = 0,
) -> dict[str, Task]:
    """The tasks of a named set, by id; those of `folder`, whole for each seed, where it is given.

    Args:
        run: The data's folder, the seed, and where it is noted what is left out.
        name: The set.
        folder: A folder or file of tasks in place of the set (see `load`).
        solutions: Kaggle's file of the test outputs of `folder`.
        first: How many tasks at most, in the order of their ids; 0: all.

    Raises ValueError with one line where the folder holds no tasks, DataMissing where the set is
    not here.
    """
    third = name.endswith("-third")
    if folder is not None:
        third = False
        tasks = load(folder.expanduser(), solutions=solutions.expanduser() if solutions else False)
        tasks = _without_training(tasks, run)
    elif (place := name.removesuffix("-third")) in ELSEWHERE:
        tasks = _load_elsewhere(place, run)
    else:
        tasks = _training(run)
        if name.startswith("development"):
            tasks = {id: task for id, task in tasks.items() if not is_held_back(id)}
    if third:
        tasks = {id: t for id, t in tasks.items() if id_number(id) % 3 == run.seed % 3}
    return dict(list(tasks.items())[: first or None])


def name_set(name: SetName, folder: Path | None) -> str:
    """What to call the tasks that `choose_tasks` gives: the set's name, or that of one's own."""
    if folder is None:
        return name
    return f"{'folder' if folder.expanduser().is_dir() else 'file'} {folder.name}"


def is_ours(name: SetName, folder: Path | None) -> bool:
    """Whether these are training tasks, a quarter of which is held back."""
    return folder is None and name.startswith(("training", "development"))


def count_scored(
    run: Run, tasks: Mapping[str, Task], name: SetName, *, folder: Path | None = None
) -> None:
    """Count, by data hash in a file beside the runs, how often tasks were scored that nobody should
    develop on: those of a folder and of evaluation sets, and of the training tasks those that are
    held back."""
    title, counted = name if folder is None else str(folder), dict(tasks)
    if is_ours(name, folder) or data_hash(tasks) == TRAINING:
        title += ", held back"
        counted = {id: task for id, task in tasks.items() if is_held_back(id)}
    if counted:
        # <runs>/arc/<experiment>/<preset>/<arm>/<run>: one count for all runs of the paper.
        times = count_run(run.directory.parents[3] / "evaluation-runs.json", counted, title)
        run.note(f"{title}: scored {times} times so far (data {data_hash(counted)[:12]})")


def _training(run: Run) -> dict[str, Task]:
    content = data.arc(run.data)
    return {id: Task.from_dict(content[id], id=id) for id in sorted(content)}


def _load_elsewhere(name: str, run: Run) -> dict[str, Task]:
    below, home = ELSEWHERE[name]
    path = store.folder("arc", run.data).parent / below
    for candidate in (path, path.with_suffix(".json"), path.with_suffix(".json.gz")):
        if candidate.exists():
            return load(candidate)
    raise data.DataMissing(f"the ARC tasks {name!r} are not here: put those of github.com/{home} "
                           f"at {path}, a folder, {path.name}.json or {path.name}.json.gz; they "
                           "are held out, and how often they are scored is counted")  # fmt: skip


def _without_training(tasks: dict[str, Task], run: Run) -> dict[str, Task]:
    """Leave out the training tasks that a newer set (ARC-AGI-2) takes up again: those of the same
    id, and those with a pair of one of them, whatever their id, order or number of pairs."""
    with contextlib.suppress(data.DataMissing):
        known = _training(run)
        pairs = {pair for task in known.values() for pair in (*task.train, *task.test)}
        shared = {
            id for id, task in tasks.items()
            if id in known or any(pair in pairs for pair in (*task.train, *task.test))
        }  # fmt: skip
        if len(shared) == len(tasks):
            run.note(f"all {len(tasks)} tasks are training tasks: none is left out")
        elif shared:
            run.note(f"{len(shared)} of {len(tasks)} tasks are training tasks: left out")
            return {id: task for id, task in tasks.items() if id not in shared}
    return tasks
