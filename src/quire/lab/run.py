"""`Run`: all that an experiment's function needs around its loop."""

import contextlib
import hashlib
import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, overload

import torch
from torch import Tensor, nn

from quire.lab import distributed
from quire.lab.checkpoint import Checkpoints, Stateful, random_state, set_random_state
from quire.lab.config import Config
from quire.lab.device import pick_precision
from quire.lab.errors import Diverged, Interrupted, RunError, unknown
from quire.lab.exhibits import to_png
from quire.lab.files import write_atomically
from quire.lab.job import Options
from quire.lab.journal import Journal
from quire.lab.progress import Progress

if TYPE_CHECKING:
    from matplotlib.figure import Figure

M = TypeVar("M", bound=nn.Module)
T = TypeVar("T")
Metrics = dict[str, float]
_CHECKPOINT_SHARE = 20
"""A checkpoint is due after this many times what the last one cost: 5 % of the time at most."""


class Run:
    """One arm with one seed while it runs: device, precision, steps, log, figures.

    An experiment gets it as its second argument and never builds one. What follows from the seed
    is the same on every machine: `rng` gives generators by name, the global generators are seeded
    before the experiment begins, and `steps` puts all of them back when it resumes.
    """

    def __init__(
        self,
        config: Config,
        directory: Path,
        *,
        seed: int,
        device: torch.device,
        data: Path | None = None,
        before: Mapping[str, Path] | None = None,
        options: Options | None = None,
        progress: Progress | None = None,
    ) -> None:
        options = options or Options()
        self.config = config
        self.directory = directory
        self.seed = seed
        self.device = device
        self.data = data
        self.step = 0
        self.in_loop = False
        self.resumed_at: int | None = None
        self.spent = {"cpu": 0.0, "wall": 0.0}
        self.results: dict[str, dict[str, Any]] = {}
        self._before = dict(before or {})
        self._progress = progress or Progress()
        self._checkpoint_seconds = options.checkpoint_seconds
        self._began = (time.process_time(), time.monotonic())
        self._stop_after_step = False
        self._left = options.stop_after
        self.stopping = ""  # why it was asked to stop
        self._loops: set[str] = set()
        self._record = False
        # On `meta` tensors nothing is computed: only that everything is built and fits together.
        self._is_trial = device.type == "meta"
        self._is_compiled = config.compile and device.type == "cuda"
        self._logged: dict[str, float] = {}
        self._writes = distributed.rank() == 0
        self._journal = Journal(directory / "metrics.jsonl", writes=self._writes)
        self._events = _events(directory) if options.tensorboard and self._writes else None

    # Before the loop

    def place(self, module: M) -> M:
        """`module` on this run's device, compiled there if the config asks for it; under torchrun,
        as torch's data-parallel replica of it."""
        module = module.to(self.device)
        if self._is_compiled:
            module.compile(mode="reduce-overhead")  # in place: names in its state dict stay
        return distributed.replicate(module)

    def precision(self) -> contextlib.AbstractContextManager[Any]:
        """Autocast in the precision that the config asks for."""
        if self._is_trial or pick_precision(self.config.precision, self.device) == "float32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def rng(self, *stream: int | str) -> torch.Generator:
        """A CPU generator that follows from the run's seed and the names in `stream` alone."""
        text = json.dumps([self.seed, *stream])
        number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
        return torch.Generator().manual_seed(number)

    def before(self, name: str) -> Path:
        """The folder of the finished run that this one stands on under that name (`after`)."""
        if name not in self._before:
            raise unknown("run before this one", name, self._before)
        return self._before[name]

    # The loop

    @overload
    def steps(
        self, total: int, batch_at: None = None, *,
        state: Iterable[Stateful] = (), name: str = "train",
    ) -> Iterator[int]: ...  # fmt: skip

    @overload
    def steps(
        self, total: int, batch_at: Callable[[int], T], *,
        state: Iterable[Stateful] = (), name: str = "train",
    ) -> Iterator[T]: ...  # fmt: skip

    def steps(
        self,
        total: int,
        batch_at: Callable[[int], Any] | None = None,
        *,
        state: Iterable[Stateful] = (),
        name: str = "train",
    ) -> Iterator[Any]:
        """Batches of the steps that are still to do, from the last checkpoint on.

        `batch_at(step)` must follow from the step (and the run's seed) alone; its tensors are
        moved to the run's device, and under torchrun each process gets its share of the rows.
        Without it the step's number is given. `state` holds everything that the loop changes; it
        is saved every few seconds, when the run is asked to stop, and at the end, together with
        all global random generators. Several loops of one experiment need different names.

        Raises `Interrupted` after a Ctrl-C or SIGTERM, once the state is saved.
        """
        if name in self._loops:
            raise ValueError(f"two loops are called '{name}': give each its own name")
        self._loops.add(name)
        parts = [distributed.bare(part) for part in state]
        store = Checkpoints(self.directory / "checkpoint" / name, self.note)
        begin, done = self._resume(store, parts, name)
        # A trial of a few steps is compared with another one: it logs each of them.
        every = 1 if self._left is not None else max(1, total // 500)
        self.step = begin - 1
        saved, pause = time.monotonic(), self._checkpoint_seconds
        self._stop_after_step, self.in_loop = False, True
        try:
            for step in () if done else range(begin, total):
                self.step = step
                self._record = step % every == 0 or step == total - 1
                if self._is_compiled:
                    # What a CUDA graph gave in the step before may be written over from here on.
                    torch.compiler.cudagraph_mark_step_begin()
                yield step if batch_at is None else self._fetch(batch_at, step)
                self._write_record(name, step, total)
                self._count_down()
                ended = self._stop_after_step or step == total - 1
                late = time.monotonic() - saved > pause
                stop, late = distributed.agree(step, bool(self.stopping), late)
                if ended or stop or late:
                    cost = self._save(store, parts, step + 1, done=ended)
                    saved = time.monotonic()
                    if pause > 0:  # 0 asks for a checkpoint after every step
                        pause = max(self._checkpoint_seconds, cost * _CHECKPOINT_SHARE)
                if ended:
                    break
                if stop:
                    raise Interrupted(f"{self.stopping or 'interrupted'} at step {step + 1} "
                                      f"of {total}; the same command resumes it")  # fmt: skip
        finally:
            self.in_loop = False
            self._progress.end(name)

    def stop(self) -> None:
        """End the current loop after this step (early stopping)."""
        self._stop_after_step = True

    def log(self, **values: float | Tensor) -> None:
        """Log numbers of this step: scalars or tensors of one element.

        Raises `Diverged` where a value is not finite: the run stops there, and its last good
        checkpoint stands. On a CPU every step is looked at, elsewhere those that are recorded.
        """
        if self._is_trial or not (self._record or self.device.type == "cpu"):
            return
        for key, value in values.items():
            number = float(value.detach()) if isinstance(value, Tensor) else float(value)
            number = distributed.mean(number, self.device)
            if not math.isfinite(number):
                raise Diverged(f"{key} became {number} at step {self.step}; "
                               "the last good checkpoint stands")  # fmt: skip
            self._logged[key] = number

    # After the loop

    def series(
        self,
        name: str,
        x: Sequence[float] | Tensor,
        y: Sequence[float] | Tensor,
        *,
        x_label: str = "",
        y_label: str = "",
    ) -> None:
        """Keep a curve of the finished run; the report lays it over those of the other arms.

        A value of `y` that is not finite is kept as a gap.
        """
        xs, ys = [float(v) for v in x], [float(v) for v in y]
        if len(xs) != len(ys):
            raise ValueError(f"series '{name}': {len(xs)} values of x but {len(ys)} of y")
        self.results[name] = {
            "x": xs,
            "y": [v if math.isfinite(v) else None for v in ys],
            "x_label": x_label,
            "y_label": y_label,
        }

    def figure(self, name: str, figure: "Figure") -> None:
        """Save a matplotlib figure as ``figures/<name>.svg`` and ``.png``."""
        if self._writes:
            folder = self.directory / "figures"
            folder.mkdir(parents=True, exist_ok=True)
            figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
            figure.savefig(folder / f"{name}.png", dpi=150)

    def exhibit(self, name: str, images: Tensor) -> None:
        """Keep the first 16 of `images` (N, 1 or 3, H, W), in [0, 1], for people to judge.

        They stand in ``exhibits/<name>/00.png`` and on; a value that is not finite is black. Two
        arms are compared picture by picture, so the same number means the same scene where there
        is one. Raises `ValueError` where that is no shape or range of pictures.
        """
        if self._writes and not self._is_trial:
            for number, png in enumerate(to_png(name, images)):
                write_atomically(self.directory / "exhibits" / name / f"{number:02}.png", png)

    # For the lab

    def note(self, text: str) -> None:
        """Write a line to the run's ``log.txt`` and, where there is one, to the terminal."""
        if self._writes:
            with (self.directory / "log.txt").open("a", encoding="utf-8") as file:
                file.write(f"{time.strftime('%Y-%m-%dT%H:%M:%S')} {text}\n")
            self._progress.note(text)

    def interrupt(self, why: str) -> None:
        """Ask the run to save its state after the current step and to stop."""
        self.stopping = why

    def close(self) -> None:
        """Flush what is still in memory."""
        self._journal.flush()
        if self._events is not None:
            self._events.close()

    def cost(self) -> dict[str, float]:
        """CPU and wall seconds spent so far, those before a resume included."""
        cpu, wall = self._began
        return {
            "cpu": self.spent["cpu"] + time.process_time() - cpu,
            "wall": self.spent["wall"] + time.monotonic() - wall,
        }

    def _resume(self, store: Checkpoints, parts: list[Stateful], name: str) -> tuple[int, bool]:
        saved = store.load()
        if saved is None:
            self._journal.rewind(name, 0)
            return 0, False
        if len(saved["state"]) != len(parts):
            raise RunError(f"the checkpoint holds {len(saved['state'])} states, the loop has "
                           f"{len(parts)}: start anew with --fresh")  # fmt: skip
        try:
            for part, content in zip(parts, saved["state"], strict=True):
                part.load_state_dict(content)
        except (RuntimeError, ValueError, KeyError) as error:
            first = str(error).splitlines()[0]
            raise RunError(f"the checkpoint does not fit ({first}): use --fresh") from error
        set_random_state(saved["random"])
        self.spent = saved["spent"]
        self._began = (time.process_time(), time.monotonic())
        self._journal.rewind(name, saved["step"])
        self.resumed_at = int(saved["step"])
        self.note(f"resumed '{name}' at step {saved['step']}")
        return int(saved["step"]), bool(saved["done"])

    def _save(self, store: Checkpoints, parts: list[Stateful], step: int, *, done: bool) -> float:
        """Save the state; gives the seconds that it took."""
        began = time.monotonic()
        if self._writes and not self._is_trial:
            self._journal.flush()
            store.save(step, {
                "state": [part.state_dict() for part in parts],
                "random": random_state(),
                "spent": self.cost(),
                "done": done,
            })  # fmt: skip
        distributed.barrier()
        return time.monotonic() - began

    def _count_down(self) -> None:
        if self._left is not None:
            self._left -= 1
            if self._left <= 0:
                self.interrupt("stopped as asked")

    def _fetch(self, batch_at: Callable[[int], Any], step: int) -> Any:
        return _to(distributed.share(batch_at(step)), self.device)

    def _write_record(self, name: str, step: int, total: int) -> None:
        self._progress.update(name, step + 1, total, self._logged)
        if self._record and self._logged:
            self._journal.write(name, step, total, self._logged)
            if self._events is not None:
                for key, value in self._logged.items():
                    self._events.add_scalar(f"{name}/{key}", value, step)
        self._logged = {}


def _to(batch: Any, device: torch.device) -> Any:
    if device.type == "cpu":
        return batch
    return distributed.map_tensors(lambda t: t.to(device, non_blocking=True), batch)


def _events(directory: Path) -> Any:
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(directory / "tensorboard"))  # type: ignore[no-untyped-call]
