"""Checkpoints that are whole, verified, and never a pickle of objects."""

import contextlib
import hashlib
import io
import pickle
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch

from quire.lab.files import write_atomically


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

    def save(self, step: int, content: dict[str, Any]) -> None:
        """Write `content` as the checkpoint of `step`. Raises `RunError` when the disk refuses."""
        buffer = io.BytesIO()
        torch.save(content | {"step": step}, buffer)
        blob = buffer.getvalue()
        path = self.folder / f"{step:010d}-{_fingerprint(blob)}.pt"
        write_atomically(path, blob)
        if _fingerprint(path.read_bytes()) != path.stem.rpartition("-")[2]:
            self.note(f"checkpoint of step {step} did not read back; keeping the previous one")
            path.unlink()
            return
        for old in self._newest_first()[2:]:
            old.unlink()

    def load(self) -> dict[str, Any] | None:
        """The newest sound checkpoint, or None. Says which damaged ones it passed over."""
        for path in self._newest_first():
            blob = path.read_bytes()
            if _fingerprint(blob) == path.stem.rpartition("-")[2]:
                with contextlib.suppress(RuntimeError, pickle.UnpicklingError, EOFError):
                    content: dict[str, Any] = torch.load(io.BytesIO(blob), weights_only=True)
                    return content
            self.note(f"checkpoint {path.name} is damaged; going back to the one before it")
        return None

    def _newest_first(self) -> list[Path]:
        # Two files of one step differ in their digits only: the younger one counts as newer.
        found = self.folder.glob("[0-9]*-*.pt")
        return sorted(found, key=lambda p: (p.name[:10], p.stat().st_mtime_ns), reverse=True)


def _fingerprint(blob: bytes) -> str:
    return hashlib.sha256(blob).hexdigest()[:16]


def random_state() -> dict[str, Any]:
    """The state of every global random generator, in types that load with `weights_only`."""
    state: Any = np.random.get_state(legacy=True)
    kind, keys, position, has_gauss, gauss = state
    version, internal, gauss_next = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
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
