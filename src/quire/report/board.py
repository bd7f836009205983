"""Progress of many runs, as `quire verify` shows it."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from quire.lab.journal import parse_rows
from quire.report.lines import console

if TYPE_CHECKING:
    from quire.lab.execute import Outcome
    from quire.lab.job import Job


class Board:
    """Progress of many runs: a live table on a terminal, a line a finished run elsewhere."""

    def __init__(self) -> None:
        self._out = console()
        self._live: Any = None
        self._began = time.monotonic()
        self._total = self._done = self._ran = 0

    def __enter__(self) -> "Board":
        return self

    def __exit__(self, *error: object) -> None:
        if self._live is not None:
            self._live.stop()

    def begin(self, jobs: Sequence["Job"]) -> None:
        """Say how many runs there are."""
        self._began, self._total = time.monotonic(), len(jobs)
        if self._out.is_terminal and jobs:
            from rich.live import Live

            self._live = Live(console=self._out, refresh_per_second=2, transient=True)
            self._live.start()

    def report(self, outcome: "Outcome", done: int, total: int) -> None:
        """Print an outcome."""
        from quire.lab.progress import numbers

        self._done, self._total = done, total
        self._ran += outcome.status != "cached"
        text = outcome.reason or numbers(dict(list(outcome.metrics.items())[:4]))
        status = "" if outcome.status == "done" else f" {outcome.status}"
        line = f"[{done}/{total}] {outcome.job.label}{status}  {text}"
        self._out.print(Text(line))

    def watch(self, jobs: Sequence["Job"]) -> None:
        """Draw the runs at work with the last values they logged."""
        if self._live is None:
            return
        table = Table(box=None, pad_edge=False, show_header=False)
        for job in jobs:
            row = last_line(job.directory / "metrics.jsonl")
            where = f"{row['loop']} {row['step'] + 1}/{row['of']}" if row else "starting"
            values = {k: v for k, v in row.items() if k not in ("loop", "step", "of")}
            text = "  ".join(f"{k} {v:.4g}" for k, v in values.items())
            table.add_row(escape(job.label), where, text)
        table.caption = self.summary(time.monotonic() - self._began)
        self._live.update(table)

    def summary(self, spent: float) -> str:
        """How many runs have ended after `spent` seconds, and when all will have.

        As long a run as those so far that were run here: what had finished before took no time.
        """
        said = f"{self._done} of {self._total} runs"
        if not self._ran:
            return said
        left = spent / self._ran * (self._total - self._done)
        return f"{said}, about {left / 60:.0f} min left"


def last_line(path: Path) -> dict[str, Any]:
    """The last whole line of a journal, without reading the rest."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 4096))
            lines = file.read().splitlines()
    except OSError:
        return {}
    return next(parse_rows(reversed(lines)), {})
