"""What the command line prints: tables on a terminal, plain text elsewhere."""

import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from quire.lab.evidence import ClaimRecord, Evidence, best_verdicts
from quire.lab.papers import PRESETS, Claim, Paper

if TYPE_CHECKING:
    from quire.lab.execute import Outcome
    from quire.lab.job import Job
    from quire.lab.verify import Verified

STYLES = {"holds": "green", "fails": "red", "undecided": "yellow", "one seed": "yellow",
          "not run": "dim"}  # fmt: skip


def console() -> Console:
    """Standard output; wide where it is no terminal, so that nothing is folded in a log."""
    return Console(width=None if sys.stdout.isatty() else 160, highlight=False, soft_wrap=False)


def counts(paper: Paper, evidence: Sequence[Evidence]) -> Counter[str]:
    """How many of a paper's claims hold, fail, are undecided, are not run."""
    best = best_verdicts(evidence, paper.name)
    found: Counter[str] = Counter()
    for claim in paper.claims:
        verdict = best[claim.id][0].verdict if claim.id in best else "not run"
        found["undecided" if verdict == "one seed" else verdict] += 1
    return found


def print_papers(
    papers: Sequence[Paper], evidence: Sequence[Evidence], *, markdown: bool = False
) -> None:
    """The table of `quire list`."""
    if markdown:
        from quire.report.tables import papers_markdown

        print(papers_markdown(papers, evidence))
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("paper", "family", "year"):
        table.add_column(heading, no_wrap=True)
    table.add_column("what it says", ratio=1)
    for heading in ("holds", "fails", "undecided", "not run"):
        table.add_column(heading, justify="right", style=STYLES[heading], no_wrap=True)
    for paper in papers:
        found = counts(paper, evidence)
        numbers = [str(found[key] or "·") for key in ("holds", "fails", "undecided", "not run")]
        table.add_row(paper.name, paper.family, str(paper.year), escape(paper.summary), *numbers)
    console().print(table)


def print_card(paper: Paper, evidence: Sequence[Evidence]) -> None:
    """What `quire show` prints."""
    out = console()
    out.print(f"[bold]{escape(paper.title)}[/bold] ({paper.year})")
    out.print(escape(", ".join(paper.authors)))
    links = [f"arXiv {paper.arxiv}" if paper.arxiv else "", paper.venue or "", paper.url or ""]
    out.print(escape(" · ".join(link for link in links if link)), style="dim")
    out.print(escape(paper.summary))
    if paper.code:
        out.print(f"Reference code: {paper.code.repository} ({paper.code.licence})", style="dim")
    out.print("\n[bold]Parts[/bold]")
    names = public_names(paper)
    line = f"from {paper.module} import "
    out.print(escape(line + ", ".join(names)), soft_wrap=True)
    out.print("\n[bold]Experiments[/bold]")
    for name, experiment in paper.experiments.items():
        out.print(f"  {paper.name}/{name}  [dim]{escape(experiment.summary)}[/dim]")
        out.print(f"    arms: {', '.join(experiment.arms)}", soft_wrap=True)
        needs = [*(f"data {d}" for d in experiment.data), *(f"extra {e}" for e in experiment.needs)]
        if needs:
            out.print(f"    needs: {', '.join(needs)}")
    out.print(f"    presets of each: {', '.join(PRESETS)}\n")
    best = best_verdicts(evidence, paper.name)
    table = _claims_table("Claims")
    for claim in paper.claims:
        record, item = best.get(claim.id, (None, None))
        _claim_row(table, claim, record, item.preset if item else "")
    out.print(table)
    out.print(f"quire verify {paper.name}   ·   card: {paper.folder / 'README.md'}", style="dim")


