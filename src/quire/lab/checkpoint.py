"""Checkpoints that are whole, verified, and never a pickle of objects."""

import contextlib
import hashlib
import os
import pickle
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast, runtime_checkable

import numpy as np
import torch

from quire.lab.errors import RunError


@runtime_checkable
class Stateful(Protocol):
    """What a checkpoint can hold: modules, optimizers, schedulers, a paper's own objects."""

    def state_dict(self) -> Any:
        """Everything that changes, as tensors, numbers, strings, lists and dicts."""

    def load_state_dict(self, state_dict: Any, /) -> Any:
        """Take back what `state_dict` gave."""


class Checkpoints:
    """The newest two checkpoints of one loop, in a folder.

    A file's name carries its step and the first digits of its SHA-256, so that a damaged one is
    known by itself; the previous one is removed only after the new one was read back.
    """

    def __init__(self, folder: Path, note: Callable[[str], None]) -> None:
        self.folder = folder
        self.note = note
        self._damaged: set[Path] = set()

    def save(self, step: int, content: dict[str, Any]) -> float:
        """Write `content` as the checkpoint of `step`; gives the seconds that it took.

        Tensors go to the file one after the other, so that no second copy of them all is in memory.
        Raises RunError when the disk refuses; the earlier checkpoints then still stand.
        """
        began = time.monotonic()
        for torn in self.folder.glob(".*.tmp"):  # what a killed process left
            torn.unlink(missing_ok=True)
        path = self._write(step, content)
        # The name has the digits of what was meant to be written; these are of what is there.
        if _fingerprint(path) != path.stem.rpartition("-")[2]:
            self.note(f"checkpoint of step {step} did not read back; keeping the previous one")
            path.unlink()
        else:
            self._remove_old(path)
        return time.monotonic() - began

    def load(self) -> dict[str, Any] | None:
        """The newest sound checkpoint, or None. Says which damaged ones it passed over."""
        for path in self._newest_first():
            if _fingerprint(path) == path.stem.rpartition("-")[2]:
                with contextlib.suppress(RuntimeError, pickle.UnpicklingError, EOFError):
                    content: dict[str, Any] = torch.load(path, weights_only=True)
                    return content
            self.note(f"checkpoint {path.name} is damaged; going back to the one before it")
            self._damaged.add(path)
        return None

    def _write(self, step: int, content: dict[str, Any]) -> Path:
        def named() -> Path:
            return self.folder / f"{step:010d}-{hashing.hexdigest()[:16]}.pt"

        hashing = hashlib.sha256()
        unnamed = self.folder / f"{step:010d}"
        with replaced_when_whole(unnamed, named) as temporary, temporary.open("wb") as file:
            torch.save(content | {"step": step}, cast(BinaryIO, _HashingWriter(file, hashing)))
        return named()

    def _remove_old(self, newest: Path) -> None:
        # Damaged ones of later steps must not count as the newest two.
        self._damaged.discard(newest)
        sound = [path for path in self._newest_first() if path not in self._damaged]
        for old in [*self._damaged, *sound[2:]]:
            old.unlink(missing_ok=True)
        self._damaged.clear()

    def _newest_first(self) -> list[Path]:
        # Two files of one step differ in their digits only: the younger one counts as newer.
        found = self.folder.glob("[0-9]*-*.pt")
        return sorted(found, key=lambda p: (p.name[:10], p.stat().st_mtime_ns), reverse=True)


class _HashingWriter:
    """A file that is written once from begin to end, and hashed as it is."""

    def __init__(self, file: BinaryIO, hashing: Any) -> None:
        self.file, self.hashing = file, hashing

    def write(self, part: Any) -> int:
        self.hashing.update(part)
        return self.file.write(part)

    def flush(self) -> None:
        self.file.flush()


def _fingerprint(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


@contextlib.contextmanager
def replaced_when_whole(path: Path, named: Callable[[], Path] | None = None) -> Iterator[Path]:
    """A temporary path beside `path`, to be written; it takes the place of `path` at the end.

    named: gives another final path once the content is known. It is flushed to disk first. Raises
    RunError with one line when the disk refuses; what stood at `path` then still stands.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        # On disk before it gets the name: else a power cut could leave the name without content.
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path if named is None else named())
    except OSError as error:
        _remove(temporary)
        raise RunError(f"cannot write {path}: {error.strerror}; nothing was changed") from error
    except BaseException:  # Ctrl-C too must not leave half a file behind
        _remove(temporary)
        raise


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()


def random_state() -> dict[str, Any]:
    """The state of every global random generator, in types that load with `weights_only`."""
    state: Any = np.random.get_state(legacy=True)
    kind, keys, position, has_gauss, gauss = state
    version, internal, gauss_next = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
        # The keys are uint32: int64 holds them whole, and is a type that every torch has.
        "numpy": [str(kind), torch.from_numpy(keys.astype(np.int64)), position, has_gauss, gauss],
        "python": [version, list(internal), gauss_next],
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Put every global random generator back to where `random_state` found it."""
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
    kind, keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, gauss))
    version, internal, gauss_next = state["python"]
    random.setstate((version, tuple(internal), gauss_next))
