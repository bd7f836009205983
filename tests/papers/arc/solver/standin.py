"""A solver for tests of the pool: it mirrors, and misbehaves where a task's id asks for it."""

import json
import os
import signal
import time
from types import SimpleNamespace

import numpy as np


class Mirror:
    """Answers every task with its mirrored test inputs."""

    def __init__(self, marks=None, broken=False):
        if broken:
            raise RuntimeError("no compiler")
        self.marks = marks
        self.statistics = {}

    def solve(self, task):
        if any(pair.output is not None for pair in task.test):
            raise AssertionError("test outputs reached the solver")
        if self.marks:
            with open(self.marks, "a") as file:
                file.write(task.id + "\n")
        if task.id.startswith("die"):
            os.kill(os.getpid(), signal.SIGKILL)
        if task.id.startswith("slow"):
            time.sleep(60)
        if task.id.startswith("raise"):
            raise RuntimeError("two\nlines")
        self.statistics = {"states": np.int64(8), "seconds": 0.5, "found_at_states": None}
        outputs = tuple(np.ascontiguousarray(pair.input[:, ::-1]) for pair in task.test)
        fits = sum((pair.input[:, ::-1] == pair.output).all() for pair in task.train)
        program = SimpleNamespace(
            steps=("mirror <b>",), bits=3.0, to_text=lambda: json.dumps("mirror")
        )
        return [SimpleNamespace(outputs=outputs, fits=fits, program=program, score=1.0)]
