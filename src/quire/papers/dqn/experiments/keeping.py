"""A replay that survives with its run: new rows go to append-only files beside the checkpoint."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from quire.lab.rows import Rows
from quire.papers.dqn.replay import ROW, ReplayBuffer

BLOCK = 1024
"""Rows that are written or read at once."""
FILE_BYTES = 1 << 24


class KeptReplay:
    """The state of a replay buffer for `run.steps`: its rows in files, counts in the checkpoint.

    Call `keep` after each step. At the end of the run `discard` removes the files.

    Args:
        memory: The buffer.
        folder: Where the files are, for this alone.
    """

    def __init__(self, memory: ReplayBuffer, folder: Path) -> None:
        self.memory, self.folder = memory, folder
        kind = str(memory.frames.dtype).removeprefix("torch.")
        columns = {name: (ROW[name], ()) for name in ROW.names or ()}
        row_bytes = ROW.itemsize + int(np.prod(memory.shape)) * memory.frames.element_size()
        self.rows = Rows(
            folder, {"frame": (kind, memory.shape), **columns},
            capacity=memory.size, rows_per_file=max(BLOCK, FILE_BYTES // row_bytes),
        )  # fmt: skip
        self._ended = folder.with_name(f"{folder.name}-discarded")

    def keep(self) -> None:
        """Write what is new once it is a block, or half of what the buffer holds."""
        if self.memory.end - self.rows.end >= min(BLOCK, self.memory.size // 2):
            self._flush()

    def discard(self) -> None:
        """Remove the files of a run that needs its replay no more."""
        self._ended.touch()
        shutil.rmtree(self.folder, ignore_errors=True)

    def state_dict(self) -> dict[str, Any]:
        """Flush the rows to disk; gives counts."""
        self._flush()
        return {"rows": self.rows.state_dict(), "sampling": self.memory.sampling_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Fill the buffer from the files. Raises ValueError where rows are gone."""
        if self._ended.exists():
            return  # the loop had ended, and nothing is drawn after it
        self.rows.load_state_dict(state["rows"])
        for first in range(self.rows.first, self.rows.end, BLOCK):
            numbers = np.arange(first, min(first + BLOCK, self.rows.end))
            self.memory.restore(first, self.rows.gather(numbers))
        self.memory.load_sampling_state(state["sampling"])

    def _flush(self) -> None:
        whole = self.memory.end - self.memory.lanes * self.memory.is_open
        for first in range(self.rows.end, whole, BLOCK):
            self.rows.append(**self.memory.rows(first, min(first + BLOCK, whole)))
