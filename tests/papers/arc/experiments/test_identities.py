import numpy as np
import pytest

from quire.papers.arc import evaluate

pytest.importorskip("numba")

from quire.papers.arc.experiments.identities import draw_answers, is_solved_by_hand


def test_brute_force_agrees():
    tasks, found = draw_answers(200, np.random.default_rng(1))
    for attempts in (1, 2, 3):
        solved = set(evaluate(found, tasks, attempts).solved)
        assert solved == {id for id in tasks if is_solved_by_hand(tasks[id], found[id][:attempts])}
        assert 0 < len(solved) < 200
