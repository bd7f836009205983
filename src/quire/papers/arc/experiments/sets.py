"""Which tasks an experiment takes: a named part of the training tasks, or a folder of one's own."""

import contextlib
from pathlib import Path
from typing import Literal

from quire import data
from quire.lab import Run
from quire.papers.arc.tasks import Task, id_number, is_held_back, load

SetName = Literal["training", "training-third", "development", "development-third"]
"""All training tasks, or the three quarters of them to develop on; or a third of either.

The solver draws no random numbers, so seeds mean parts of the data: of a third, seed k takes the
tasks whose sha256 of the id modulo 3 is k modulo 3. Three seeds are then the whole set once, and a
mean over them is over tasks.
"""


def choose_tasks(
    run: Run, name: SetName, *, folder: Path | None = None, first: int = 0
) -> dict[str, Task]:
    """The tasks of a named set, by id; those of `folder`, whole for each seed, where it is given.

    Args:
        run: The data's folder, the seed, and where it is noted what is left out.
        name: The set.
        folder: A folder or file of tasks in place of the set (see `load`).
        first: How many tasks at most, in the order of their ids; 0: all.

    Raises ValueError with one line where the folder holds no tasks.
    """
    if folder is not None:
        tasks = _without_training(load(folder.expanduser()), run)
    else:
        content = data.arc(run.data)
        tasks = {id: Task.from_dict(content[id], id=id) for id in sorted(content)}
        if name.startswith("development"):
            tasks = {id: task for id, task in tasks.items() if not is_held_back(id)}
        if name.endswith("-third"):
            tasks = {id: t for id, t in tasks.items() if id_number(id) % 3 == run.seed % 3}
    return dict(list(tasks.items())[: first or None])


def name_set(name: SetName, folder: Path | None) -> str:
    """What to call the tasks that `choose_tasks` gives: the set's name, or that of one's own."""
    if folder is None:
        return name
    return f"{'folder' if folder.expanduser().is_dir() else 'file'} {folder.name}"


def _without_training(tasks: dict[str, Task], run: Run) -> dict[str, Task]:
    """Leave out the training tasks that a newer set (ARC-AGI-2) takes up again, by id."""
    with contextlib.suppress(data.DataMissing):
        shared = tasks.keys() & data.arc(run.data).keys()
        if 0 < len(shared) < len(tasks):
            run.note(f"{len(shared)} of {len(tasks)} tasks are training tasks: left out")
            return {id: task for id, task in tasks.items() if id not in shared}
    return tasks