def public_names(paper: Paper) -> list[str]:
    """The names in `__all__` of a paper's `__init__.py`, read without importing it."""
    import ast

    tree = ast.parse((paper.folder / "__init__.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            names: list[str] = ast.literal_eval(node.value)
            return names
    return []


def print_verified(found: Sequence["Verified"], preset: str) -> None:
    """The verdicts of `quire verify`."""
    out = console()
    for item in found:
        table = _claims_table(f"{item.paper.name}/{item.experiment} at {preset}")
        records = {c.id: c for c in item.evidence.claims} if item.evidence else {}
        for claim in item.paper.claims:
            if claim.experiment == item.experiment:
                default = ClaimRecord(id=claim.id, verdict="not run", reason=item.reason)
                _claim_row(table, claim, records.get(claim.id, default), preset)
        out.print(table)
        if item.evidence is None:
            out.print(f"not run: {escape(item.reason)}", style="yellow", soft_wrap=True)
        out.print()
    total = Counter(c.verdict for v in found if v.evidence for c in v.evidence.claims)
    out.print(", ".join(f"{n} {verdict}" for verdict, n in total.most_common()) or "nothing run")
    for item in found:
        for claim in item.surprises:
            out.print(f"fails unexpectedly: {claim.id} ({escape(claim.check)})", style="red")


def _claims_table(title: str) -> Table:
    table = Table(title=escape(title), title_justify="left", box=None, pad_edge=False)
    table.add_column("verdict", no_wrap=True)
    table.add_column("claim", no_wrap=True)
    table.add_column("says", overflow="fold", ratio=3)
    table.add_column("measured (left vs right, 95 % interval of the difference)", ratio=2)
    table.add_column("paper", no_wrap=True)
    table.add_column("at", no_wrap=True, style="dim")
    return table


def _claim_row(table: Table, claim: Claim, record: ClaimRecord | None, preset: str) -> None:
    verdict = record.verdict if record else "not run"
    text = f"[{STYLES[verdict]}]{verdict}[/]"
    if claim.expected == "fails":
        text += " [dim](expected to fail)[/dim]"
    table.add_row(
        text, claim.id, escape(claim.says), escape(measured(record)), escape(claim.paper or ""),
        preset if verdict != "not run" else ", ".join(claim.at),
    )  # fmt: skip


def measured(record: ClaimRecord | None) -> str:
    """``0.93 vs 0.5 [0.41, 0.45] 3 seeds``, or why there is nothing."""
    if record is None or record.left is None or record.right is None:
        return record.reason if record else ""
    text = f"{record.left:.4g} vs {record.right:.4g}"
    if record.interval:
        text += f" [{record.interval[0]:.3g}, {record.interval[1]:.3g}]"
    text += f", {record.seeds} seed{'s' if record.seeds != 1 else ''}"
    return f"{text} ({record.reason})" if record.reason else text


def print_data(rows: Sequence[Any]) -> None:
    """The table of `quire data list` and `check`."""
    from quire.data.catalogue import DATASETS

    table = Table(box=None, pad_edge=False)
    for heading in ("dataset", "here", "checksum", "where", "licence", "what"):
        table.add_column(heading, overflow="fold", no_wrap=heading in ("dataset", "here"))
    for row in rows:
        checksum = {True: "ok", False: "differs", None: "unknown"}[row.checksum_ok]
        entry = DATASETS[row.name]
        table.add_row(
            row.name, "yes" if row.present else "no", checksum if row.present else "",
            escape(str(row.where or row.detail)), escape(entry.licence), escape(entry.summary),
        )  # fmt: skip
    console().print(table)


def print_races(name: str, result: dict[str, Any]) -> None:
    """The table of `quire bench`."""
    table = Table(title=name, title_justify="left", box=None, pad_edge=False)
    for heading in ("race", "unit", "ours", "peer", "ratio", "goal", ""):
        table.add_column(heading, justify="left" if heading in ("race", "unit", "") else "right")
    for race in result["races"]:
        goal = race.get("goal")
        verdict = ""
        if goal is not None and race.get("ratio") is not None:
            verdict = "reached" if race["ratio"] >= goal else "not reached"
        if race.get("parity") is False:
            verdict = "[red]parity test failed: no time[/red]"
        cells = [_cell(race.get(key)) for key in ("ours", "peer", "ratio")]
        table.add_row(race["name"], race["unit"], *cells, _cell(goal), verdict)
    console().print(table)


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return f"{value['median']:.4g} ({value['q1']:.4g} to {value['q3']:.4g})"
    return "" if value is None else f"{value:.3g}"


def print_doctor() -> None:
    """What this machine can run and what is missing."""
    import torch

    from quire.data.catalogue import DATASETS
    from quire.data.store import status
    from quire.lab.device import environment, pick_device, pick_precision
    from quire.lab.errors import MissingError
    from quire.lab.evidence import evidence_folder, machine_name
    from quire.lab.execute import data_root
    from quire.lab.job import check_extras, cores
    from quire.lab.papers import find_paper, paper_names

    out = console()
    device = pick_device("auto")
    for key, value in environment(device, torch.get_num_threads()).items():
        out.print(f"{key:12} {value}")
    out.print(f"{'cores':12} {cores()}")
    out.print(f"{'bfloat16':12} {pick_precision('auto', device) == 'bfloat16'}")
    out.print(f"{'machine':12} {machine_name()}")
    out.print(f"{'data':12} {data_root() or 'user cache'}")
    out.print(f"{'evidence':12} {evidence_folder()}")
    for extra in ("vision", "ray", "tensorboard", "docs", "peers", "test", "dev"):
        try:
            check_extras((extra,))
            out.print(f"{'extra':12} {extra}: installed")
        except MissingError as error:
            out.print(f"{'extra':12} {extra}: {escape(str(error))}", style="yellow")
    here = {name: status(name, data_root()).present for name in DATASETS}
    for name, present in here.items():
        word = "here" if present else f"missing; get it with: quire data get {name}"
        out.print(f"{'dataset':12} {name}: {word}", style=None if present else "yellow")
    for name in paper_names():
        paper = find_paper(name)
        lacking = []
        for key, experiment in paper.experiments.items():
            try:
                check_extras(experiment.needs)
            except MissingError:
                lacking.append(key)
                continue
            if not all(here.get(item, True) for item in experiment.data):
                lacking.append(key)
        text = f"cannot run {', '.join(lacking)} yet" if lacking else "every experiment can run"
        out.print(f"{'paper':12} {name}: {text}", style="yellow" if lacking else None)


class Board:
    """Progress of many runs: a live table on a terminal, a line a finished run elsewhere."""

    def __init__(self) -> None:
        self._out = console()
        self._live: Any = None
        self._began = time.monotonic()
        self._total = self._done = 0

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

        self._done = done
        text = outcome.reason or numbers(dict(list(outcome.metrics.items())[:4]))
        status = "" if outcome.status == "done" else f" {outcome.status}"
        line = f"[{done}/{total}] {outcome.job.label}{status}  {text}"
        self._out.print(escape(line), soft_wrap=True)

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
        spent = time.monotonic() - self._began
        left = spent / self._done * (self._total - self._done) if self._done else None
        eta = f", about {left / 60:.0f} min left" if left is not None else ""
        table.caption = f"{self._done} of {self._total} runs{eta}"
        self._live.update(table)


def last_line(path: Path) -> dict[str, Any]:
    """The last whole line of a journal, without reading the rest."""
    import json

    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 4096))
            lines = file.read().splitlines()
    except OSError:
        return {}
    for line in reversed(lines):
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(row, dict):
            return row
    return {}
