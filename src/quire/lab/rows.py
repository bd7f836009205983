"""State that is too large for checkpoints: rows in append-only files, such as a replay buffer."""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from quire.lab.errors import RunError, unknown
from quire.lab.files import write_atomically

Field = tuple[DTypeLike, tuple[int, ...]]
STATES = 3
"""A state is needed while its checkpoint is one of the newest two, or a third is being written."""


class Rows:
    """The newest rows of a table that grows at its end, on disk; a checkpoint holds counts only.

    Rows have absolute numbers: row 0 is the first ever appended, `first` the oldest one still here,
    `end` the number that the next one gets. Give it to `run.steps(state=...)` and it is taken back
    to exactly the rows of the checkpoint that the run resumes from. It belongs to the state of one
    loop, and its folder to one process.

    The folder has a subfolder of its own for every start from nothing, with ``fields.json`` and
    segments ``<number>.bin`` of `rows_per_file` rows; a row is its fields one after the other,
    without gaps. A segment has its full length from the beginning, as a sparse file.

    Args:
        folder: Where the files are; nothing else may be in it.
        fields: Type and shape of one row of each field.
        capacity: How many rows stay here; older ones are deleted, a segment at a time, once no
            checkpoint needs them.
        rows_per_file: Rows of a segment.

    Example:
        >>> import tempfile
        >>> fields = {"frame": ("uint8", (2, 2)), "action": ("int64", ())}
        >>> rows = Rows(Path(tempfile.mkdtemp()), fields, capacity=3, rows_per_file=2)
        >>> for action in range(5):
        ...     number = rows.append(frame=np.zeros((2, 2), np.uint8), action=action)
        >>> rows.first, rows.end, len(rows), rows.gather([4, 2])["action"]
        (2, 5, 3, array([4, 2]))
    """

    def __init__(
        self, folder: Path, fields: Mapping[str, Field], *, capacity: int, rows_per_file: int
    ) -> None:
        if not fields or capacity < 1 or rows_per_file < 1:
            raise ValueError(
                "rows need at least one field, a capacity and rows_per_file of 1 or more; "
                f"got {len(fields)} fields, {capacity} and {rows_per_file}"
            )
        self.folder, self.capacity, self.rows_per_file = folder, capacity, rows_per_file
        self.dtype = np.dtype([(name, kind, shape) for name, (kind, shape) in fields.items()])
        if self.dtype.hasobject:
            raise ValueError("rows hold numbers; a field of Python objects cannot be stored")
        self.end = 0
        self._start = ""
        self._maps: dict[int, NDArray[Any]] = {}
        self._unsynced: set[Path] = set()
        self._firsts: list[int] = []

    @property
    def first(self) -> int:
        """The number of the oldest row still here."""
        return max(0, self.end - self.capacity)

    def __len__(self) -> int:
        """How many rows are here, at most `capacity`."""
        return self.end - self.first

    # Reading and writing

    def append(self, **arrays: ArrayLike) -> int:
        """Add one row, or many: arrays of a field's shape, or all of them (N, *shape).

        Gives the number of the first one added. Raises ValueError for a missing field, another
        shape or a type that does not fit, UserError for an unknown field, and RunError when the
        disk refuses.
        """
        block = self._block(arrays)
        number, done = self.end, 0
        while done < len(block):
            segment, place = divmod(number + done, self.rows_per_file)
            part = block[done : done + self.rows_per_file - place]
            self._write(segment, place, part)
            done += len(part)
            self.end = number + done
            if place + len(part) == self.rows_per_file:
                self._remove_old()
        return number

    def gather(self, indices: ArrayLike, *names: str) -> dict[str, NDArray[Any]]:
        """Copies of the rows with these numbers, (...) -> by field (..., *shape).

        names: the fields to read; without them all are. Raises IndexError where a row is no
        longer or not yet here.
        """
        wanted = np.asarray(indices, dtype=np.int64)
        flat = wanted.ravel()
        if len(flat) and not (self.first <= flat.min() and flat.max() < self.end):
            raise IndexError(
                f"rows {self.first} to {self.end - 1} are here, asked for "
                f"{flat.min()} to {flat.max()}"
            )
        found = {}
        for name in names or self._names():
            kind, shape = self._field(name)
            found[name] = np.empty((len(flat), *shape), kind)
        # One read a segment and not a row: a minibatch asks for thousands of rows of few files.
        segments = flat // self.rows_per_file
        for segment in np.unique(segments):
            chosen = np.flatnonzero(segments == segment)
            rows = self._map(int(segment))
            places = flat[chosen] - segment * self.rows_per_file
            for name, out in found.items():
                out[chosen] = rows[name][places]
        return {name: out.reshape((*wanted.shape, *out.shape[1:])) for name, out in found.items()}

    # Saving and resuming

    def state_dict(self) -> dict[str, Any]:
        """Flush all rows to disk, then give the counts: a few numbers, whatever the size.

        Raises RunError when the disk refuses.
        """
        if not self._start:
            self._begin()
        try:
            for path in sorted(self._unsynced):
                _sync(path)
            if self._unsynced:
                # A new file's name is in its folder, and the new folder's in the one above.
                _sync(self._inside())
                _sync(self.folder)
        except OSError as error:
            raise self._refused(error) from error
        self._unsynced.clear()
        self._firsts = [self.first, *self._firsts][:STATES]
        self._remove_old()
        self._remove_other_starts()
        return {
            "end": self.end,
            "start": self._start,
            "needed": list(self._firsts),
            "layout": self._layout(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to exactly the rows of `state`: what was appended after it is cut off.

        Raises ValueError where the layout is another one or rows of the state are gone; nothing
        is changed then.
        """
        if state["layout"] != self._layout():
            raise ValueError(f"the saved rows are {state['layout']}, these {self._layout()}")
        end, inside = int(state["end"]), self.folder / state["start"]
        begin = max(0, end - self.capacity) // self.rows_per_file
        whole = self.rows_per_file * self.dtype.itemsize
        for segment in range(begin, -(-end // self.rows_per_file)):
            path = inside / f"{segment:08d}.bin"
            if not path.is_file() or path.stat().st_size != whole:
                raise ValueError(f"rows of the checkpoint are gone: no whole {path}")
        self._maps.clear()
        self._unsynced.clear()
        self._start, self.end = state["start"], end
        self._firsts = [int(first) for first in state["needed"]]
        try:
            self._cut()
        except OSError as error:
            raise self._refused(error) from error
        self._remove_old()
        self._remove_other_starts()

    # Segments

    def _begin(self) -> None:
        # A start of its own: a run that resumes may append before it loads its checkpoint, and
        # what that checkpoint needs must survive it.
        taken = [int(p.name) for p in self.folder.glob("[0-9]*") if p.name.isdigit()]
        self._start = f"{max(taken, default=-1) + 1:04d}"
        layout = json.dumps(self._layout(), indent=1) + "\n"
        write_atomically(self._inside() / "fields.json", layout.encode())

    def _write(self, segment: int, place: int, part: NDArray[Any]) -> None:
        if not self._start:
            self._begin()
        path = self._path(segment)
        try:
            with path.open("r+b" if place else "wb") as file:
                # The full length at once, so that one map of the file serves all its rows.
                file.truncate(self.rows_per_file * self.dtype.itemsize)
                file.seek(place * self.dtype.itemsize)
                file.write(part.view(np.uint8).data)
        except OSError as error:
            raise self._refused(error) from error
        self._unsynced.add(path)

    def _cut(self) -> None:
        """Remove the segments after `end`, and zero what follows it in its own."""
        segment, place = divmod(self.end, self.rows_per_file)
        for path in self._inside().glob("*.bin"):
            if int(path.stem) > segment or (int(path.stem) == segment and not place):
                path.unlink()
        if place:
            with self._path(segment).open("r+b") as file:
                # Shorter, then longer again: what comes back by growing is zeros.
                file.truncate(place * self.dtype.itemsize)
                file.truncate(self.rows_per_file * self.dtype.itemsize)

    def _remove_old(self) -> None:
        """Remove the segments that neither this table nor a checkpoint of it needs."""
        needed = min([self.first, *self._firsts]) // self.rows_per_file
        for path in self._inside().glob("*.bin"):
            if int(path.stem) < needed:
                self._maps.pop(int(path.stem), None)
                self._unsynced.discard(path)
                path.unlink(missing_ok=True)

    def _remove_other_starts(self) -> None:
        for path in self.folder.glob("[0-9]*"):
            if path.name.isdigit() and path.name != self._start:
                shutil.rmtree(path, ignore_errors=True)

    def _map(self, segment: int) -> NDArray[Any]:
        if segment not in self._maps:
            path = self._path(segment)
            self._maps[segment] = np.memmap(path, self.dtype, "r", shape=(self.rows_per_file,))
        return self._maps[segment]

    def _inside(self) -> Path:
        return self.folder / self._start

    def _path(self, segment: int) -> Path:
        return self._inside() / f"{segment:08d}.bin"

    def _refused(self, error: OSError) -> RunError:
        return RunError(f"cannot write {self._inside()}: {error.strerror}; "
                        "the last good checkpoint stands")  # fmt: skip

    # Fields

    def _names(self) -> tuple[str, ...]:
        return self.dtype.names or ()

    def _field(self, name: str) -> tuple[np.dtype[Any], tuple[int, ...]]:
        if name not in self._names():
            raise unknown("field", name, self._names())
        return self.dtype[name].base, self.dtype[name].shape

    def _layout(self) -> dict[str, Any]:
        fields = {}
        for name in self._names():
            kind, shape = self._field(name)
            fields[name] = [kind.str, list(shape)]
        return {"fields": fields, "capacity": self.capacity, "rows_per_file": self.rows_per_file}

    def _block(self, arrays: Mapping[str, ArrayLike]) -> NDArray[Any]:
        values = {name: self._value(name, array) for name, array in arrays.items()}
        if missing := [name for name in self._names() if name not in values]:
            raise ValueError(f"a row needs the field '{missing[0]}' as well")
        leads = {name: v.shape[: v.ndim - len(self._field(name)[1])] for name, v in values.items()}
        lead = leads[self._names()[0]]
        for name, other in leads.items():
            shape = self._field(name)[1]
            if other != lead or len(lead) > 1 or values[name].shape != (*lead, *shape):
                raise ValueError(
                    f"field '{name}' takes {shape} for one row or (N, *{shape}) for many, the same "
                    f"N for every field; got {values[name].shape}"
                )
        # As rows, field beside field, so that one write to one file stores them.
        block = np.zeros(lead or (1,), self.dtype)
        for name, value in values.items():
            block[name] = value
        return block

    def _value(self, name: str, array: ArrayLike) -> NDArray[Any]:
        kind, _ = self._field(name)
        if not hasattr(array, "dtype"):  # Python numbers have no type of their own
            try:
                return np.asarray(array, dtype=kind)
            except (OverflowError, TypeError) as error:
                raise ValueError(f"field '{name}' holds {kind}: {error}") from None
        value = np.asarray(array)
        if not np.can_cast(value.dtype, kind, "same_kind"):
            raise ValueError(f"field '{name}' holds {kind}, got {value.dtype}")
        return value


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
