"""On the Measure of Intelligence (Chollet, 2019): the benchmark, the measure, and a solver."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from quire.papers.arc.evaluate import Attempt, Evaluation, evaluate
from quire.papers.arc.gallery.gallery import write_gallery
from quire.papers.arc.measure import (
    Curriculum,
    Expression,
    Function,
    Language,
    ScopeTask,
    ToyTask,
    experience,
    generalisation_difficulty,
    intelligence,
    measure,
    priors,
)
from quire.papers.arc.solver.pool import Record, TaskLog, solve_each
from quire.papers.arc.submission import read_submission, write_submission
from quire.papers.arc.tasks import Grid, Pair, Task, data_hash, is_held_back, load

if TYPE_CHECKING:
    from quire.papers.arc.solver.primitives import PRIMITIVES, Primitive
    from quire.papers.arc.solver.program import Program
    from quire.papers.arc.solver.solver import Prediction, Solver, predict_sizes

__all__ = [
    "PRIMITIVES",
    "Attempt",
    "Curriculum",
    "Evaluation",
    "Expression",
    "Function",
    "Grid",
    "Language",
    "Pair",
    "Prediction",
    "Primitive",
    "Program",
    "Record",
    "ScopeTask",
    "Solver",
    "Task",
    "TaskLog",
    "ToyTask",
    "data_hash",
    "evaluate",
    "experience",
    "generalisation_difficulty",
    "intelligence",
    "is_held_back",
    "load",
    "measure",
    "predict_sizes",
    "priors",
    "read_submission",
    "solve_each",
    "write_gallery",
    "write_submission",
]


_NEED_NUMBA = {
    "PRIMITIVES": "primitives",
    "Prediction": "solver",
    "Primitive": "primitives",
    "Program": "program",
    "Solver": "solver",
    "predict_sizes": "solver",
}


def __getattr__(name: str) -> Any:
    # The solver needs numba (extra `fast`); tasks, scoring, files and the measure do not.
    if name in _NEED_NUMBA:
        return getattr(import_module(f"quire.papers.arc.solver.{_NEED_NUMBA[name]}"), name)
    raise AttributeError(f"quire.papers.arc has no {name!r}")
