"""How far a run is: a bar on a terminal, plain lines elsewhere, nothing in workers."""

import sys
import time
from collections.abc import Mapping
from typing import Any


class Progress:
    """Says nothing; the base of those that do."""

    def update(self, loop: str, done: int, total: int, values: Mapping[str, float]) -> None:
        """`done` of `total` steps, with the last logged values."""

    def note(self, text: str) -> None:
        """A line worth reading: a resume, a damaged checkpoint."""

    def end(self, loop: str) -> None:
        """The loop is over."""


class Lines(Progress):
    """A plain line every ten seconds and at the end, for logs and pipes."""

    def __init__(self, label: str, seconds: float = 10.0) -> None:
        self.label = label
        self.seconds = seconds
        self._clock: dict[str, tuple[float, int]] = {}
        self._said = time.monotonic()

    def update(self, loop: str, done: int, total: int, values: Mapping[str, float]) -> None:
        now = time.monotonic()
        began, first = self._clock.setdefault(loop, (now, done))
        if now - self._said < self.seconds and done != total:
            return
        self._said = now
        rate = (done - first) / (now - began) if now > began else 0.0
        left = f"ETA {_clock((total - done) / rate)}" if rate and done < total else ""
        parts = [f"{self.label} {loop} {done}/{total}", numbers(values), left]
        print("  ".join(part for part in parts if part), flush=True)

    def note(self, text: str) -> None:
        print(f"{self.label} {text}", flush=True)


class Bar(Progress):
    """A bar with rate, ETA and the current values, on a terminal."""

    def __init__(self, label: str) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        self.label = label
        self._bar: Any = RichProgress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
            TimeRemainingColumn(), TextColumn("{task.fields[values]}"), transient=True,
        )  # fmt: skip
        self._tasks: dict[str, Any] = {}
        self._drawn = 0.0

    def update(self, loop: str, done: int, total: int, values: Mapping[str, float]) -> None:
        if loop not in self._tasks:
            self._bar.start()
            self._tasks[loop] = self._bar.add_task(
                f"{self.label} {loop}", total=total, values="", completed=done - 1
            )
        now = time.monotonic()
        if now - self._drawn > 0.1 or done == total:
            self._drawn = now
            self._bar.update(self._tasks[loop], completed=done, values=numbers(values))

    def note(self, text: str) -> None:
        self._bar.console.print(f"{self.label} {text}", highlight=False, markup=False)

    def end(self, loop: str) -> None:
        self._bar.stop()


def for_terminal(label: str) -> Progress:
    """A bar where standard output is a terminal, else plain lines."""
    return Bar(label) if sys.stdout.isatty() else Lines(label)


def numbers(values: Mapping[str, float]) -> str:
    """The values in one short string: ``loss 0.312  accuracy 0.9``."""
    return "  ".join(f"{key} {value:.4g}" for key, value in values.items())


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
